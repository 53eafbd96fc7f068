"""Everything that an event can say is said by some run: each kind, and each value of a closed set.

And what these runs add up to is what their events are.
The built-in scenarios, shortened, and the small ones below.  What no run can say stands in
`UNREACHED` with the reason; an entry that is reached, or does not exist, is as wrong as one that is
missing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeAlias, get_args, get_origin

import msgspec
import pytest

from pagewake.cluster.shard_metrics import COUNTS, LEVELS
from pagewake.cluster.tally import Tally
from pagewake.engine.embedded import run_embedded
from pagewake.events import types as ev
from pagewake.participants.build import build
from pagewake.participants.plan import RunPlan
from pagewake.scenario.library import builtin_names
from pagewake.scenario.loading import load
from tests.support.small import event, run_small, script, work
from tests.support.thrash import thrashing

Said: TypeAlias = tuple[str, ...]
"""A kind of event, or kind, field and value."""

RECORDED = "said of recordings alone (tests/unit/recorded/test_stitch.py)"
UNREACHED: dict[Said, str] = {
    ("NestedVmexit", "reason", "error"): "no guest hypervisor of the model fails its VMRUN",
    ("PageNotPresent", "why", "reinjection"): "entry delivers what is queued before the guest runs",
    ("PageNotPresent", "why", "unknown"): RECORDED,
    ("SyncFault",): RECORDED,
    ("SyncFault", "access", "read"): RECORDED,
    ("SyncFault", "access", "write"): RECORDED,
    ("VcpuHalted", "why", "unknown"): RECORDED,
    ("WorkerCompleted", "doubt", "ambiguous"): RECORDED,
    ("WorkerCompleted", "doubt", "unseen"): RECORDED,
}
UNCOUNTED = {
    ("kvm_halts", ("unknown",)): "as VcpuHalted",
    ("nested_vmexits", ("error",)): "as NestedVmexit",
    ("page_synchronous", ("reinjection",)): "as PageNotPresent",
}
"""Series of `cluster/shard_metrics.py` that no run moves."""
MOVED_BY: dict[str, dict[type[ev.Event], int]] = {
    "guest_task_waits": {ev.TaskSlept: 1, ev.DummyConsumed: 1},
    "guest_task_wakes": {ev.TaskWoken: 1},
    "guest_traps": {ev.TrapTaken: 1},
    "kvm_halts": {ev.VcpuHalted: 1},
    "kvm_double_faults": {ev.DoubleFault: 1},
    "kvm_injections": {ev.ExceptionInjected: 1, ev.InterruptQueued: 1},
    "nested_exits": {ev.ExitRouted: 1},
    "nested_vmexits": {ev.NestedVmexit: 1},
    "interventions": dict.fromkeys(ev.CONTROL, 1),
    "guest_sleepers": {ev.TaskSlept: 1, ev.TaskWoken: -1, ev.SleeperFreed: -1},
    "guest_dummies": {ev.DummyInserted: 1, ev.DummyConsumed: -1, ev.DummyUnlinked: -1},
}
"""What each counter and level is a count of; written apart from the table that is tested."""
MOVED_BY_SOME: dict[str, Callable[[ev.Event], bool]] = {
    "page_not_present": lambda one: isinstance(one, ev.PageNotPresent) and not one.first_touch,
    "page_synchronous": lambda one: (
        isinstance(one, ev.PageNotPresent) and not one.first_touch and one.delivery == "synchronous"
    ),
    "page_ready": lambda one: (
        isinstance(one, ev.ApfPresented)
        or (isinstance(one, ev.PageReady) and one.token is None and not one.ahead)
    ),
}
"""The same for counters that pass over events of a kind."""
SHORT = {
    "ci-batch": "20ms",
    "cxl-tier": "20ms",
    "database": "20ms",
    "jvm-gc": "20ms",
    "postcopy": "30ms",
    "restore-file": "30ms",
    "restore-uffd": "30ms",
    "web": "20ms",
    "swap-tiers": "20ms",
    "zswap": "20ms",
    "natapov-2010": "500ms",
    "nested": "100ms",
    "overcommit": "60ms",
    "snapshot-restore": "40ms",
    "trace-sort": "50ms",
    "trace-sqlite": "50ms",
}

USER = ("at 2ms touch 3", "finish")
KERNEL = ("at 2ms kernel", "touch 3", "user", "finish")
LATER = ("at 2ms run 50us", "touch 3", "finish")
NESTED = 'nested = 1\nl2 = { memory = "8MiB" }'
INNER = (
    '[[vm.task]]\nname = "inner"\nlevel = 2\npattern = "sequential"\nworking_set = "64KiB"\n'
    'populated = true\nresident = "0B"\ntouch = "200us"'
)


def stall(at: str, vcpu: int = 0, length: str = "100us") -> str:
    return event(at, "vcpu-stall", f"vcpu = {vcpu}", f'for = "{length}"')


def nmi(at: str, vcpu: int = 0) -> str:
    return event(at, "nmi", f"vcpu = {vcpu}", "faults = true")


def medium(at: str, name: str) -> str:
    return f'[[event]]\nat = "{at}"\ndo = "medium"\nmedium = "{name}"'


def wakes_for_nobody() -> list[ev.Event]:
    """A halted fault's READY is for nobody: its dummy spins for memory, a broadcast unlinks it."""
    return run_small(
        script("t", *KERNEL), work(),
        event("1ms", "alloc-fails", 'where = "guest"', "count = 3"),
        event("2400us", "irq", "vcpu = 0"),
        event("5ms", "msr-write", "vcpu = 0", 'msr = "apf-en"'),
    ).events  # fmt: skip


def ready_that_is_not_due() -> list[ev.Event]:
    return run_small(
        script("t", *KERNEL), work(), overrides="ready_needs_not_present = true"
    ).events


def two_vcpus_on_one_cpu() -> list[ev.Event]:
    return run_small(work("one"), work("other"), vcpus=2, host=["cpus = 1"]).events


def host_without_memory() -> list[ev.Event]:
    fails = event("1ms", "alloc-fails", 'where = "host"', "count = 1")
    return run_small(script("t", *USER), work(), fails).events


def broadcast_without_memory() -> list[ev.Event]:
    fails = event("1ms", "alloc-fails", 'where = "host"', "count = 1")
    again = event("2ms", "msr-write", "vcpu = 0", 'msr = "apf-en"')
    return run_small(work(), fails, again).events


def paging_off() -> list[ev.Event]:
    toggled = event("2100us", "cr0-pg", "vcpu = 0", 'for = "1ms"')
    late = script("late", "at 2200us touch 3", "finish")
    return run_small(script("t", *USER), late, work(), toggled, profile="6.x").events


def stale_gfns() -> list[ev.Event]:
    """64 outstanding when paging is toggled, before 2.6.39: the next one finds no free slot."""
    return run_small(
        script("t", *USER, count=64, more="private = true"),
        script("late", "at 8ms touch 3", "finish"), work(),
        medium("1ms", "hdd-2010"),
        event("6ms", "cr0-pg", "vcpu = 0"),
        overrides="pg_resets_hash = false", duration="700ms",
    ).events  # fmt: skip


def reset() -> list[ev.Event]:
    return run_small(script("t", *KERNEL), work(), event("2100us", "vcpu-reset", "vcpu = 0")).events


def dropped(at: str, *more: str, do: str = "registers-set") -> list[ev.Event]:
    """An exception is queued on the vcpu at that instant, and never reaches the guest."""
    drop = event(at, do, "vcpu = 0")
    drops = "reset_drops_exception = true"
    return run_small(script("t", *LATER), work(), *more, drop, overrides=drops).events


def not_present_dropped(do: str) -> list[ev.Event]:
    return dropped("2100us", stall("2020us"), do=do)


def ready_dropped() -> list[ev.Event]:
    return dropped("3001us")


def broadcast_dropped() -> list[ev.Event]:
    return dropped("4001us", event("3850us", "msr-write", "vcpu = 0", 'msr = "apf-en"'))


def stolen_twice() -> list[ev.Event]:
    """Two NMI handlers wait for the same address: the second takes the first for a dummy."""
    return run_small(
        script("a", *LATER, vcpu=0), script("b", *LATER, vcpu=1), work(count=2),
        *(stall("2020us", vcpu) for vcpu in (0, 1)),
        *(nmi("2100us", vcpu) for vcpu in (0, 1)),
        event("5ms", "msr-write", "vcpu = 0", 'msr = "apf-en"'),
        vcpus=2,
    ).events  # fmt: skip


def stolen_ready_then_not_present(second: str) -> list[ev.Event]:
    """An NMI handler takes a READY for its own address; a wait, or another READY, finds that."""
    late = script("late", "at 5ms run 50us", "touch 7", "finish", vcpu=0)
    at = {"wait": "5020us", "wake": "5900us"}[second]
    after = {"wait": "5100us", "wake": "6050us"}[second]
    return run_small(
        script("t", *USER), late, work(), stall("2900us"), nmi("3050us"), stall(at), nmi(after)
    ).events


def offline() -> list[ev.Event]:
    return run_small(
        script("a", *USER, vcpu=0), script("b", *USER, vcpu=1), work(count=2),
        event("2100us", "vcpu-offline", "vcpu = 0"), event("5ms", "vcpu-online", "vcpu = 0"),
        vcpus=2,
    ).events  # fmt: skip


def offline_with_a_dummy() -> list[ev.Event]:
    return run_small(
        script("t", *KERNEL, vcpu=0), work(count=2), event("5ms", "vcpu-offline", "vcpu = 0"),
        vcpus=2,
    ).events  # fmt: skip


def other_media() -> list[ev.Event]:
    return run_small(script("t", *USER), work(), medium("1ms", "zram")).events


def two_first_touches() -> list[ev.Event]:
    """Of the same pages by two vcpus, faster than frames come back from reclaim."""
    fresh = (
        '[[vm.task]]\nname = "fresh"\ncount = 2\npattern = "sequential"\n'
        'working_set = "14MiB"\nprivate = false\ntouch = "1us"'
    )
    return run_small(fresh, vcpus=2, duration="80ms").events


def moves(why: str) -> list[ev.Event]:
    tasks = {
        "idle": (script("short", "run 1ms", "finish", vcpu=1), work("first"), work("second")),
        "wake": (
            script("t", "sleep 1ms", "run 1ms", "finish"),
            work("w", 1, "vcpu = 0"),
            script("nothing", "sleep 8ms", "finish", vcpu=1),
        ),
        "periodic": (
            work("a", 1, "vcpu = 1"),
            script("late", "sleep 2ms", "run 50ms", vcpu=0),
            script("free", "sleep 2ms", "run 50ms"),
            work("b", 1, "vcpu = 0"),
            work("c", 1, "vcpu = 0"),
        ),
    }
    tunables = ['balance = "4ms"', 'wakeup_granularity = "0ns"']
    return run_small(*tasks[why], vcpus=2, scheduler=tunables, duration="12ms").events


def migrated_while_halted() -> list[ev.Event]:
    migrate = event("2100us", "migrate", 'pause = "90us"')
    return run_small(script("t", *KERNEL), work(), migrate).events


def nmi_to_an_idle_vcpu() -> list[ev.Event]:
    return run_small(script("t", "sleep 5ms", "finish"), nmi("2ms"), kernel=["hz = 0"]).events


def write_failed() -> list[ev.Event]:
    fails = event("1ms", "area-write-fails", "vcpu = 0", "count = 1")
    return run_small(script("t", *USER), work(), fails, profile="5.10").events


def told_in_kernel_mode() -> list[ev.Event]:
    overrides = 'guest_wait = "user_only", kernel_mode_panics = true'
    enable = "wrmsr apf-en 0x1003"
    return run_small(script("t", enable, *KERNEL), work(), overrides=overrides).events


def scheduling_in_an_atomic_section() -> list[ev.Event]:
    steps = ("at 2ms preempt-off", "touch 3", "preempt-on", "finish")
    overrides = 'guest_wait = "schedule", preempt = true'
    return run_small(script("t", *steps), work(), overrides=overrides).events


def l1_does_not_opt_in() -> list[ev.Event]:
    """The value that L1's kernel wrote, without the bit of page faults as #VMEXIT."""
    later = script("t", "at 1ms wrmsr apf-en 0x1009", "finish")
    return run_small(NESTED, INNER, later, work(), profile="6.1").events


def ready_over_a_pending_exception(*more: str) -> list[ev.Event]:
    """A page is in while the vcpu thread stalls over the fault on another one."""
    late = script("late", "at 2250us run 40us", "touch 4", "finish")
    return run_small(
        script("t", *USER), late, work(), stall("2280us"), profile="4.14", overrides=", ".join(more)
    ).events


def stalled_at_the_latch() -> list[ev.Event]:
    latch = event("2ms", "vcpu-stall", "vcpu = 0", 'for = "50us"', 'where = "latch"')
    return run_small(NESTED, INNER, work(), latch).events


def taken_over(how: str) -> list[ev.Event]:
    """Another kernel, which the host tells of the old one's pages."""
    new = event("2100us", "new-kernel", f'how = "{how}"', 'for = "400us"')
    return run_small(script("t", *USER, vcpu=0), work(), new, profile="5.10").events


def lapic_off() -> list[ev.Event]:
    """A page comes while nobody can be told; one at a time, so that it is lost before 5.13."""
    off = event("2100us", "lapic", "vcpu = 0", "on = false")
    return run_small(script("t", *USER), work(), off, profile="5.10").events


def restored(*without: str) -> list[ev.Event]:
    """Halted in HLT, and with a not-present queued, as two vcpus are restored."""
    states = ("regs", "lapic", "int", "en", "events", "mp_state")
    saves = [each for each in states if each not in without]
    again = event("2100us", "restore", f"saves = {saves}")
    return run_small(script("t", *LATER, vcpu=0), stall("2020us"), again, vcpus=2).events


def smi_while_halted() -> list[ev.Event]:
    smi = event("2100us", "smi", "vcpu = 0", 'for = "50us"')
    smi += "\n" + event("4ms", "user-exit", "vcpu = 0")
    return run_small(script("t", *KERNEL), work(), smi, profile="5.4").events


def answered_requests() -> list[ev.Event]:
    server = '[[vm.task]]\nname = "s"\npattern = "requests"\nrate = 5000\nservice = "50us"'
    return run_small(server).events


def user_space(apf: str) -> list[ev.Event]:
    """Two tasks want a page that somebody in user space brings, who dies while he does."""
    crash = event("2100us", "handler-crash", 'for = "1ms"')
    both = script("t", *USER, count=2, more="private = false")
    return run_small(
        "[vm.userfault]", both, work(), crash,
        profile="6.12", overrides=f'user_apf = "{apf}"',
    ).events  # fmt: skip


def user_fault(profile: str = "2.6.39", *kernel: str) -> list[ev.Event]:
    return run_small(script("t", *USER), work(), profile=profile, kernel=kernel).events


def fault_without_hlt_exits() -> list[ev.Event]:
    return run_small(script("t", *KERNEL), work(), profile="5.4", vm="hlt_exits = false").events


def read_alone() -> list[ev.Event]:
    lines = ("page_cluster = 0", 'costs = { read_request = "2us" }')
    return run_small(script("t", *USER), work(), profile="6.1", host=lines).events


SMALL: Sequence[Callable[[], list[ev.Event]]] = (
    wakes_for_nobody,
    ready_that_is_not_due,
    host_without_memory,
    broadcast_without_memory,
    paging_off,
    stale_gfns,
    reset,
    lambda: not_present_dropped("registers-set"),
    lambda: not_present_dropped("vcpu-reset"),
    ready_dropped,
    broadcast_dropped,
    stolen_twice,
    lambda: stolen_ready_then_not_present("wait"),
    lambda: stolen_ready_then_not_present("wake"),
    offline,
    offline_with_a_dummy,
    other_media,
    two_first_touches,
    *(lambda why=why: moves(why) for why in ("idle", "wake", "periodic")),
    migrated_while_halted,
    nmi_to_an_idle_vcpu,
    two_vcpus_on_one_cpu,
    write_failed,
    told_in_kernel_mode,
    scheduling_in_an_atomic_section,
    l1_does_not_opt_in,
    ready_over_a_pending_exception,
    lambda: ready_over_a_pending_exception("ready_cancels_not_present = false"),
    stalled_at_the_latch,
    *(lambda how=how: taken_over(how) for how in ("kexec", "crash", "hibernate")),
    lapic_off,
    restored,
    lambda: restored("events", "mp_state"),
    smi_while_halted,
    answered_requests,
    fault_without_hlt_exits,
    read_alone,
    lambda: run_small(script("t", *USER), work(), vm="protected = true").events,
    lambda: user_space("none"),
    lambda: user_space("ring"),
    lambda: thrashing("kernel.profile=3.16"),
    lambda: thrashing("kernel.profile=6.12"),
    lambda: user_fault("2.6.38"),
    lambda: user_fault("2.6.39", "irqchip = false"),
    lambda: user_fault("2.6.39", 'apf = "off"'),
    lambda: user_fault("2.6.39", 'apf = "nonpv"'),
)


def built_in(name: str) -> list[ev.Event]:
    """The events of a built-in scenario, shortened."""
    changes = [f"scenario.duration={SHORT[name]}"] if name in SHORT else []
    plan = RunPlan.of("any", load(name, changes), shards=1)
    events: list[ev.Event] = []
    run_embedded(plan, build(plan), observer=events.extend)
    return events


def literals(annotation: Any) -> tuple[str, ...]:
    """All values of the closed sets in an annotation."""
    inner = get_args(annotation)
    if get_origin(annotation) is Literal:
        return inner
    return tuple(value for each in inner for value in literals(each))


CLOSED = {
    kind: {
        field.name: values
        for field in msgspec.structs.fields(kind)
        if (values := literals(field.type))
    }
    for kind in ev.EVENTS
}


POSSIBLE: set[Said] = {(kind.__name__,) for kind in ev.EVENTS} | {
    (kind.__name__, field, value)
    for kind, fields in CLOSED.items()
    for field, values in fields.items()
    for value in values
}


def said(one: ev.Event) -> list[Said]:
    name = type(one).__name__
    values = ((field, getattr(one, field)) for field in CLOSED[type(one)])
    several = (
        (name, field, each)
        for field, value in values
        if value is not None
        for each in (value if isinstance(value, list) else [value])
    )
    return [(name,), *several]


@pytest.fixture(scope="module")
def runs() -> list[list[ev.Event]]:
    return [*map(built_in, builtin_names()), *(run() for run in SMALL)]


def test_every_kind_of_event_and_every_value_of_a_closed_set_is_reached(
    runs: list[list[ev.Event]],
) -> None:
    reached = {each for events in runs for one in events for each in said(one)}
    missing = sorted(POSSIBLE - reached - UNREACHED.keys())
    assert missing == [], "said by no run: one in SMALL that says it, or a reason in UNREACHED"
    wrong = "UNREACHED has what is reached, or no event"
    assert sorted(POSSIBLE - reached) == sorted(UNREACHED), wrong


@pytest.fixture(scope="module")
def tally(runs: list[list[ev.Event]]) -> Tally:
    """What all runs add up to."""
    tally = Tally()
    for events in runs:
        tally.feed(events)
    return tally


def test_every_series_that_is_shown_at_zero_moves_and_no_other(tally: Tally) -> None:
    closed = {metric.name for metric in COUNTS if all(metric.labels.values())}
    shown = {(metric.name, labels) for metric in COUNTS for labels in metric.known()}
    counted = {key for key in tally.counts if key[0] in closed}
    differ = "a series that no run moves: one in SMALL that does, or a reason in UNCOUNTED"
    assert sorted(shown ^ counted) == sorted(UNCOUNTED), differ


def test_a_counter_counts_the_events_that_it_should_and_no_other(
    runs: list[list[ev.Event]], tally: Tally
) -> None:
    happened = Counter(type(one) for events in runs for one in events)
    expected = {
        name: sum(weight * happened[kind] for kind, weight in kinds.items())
        for name, kinds in MOVED_BY.items()
    }
    for name, counts in MOVED_BY_SOME.items():
        expected[name] = sum(counts(one) for events in runs for one in events)
    counted = dict.fromkeys((metric.name for metric in (*COUNTS, *LEVELS)), 0)
    for (name, _), count in tally.counts.items():
        counted[name] += count
    assert counted == expected, "MOVED_BY and MOVED_BY_SOME say what each counts"
