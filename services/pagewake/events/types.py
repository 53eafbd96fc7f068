"""Every event that crosses a boundary of a run, one frozen struct per event.

An event is a noun in the past tense or a state. It carries the simulated instant `at_ns`, its
VM, and `n`, the VM's own running number: a VM numbers everything it emits *and* everything it
consumes, in the order in which that happens (design, "Time"). What the host memory manager sends
carries `n == 0` on the wire, because only the VM knows its place; the VM numbers it on arrival.

Quantities end in their unit. `gfn` is a guest frame number of the VM (4 KiB), `token` the 32-bit
cookie of an asynchronous page fault, `level` the depth of the guest concerned (1 = L1), `cpl` the
privilege level at the instant of the event. `None` means "does not apply".

Three families, by route:

- `ToHost`: shard to host memory, topic `faults`;
- `ToShard`: host memory to shard, topics `apf.guest` and `apf.nested`; control events go here too;
- `Journal`: shard to journal, topic `journal`: what happened and why, enough to check every
  invariant from the log alone.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import msgspec

from pagewake.events.ids import Gfn, Token

Access: TypeAlias = Literal["read", "write"]
"""What the guest was doing to the page."""

Delivery: TypeAlias = Literal["injected", "halted", "untold", "synchronous"]
"""What the guest was told of an absent page.

- `injected`: exception 14 with the token;
- `halted`: the vcpu was halted instead;
- `untold`: nothing; the reason could not be written, or the vcpu thread never came to it;
- `synchronous`: nothing, because the vcpu thread itself waits.
"""

SyncWhy: TypeAlias = Literal[
    "off", "gup", "first_touch", "medium", "irqchip", "reinjection", "guest_mode",
    "interrupts_off", "limit", "no_memory", "prefault", "no_hlt_exits", "user_space", "poll",
]  # fmt: skip
"""Why a page fault on an absent page was not asynchronous.

- `off`: the VM has no asynchronous page faults;
- `gup`: get_user_pages of this kernel cannot say that it would wait (2.6.38);
- `first_touch`: a first touch of the same page is in flight, there is nothing to read;
- `medium`: the swap medium completes in submission, so there is nothing to wait for;
- `irqchip`: the interrupt controller is not in the kernel;
- `reinjection`: an exception is queued already;
- `guest_mode`: a nested guest runs, and the vcpu may not be told now;
- `interrupts_off`: the guest has interrupts off, or is in their shadow;
- `limit`: 64 items are outstanding on this vcpu;
- `no_memory`: the host has no memory for the item;
- `prefault`: from 3.13, the page of a completion is gone again before its READY, and mapping it
  ahead may not be asynchronous: no touch of the guest's;
- `no_hlt_exits`: from 5.3, the vcpu cannot be told, and is not halted as its HLT does not exit;
- `user_space`: user space brings the page, and KVM cannot tell it so asynchronously;
- `poll`: from 4.13 to 6.5, the thread that submits the read of a single page waits for it.
"""

HaltRule: TypeAlias = Literal[
    "apf_off", "nested", "no_paging", "kernel_mode", "protected", "unknown"
]
"""Why the vcpu is halted instead of being told of an absent page.

- `apf_off`: asynchronous page faults are off on this vcpu;
- `nested`: from 5.3, a nested guest runs and L1 did not opt in;
- `no_paging`: from 5.18, the guest has CR0.PG off, and no nested guest runs;
- `kernel_mode`: the guest is in kernel mode, and asked not to be told there;
- `protected`: it asked for that, and the host cannot see its mode;
- `unknown`: a recording shows that it is, and not why.
"""

NotPresentWhy: TypeAlias = Literal[SyncWhy, HaltRule, "stock", "gfn_hash_full"]
"""As `SyncWhy` and `HaltRule`, and:

- `stock`: synchronous, a first touch while the VM's stock of granted frames is empty;
- `gfn_hash_full`: untold, 64 stale gfns, and the vcpu thread looks for a free slot for ever.
"""

ApfOutcome: TypeAlias = Literal["queued", "double_fault", "duplicate", "limit", "no_memory"]
"""How far try_async_pf got.

- `queued`: a work item is on its way;
- `double_fault`: the gfn is in this vcpu's gfn hash;
- `duplicate`: the same where user space brings the page: it is looked for after a token was taken;
- `limit`: 64 items are outstanding on this vcpu;
- `no_memory`: the host has no memory for the item.
"""

ClearingWhy: TypeAlias = Literal["msr-disable", "reset", "cr0-pg"]
"""Why the queue of a vcpu is emptied.

- `msr-disable`: an MSR write turned asynchronous page faults off;
- `reset`: INIT/SIPI, by an intervention or because the CPU comes online;
- `cr0-pg`: the guest turned paging off or on.
"""

ClearWhy: TypeAlias = Literal[ClearingWhy, "migration"]
"""Why the outstanding tokens of a vcpu were withdrawn: as `ClearingWhy`, and

- `migration`: the VM was saved and restored.
"""

CompletionDoubt: TypeAlias = Literal["ambiguous", "unseen"]
"""Why the place of a completion among the others of its vcpu is not known.

- `ambiguous`: a recording says it of one of several page-ins of the same page;
- `unseen`: a recording says it after the READY, or not at all.
"""

ReadyDelivery: TypeAlias = Literal["token", "broadcast", "silent"]
"""What the guest was told of a page-in that is complete.

- `token`: READY with the token of the fault;
- `broadcast`: READY with the token that wakes everybody;
- `silent`: nothing, see `SilentWhy`.
"""

SilentWhy: TypeAlias = Literal["msr_off", "not_due", "write_failed", "cancelled"]
"""Why a completion was presented without telling the guest.

- `msr_off`: asynchronous page faults are off on this vcpu;
- `not_due`: the guest was not told that the page is absent, and this kernel wants that first;
- `write_failed`: the host could not write into the shared area;
- `cancelled`: in 4.14, it found a NOT_PRESENT that waited for entry, and cancelled that.
"""

LostWhy: TypeAlias = Literal["handler_crash"]
"""Why nobody will say that a page is there: who had taken the fault has crashed (user space)."""

ReadyKind: TypeAlias = Literal["ready", "broadcast"]
"""What the host says of completions: `ready` of one page, or `broadcast`, wake everybody."""

ApfKind: TypeAlias = Literal["not_present", ReadyKind]
"""As `ReadyKind`, and `not_present`: the page with this token is absent."""

DropWhy: TypeAlias = Literal["reset", "registers_set", "not_saved", "ready"]
"""Why a queued exception never reached the guest.

- `reset`: INIT/SIPI;
- `registers_set`: userspace set the registers;
- `not_saved`: the VM was restored without it;
- `ready`: in 4.14, a READY cancelled it.
"""

SavedState: TypeAlias = Literal["regs", "lapic", "int", "en", "events", "mp_state"]
"""Of each vcpu, what a snapshot may hold beside its registers and the memory.

- `regs`: the registers, listed only to say when they are set: what is pending by then is dropped;
- `lapic`: whether the LAPIC is on, its pending interrupts and its timer; without it, it is off;
- `int`: MSR_KVM_ASYNC_PF_INT, the vector of page-ready; without it, it is 0;
- `en`: MSR_KVM_ASYNC_PF_EN; without it asynchronous page faults are off;
- `events`: a queued exception and a pending NMI; without them they are gone;
- `mp_state`: HLT; without it vcpu 0 runs, and any other waits for a SIPI.
"""

TrapHandler: TypeAlias = Literal["page_fault", "wait", "wake"]
"""Where the reason word sent a trap: an ordinary page fault, task_wait, or task_wake."""

WakeHow: TypeAlias = Literal["token", "broadcast", "offline"]
"""What unlinked a node of the sleeper hash.

- `token`: a wake for its token;
- `broadcast`: the token that wakes everybody;
- `offline`: its CPU went down.
"""

HaltWhy: TypeAlias = Literal[
    HaltRule, "double_fault", "write_failed", "stale", "hlt", "offline", "sipi"
]
"""As `HaltRule`, and what else halts a vcpu.

- `double_fault`: it touched an absent page whose page-in it waits for already;
- `write_failed`: from 5.3, the host could not write the reason of an absent page;
- `stale`: it was to be halted for an absent page, but nothing is outstanding any more;
- `hlt`: the guest executed HLT;
- `offline`: the guest took the vcpu down;
- `sipi`: it was restored without its mp_state, and waits for a SIPI that nobody sends.
"""

ResumeWhy: TypeAlias = Literal["completion", "interrupt", "nmi", "smi", "reset", "signal", "online"]
"""What ended a halt.

- `completion`: a page-in for this vcpu is complete;
- `interrupt`, `nmi`: it arrived, and the vcpu may take it;
- `smi`: it arrived, and the vcpu was in SMM;
- `reset`: INIT/SIPI;
- `signal`: userspace took the vcpu thread out, for a migration or a restore;
- `online`: the guest brings the vcpu up.
"""

MoveWhy: TypeAlias = Literal["idle", "periodic", "offline", "wake"]
"""Why the guest scheduler moved a task.

- `idle`: a CPU ran out of tasks;
- `periodic`: a tick found another CPU with more;
- `offline`: its CPU went down;
- `wake`: it woke up while another CPU was idle.
"""

Route: TypeAlias = Literal["host", "continue", "done"]
"""Where the exit of a nested guest went.

- `host`: kept by the hypervisor that routes, whatever its guest intercepts;
- `continue`: kept, because its guest does not intercept it;
- `done`: synthesized into the guest hypervisor.
"""

VmexitReason: TypeAlias = Literal["apf", "intercept", "error"]
"""Why an exit was synthesized into a guest hypervisor.

- `apf`: it is an asynchronous page fault;
- `intercept`: the guest hypervisor intercepts it;
- `error`: its VMRUN failed.
"""

ProtocolFaultWhat: TypeAlias = Literal[
    "gfn_hash_full",
    "not_present_in_kernel",
    "scheduling_while_atomic",
    "reason_stolen",
    "foreign_write",
]
"""What the protocol forbids or the kernel would panic on.

- `gfn_hash_full`: 64 stale gfns, and the vcpu thread looks for a free slot for ever;
- `not_present_in_kernel`: from 5.8, an absent page was told in kernel mode, a panic;
- `scheduling_while_atomic`: task_wait calls the scheduler where the kernel may not;
- `reason_stolen`: a page fault of an NMI handler read the reason that was meant for another trap;
- `foreign_write`: the host wrote where a kernel that is gone had its area.
"""

PanicWhy: TypeAlias = Literal["not_present_in_kernel", "double_fault"]
"""Why a guest's kernel panicked.

- `not_present_in_kernel`: from 5.8, an absent page was told in kernel mode;
- `double_fault`: in 4.14, the host queued a #PF over another one, which makes #DF.
"""

StallPoint: TypeAlias = Literal["handle-exit", "latch"]
"""Where the host takes the CPU from a vcpu thread.

- `handle-exit`: between handle_exit and the completion check of the same iteration;
- `latch`: in the L1 hypervisor, between the latch of the reason and its handle_exit.
"""

Takeover: TypeAlias = Literal["kexec", "crash", "hibernate"]
"""How another kernel takes over: by kexec, after a crash, or as an image out of hibernation."""

Side: TypeAlias = Literal["guest", "host"]
"""Whose kernel."""


class Event(msgspec.Struct, frozen=True, tag=True, tag_field="event", omit_defaults=True, gc=False):
    """What all events carry."""

    at_ns: int
    vm: str
    n: int

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickles what is not a default: an encoder omits a default by its identity, so an equal
        text that came out of a pickle would be written, and the bytes would not be the same.
        """
        kind = type(self)
        values = {
            field.name: value
            for field in msgspec.structs.fields(kind)
            if (value := getattr(self, field.name)) is not field.default
        }
        return restored, (kind, values)


def restored(kind: type[Event], values: dict[str, Any]) -> Event:
    """An event out of a pickle."""
    return kind(**values)


class ToHost(Event, frozen=True, gc=False):
    """Shard to host memory."""


class ToShard(Event, frozen=True, gc=False):
    """Host memory to shard; `n` is 0 on the wire."""


class Control(ToShard, frozen=True, gc=False):
    """An intervention of the scenario or of a person; rank 0 in a VM's order."""


class Journal(Event, frozen=True, gc=False):
    """Shard to journal."""


# --------------------------------------------------------------------------- shard to host


class PageNotPresent(ToHost, frozen=True, gc=False):
    """A vcpu touched a gfn that is not in its page tables and not at hand.

    `delivery` says what the guest was told, `why` why it was `halted` or `synchronous`.
    `joined`: the gfn is in flight already, no answer is needed.  `served`: a synchronous medium
    did it in submission, out of the stock, no answer is needed.  `first_touch`: nothing to read,
    a frame is all that is missing.  `user`: user space brings it, and asks by `PageRequested`.
    `ahead`: the gfns that are read with it, itself among them, a list for each request to the
    device; empty where it is read alone.  `area`: of the swap areas, the number of the one that it
    was `served` from (`PageReady`).
    """

    vcpu: int
    gfn: Gfn
    access: Access
    cpl: int | None
    level: int
    epoch: int
    delivery: Delivery
    token: Token | None = None
    why: NotPresentWhy | None = None
    joined: bool = False
    served: bool = False
    first_touch: bool = False
    task: str | None = None
    user: bool = False
    ahead: tuple[tuple[int, ...], ...] = ()
    area: int = 0


class PageRequested(ToHost, frozen=True, gc=False):
    """User space has taken the request of a vcpu for a page that it brings.

    Or a vcpu thread reads these pages, `ahead`, for a fault on `gfn`, a list for each request to
    the device, and goes on to reclaim for more: who waits for `gfn` is seen after that.  The device
    has them `plugged_ns` later.

    `token` None: the vcpu thread waits there.  `joined`: the page is on its way, or there already.
    `served`: user space has the page at hand, and takes a frame of the stock for it.
    """

    vcpu: int
    gfn: Gfn
    epoch: int
    token: Token | None = None
    joined: bool = False
    served: bool = False
    ahead: tuple[tuple[int, ...], ...] = ()
    plugged_ns: int = 0


class PageTouched(ToHost, frozen=True, gc=False):
    """First touches mapped at once out of the VM's stock of granted frames, in order of touch.

    `huge`: so many faults brought a whole range of 512 each (`host.huge_pages`).
    """

    gfns: list[int]
    huge: int = 0


class PagesAged(ToHost, frozen=True, gc=False):
    """Answer to `AgePages`: gfns whose accessed bit was set (it is clear now), and dirty ones."""

    accessed: list[int]
    dirty: list[int]


class PagesEvicted(ToHost, frozen=True, gc=False):
    """Answer to `PageUnmapped` and `PageDropped`: the state of each page at that instant.

    `dropped`: clean and gone, its frame is free.  `dirty`: out of the page tables, needs write-back
    first.  `refused`: mapped again, or held by a completion that was not presented yet.
    """

    dropped: list[int] = []
    dirty: list[int] = []
    refused: list[int] = []


class ApfCleared(ToHost, frozen=True, gc=False):
    """Outstanding tokens of a vcpu withdrawn."""

    vcpu: int
    epoch: int
    tokens: list[int]
    why: ClearWhy


class FrameAwaited(ToHost, frozen=True, gc=False):
    """A vcpu thread needs a frame for this gfn, and the VM is at its limit: it reclaims itself.

    `host`: the limit has room, but its host was said to be short of frames (`HostShort`).

    It executes nothing and takes no interrupt until `FrameFound`; the page-in is asynchronous only
    then.  Where the page has come meanwhile there is none.  The frame may be for a page that is
    to be read beside this one.
    """

    vcpu: int
    gfn: Gfn
    host: bool = False


# --------------------------------------------------------------------------- host to shard


class PageReady(ToShard, frozen=True, gc=False):
    """The page-in for this gfn is complete: the worker finished.

    `read` false: no device read was needed (first touch, or still in the swap cache).  `ahead`: it
    was read beside another page, or before it was seen who waits for it.  `area`: the swap area
    that it was read from, by its number in the file, from 1 on; `host.medium` comes behind those,
    and zswap last.  0: there is one area.
    """

    vcpu: int
    gfn: Gfn
    epoch: int
    token: Token | None = None
    read: bool = True
    ahead: bool = False
    area: int = 0


class PagesPushed(ToShard, frozen=True, gc=False):
    """Pages that nobody asked for are in memory: pushed by the VM's source, or read around one.

    It is the answer to whoever has asked for one of them since.
    """

    gfns: list[int]


class FramesGranted(ToShard, frozen=True, gc=False):
    """Refills the VM's stock of frames for first touches."""

    frames: int


class HostShort(ToShard, frozen=True, gc=False):
    """Fewer frames of the host are free than its min watermark, or no longer, as `short` says.

    While it is so, a vcpu thread reclaims before it asks for a page that needs a frame
    (`FrameAwaited` with `host`).  `frames`: so many of the VM's threads that do may go on.
    """

    short: bool
    frames: int = 0


class AgePages(ToShard, frozen=True, gc=False):
    """Harvest the accessed and dirty bits of these gfns."""

    gfns: list[int]


class PageUnmapped(ToShard, frozen=True, gc=False):
    """Take these gfns out of the page tables; answered by `PagesEvicted`."""

    gfns: list[int]


class PageDropped(ToShard, frozen=True, gc=False):
    """Write-back of these gfns is complete: forget them unless mapped again.

    `area`: where their copies lie, as in `PageReady`.
    """

    gfns: list[int]
    area: int = 0


class PagesMoved(ToShard, frozen=True, gc=False):
    """zswap has written these gfns to their slots in the swap area of this number."""

    gfns: list[int]
    area: int


# --------------------------------------------------------------------------- control


class VcpuOffline(Control, frozen=True, gc=False):
    """The guest takes a vcpu down (cpu notifier DOWN_PREPARE: disable APF, then wake_all)."""

    vcpu: int


class VcpuOnline(Control, frozen=True, gc=False):
    """The guest brings a vcpu up (cpu notifier ONLINE: enable APF)."""

    vcpu: int


class VmMigrated(Control, frozen=True, gc=False):
    """Save and restore on the same host: residency stays, outstanding work is cancelled."""

    pause_ns: int = 0


class VmRestored(Control, frozen=True, gc=False):
    """A snapshot restored: as `VmMigrated`, with what was saved, in the order of the restore."""

    saves: list[SavedState]
    pause_ns: int = 0


class KernelReplaced(Control, frozen=True, gc=False):
    """Another kernel takes over the guest; it starts, or the machine is off, for `for_ns`."""

    how: Takeover
    for_ns: int = 0


class AllocationFails(Control, frozen=True, gc=False):
    """The next `count` atomic allocations fail (-1: all, until replaced) in `where`."""

    where: Side
    count: int


class MediumChanged(Control, frozen=True, gc=False):
    """The swap device has other timings from now on; `vm` is empty, `host` the simulated host."""

    medium: str
    host: int = 0


class MsrWriteRequested(Control, frozen=True, gc=False):
    """Guest code on this vcpu writes an MSR (`value` None: the value the guest would use)."""

    vcpu: int
    msr: int
    value: int | None = None


class AreaWriteFails(Control, frozen=True, gc=False):
    """The host's next `count` 4-byte writes to this vcpu's shared area fail (-1: all)."""

    vcpu: int
    count: int


class WorkerGupFails(Control, frozen=True, gc=False):
    """get_user_pages fails in the next `count` page-in workers of this VM."""

    count: int


class VcpuReset(Control, frozen=True, gc=False):
    """INIT/SIPI: MSR cleared, queue cleared, halt lifted."""

    vcpu: int


class Cr0PgToggled(Control, frozen=True, gc=False):
    """The guest turns paging off on this vcpu, and on again after `for_ns`."""

    vcpu: int
    for_ns: int = 0


class NmiArrived(Control, frozen=True, gc=False):
    """An NMI for this vcpu; with `faults` its handler takes a page fault of its own."""

    vcpu: int
    faults: bool = False


class IrqArrived(Control, frozen=True, gc=False):
    """A device interrupt for this vcpu."""

    vcpu: int


class VcpuStalled(Control, frozen=True, gc=False):
    """The host takes the CPU from the vcpu thread for `for_ns`, at its next `where`."""

    vcpu: int
    for_ns: int
    where: StallPoint


class HandlerCrashed(Control, frozen=True, gc=False):
    """The task that brings the VM's pages dies; the next one starts after `for_ns`.

    `keeps`: that one knows what the dead one had taken.  Else it is lost.
    """

    for_ns: int
    keeps: bool = False


class RegistersSet(Control, frozen=True, gc=False):
    """Userspace sets the registers: a queued exception is dropped."""

    vcpu: int


class LeftForUserspace(Control, frozen=True, gc=False):
    """An exit that only userspace can handle, `for_ns` long; of a vcpu that runs."""

    vcpu: int
    for_ns: int = 0


class SmiArrived(Control, frozen=True, gc=False):
    """An SMI for this vcpu, which is in SMM, with paging off, for `for_ns`."""

    vcpu: int
    for_ns: int = 0


class LapicSwitched(Control, frozen=True, gc=False):
    """The vcpu's LAPIC is turned on or off; while it is off an interrupt for the vcpu is lost."""

    vcpu: int
    on: bool


# --------------------------------------------------------------------------- journal


class ReasonWritten(Journal, frozen=True, gc=False):
    """The host's 4-byte write of the reason word (1 not present, 2 ready)."""

    vcpu: int
    reason: int
    ok: bool


class ExceptionQueued(Journal, frozen=True, gc=False):
    """#PF with CR2 = token queued for `level`, and what made that legal at this instant.

    `gif` is always true: no guest here runs with GIF=0 and interrupts on.  It stays, because it has
    no default: logs have it, and their digests cover it.  Null is what a recording does not show.
    """

    vcpu: int
    token: Token
    kind: ApfKind
    level: int
    cpl: int | None
    if_flag: bool | None
    gif: bool | None
    shadow: bool | None
    reinjecting: bool = False


class ExceptionInjected(Journal, frozen=True, gc=False):
    """The entry that delivered the queued exception."""

    vcpu: int
    token: Token
    kind: ApfKind
    level: int


class ExceptionDropped(Journal, frozen=True, gc=False):
    """A queued exception that never reached the guest."""

    vcpu: int
    token: Token
    kind: ApfKind
    why: DropWhy


class InterruptQueued(Journal, frozen=True, gc=False):
    """Page-ready by interrupt (5.8): the token slot was written and the vector raised.

    `lost`: in vain, because the LAPIC is off, or the vector below 16; the slot stays taken.
    """

    vcpu: int
    token: Token
    kind: ReadyKind
    lost: bool = False


class TrapTaken(Journal, frozen=True, gc=False):
    """The handler of #PF (or of page-ready) at `level` read `reason` and went to `handler`."""

    vcpu: int
    level: int
    reason: int
    cr2: int
    handler: TrapHandler
    cpl: int
    task: str | None = None


class TaskSlept(Journal, frozen=True, gc=False):
    """task_wait put the task into the sleeper hash; `halted`: by sti;hlt instead of schedule."""

    vcpu: int
    task: str
    token: Token
    halted: bool = False


class TaskWoken(Journal, frozen=True, gc=False):
    """A sleeper was unlinked and made runnable, on `vcpu`; it slept `waited_ns`."""

    vcpu: int
    task: str
    token: Token
    how: WakeHow
    waited_ns: int


class DummyInserted(Journal, frozen=True, gc=False):
    """A wake found nobody: a dummy stands for it. `spins`: failed allocations before it worked."""

    vcpu: int
    token: Token
    spins: int = 0


class DummyConsumed(Journal, frozen=True, gc=False):
    """task_wait found its dummy and returned at once."""

    vcpu: int
    task: str
    token: Token


class DummyUnlinked(Journal, frozen=True, gc=False):
    """A second wake, wake_all or offline unlinked a dummy, whose memory leaks."""

    vcpu: int
    token: Token
    how: WakeHow


class SleeperFreed(Journal, frozen=True, gc=False):
    """A second wait for one token took the first sleeper for a dummy: `victim` is lost."""

    vcpu: int
    task: str
    token: Token
    victim: str


class WakeSpun(Journal, frozen=True, gc=False):
    """task_wake found no memory and busy-waits with interrupts off, from now on."""

    vcpu: int
    token: Token


class ApfStarted(Journal, frozen=True, gc=False):
    """try_async_pf got this far (the trace point before the guest is told)."""

    vcpu: int
    gfn: Gfn
    outcome: ApfOutcome
    token: Token | None = None


class UserFault(Journal, frozen=True, gc=False):
    """KVM has told user space of a fault on a page that it brings.

    `ring`: by an entry of the vcpu's ring, and not by an exit.  `accepted`: it will say when the
    page is there; else it brings the page before it runs the vcpu again, which completes the fault.
    `signalled`: the entry made KVM signal the eventfd.
    """

    vcpu: int
    gfn: Gfn
    token: Token
    ring: bool
    accepted: bool
    signalled: bool


class UserFaultLost(Journal, frozen=True, gc=False):
    """Who had taken this fault of a vcpu has crashed: nobody will say that the page is there."""

    vcpu: int
    gfn: Gfn
    token: Token


class WorkerCompleted(Journal, frozen=True, gc=False):
    """A work item joined the vcpu's done list; `page` false: get_user_pages failed."""

    vcpu: int
    gfn: Gfn
    token: Token
    page: bool = True
    doubt: CompletionDoubt | None = None


class DoubleFault(Journal, frozen=True, gc=False):
    """The gfn is in this vcpu's own gfn hash: no new work, no token, and a halt is asked for.

    The vcpu halts at the top of its run loop (`VcpuHalted`).  If all its pages came before that,
    the halt is a `stale` one; a reset or the end of the run may leave it out.
    """

    vcpu: int
    gfn: Gfn


class ApfPresented(Journal, frozen=True, gc=False):
    """present(): a completion left the done list at check_completion; `why` it was `silent`."""

    vcpu: int
    delivery: ReadyDelivery
    token: Token
    gfn: Gfn | None = None
    prefaulted: bool = False
    reason_written: bool = False
    why: SilentWhy | None = None


class BroadcastQueued(Journal, frozen=True, gc=False):
    """An MSR write with ENABLED queued the completion that tells the guest to wake everybody."""

    vcpu: int


class FrameFound(Journal, frozen=True, gc=False):
    """The vcpu thread that awaited a frame tries again."""

    vcpu: int
    gfn: Gfn


class ReadSubmitted(Journal, frozen=True, gc=False):
    """The vcpu thread has submitted the reads of its fault, and looks for its page.

    As `FrameFound`: it may be in by now, and then nothing more is said of the fault.
    """

    vcpu: int
    gfn: Gfn


class CpuAwaited(Journal, frozen=True, gc=False):
    """The vcpu thread could run and has no CPU of the host (`host.cpus`); it executes nothing.

    `preempted`: it had one, and others go first.
    """

    vcpu: int
    preempted: bool = False


class CpuFound(Journal, frozen=True, gc=False):
    """The vcpu thread that awaited a CPU has one; `given_up`: it wants none any more."""

    vcpu: int
    given_up: bool = False


class ClearBegun(Journal, frozen=True, gc=False):
    """The queue is to be emptied, and workers run: the vcpu thread waits for the last of `tokens`.

    It executes nothing and takes no interrupt until it says `ApfCleared`.
    """

    vcpu: int
    tokens: list[int]
    why: ClearingWhy


class MsrWritten(Journal, frozen=True, gc=False):
    """A write to an APF MSR; `ok` false: #GP; `stored`: msr_val changed all the same.

    Version 0.1.0 left out writes of MSR_KVM_ASYNC_PF_ACK, which stores nothing.
    """

    vcpu: int
    msr: int
    value: int
    ok: bool
    stored: bool
    by: Side


class VcpuHalted(Journal, frozen=True, gc=False):
    """The vcpu executes nothing until something ends its halt."""

    vcpu: int
    why: HaltWhy


class VcpuResumed(Journal, frozen=True, gc=False):
    """A halt ended."""

    vcpu: int
    why: ResumeWhy


class ExitRouted(Journal, frozen=True, gc=False):
    """handle_exit of the hypervisor at `level` (0 = L0) routed an exit of its nested guest."""

    vcpu: int
    level: int
    exit_code: int
    route: Route
    apf_reason: int = 0
    info2: int = 0


class NestedVmexit(Journal, frozen=True, gc=False):
    """An exit was synthesized into the guest hypervisor above `level`."""

    vcpu: int
    level: int
    exit_code: int
    reason: VmexitReason
    info2: int = 0


class ReasonLatched(Journal, frozen=True, gc=False):
    """The hypervisor at `level` read and reset its reason word after an exit by #PF."""

    vcpu: int
    level: int
    apf_reason: int
    token: Token


class TaskFinished(Journal, frozen=True, gc=False):
    """The task is done; its VM freezes at the last one."""

    vcpu: int
    task: str


class TaskKilled(Journal, frozen=True, gc=False):
    """A token landed where nobody knows tokens (G1): the task of that guest is killed."""

    vcpu: int
    task: str
    level: int
    token: Token


class TaskMoved(Journal, frozen=True, gc=False):
    """The guest scheduler moved a task from `vcpu` to the vcpu `to`."""

    vcpu: int
    task: str
    to: int
    why: MoveWhy


class ProtocolFault(Journal, frozen=True, gc=False):
    """Something the protocol forbids or the kernel would panic on, by name."""

    vcpu: int
    what: ProtocolFaultWhat
    detail: str = ""


class RequestDone(Journal, frozen=True, gc=False):
    """The task answered request number `request` of its group.

    Its latency counts from `arrived_ns`, the instant at which it was meant to come; `taken_ns` is
    when it left the queue.
    """

    vcpu: int
    task: str
    request: int
    arrived_ns: int
    taken_ns: int


class GuestPanicked(Journal, frozen=True, gc=False):
    """The guest's kernel panicked on this vcpu: the VM is over, whatever its tasks had to do."""

    vcpu: int
    why: PanicWhy


class BroadcastLost(Journal, frozen=True, gc=False):
    """An MSR write with ENABLED queued no broadcast: the host had no memory for its item."""

    vcpu: int


class SyncFault(Journal, frozen=True, gc=False):
    """Of a recording: a fault that the vcpu thread resolved itself, `took_ns` long, over now.

    The vcpu executed nothing meanwhile.  `off_cpu_ns` of it the thread was not on a CPU, for
    `reclaim_ns` it reclaimed memory; null where the recording has no lines that say so.
    """

    vcpu: int
    gfn: Gfn
    access: Access
    cpl: int | None
    took_ns: int
    off_cpu_ns: int | None = None
    reclaim_ns: int | None = None


TO_HOST: tuple[type[ToHost], ...] = (
    PageNotPresent,
    PageRequested,
    PageTouched,
    PagesAged,
    PagesEvicted,
    ApfCleared,
    FrameAwaited,
)
CONTROL: tuple[type[Control], ...] = (
    VcpuOffline,
    VcpuOnline,
    VmMigrated,
    VmRestored,
    KernelReplaced,
    AllocationFails,
    MediumChanged,
    MsrWriteRequested,
    AreaWriteFails,
    WorkerGupFails,
    VcpuReset,
    Cr0PgToggled,
    NmiArrived,
    IrqArrived,
    VcpuStalled,
    RegistersSet,
    LeftForUserspace,
    SmiArrived,
    LapicSwitched,
    HandlerCrashed,
)
TO_SHARD: tuple[type[ToShard], ...] = (
    PageReady,
    FramesGranted,
    HostShort,
    AgePages,
    PageUnmapped,
    PageDropped,
    PagesPushed,
    PagesMoved,
    *CONTROL,
)
JOURNAL: tuple[type[Journal], ...] = (
    ReasonWritten,
    ExceptionQueued,
    ExceptionInjected,
    ExceptionDropped,
    InterruptQueued,
    TrapTaken,
    TaskSlept,
    TaskWoken,
    DummyInserted,
    DummyConsumed,
    DummyUnlinked,
    SleeperFreed,
    WakeSpun,
    ApfStarted,
    UserFault,
    UserFaultLost,
    WorkerCompleted,
    DoubleFault,
    ApfPresented,
    BroadcastQueued,
    FrameFound,
    ReadSubmitted,
    CpuAwaited,
    CpuFound,
    ClearBegun,
    MsrWritten,
    VcpuHalted,
    VcpuResumed,
    ExitRouted,
    NestedVmexit,
    ReasonLatched,
    TaskFinished,
    TaskKilled,
    TaskMoved,
    ProtocolFault,
    RequestDone,
    GuestPanicked,
    BroadcastLost,
    SyncFault,
)
EVENTS: tuple[type[Event], ...] = (*TO_HOST, *TO_SHARD, *JOURNAL)


class WindowOpened(msgspec.Struct, frozen=True, tag=True, tag_field="event", omit_defaults=True):
    """Host to shard: simulate up to `until_ns`, exclusive. The last window of a host has `last`.

    `lookahead_ns` 0: up to there whatever happens. Else the window is open-ended: the shard closes
    it that long after the first event that it tells the host, if this is sooner, and what was
    handed out for later stays with it.  Of the first `reads` requests for pages in swap, none is
    answered before `reads_ns`, nor sooner than `read_ns` after it was asked: it need not close
    for these before.
    """

    window: int
    until_ns: int
    last: bool = False
    lookahead_ns: int = 0
    reads: int = 0
    read_ns: int = 0
    reads_ns: int = 0


class WindowClosed(msgspec.Struct, frozen=True, tag=True, tag_field="event", omit_defaults=True):
    """Shard to host: simulated up to the edge; nothing for the host to react to before `next_ns`.

    `next_ns` None: never, of its own accord.  `frozen_ns`: all VMs of the shard are frozen, the
    last of them since then.  `until_ns`: where the shard closed an open-ended window; None: where
    the host said.
    """

    window: int
    next_ns: int | None
    frozen_ns: int | None = None
    until_ns: int | None = None


class TaskAccount(msgspec.Struct, frozen=True, omit_defaults=True):
    """How far a task came.

    `cpu_ns`: CPU time.  `touches`: touches of memory that are done; a row of a trace is one.
    `passes`: how often it was through its region or its trace, null where a pattern has no such
    thing.  `requests`: requests served.  `work`: increments, null of a task that counts none.
    `ends`: it is one that finishes, given time.
    """

    cpu_ns: int = 0
    touches: int = 0
    passes: int | None = None
    requests: int = 0
    work: int | None = None
    ends: bool = False


class ShardSummary(msgspec.Struct, frozen=True):
    """What a shard accounts for at its end, because no event says it.

    `work`: counter increments of work tasks, by `vm/task-i`.  `cpu`: simulated vcpu time in ns, by
    kind.  `unresolved`: tasks asleep whose page-in is not in flight.  `sleepers`: all tasks asleep
    in task_wait.  `unreported_touches`: first touches out of the stock since the last
    `PageTouched`, which reports them in batches.  `tasks`: every task, by `vm/task-i`.  `vm_cpu`
    is `cpu` by `vm/kind`, `vm_unreported` the `unreported_touches` of the VMs that have some.
    `vm_silent` counts, by `vm/why`, the events announced to the guest whose READY never came.
    `unanswered`: requests that came and were not answered, by `vm/task`.  `host_cpu`: time of the
    host's CPUs in ns, by kind of thread, where they are counted.
    """

    work: dict[str, int] = {}
    cpu: dict[str, int] = {}
    unresolved: list[str] = []
    sleepers: int = 0
    unreported_touches: int = 0
    tasks: dict[str, TaskAccount] = {}
    vm_cpu: dict[str, int] = {}
    vm_unreported: dict[str, int] = {}
    vm_silent: dict[str, int] = {}
    unanswered: dict[str, int] = {}
    host_cpu: dict[str, int] = {}


class ShardEnded(msgspec.Struct, frozen=True, tag=True, tag_field="event"):
    """Shard to journal, behind everything else: what its VMs came to.

    `digests` are the VMs' digests by name.  `consumed` counts the domain events that the shard took
    in, by name, and `read` the page-ins among them that needed a device read, `vm_read` those of
    each VM, `vm_pushed` pages that came unasked, `read_from` pages from each swap area where there
    are several: they stand in the log without a number.  `consumed` also counts the events that a
    journal which is not a full one leaves out.  A shard of many VMs ends with several of these,
    which add up.
    """

    window: int
    digests: dict[str, str]
    consumed: dict[str, int]
    read: int
    summary: ShardSummary
    vm_read: dict[str, int] = {}
    vm_pushed: dict[str, int] = {}
    read_from: dict[int, int] = {}
