"""What is compared, and when two figures are the same: all facts of the page, and the verdicts.

A fact is measured by the same code of a recording and of a run, which is written as ftrace text
and imported first.  Times are in nanoseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, Literal, NamedTuple, TypeAlias

from pagewake.fit.sides import share
from pagewake.recorded.figures import Figures

Unit: TypeAlias = Literal["count", "share", "ns", "rule"]
Verdict: TypeAlias = Literal["same", "same order", "off", "holds", "broken", "given", "-"]
Value: TypeAlias = int | float | None
Values: TypeAlias = Mapping[str, Value]
"""Facts by name; None: there is nothing to measure it by."""

SAME: Final = 1.25
"""Two figures that are no further apart than by this factor are the same."""
SAME_ORDER: Final = 10**0.5
"""By this one they are of the same order: half a power of ten either way."""


READ_NS: Final = 100_000
"""A fault that took so long has begun to read, as far as one can tell: on this host 0.03 ms find a
page that is in memory."""


class Measured(NamedTuple):
    """What an imported recording comes to: figures, and how often each rule is broken.

    `reads`: its figures if synchronous faults count from `READ_NS` on.
    """

    figures: Figures
    breaches: Mapping[str, int]
    reads: Figures


class Fact(NamedTuple):
    """One row; what it is, and how it is taken."""

    name: str
    what: str
    unit: Unit
    of: Callable[[Measured], Value]


def _stage(stage: str, quantile: str) -> Callable[[Measured], Value]:
    def value(measured: Measured) -> Value:
        found: int | None = getattr(getattr(measured.figures, stage), f"{quantile}_ns")
        return found

    return value


def _part(of: Callable[[Figures], tuple[float, float]]) -> Callable[[Measured], Value]:
    def value(measured: Measured) -> Value:
        return share(*of(measured.figures))

    return value


def _read_share(measured: Measured) -> Value:
    return share(measured.reads.synchronous.count, measured.reads.waited)


def _rule(*names: str) -> Callable[[Measured], Value]:
    def value(measured: Measured) -> Value:
        return sum(measured.breaches.get(name, 0) for name in names)

    return value


def _identity(measured: Measured) -> Value:
    """How far apart the three counts are that are one and the same in a whole life of a guest.

    A broadcast has an interrupt and an ACK, and no exception.
    """
    figures = measured.figures
    counts = (
        figures.injected - figures.open,
        figures.interrupts - figures.broadcasts,
        figures.acks - figures.broadcasts,
    )
    return max(counts) - min(counts)


EDGE: Final = 5
"""So many of one count a recording may lack at its ends: it begins and ends in the middle."""

_LATENCIES: Final = (
    ("completion", "not present to completed"),
    ("delivery", "completed to ready"),
    ("whole", "not present to ready"),
)

FACTS: Final = (
    Fact("apf_share", "asynchronous, of faults that waited", "share",
         _part(lambda f: (f.started, f.waited))),
    Fact("early_share", "ready before re-entry, of those told", "share",
         _part(lambda f: (f.early, f.injected))),
    Fact("sync_share", "slow synchronous, of faults that waited", "share",
         _part(lambda f: (f.synchronous.count, f.waited))),
    Fact("read_share", "synchronous, of faults of 0.1 ms and more", "share", _read_share),
    Fact("sync_time", "their time, of all vcpu time", "share",
         _part(lambda f: (f.synchronous.took_ns, f.span_ns * f.vcpus))),
    *(
        Fact(f"{stage}_{quantile}", f"{what}, {quantile}", "ns", _stage(stage, quantile))
        for stage, what in _LATENCIES
        for quantile in ("p10", "p50", "p90", "p99", "max")
    ),
    Fact("late_share", "ready, and not the oldest", "share", _part(lambda f: (f.late, f.ready))),
    Fact("repeated_share", "repeated faults, per asynchronous one", "share",
         _part(lambda f: (f.repeated, f.started))),
    Fact("outstanding_max", "outstanding, most of a VM", "count",
         lambda m: m.figures.outstanding_max_vm or None),
    Fact("kernel_share", "of kernel mode", "share",
         _part(lambda f: (f.kernel, f.kernel + f.user))),
    Fact("identity", "injected = vectors = ACKs, differ by", "rule", _identity),
    Fact("token", "tokens against their rule", "rule", _rule("token")),
    Fact("inversions", "READY before its NOT_PRESENT, or twice", "rule", _rule("I1")),
    Fact("rules", "violations of any other rule", "rule",
         lambda m: sum(m.breaches.values()) - m.breaches.get("token", 0)
         - m.breaches.get("I1", 0)),
)  # fmt: skip


def values(measured: Measured) -> dict[str, Value]:
    """Every fact of it."""
    return {fact.name: fact.of(measured) for fact in FACTS}


def verdict(fact: Fact, recorded: Value, simulated: Value, *, given: bool = False) -> Verdict:
    """What a pair of figures says; `given`: the scenario was set to it, so it says nothing.

    Of a rule: holds where both keep it, the identity but for the ends of a recording.
    """
    if fact.unit == "rule":
        edge = EDGE if fact.name == "identity" else 0
        return "holds" if (recorded or 0) <= edge and (simulated or 0) <= edge else "broken"
    if recorded is None or simulated is None:
        return "-" if recorded is simulated else "off"
    if given:
        return "given"
    if recorded == simulated:
        return "same"
    if not recorded or not simulated:
        return "off"
    factor = max(recorded / simulated, simulated / recorded)
    return "same" if factor <= SAME else "same order" if factor <= SAME_ORDER else "off"
