"""A scenario in base units (nanoseconds, pages, events per second), frozen and picklable.

Every field carries the key it is read from (design, "Scenario file"), so this file is also the
definition of the file format; a field without a default is a key that must be given. Tables that
the domain takes as they stand are its own structs; their keys are in `domain_keys.py`. What one
field alone cannot tell, `checks.py` does.
"""

from __future__ import annotations

from typing import Annotated, NamedTuple

import msgspec

from pagewake.guest_kernel.config import KernelCosts, SchedulerConfig, ScriptStep, Spread
from pagewake.host_memory.places import Swap
from pagewake.host_memory.replacement import AS_KERNEL, REPLACEMENTS, SECOND_CHANCE
from pagewake.kvm.config import Cpuid, EmulatorLoad, HostCosts, NestedConfig, Userfault
from pagewake.kvm.profile import Switches, nearest_profile, resolve
from pagewake.kvm.read_ahead import ORDER_MAX, PAGE_CLUSTER
from pagewake.scenario.interventions import MAX_VCPUS, EventsReader, ScheduledEvent
from pagewake.scenario.keys import (
    OFF,
    Choice,
    Duration,
    Flag,
    Integer,
    IntegerOrOff,
    Key,
    Number,
    Rate,
    Size,
    Table,
    Tables,
    Text,
    Texts,
)
from pagewake.scenario.media import Medium, MediumReader
from pagewake.scenario.overrides import Overrides, OverridesReader
from pagewake.scenario.presets import profile_names
from pagewake.scenario.script import Steps
from pagewake.scenario.spread import SpreadReader
from pagewake.scenario.swap import SwapArea, Zswap, swap_of

_NAME = Text(r"[A-Za-z][A-Za-z0-9_.-]*", 'a name: letters, digits, "-", "_" and "."')
_PROFILE = Choice("kernel profile", profile_names, nearest_profile)
_L2 = (
    "the L2 guests'; if given, they enable APF at their start, by the MSR writes of this "
    "generation (ready_by_interrupt, takes_interrupt; no other rule of L2's kernel is ever asked)"
)
PATTERNS = ("work", "random", "sequential", "zipf", "trace", "requests", "script")


class _Part(msgspec.Struct, frozen=True):
    """A table of the file."""


class About(_Part, frozen=True, kw_only=True):
    """`[scenario]`"""

    name: Annotated[str, Key("name", _NAME, "what the scenario is called")]
    description: Annotated[str, Key("description", Text(), "one line for listings")] = ""
    seed: Annotated[int, Key("seed", Integer(0, (1 << 63) - 1), "of all randomness")] = 1
    duration_ns: Annotated[int, Key("duration", Duration(1), "simulated time, exclusive")]
    shows: Annotated[str, Key("shows", Text(), "what one can see in it")] = ""
    expects: Annotated[str, Key("expects", Text(), "the outcome it stands for")] = ""
    version: Annotated[str, Key("version", Text(), "pagewake that executed it, in logs")] = ""


class Kernel(_Part, frozen=True, kw_only=True):
    """`[kernel]`: whose rules are in force, on the host and in the guests."""

    profile: Annotated[str, Key("profile", _PROFILE, "the generation of every level")] = "2.6.39"
    apf: Annotated[
        str, Key("apf", Choice("APF mode", ("pv", "nonpv", "off")), "what the guest and host use")
    ] = "pv"
    cpuid: Annotated[Cpuid, Table("cpuid", "features of KVM that guests see")] = Cpuid()
    l0: Annotated[str | None, Key("l0", _PROFILE, "the host's, if another")] = None
    l1: Annotated[str | None, Key("l1", _PROFILE, "the guests', if another")] = None
    l2: Annotated[str | None, Key("l2", _PROFILE, _L2)] = None
    overrides: Annotated[
        Overrides, Key("overrides", OverridesReader(), "single switches, of all levels or one")
    ] = Overrides()
    hz: Annotated[int, Key("hz", Integer(0, 100_000), "guest timer; 0 = no tick")] = 1000
    idle_hz: Annotated[
        int, Key("idle_hz", Integer(0, 100_000), "timer of an idle vcpu (dyntick); 0 = none")
    ] = 10
    irqchip: Annotated[bool, Key("irqchip", Flag(), "interrupt controller in the kernel")] = True
    increment_ns: Annotated[int, Key("increment", Duration(1), "one increment of work")] = 1
    costs: Annotated[KernelCosts, Table("costs", "time of kernel paths")] = KernelCosts()
    scheduler: Annotated[SchedulerConfig, Table("scheduler", "fair scheduler")] = SchedulerConfig()

    @property
    def guest_apf(self) -> str:
        """`apf`, as far as L1 may know of it."""
        return self.apf if self.apf != "pv" or "async_pf" in self.cpuid.l1 else "nonpv"

    def profile_of(self, level: int) -> str:
        """The profile in force at a level (0 = host)."""
        return (self.l0, self.l1, self.l2)[min(level, 2)] or self.profile

    @property
    def workers_read(self) -> bool:
        """A worker starts its read; since 2.6.39 the vcpu thread has done so (semantics 3.3)."""
        return self.switches(0).gup == "posted_noio"

    def switches(self, level: int) -> Switches:
        """The rules in force at a level, overrides applied."""
        return resolve(self.profile_of(level), self.overrides.of(level))


class Host(_Part, frozen=True, kw_only=True):
    """`[host]`: the simulated hosts, all alike."""

    count: Annotated[int, Key("count", Integer(1, 4096), "VMs are dealt out over them")] = 1
    medium: Annotated[Medium, Key("medium", MediumReader(), "swap device: preset or table")]
    memory_pages: Annotated[int | None, Key("memory", Size(), "of one whole host")] = None
    reclaim_lag_ns: Annotated[
        int, Key("reclaim_lag", Duration(1), "from a decision to evict or grant to its effect")
    ] = 200_000
    charge_batch: Annotated[
        int, Key("charge_batch", Integer(1, 65_536), "frames that a vcpu takes ahead at a time")
    ] = 64
    hz: Annotated[int, Key("hz", Integer(0, 100_000), "host tick on a vcpu's cpu")] = 0
    exits_per_s: Annotated[float, Key("exits_per_s", Rate(), "background exits per vcpu")] = 0.0
    workers: Annotated[
        int, Key("workers", Integer(0, 65_536), "page-in workers, where they start reads; 0 = any")
    ] = 0
    cpus: Annotated[
        int,
        Key("cpus", Integer(0, 4096), "of one host, for all that its threads do; 0 = one each"),
    ] = 0
    halt_poll_ns: Annotated[
        int, Key("halt_poll", Duration(), "longest poll of a vcpu thread before it blocks")
    ] = 0
    writeback_pages: Annotated[int, Key("writeback", Integer(1), "pages per write-back")] = 32
    page_cluster: Annotated[
        int | None,
        Key(
            "page_cluster",
            IntegerOrOff(0, ORDER_MAX),
            "swap read-ahead: up to two to the power of it pages; off: each is read alone and "
            f"asynchronously. Else {PAGE_CLUSTER}, as in every kernel, and off with swap areas or "
            "zswap",
        ),
    ] = None
    huge_pages: Annotated[
        bool,
        Key(
            "huge_pages", Flag(), "2 MiB mappings where memory is fresh, until reclaim splits them"
        ),
    ] = False
    replacement: Annotated[
        str,
        Key(
            "replacement",
            Choice("replacement", (*REPLACEMENTS, AS_KERNEL)),
            "which pages are evicted; kernel: as the profile has it",
        ),
    ] = SECOND_CHANCE
    costs: Annotated[HostCosts, Table("costs", "time of host paths")] = HostCosts()
    swap: Annotated[tuple[SwapArea, ...], Tables("swap", "swap areas before `medium`")] = ()
    zswap: Annotated[Zswap | None, Table("zswap", "if given, compresses in front of swap")] = None

    @property
    def areas(self) -> Swap | None:
        """All swap of each host; None where `medium` is all."""
        return swap_of(self.medium, self.swap, self.zswap)

    @property
    def window_order(self) -> int | None:
        """Windows of swap read-ahead have up to two to the power of it pages; None: there are none.

        Where nothing is said it is the kernel's own default, if there is read-ahead at all.
        """
        if self.page_cluster is None:
            return PAGE_CLUSTER if self.areas is None else None
        return None if self.page_cluster == OFF else self.page_cluster

    def spelled_out(self) -> Host:
        """The same host, with `page_cluster` given."""
        order = self.window_order
        return msgspec.structs.replace(self, page_cluster=OFF if order is None else order)


_HOT_SET = Key(
    "hot_set", Number(0.0, 1.0), "share of the working set that is hot, instead of a skew; 0 = none"
)
_HOT_TOUCHES = Key("hot_touches", Number(0.0, 1.0), "share of the touches that go there alone")
_HOT_START = Key("hot_start", Number(0.0, 1.0), "where it begins, as a share of the working set")
_THETA = Key("theta", Number(0.0, 5.0), "skew; 0 = uniform")
TOUCHING = ("random", "sequential", "zipf")


class Phase(_Part, frozen=True, kw_only=True):
    """`[[vm.task.phase]]`: for so many touches something else; then the next, and round again."""

    touches: Annotated[int, Key("touches", Integer(1), "of this phase, each time")]
    pattern: Annotated[
        str | None, Key("pattern", Choice("pattern", TOUCHING), "which pages; else the task's")
    ] = None
    working_set_pages: Annotated[
        int | None, Key("working_set", Size(), "the first so many of the task's memory")
    ] = None
    theta: Annotated[float | None, _THETA] = None
    hot_set: Annotated[float | None, _HOT_SET] = None
    hot_touches: Annotated[float | None, _HOT_TOUCHES] = None
    hot_start: Annotated[float | None, _HOT_START] = None


class Task(_Part, frozen=True, kw_only=True):
    """`[[vm.task]]`: some threads of one guest that do the same."""

    name: Annotated[str, Key("name", _NAME, "instances are name-0, name-1, ...")]
    count: Annotated[int, Key("count", Integer(1, 4096), "instances")] = 1
    pattern: Annotated[str, Key("pattern", Choice("pattern", PATTERNS), "what it does")]
    level: Annotated[int, Key("level", Integer(1, 3), "2, 3: task of the L2, L3 guest")] = 1
    weight: Annotated[int, Key("weight", Integer(1, 1 << 20), "scheduler weight")] = 1024
    vcpu: Annotated[int | None, Key("vcpu", Integer(0, MAX_VCPUS - 1), "pinned to")] = None
    start_ns: Annotated[int, Key("start", Duration(), "runnable from; of level 1")] = 0
    working_set_pages: Annotated[int | None, Key("working_set", Size(), "its memory")] = None
    access: Annotated[
        str, Key("access", Choice("access", ("read", "write", "mixed")), "kind of touches")
    ] = "read"
    write_share: Annotated[
        float, Key("write_share", Number(0.0, 1.0), "writes among mixed touches")
    ] = 0.5
    populated: Annotated[
        bool, Key("populated", Flag(), "written before time 0: resident or in swap")
    ] = False
    resident_pages: Annotated[
        int | None, Key("resident", Size(0), "of populated memory, at most; else to the limit")
    ] = None
    private: Annotated[bool, Key("private", Flag(), "a region per instance")] = False
    touch_ns: Annotated[int, Key("touch", Duration(1), "CPU time of one touch")] = 100
    touches: Annotated[int | None, Key("touches", Integer(1), "finish after so many")] = None
    stride_pages: Annotated[int, Key("stride", Integer(1), "pages from touch to touch")] = 1
    theta: Annotated[float, _THETA] = 0.99
    hot_set: Annotated[float, _HOT_SET] = 0.0
    hot_touches: Annotated[float, _HOT_TOUCHES] = 0.9
    hot_start: Annotated[float, _HOT_START] = 0.0
    phases: Annotated[tuple[Phase, ...], Tables("phase", "phases of its touches, in turn")] = ()
    trace: Annotated[str | None, Key("trace", Text(), "file, or builtin:NAME")] = None
    trace_sha256: Annotated[
        str | None, Key("trace_sha256", Text("[0-9a-f]{64}", "a SHA-256"), "of the trace file")
    ] = None
    repeat: Annotated[int, Key("repeat", Integer(1), "how often the trace is played")] = 1
    cpi_ns: Annotated[int, Key("cpi", Integer(1, 1_000_000), "nanoseconds per instruction")] = 1
    script: Annotated[tuple[ScriptStep, ...], Key("script", Steps(), "steps in order")] = ()
    service: Annotated[
        Spread | None, Key("service", SpreadReader(1), "CPU time of a request, touches included")
    ] = None
    touches_per_request: Annotated[
        int, Key("touches_per_request", Integer(0, 1 << 20), "spread evenly over its CPU time")
    ] = 0
    rate: Annotated[
        float | None, Key("rate", Rate(least=1e-6), "requests that come to all instances of one VM")
    ] = None
    arrivals: Annotated[
        str,
        Key("arrivals", Choice("kind of arrivals", ("poisson", "constant")), "gaps at that rate"),
    ] = "poisson"
    arrivals_file: Annotated[
        str | None, Key("arrivals_file", Text(), "instead of a rate: an instant a line, in seconds")
    ] = None
    arrivals_sha256: Annotated[
        str | None, Key("arrivals_sha256", Text("[0-9a-f]{64}", "a SHA-256"), "of the file")
    ] = None
    clients: Annotated[
        int | None, Key("clients", Integer(1, 1 << 20), "instead of a rate: who ask in turn")
    ] = None
    think: Annotated[Spread, Key("think", SpreadReader(), "of a client before it asks (again)")] = (
        Spread(0)
    )
    requests: Annotated[int | None, Key("requests", Integer(1), "finish after so many, per VM")] = (
        None
    )
    kernel_every_ns: Annotated[
        int | None, Key("kernel_every", Duration(1), "CPU time between kernel sections, of level 1")
    ] = None
    kernel_for_ns: Annotated[
        int | None, Key("kernel_for", Duration(1), "length of a kernel section")
    ] = None
    no_preempt: Annotated[
        bool, Key("no_preempt", Flag(), "kernel sections run with preemption off")
    ] = False
    finish_after_ns: Annotated[
        int | None, Key("finish_after", Duration(1), "CPU time after which it is done")
    ] = None
    trace_pages: int = 0
    """Distinct pages of the trace, known once it was read."""

    @property
    def region_pages(self) -> int:
        """Guest frames of one region: the working set, the trace's pages, the pages of a script."""
        if self.pattern == "trace":
            return self.trace_pages
        if self.working_set_pages is not None:
            return self.working_set_pages
        touched = [step.page + 1 for step in self.script if step.op == "touch"]
        return max(touched, default=0)

    @property
    def regions(self) -> int:
        """How many regions its instances have between them."""
        return self.count if self.private else 1


class GuestOfGuest(_Part, frozen=True, kw_only=True):
    """`[vm.l2]`, `[vm.l3]`: the guest that a nested hypervisor runs."""

    vcpus: Annotated[int, Key("vcpus", Integer(1, MAX_VCPUS), "its vcpus")] = 1
    memory_pages: Annotated[int, Key("memory", Size(), "a range of the memory around it")]


class Source(_Part, frozen=True, kw_only=True):
    """`[vm.source]`: how pages come that are not in memory at time 0; see `page_source`."""

    medium: Annotated[
        Medium | None,
        Key(
            "medium",
            MediumReader("vm.source.medium"),
            "what they come from; without it `migration` for postcopy, else `nvme`",
        ),
    ] = None
    prefetch_pages: Annotated[
        int | None,
        Key("prefetch", Size(0), "pushed unasked, at most; else all for postcopy, else nothing"),
    ] = None
    order: Annotated[
        str | None,
        Key(
            "order",
            Choice("order", ("follow", "address", "recorded")),
            "of what is pushed: on behind the page asked for last (without it, for postcopy), "
            "from the first, or what is touched most first (without it, else)",
        ),
    ] = None
    threads: Annotated[
        int, Key("threads", Integer(1, 256), "of a uffd's handler, a page each at a time")
    ] = 1
    handling_ns: Annotated[
        int, Key("handling", Duration(), "that user space takes for a page; not of a file")
    ] = 11_000
    read_ahead_pages: Annotated[
        int, Key("read_ahead", Size(1), "of a file, read at a time around the page")
    ] = 32


class Vm(_Part, frozen=True, kw_only=True):
    """`[[vm]]`: some VMs that are alike."""

    name: Annotated[str, Key("name", _NAME, "instances are name-0, name-1, ...")]
    count: Annotated[int, Key("count", Integer(1, 65_536), "instances")] = 1
    vcpus: Annotated[int, Key("vcpus", Integer(1, MAX_VCPUS), "per VM")]
    memory_pages: Annotated[int, Key("memory", Size(), "what the guest sees")]
    own_limit_pages: Annotated[
        int | None,
        Key("limit", Size(), "what the host lets it keep resident; else all of `memory`"),
    ] = None
    min_pages: Annotated[
        int, Key("min", Size(0), "of it, `host.memory` never takes back (memory.min)")
    ] = 0
    low_pages: Annotated[
        int, Key("low", Size(0), "nor this, while others have more than theirs (memory.low)")
    ] = 0
    protected: Annotated[
        bool, Key("protected", Flag(), "the guest's registers are hidden from the host (SEV-ES)")
    ] = False
    hlt_exits: Annotated[
        bool, Key("hlt_exits", Flag(), "HLT leaves the guest; kernels since 4.17 can do without")
    ] = True
    nested: Annotated[int, Key("nested", Integer(0, 2), "hypervisor levels inside")] = 0
    userfault: Annotated[
        Userfault | None, Table("userfault", "if given, a task in user space brings its pages")
    ] = None
    emulator: Annotated[
        EmulatorLoad | None, Table("emulator", "if given, its emulator takes CPU (`host.cpus`)")
    ] = None
    page_source: Annotated[
        str,
        Key(
            "page_source",
            Choice("page source", ("swap", "postcopy", "uffd", "file")),
            "where populated memory is at time 0 that is not resident: in swap, on the host that "
            "the VM was migrated from, or in a snapshot, brought by user space or mapped",
        ),
    ] = "swap"
    source: Annotated[Source, Table("source", "how it comes from there")] = Source()
    l2: Annotated[GuestOfGuest | None, Table("l2", "the L2 guest")] = None
    l3: Annotated[GuestOfGuest | None, Table("l3", "the L3 guest")] = None
    tasks: Annotated[tuple[Task, ...], Tables("task", "its tasks")]

    @property
    def limit_pages(self) -> int:
        """What the host lets it keep resident."""
        return self.memory_pages if self.own_limit_pages is None else self.own_limit_pages

    @property
    def vcpus_in_all(self) -> int:
        """Its own and those of its nested guests."""
        return sum(self.vcpus_at(level) for level in range(1, self.nested + 2))

    def vcpus_at(self, level: int) -> int:
        """Vcpus that tasks of a level run on; 0 where there is no such guest."""
        inner = {1: self.vcpus, 2: self.l2 and self.l2.vcpus, 3: self.l3 and self.l3.vcpus}
        return inner.get(level) or 0


class VmInstance(NamedTuple):
    """One VM of a run: its name, what it is, and the simulated host it is on."""

    name: str
    spec: Vm
    host: int


def group_of(vm: str) -> str:
    """The `[[vm]]` table that an instance, named `<table>-<number>`, is of."""
    return vm.rpartition("-")[0]


_AT_MOST = Duration(1)


class Expect(_Part, frozen=True, kw_only=True):
    """`[[expect]]`: what the requests of a task have to come to, in all its VMs together."""

    of: Annotated[str, Key("of", Text(), "whose requests: VM/TASK, by their names in the file")]
    mean_ns: Annotated[int | None, Key("mean", _AT_MOST, "mean latency, at most")] = None
    p50_ns: Annotated[int | None, Key("p50", _AT_MOST, "half of the latencies, at most")] = None
    p90_ns: Annotated[int | None, Key("p90", _AT_MOST, "90 % of them, at most")] = None
    p99_ns: Annotated[int | None, Key("p99", _AT_MOST, "99 % of them, at most")] = None
    p999_ns: Annotated[int | None, Key("p999", _AT_MOST, "99.9 % of them, at most")] = None
    max_ns: Annotated[int | None, Key("max", _AT_MOST, "all of them, at most")] = None
    throughput: Annotated[
        float | None, Key("throughput", Rate(), "requests answered a second, at least")
    ] = None

    def limits_ns(self) -> dict[str, int | None]:
        """Limits on latencies, by what people call them."""
        return {
            "mean": self.mean_ns,
            "p50": self.p50_ns,
            "p90": self.p90_ns,
            "p99": self.p99_ns,
            "p99.9": self.p999_ns,
            "max": self.max_ns,
        }


_BUDGET = Integer(0, 255)


class Budget(_Part, frozen=True, kw_only=True):
    """`[explore.budget]`: how often each of these may happen, on all vcpus together."""

    tick: Annotated[int, Key("tick", _BUDGET, "the guest's timer fires")] = 1
    preempt: Annotated[int, Key("preempt", _BUDGET, "it fires, and the slice is used up")] = 0
    balance: Annotated[int, Key("balance", _BUDGET, "it fires, and a thread is moved here")] = 0
    exit: Annotated[int, Key("exit", _BUDGET, "an exit for the host's own business")] = 0
    irq: Annotated[int, Key("irq", _BUDGET, "a device interrupt")] = 0
    nmi: Annotated[int, Key("nmi", _BUDGET, "an NMI, whose handler takes a page fault")] = 0
    alloc: Annotated[int, Key("alloc", _BUDGET, "the guest has no memory for a dummy")] = 0
    host_alloc: Annotated[int, Key("host_alloc", _BUDGET, "the host has none for a work item")] = 0
    write: Annotated[int, Key("write", _BUDGET, "a write to the shared area fails")] = 0
    gup: Annotated[int, Key("gup", _BUDGET, "a worker does not get its page")] = 0


class Explore(_Part, frozen=True, kw_only=True):
    """`[explore]`: what `pagewake explore` may do with this machine, and looks for."""

    budget: Annotated[Budget, Table("budget", "what may happen, and how often")] = Budget()
    events: Annotated[
        tuple[ScheduledEvent, ...],
        Key("event", EventsReader(timed=False), "may happen once each, beside those of [[event]]"),
    ] = ()
    boot: Annotated[bool, Key("boot", Flag(), "explore how the CPUs start, too")] = False
    properties: Annotated[
        tuple[str, ...],
        Key("properties", Texts("property"), 'what has to hold, as in "finally TaskSlept == 2"'),
    ] = ()
    choices: Annotated[
        tuple[str, ...],
        Key("choices", Texts("choice"), "run these, one after another: a story, as its log has it"),
    ] = ()


class Scenario(_Part, frozen=True, kw_only=True):
    """One scenario file."""

    about: Annotated[About, Table("scenario", "what it is")]
    kernel: Annotated[Kernel, Table("kernel", "rules and costs of the kernels")] = Kernel()
    nested: Annotated[NestedConfig, Table("nested", "set-up of nested hypervisors")] = (
        NestedConfig()
    )
    host: Annotated[Host, Table("host", "simulated hosts")]
    vms: Annotated[tuple[Vm, ...], Tables("vm", "virtual machines")]
    events: Annotated[
        tuple[ScheduledEvent, ...], Key("event", EventsReader(), "interventions")
    ] = ()
    expects: Annotated[
        tuple[Expect, ...], Tables("expect", "limits that a run has to keep, or the exit code is 1")
    ] = ()
    explore: Annotated[
        Explore | None, Table("explore", "if given, for explore: what may happen, and how often")
    ] = None

    @property
    def name(self) -> str:
        """`scenario.name`"""
        return self.about.name

    @property
    def seed(self) -> int:
        """`scenario.seed`"""
        return self.about.seed

    @property
    def duration_ns(self) -> int:
        """`scenario.duration`"""
        return self.about.duration_ns

    def instances(self) -> list[VmInstance]:
        """Every VM in file order, dealt out over the hosts one after another."""
        named = [(f"{vm.name}-{i}", vm) for vm in self.vms for i in range(vm.count)]
        return [
            VmInstance(name, vm, index % self.host.count) for index, (name, vm) in enumerate(named)
        ]
