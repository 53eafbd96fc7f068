"""How long the guest computes between two touches: what makes the run have the recorded faults.

Nobody sees that in a host, and everything that follows from it is: so it is found by running. More
time between touches makes fewer faults; the search is a false position in the logarithms, from the
time that would do if nothing but the vcpus were in the way, and the same on every machine.
"""

from __future__ import annotations

from typing import NamedTuple

from pagewake.engine.embedded import run_embedded
from pagewake.engine.run import without_collector
from pagewake.events.types import Event
from pagewake.fit.evidence import Evidence
from pagewake.fit.skeleton import RESIDENT_SHARE, skeleton
from pagewake.participants.build import build
from pagewake.participants.plan import RunPlan
from pagewake.recorded.figures import FigureCounter, Figures
from pagewake.scenario.loading import loads

RUNS_MAX = 12
"""It rarely takes half as many."""
NEAR_ENOUGH = 0.01
"""Of the number of faults: chance alone makes as much of a thousand of them."""
DIGITS = 1_000
"""A touch is given to three digits."""


class Fitted(NamedTuple):
    """A scenario, and what a run of it came to."""

    text: str
    figures: Figures
    counter: FigureCounter


def fitted(evidence: Evidence) -> Fitted:
    """The scenario whose run has as many asynchronous faults as were recorded."""
    wanted = evidence.figures.started
    touch_ns = first_guess_ns(evidence)
    tried: dict[int, int] = {}
    best: tuple[int, Fitted] | None = None
    while touch_ns not in tried and len(tried) < RUNS_MAX:
        text = skeleton(evidence, touch_ns)
        counter = simulated(text, evidence.slow_ns)
        figures = counter.figures(evidence.length_ns)
        tried[touch_ns] = figures.started
        off = abs(figures.started - wanted)
        if best is None or off < best[0]:
            best = off, Fitted(text, figures, counter)
        if off <= wanted * NEAR_ENOUGH:
            break
        touch_ns = next_guess_ns(tried, wanted)
    assert best is not None, "one is tried at least"
    return best[1]


def first_guess_ns(evidence: Evidence) -> int:
    """If the vcpus did nothing but touch, and every other touch missed."""
    per_fault_ns = evidence.length_ns * evidence.vcpus // evidence.figures.started
    return rounded(max(1, per_fault_ns // RESIDENT_SHARE))


def next_guess_ns(tried: dict[int, int], wanted: int) -> int:
    """Between the nearest too short and too long; beyond all of them in proportion."""
    shorter = max((ns for ns, faults in tried.items() if faults > wanted), default=None)
    longer = min((ns for ns, faults in tried.items() if faults <= wanted), default=None)
    if shorter is None:
        assert longer is not None, tried
        return rounded(max(1, min(longer // 2, longer * tried[longer] // wanted)))
    if longer is None or longer < shorter:
        return rounded(shorter * max(2 * wanted, tried[shorter]) // wanted)
    more, fewer = tried[shorter], tried[longer]
    step = (longer - shorter) * (more - wanted) // max(1, more - fewer)
    return rounded(shorter + step)


def rounded(ns: int) -> int:
    """Three digits, as a person would write it."""
    unit = 1
    while ns // unit >= DIGITS:
        unit *= 10
    return ns // unit * unit


def simulated(text: str, slow_ns: int) -> FigureCounter:
    """The figures of a run of this scenario."""
    scenario = loads(text, "fit")
    plan = RunPlan.of("embedded", scenario, 1)
    counter = FigureCounter(slow_ns)

    def observe(events: list[Event]) -> None:
        counter.feed(sorted(events, key=lambda event: (event.vm, event.n)))

    with without_collector():
        run_embedded(plan, build(plan, [0]), [0], observer=observe)
    return counter
