"""Why a figure of a fitted run is off: known reasons, each given only if other figures support it.

A model that is off for a reason is of use; one that is off without one is not understood. The first
reason of the table that is supported is the one that is given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import msgspec

from pagewake.fit.evidence import TENTHS
from pagewake.fit.sides import OFF, Both, Figure, busiest, idle_ns, share
from pagewake.fit.skeleton import path_ns
from pagewake.recorded.figures import Figures, Stage

FEW = 20
"""Of so few, one more or less is a matter of chance."""
SPREADS = 2.5
"""Standard deviations that chance alone explains."""
MUCH = 0.1
"""Of the vcpu time: what blacks out more of it changes everything else."""


class Case(NamedTuple):
    """A figure that is off, and all the others."""

    figure: Figure
    both: Both

    @property
    def recorded(self) -> Figures:
        return self.both.recorded

    @property
    def simulated(self) -> Figures:
        return self.both.simulated

    @property
    def is_less(self) -> bool:
        """Whether the run has less of it."""
        return (self.figure.simulated or 0) < (self.figure.recording or 0)


class Reason(NamedTuple):
    """Why figures whose names begin so are off; `why` is None where nothing supports it."""

    names: tuple[str, ...]
    why: Callable[[Case], str | None]


def explained(figures: Sequence[Figure], both: Both) -> list[Figure]:
    """The figures, with reasons where they are off."""
    return [
        msgspec.structs.replace(each, reason=next(_reasons(Case(each, both)), None))
        if each.off
        else each
        for each in figures
    ]


def _reasons(case: Case) -> Iterator[str]:
    for reason in REASONS:
        if case.figure.name.startswith(reason.names):
            text = reason.why(case)
            if text is not None:
                yield text


def _percent(part: float, whole: float) -> str:
    return f"{100 * part / whole:.0f} %"


def _few(case: Case) -> str | None:
    figure = case.figure
    larger = max(figure.recording or 0, figure.simulated or 0)
    if figure.unit == "count" and larger <= FEW:
        return f"there are at most {FEW} of them: chance"
    return None


def _drawn(case: Case) -> str | None:
    """A share of few faults that are each drawn varies by itself."""
    recorded, simulated = case.figure.recording, case.figure.simulated
    if recorded is None or simulated is None:
        return None
    spread = (recorded * (1 - recorded) / case.recorded.started) ** 0.5
    if abs(simulated - recorded) <= SPREADS * spread:
        return f"each of {case.recorded.started:,} faults is drawn: chance"
    return None


def _tail(case: Case) -> str | None:
    """A hundredth of few faults is a handful, and any of the slowest may be the hundredth."""
    stage: Stage = getattr(case.recorded, case.figure.name.split("_")[0])
    if not case.figure.name.endswith("p99_ns") or stage.count >= FEW * 100:
        return None
    if (stage.p90_ns or 0) <= (case.figure.simulated or 0) <= (stage.max_ns or 0):
        return f"it is one of the longest {stage.count // 100} of {stage.count:,}: chance"
    return None


def _reclaim(case: Case) -> str | None:
    found = case.recorded.synchronous
    if found.reclaim_ns and found.reclaim_ns * 2 > found.took_ns and case.is_less:
        part = _percent(found.reclaim_ns, found.took_ns)
        return f"for {part} of that time the vcpu threads reclaimed memory themselves"
    return None


def _off_cpu(case: Case) -> str | None:
    found = case.recorded.synchronous
    if found.off_cpu_ns and found.off_cpu_ns * 2 > found.took_ns and case.is_less:
        part = _percent(found.off_cpu_ns, found.took_ns)
        return (
            f"for {part} of that time the vcpu threads were on no CPU: they slept for the page, or "
            "the host's CPUs were contended"
        )
    return None


def _read_ahead(case: Case) -> str | None:
    if case.is_less:
        return (
            "pages that another fault reads already, by read-ahead, and pages that are read alone "
            "and polled for are waited for in the vcpu thread; this run reads page by page"
        )
    return None


def _path(case: Case) -> str | None:
    stage = case.recorded.submission
    if stage.p90_ns and stage.p50_ns and stage.p90_ns > stage.p50_ns * (1 + OFF):
        median, tenth = stage.p50_ns / 1e6, stage.p90_ns / 1e6
        return (
            f"the host took {median:.3g} ms to tell the guest, but {tenth:.3g} ms and more for a"
            " tenth of the faults; here it takes the median each time"
        )
    return None


def _busy_threads(case: Case) -> str | None:
    """READY comes when the vcpu thread looks; in a synchronous fault it does not."""
    figures = case.recorded
    busy_ns, all_ns = figures.synchronous.took_ns, figures.span_ns * figures.vcpus
    if busy_ns > MUCH * all_ns and case.is_less:
        part = _percent(busy_ns, all_ns)
        return f"READY waits for vcpu threads, {part} of whose time went into synchronous faults"
    return None


def _slow_threads(case: Case) -> str | None:
    if (case.recorded.delivery.p50_ns or 0) > 10 * path_ns() and case.is_less:
        return "READY waits for vcpu threads that are on no CPU: those of the host are contended"
    return None


def _delivered_late(case: Case) -> str | None:
    """What a fault takes as a whole is its completion and its delivery."""
    p99_ns = case.recorded.delivery.p99_ns or 0
    if p99_ns > (case.simulated.delivery.p99_ns or 0) * (1 + OFF) and case.is_less:
        return "delivery took longer than here, for the reason given there"
    return None


def _in_order(case: Case) -> str | None:
    if case.is_less:
        return None
    return "page-ins of a vcpu ended in the order of their start; here each draws its own time"


def _uneven(case: Case) -> str | None:
    """Of a steady load every tenth has a tenth."""
    recorded, simulated = busiest(case.both.recorded_tenths), busiest(case.both.simulated_tenths)
    if recorded and simulated and recorded > max(simulated, 1.2 / TENTHS):
        return f"the guest's load changed: {recorded:.0%} of the faults are in the busiest tenth"
    return None


def _shorter_halts(case: Case) -> str | None:
    """An interrupt ends a halt, and the fault is made again: longer halts, more of that."""
    recorded, simulated = (_halt_ns(each) for each in (case.recorded, case.simulated))
    if recorded and simulated and simulated > recorded * (1 + OFF) and not case.is_less:
        return (
            f"a halt for a page takes {simulated / 1e6:.3g} ms here and took {recorded / 1e6:.3g} "
            "ms: pages that kernel mode touched came sooner than others"
        )
    return None


def _halt_ns(figures: Figures) -> float | None:
    return share(figures.for_a_page_ns, figures.halted)


def _same_pages(case: Case) -> str | None:
    if case.recorded.repeated > case.simulated.repeated and case.is_less:
        return (
            "tasks touched pages that another one of their vcpu awaited, as walks through the same "
            "memory do; here they are drawn apart from each other"
        )
    return None


def _blacked_out(case: Case) -> str | None:
    """Vcpu time that is blacked out can neither be gained nor be idle."""
    figures = case.recorded
    took_ns, all_ns = figures.synchronous.took_ns, figures.span_ns * figures.vcpus
    if took_ns > max(MUCH * all_ns, case.simulated.synchronous.took_ns) and not case.is_less:
        part = _percent(took_ns, all_ns)
        return f"{part} of the vcpu time went into synchronous faults, which this run has not"
    return None


def _other_waits(case: Case) -> str | None:
    if idle_ns(case.recorded) > idle_ns(case.simulated) and case.is_less:
        return "the guest's tasks also waited for other things than pages; here they only compute"
    return None


def _more_to_run(case: Case) -> str | None:
    if idle_ns(case.recorded) < idle_ns(case.simulated) and not case.is_less:
        return "the guest had more to run than tasks that fault, which a host does not see"
    return None


REASONS = (
    Reason(("repeated", "halted", "synchronous"), _few),
    Reason(("write_share", "kernel_share"), _drawn),
    Reason(("synchronous",), _reclaim),
    Reason(("synchronous",), _off_cpu),
    Reason(("synchronous",), _read_ahead),
    Reason(("submission", "early"), _path),
    Reason(("delivery",), _busy_threads),
    Reason(("delivery",), _slow_threads),
    Reason(("whole", "outstanding", "late", "awaiting"), _delivered_late),
    Reason(("outstanding_max",), _few),
    Reason(("late",), _in_order),
    Reason(("completion", "delivery", "whole"), _tail),
    Reason(("outstanding", "busiest"), _uneven),
    Reason(("repeated", "halted"), _shorter_halts),
    Reason(("repeated", "halted"), _same_pages),
    Reason(("gained", "idle", "awaiting"), _blacked_out),
    Reason(("idle", "awaiting"), _other_waits),
    Reason(("idle", "awaiting"), _more_to_run),
)
