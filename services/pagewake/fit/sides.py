"""The same figures of a recording and of the run that is fitted to it, side by side.

`error` is how much larger the run's figure is than the recorded one, as a part of that. Where it is
more than `OFF`, a reason is given (`fit.reasons`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple, TypeAlias

import msgspec

from pagewake.recorded.figures import Figures

OFF = 0.15
"""A figure that is further off needs a reason."""

Unit: TypeAlias = Literal["count", "number", "share", "ns"]


class Both(NamedTuple):
    """A recording and the run that is fitted to it, and their faults in each tenth of the time.

    `unknown`: what no line of the recording would show.
    """

    recorded: Figures
    simulated: Figures
    recorded_tenths: Sequence[int]
    simulated_tenths: Sequence[int]
    unknown: frozenset[str] = frozenset()


class Figure(msgspec.Struct, frozen=True):
    """One figure of both; nulls where there is none.  `reason`: why it is off, if it is."""

    name: str
    what: str
    unit: Unit
    recording: float | None
    simulated: float | None
    error: float | None
    reason: str | None = None

    @property
    def off(self) -> bool:
        """Whether it wants a reason."""
        if self.error is None:
            return bool(self.recording) != bool(self.simulated)
        return abs(self.error) > OFF


class _Row(NamedTuple):
    name: str
    what: str
    unit: Unit
    of: Callable[[Figures], float | None]


def share(part: float, whole: float) -> float | None:
    """A part of a whole; None where there is no whole."""
    return part / whole if whole else None


def idle_ns(figures: Figures) -> int:
    """How long vcpus were in HLT; in a recording a CPU that is offline is, too."""
    return figures.halted_ns.get("hlt", 0) + figures.halted_ns.get("offline", 0)


def busiest(tenths: Sequence[int]) -> float | None:
    """Of all faults, those in the tenth with the most."""
    return share(max(tenths), sum(tenths))


def _stage(stage: str, quantile: str) -> Callable[[Figures], float | None]:
    def value(figures: Figures) -> float | None:
        found: int | None = getattr(getattr(figures, stage), f"{quantile}_ns")
        return found

    return value


ROWS = (
    _Row("started", "asynchronous faults", "count", lambda f: f.started),
    _Row("injected", "told to the guest", "count", lambda f: f.injected),
    _Row("halted", "halted the vcpu instead", "count", lambda f: f.halted),
    _Row("kernel_share", "of kernel mode", "share", lambda f: share(f.kernel, f.kernel + f.user)),
    _Row("write_share", "on writes", "share", lambda f: share(f.writes, f.started)),
    _Row("repeated", "repeated faults", "count", lambda f: f.repeated),
    _Row("synchronous", "synchronous faults that waited", "count", lambda f: f.synchronous.count),
    _Row("synchronous_ns", "time of these", "ns", lambda f: f.synchronous.took_ns),
    *(
        _Row(f"{stage}_{quantile}_ns", f"{stage} {quantile}", "ns", _stage(stage, quantile))
        for stage in ("submission", "completion", "delivery", "whole")
        for quantile in ("p50", "p90", "p99")
    ),
    _Row("outstanding_mean", "outstanding, mean", "number", lambda f: f.outstanding_mean),
    _Row("outstanding_max", "outstanding, most of a VM", "count", lambda f: f.outstanding_max_vm),
    _Row("late_share", "READY not for the oldest", "share", lambda f: share(f.late, f.ready)),
    _Row("early_share", "READY before it was told", "share", lambda f: share(f.early, f.ready)),
    _Row("halted_ns", "vcpus halted for a page", "ns", lambda f: f.for_a_page_ns),
    _Row("awaiting_ns", "vcpus idle, a page is awaited", "ns", lambda f: f.idle_ns),
    _Row("idle_ns", "vcpus idle", "ns", idle_ns),
    _Row("gained_ns", "gained", "ns", lambda f: f.gained_ns),
)


_HIDDEN: Mapping[str, tuple[str, ...]] = {
    "synchronous": ("synchronous", "synchronous_ns"),
    "idle": ("awaiting_ns", "idle_ns"),
}
"""The rows that are null for a recording of which something is unknown."""


def side_by_side(both: Both) -> list[Figure]:
    """Every figure, without reasons."""
    hidden = {name for what in both.unknown for name in _HIDDEN.get(what, ())}
    figures = [
        _figure(
            row.name, row.what, row.unit,
            None if row.name in hidden else row.of(both.recorded), row.of(both.simulated),
        )
        for row in ROWS
    ]  # fmt: skip
    tenths = (busiest(both.recorded_tenths), busiest(both.simulated_tenths))
    return [*figures, _figure("busiest_share", "faults in the busiest tenth", "share", *tenths)]


def _figure(
    name: str, what: str, unit: Unit, recording: float | None, simulated: float | None
) -> Figure:
    error = None
    if recording and simulated is not None:
        error = (simulated - recording) / recording
    return Figure(name, what, unit, recording, simulated, error)
