"""The rule switches: what differs between kernel generations, one switch per change.

Each row cites the patch or commit it stands for (semantics 1.1, 1.4, 2.4, 3, 4.9, 5.2 and 6) and
names the invariants of semantics 11.1 that it relaxes or replaces, and at which of its
values.  Every switch can be used alone.  Its default is the rule of the series as posted in 2010.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass
from typing import Any, Literal, TypeAlias

SwitchValue: TypeAlias = str | bool | int

_BOTH: tuple[SwitchValue, ...] = (False, True)


@dataclass(frozen=True)
class Switch:
    """One rule.  `relaxes`: invariants that do not hold as written when its value is `relaxing`."""

    name: str
    values: tuple[SwitchValue, ...]
    default: SwitchValue
    introduced: str
    description: str
    relaxes: tuple[str, ...] = ()
    relaxing: tuple[SwitchValue, ...] = ()


@dataclass(frozen=True)
class Switches:
    """A value for every switch; the engine reads its fields."""

    gup: Literal["posted_noio", "v2638_sync", "v2639_nowait"]
    worker_writes: bool
    sync_writes: bool
    read_ahead: Literal["block", "cluster", "vma"]
    swap_plug: bool
    swap_poll: bool
    reclaim: Literal["worker", "fault"]
    direct_reclaim: bool
    scheduler: Literal["cfs", "eevdf"]
    replacement: Literal["two-lists-2.6.28", "two-lists", "mglru"]
    worker_pins: bool
    present_all: bool
    present_unhalts: bool
    present_makes_runnable: bool
    probe_fixed: bool
    clear_waits: bool
    pg_clears_queue: bool
    pg_resets_hash: bool
    smm: bool
    hash_multiplier: Literal["old", "new"]
    guest_wait: Literal["schedule", "halt_unsafe", "halt_kernel", "user_only"]
    kernel_mode_panics: bool
    takes_interrupt: bool
    send_always: Literal["never", "auto", "always"]
    host_kernel_rule: Literal["halt", "send_user_only"]
    preempt: bool
    prefault: Literal["direct_only", "same_mmu"]
    untold_halts: bool
    pending_blocks_apf: bool
    ready_cancels_not_present: bool
    ready_needs_not_present: bool
    ready_by_interrupt: bool
    completion_kicks: bool
    ready_needs_lapic: bool
    enable_needs_lapic: Literal["never", "always", "nonzero"]
    token_nonzero: bool
    online_zeroes_slot: bool
    broadcast_needs_memory: bool
    reset_drops_exception: bool
    init_behind_halt: bool
    held_back_wakes: bool
    apf_in_guest_mode: bool
    paging_required: bool
    msr_reserved: int
    alloc_before_lock: bool
    user_apf: Literal["none", "exit", "ring"]
    user_apf_ring: Literal["64", "32"]
    user_apf_armed: bool
    guest_teardown: Literal["restart", "suspend", "crash"]
    nested_fix: Literal["none", "2017", "2020", "2020-nsvm", "2022"]
    gap_g0: bool
    gap_g1: bool
    gap_g2: bool
    gap_g3: bool
    gap_g5: bool
    gap_g6: bool
    gap_g7: bool
    broadcast_ends_latched: bool

    def __reduce__(self) -> tuple[type[Switches], tuple[Any, ...]]:
        return Switches, astuple(self)

    @property
    def keeps_own_exceptions(self) -> bool:
        """A hypervisor keeps every exception that it intercepts itself."""
        return self.nested_fix in ("2020-nsvm", "2022")

    @property
    def guest_takes_interrupt(self) -> bool:
        """As a guest, this kernel wants READY by interrupt."""
        return self.ready_by_interrupt and self.takes_interrupt

    @property
    def g1_open(self) -> bool:
        """The force-exit test looks at the hypervisor's own latch, not at the exception."""
        return self.gap_g1 and self.nested_fix == "none"

    @property
    def user_apf_room(self) -> int:
        """Entries that a vcpu's ring holds: of the older one, one tells full from empty."""
        return 64 if self.user_apf_ring == "64" else 31

    @property
    def g1_reopened(self) -> bool:
        """No exit is forced at all: what the guest hypervisor intercepts decides alone."""
        return self.gap_g1 and self.nested_fix == "2020-nsvm"

    @property
    def g2_open(self) -> bool:
        """A hypervisor passes its own APF on to its guest hypervisor."""
        return self.gap_g2 and self.nested_fix in ("none", "2017")


_TABLE: tuple[Switch, ...] = (
    Switch(
        "gup",
        ("posted_noio", "v2638_sync", "v2639_nowait"),
        "posted_noio",
        "patch 01 of the posted series; dropped in 2.6.38 (af585b921e5); 318b275fbca1 and "
        "0857b9e95c1a in 2.6.39",
        "how the fast path looks for the page: minor faults only, so that a worker reads it; "
        "sleeping, so that no fault is asynchronous; or FOLL_NOWAIT, which starts the read itself, "
        "so that a worker only waits for it and host.workers limits nothing",
    ),
    Switch(
        "worker_writes",
        _BOTH,
        True,
        "af585b921e5 and every kernel since: async_pf_execute() calls get_user_pages with write=1",
        "the worker asks for write access, so a page that it read is dirty and costs a write-back "
        "when it is evicted, whatever the guest did to it; false is no kernel's rule",
    ),
    Switch(
        "sync_writes",
        _BOTH,
        True,
        "ended by 612819c3c6e (2.6.38)",
        "a vcpu thread that reads a page itself asks for write access too; without it for what "
        "the guest wanted, so that a page only read stays clean",
    ),
    Switch(
        "read_ahead",
        ("block", "cluster", "vma"),
        "block",
        "579f82901f6f (3.14): a window that hits enlarge; ec560175c0b6 (4.14): in address space",
        "which neighbours a read of swap brings, unless `host.page_cluster` is off: the whole "
        "block of slots; as much of it as hits of late suggest; or pages round it in address "
        "space, unless the swap area rotates",
    ),
    Switch(
        "swap_plug",
        _BOTH,
        False,
        "3fb5c298b04e (3.6)",
        "the device has the requests of a window once all its pages were gone through "
        "(`host.costs.read_page`), so that they can be merged; without it from the beginning",
    ),
    Switch(
        "swap_poll",
        _BOTH,
        False,
        "23955622ff8d (4.13); taken back by b243dcbf2f13 (6.6)",
        "a page read without neighbours is waited for in its submission, so by the vcpu thread, "
        "FOLL_NOWAIT or not; with `host.page_cluster` of 0 no fault is asynchronous",
    ),
    Switch(
        "reclaim",
        ("worker", "fault"),
        "worker",
        "4c6355b25e8b (5.8), which charges a swapped page when it is allocated",
        "where a page-in of a VM at its limit waits for a frame: in its asynchronous part, with "
        "reclaim that runs ahead beside it, or in the vcpu thread, which reclaims a batch itself, "
        "as nothing else does, and executes nothing before the fault is asynchronous",
    ),
    Switch(
        "direct_reclaim",
        _BOTH,
        False,
        "318b275fbca1 (2.6.39): with FOLL_NOWAIT the vcpu thread itself allocates the page",
        "a vcpu thread that needs a frame of a host below its min watermark reclaims a batch, and "
        "executes nothing before the fault is asynchronous; without it a page-in for which "
        "`host.memory` has no frame waits in its asynchronous part",
    ),
    Switch(
        "scheduler",
        ("cfs", "eevdf"),
        "cfs",
        "147f3efaa241, 5e963f2bd465 (6.6)",
        "who has a CPU of the host, where `host.cpus` counts them: whoever had least, for a share "
        "of a latency, and first of all who slept; or whoever had no more than its share and has "
        "the earliest virtual deadline. Of a guest's own CPUs it says nothing",
    ),
    Switch(
        "replacement",
        ("two-lists-2.6.28", "two-lists", "mglru"),
        "two-lists-2.6.28",
        "b518154e59aa and aae466b0052e (5.9); mglru: ac35a4902374 (6.1), where a host enables it",
        'which pages of a host are evicted, where `host.replacement` is "kernel": what is read in '
        "is active; or inactive, unless its refault is near; or in the youngest generation",
    ),
    Switch(
        "worker_pins",
        _BOTH,
        True,
        "ended by f2e106692d51 (3.13), which drops FOLL_GET",
        "the worker keeps a reference to its page until READY; without it the page may be evicted "
        "in between, and the prefault then reads it again in the vcpu thread, whether or not the "
        "worker's get_user_pages had failed",
    ),
    Switch(
        "present_all",
        _BOTH,
        False,
        "15096ffceab",
        "check_completion handles completions until one is injected, instead of one per call",
    ),
    Switch(
        "present_unhalts",
        _BOTH,
        False,
        "e6d53e3b0db",
        "present() ends the synthetic halt",
    ),
    Switch(
        "present_makes_runnable",
        _BOTH,
        False,
        "a4fa16353108 (2012)",
        "present() also ends HLT",
    ),
    Switch(
        "probe_fixed",
        _BOTH,
        False,
        "c7d28c24042",
        "a look-up in the gfn hash stops at an empty slot; without it the delete of an absent gfn "
        "empties its home slot, whoever is in it",
        relaxes=("I2",),
        relaxing=(False,),
    ),
    Switch(
        "clear_waits",
        _BOTH,
        True,
        "af585b921e5 and every kernel since: kvm_clear_async_pf_completion_queue() calls "
        "cancel_work_sync()",
        "emptying the queue waits for workers that run, so that the MSR off, INIT, CR0.PG and a "
        "CPU going offline hold the vcpu thread up until the slowest page-in has ended; false is "
        "no kernel's rule",
    ),
    Switch(
        "pg_clears_queue",
        _BOTH,
        True,
        "ab4e41eb9fab (6.19) took it out",
        "a change of CR0.PG, in an SMI too, withdraws what is queued: its READYs never come; "
        "without it they are looked for again as paging comes back",
    ),
    Switch(
        "pg_resets_hash",
        _BOTH,
        False,
        "d170c4190630 (2.6.39)",
        "a change of CR0.PG that empties the queue empties the gfn hash too; without it stale gfns "
        "stay behind",
        relaxes=("I2",),
        relaxing=(False,),
    ),
    Switch(
        "smm",
        _BOTH,
        False,
        "660a5d517aaa (4.2)",
        "an SMI takes the vcpu to SMM, which is paging off and on again; without it SMIs are "
        "ignored",
    ),
    Switch(
        "hash_multiplier",
        ("old", "new"),
        "old",
        "ef703f49a6c5 (4.7)",
        "multiplier of hash_32; with the old one the first 4096 tokens of a vcpu share 16 or 32 of "
        "256 buckets; decides the order in which wake_all wakes, and costs no time",
    ),
    Switch(
        "guest_wait",
        ("schedule", "halt_unsafe", "halt_kernel", "user_only"),
        "halt_unsafe",
        "631bc4878220 (schedule); patch 10, 6c047cd982f9 (halt_unsafe); a2b7861bb33b, 2017 "
        "(halt_kernel); 3a7c8fafd1b4, 5.8 (user_only)",
        "where task_wait halts (sti;hlt) instead of scheduling: never; idle or preemption off; "
        "also in kernel code of a build without preemption; or panic in kernel mode",
    ),
    Switch(
        "kernel_mode_panics",
        _BOTH,
        False,
        "3a7c8fafd1b4 (5.8)",
        "a guest that is told of an absent page in kernel mode, an NMI's handler included, panics, "
        "and its VM is over; without it the fault is written down, and the VM goes on",
    ),
    Switch(
        "takes_interrupt",
        _BOTH,
        True,
        "b1d405751cd5 (5.9)",
        "a kernel that sends READY by interrupt takes it so, and not otherwise, as a guest; "
        "without it, the rule of 5.8, it takes exceptions alone: no PV APF under such a host",
    ),
    Switch(
        "send_always",
        ("never", "auto", "always"),
        "auto",
        "patch 11, 6adba5274206; withdrawn from guests by 3a7c8fafd1b4 (5.8)",
        "whether the guest sets SEND_ALWAYS; auto: iff it is built with preemption",
    ),
    Switch(
        "host_kernel_rule",
        ("halt", "send_user_only"),
        "send_user_only",
        "patch 09, 7c90705bf2a3 (halt); patch 12, fc5f06fac6fb (send_user_only)",
        "a fault at CPL 0: always halt, or halt only a guest without SEND_ALWAYS",
    ),
    Switch(
        "preempt",
        _BOTH,
        False,
        "CONFIG_PREEMPT of the guest, a choice of its build",
        "the guest's kernel code can be preempted",
    ),
    Switch(
        "prefault",
        ("direct_only", "same_mmu"),
        "direct_only",
        "patch 03, 56028d0861e4 (direct_only); c4806acdcec and fb67e14fc90 (same_mmu)",
        "when a completion maps the page ahead of READY: under nested paging only, or in the MMU "
        "mode of the fault",
    ),
    Switch(
        "untold_halts",
        _BOTH,
        False,
        "1dfdb45ec510 (5.3)",
        "what is not told is halted: where the reason cannot be written, and where L2 runs and L1 "
        "did not opt in; without it the first faults again until it is a double fault, the second "
        "is synchronous",
    ),
    Switch(
        "pending_blocks_apf",
        _BOTH,
        True,
        "7c90705bf2a3; lost in 664f8e26b00c (4.14), back with 2a266f23550b (4.16, 4.14.20)",
        "nothing is started, and no READY sent, over an exception that waits for entry; without "
        "it a second one makes #DF, which ends the VM",
        relaxes=("I3",),
        relaxing=(False,),
    ),
    Switch(
        "ready_cancels_not_present",
        _BOTH,
        False,
        "9a6e7c39810e (4.14); reverted by 84b09f33a5de (5.8)",
        "a READY that finds a NOT_PRESENT waiting for entry takes it away, of whatever page it "
        "is, and is not sent itself; nothing waits there while pending_blocks_apf, and a READY by "
        "interrupt takes nothing away",
    ),
    Switch(
        "ready_needs_not_present",
        _BOTH,
        False,
        "2a18b7e7cd88 (5.8)",
        "READY is sent only where NOT_PRESENT was injected: no dummies for halted vcpus",
        relaxes=("I5", "I6"),
        relaxing=(True,),
    ),
    Switch(
        "ready_by_interrupt",
        _BOTH,
        False,
        "2635b5c4a0e4 (5.8): MSR_KVM_ASYNC_PF_INT, MSR_KVM_ASYNC_PF_ACK",
        "READY is a token slot and an interrupt, acknowledged by an MSR write, not an exception",
        relaxes=("I3", "I4"),
        relaxing=(True,),
    ),
    Switch(
        "completion_kicks",
        _BOTH,
        False,
        "557a961abbe0 (5.8)",
        "completion is a request: a worker that finishes makes a running vcpu exit, unless the "
        "token slot is taken",
    ),
    Switch(
        "ready_needs_lapic",
        _BOTH,
        False,
        "2f15d027c05f (5.13)",
        "a completion waits while the LAPIC is off; without it the slot is written and the "
        "interrupt lost, and as nobody frees the slot every later READY waits: the vcpu, which has "
        "completions waiting, no longer stops in HLT",
    ),
    Switch(
        "enable_needs_lapic",
        ("never", "always", "nonzero"),
        "never",
        "9d3c447c72fb, 5.8 (always); d831de177217, 5.9 (nonzero)",
        "which values of the enable MSR are #GP without a LAPIC in the kernel "
        "(`kernel.irqchip = false`): none, all, or all but 0",
    ),
    Switch(
        "token_nonzero",
        _BOTH,
        False,
        "6f3c1fc53d86 (5.17), CVE-2022-48943",
        "ids that may make a token of 0 are skipped; without it the first token of vcpu 0 is 0, in "
        "5.8's slot the same as no token: the next READY takes its place, and its task sleeps on",
        relaxes=("I3",),
        relaxing=(False,),
    ),
    Switch(
        "online_zeroes_slot",
        _BOTH,
        False,
        "derived from arch/x86/kernel/kvm.c of 5.9 to 6.x, unreported: kvm_guest_cpu_init() "
        "writes the MSRs and `enabled`, kvm_pv_disable_apf() clears `enabled`, and nothing zeroes "
        "the token",
        "a CPU that comes up zeroes its token slot; without it, the rule of all kernels, a READY "
        "that the CPU left behind as it went offline keeps every later one out",
    ),
    Switch(
        "broadcast_needs_memory",
        _BOTH,
        True,
        "derived from virt/kvm/async_pf.c of 2.6.38 to 6.x, unreported: kvm_async_pf_wakeup_all() "
        "allocates with GFP_ATOMIC, and its caller ignores -ENOMEM (344d9588a9df)",
        "a broadcast whose item gets no memory is lost, and whoever waits for it sleeps on; false, "
        "no kernel's rule: the item is always there",
    ),
    Switch(
        "reset_drops_exception",
        _BOTH,
        False,
        "5f7552d4a56c (4.2)",
        "a reset, or INIT, drops an exception that waits for entry; without it the vcpu begins "
        "with it",
    ),
    Switch(
        "init_behind_halt",
        _BOTH,
        False,
        "66450a21f996 (3.10)",
        "INIT is looked for behind a request to halt for a page, and ends that halt as any other; "
        "without it the vcpu is reset first, and halted afterwards with nothing outstanding",
    ),
    Switch(
        "held_back_wakes",
        _BOTH,
        True,
        "derived from arch/x86/kvm/x86.c of 2.6.38 to 6.x, unreported: kvm_vcpu_has_events(), "
        "kvm_arch_vcpu_runnable() before it, looks at `done` alone",
        "a completion ends HLT even if its READY is held back, so that a vcpu whose LAPIC is off, "
        "or whose slot is taken, does not stop in HLT; false, no kernel's rule: only one that can "
        "be handed over does",
    ),
    Switch(
        "apf_in_guest_mode",
        _BOTH,
        True,
        "removed by 9bc1f09f6fa7 (4.12)",
        "a fault of L2 may be asynchronous whether or not L1 opted in",
    ),
    Switch(
        "paging_required",
        _BOTH,
        False,
        "57cb3bb0dc89 (5.18)",
        "no NOT_PRESENT while the guest's paging is off: the vcpu is halted instead; READY is not "
        "held back",
    ),
    Switch(
        "msr_reserved",
        (0x3E, 0x3C, 0x38, 0x30),
        0x3C,
        "344d9588a9df (0x3e); patch 11, 6adba5274206 (0x3c); 52a5c155cf79, 4.13 (0x38); "
        "2635b5c4a0e4, 5.8 (0x30)",
        "bits of the enable MSR that raise #GP",
    ),
    Switch(
        "alloc_before_lock",
        _BOTH,
        False,
        "0547758a6de3 (5.19)",
        "a dummy is allocated outside the bucket's lock, and looked for again before it goes in; "
        "allocation takes no time here, so runs are the same either way",
    ),
    Switch(
        "user_apf",
        ("none", "exit", "ring"),
        "none",
        "in no release: KVM_CAP_ASYNC_PF_USERFAULT (exit) and _EVENTFD (ring), a series for 6.18 "
        "in Firecracker's tree, as of August 2026 (its commit c8a9d64b65da)",
        "a fault on a page that user space brings: its thread waits there; an asynchronous fault, "
        "told in an exit; or told in a ring of the vcpu, and in an exit where that is full",
    ),
    Switch(
        "user_apf_ring",
        ("64", "32"),
        "64",
        "the same series, since June 2026 (its commit e90951ca6507); 32 before",
        "entries of a vcpu's ring; of 32 one stays free",
    ),
    Switch(
        "user_apf_armed",
        _BOTH,
        True,
        "the same series, since June 2026 (its commit e90951ca6507)",
        "an entry of the ring is signalled only where user space has asked for that before it went "
        "to sleep; without it every entry is",
    ),
    Switch(
        "guest_teardown",
        ("restart", "suspend", "crash"),
        "restart",
        "fd10cde9294f (restart); 8b79feffeca2, 5.13 (suspend); 3d6b84132d2a, 5.13 (crash)",
        "before what the guest tears APF down on its boot CPU: reboot and kexec; also suspend and "
        "hibernation; also the start of a crash kernel",
    ),
    Switch(
        "nested_fix",
        ("none", "2017", "2020", "2020-nsvm", "2022"),
        "none",
        "adfe20fb4853 and 52a5c155cf79, 4.13 (2017); a3535be731c2, 5.8 (2020), released together "
        "with 7c86663b68ba (2020-nsvm); 7709aba8f716, 6.1 (2022)",
        "later nested routing: 2017 closes G1, 2020 closes G2 too, whatever their switches say; "
        "2020-nsvm closes G2 and opens G1 again, the rule of 5.8 to 6.0; 2022 closes both; in both "
        "of these a hypervisor keeps every exception that it intercepts itself",
        relaxes=("I6",),
        relaxing=("2020-nsvm",),
    ),
    Switch(
        "gap_g0",
        _BOTH,
        True,
        "631bc4878220; ended by b518ba9fa691 (5.7)",
        "no asynchronous fault, and no READY, while L2 runs under V_INTR_MASKING",
    ),
    Switch(
        "gap_g1",
        _BOTH,
        True,
        "631bc4878220; replaced by adfe20fb4853 (4.13)",
        "an APF for L1 is forced out of L2 by the hypervisor's own latch, so its token lands in L2",
        relaxes=("I6",),
        relaxing=(True,),
    ),
    Switch(
        "gap_g2",
        _BOTH,
        True,
        "631bc4878220; reversed by a3535be731c2 (5.8)",
        "a hypervisor hands its own APF to its guest hypervisor",
        relaxes=("I6",),
        relaxing=(True,),
    ),
    Switch(
        "gap_g3",
        _BOTH,
        True,
        "631bc4878220; ended by d0006530576f (4.14), a handler of its own for NPF",
        "an exit passed on leaves the latch set: the next nested page fault waits on an address",
        relaxes=("I6",),
        relaxing=(True,),
    ),
    Switch(
        "gap_g5",
        _BOTH,
        True,
        "631bc4878220",
        "the address is cut to 32 bits, and a reason above 2 is routed like an APF",
    ),
    Switch(
        "gap_g6",
        _BOTH,
        True,
        "fc5f06fac6fb",
        "the CPL that decides about delivery is L2's, not L1's",
    ),
    Switch(
        "gap_g7",
        _BOTH,
        True,
        "631bc4878220",
        "wake_all reaches only what waited on this cpu, also where the hypervisor moved the "
        "thread; false is no kernel's rule: every wake_all, also in a guest without nesting and "
        "as a CPU goes offline, wakes what waits on any cpu",
    ),
    Switch(
        "broadcast_ends_latched",
        _BOTH,
        False,
        "derived from arch/x86/kernel/kvm.c of 2.6.38 to 6.x, unreported: apf_task_wake_all() "
        "takes out what is in the table, and leaves nothing for whom it came too early",
        "a broadcast also ends what a hypervisor has latched and not waited for yet; without it, "
        "the rule of all kernels, that vcpu thread sleeps for a token that was withdrawn",
    ),
)

SWITCHES: dict[str, Switch] = {switch.name: switch for switch in _TABLE}
