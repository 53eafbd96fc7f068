"""A stretch of a run as spans, flights and counts: what a timeline shows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from pagewake.timeline.trace_tracks import BLACKOUT, FRAME, PENDING, RUNNING, STEAL, WORKERS

CROWDED = 600
"""So many instants in one picture are a blur."""
READABLE = 160  # five pixels each on the wide picture
L2 = "L2"
_COLOURS = {
    RUNNING: "running",
    L2: "nested",
    BLACKOUT: "blackout",
    FRAME: "blackout",
    WORKERS: "blackout",
    PENDING: "pending",
    STEAL: "steal",
}
_HALTED = "halted: "
_NO_PAGE = ("halted: idle", "halted: offline", PENDING)


class Span(NamedTuple):
    """A vcpu was in one state for a while."""

    vcpu: int
    state: str
    from_ns: int
    until_ns: int


class Ran(NamedTuple):
    """A task, or one of several, ran on a vcpu."""

    vcpu: int
    task: str
    from_ns: int
    until_ns: int


class Mark(NamedTuple):
    """Something that was done to the VM, or to one vcpu of it."""

    at_ns: int
    vcpu: int | None
    words: str


class Flight(NamedTuple):
    """A token from not-present to its end; None: that came after the stretch.

    `never`: there was no READY, for this reason; `lost`: though the guest waits for it.
    """

    vcpu: int
    from_ns: int
    until_ns: int | None
    arrived_ns: int | None = None
    never: str = ""
    lost: bool = False


class Timeline(NamedTuple):
    """One stretch of one VM; `sleepers` are (instant, tasks asleep from then on)."""

    vm: str
    from_ns: int
    until_ns: int
    happened: int
    spans: list[Span]
    flights: list[Flight]
    sleepers: list[tuple[int, int]]
    vcpus: list[int]
    hidden_vcpus: int
    complete: bool
    tasks: Sequence[Ran] = ()
    marks: Sequence[Mark] = ()

    def zoomed(self) -> Timeline:
        """The part in which anything happens, if that is less than a quarter; else the whole."""
        instants = [*self._instants()]
        if not instants:
            return self
        instants += [mark.at_ns for mark in self.marks]
        first, last = min(instants), max(instants)
        if (last - first) * 4 > self.until_ns - self.from_ns:
            return self
        margin = max((last - first) // 10, 5_000)
        from_ns, until_ns = max(self.from_ns, first - margin), min(self.until_ns, last + margin)
        return self._replace(from_ns=from_ns, until_ns=until_ns)

    def drawn(self) -> int:
        """How many spans and flights there are to draw."""
        return len(self.spans) + len(self.flights)

    def busiest(self) -> Timeline | None:
        """The part with the most in it that can still be read; None where the whole can be."""
        instants = sorted(set(self._instants()))
        if len(instants) <= CROWDED:
            return None
        length_ns = self.until_ns - self.from_ns
        most, begin = len(instants), instants[0]
        while most > READABLE and length_ns > 1_000:
            length_ns //= 2
            most, begin = _fullest(instants, length_ns)
        from_ns = max(self.from_ns, min(begin - length_ns // 50, self.until_ns - length_ns))
        return self._replace(from_ns=from_ns, until_ns=from_ns + length_ns)

    def _instants(self) -> Iterator[int]:
        edges = [(span.from_ns, span.until_ns) for span in self.spans]
        edges += [(one.from_ns, one.until_ns or self.until_ns) for one in self.flights]
        for at_ns in (
            *(at_ns for edge in edges for at_ns in edge),
            *(at for at, _ in self.sleepers),
        ):
            if self.from_ns < at_ns < self.until_ns:
                yield at_ns


def _fullest(instants: Sequence[int], length_ns: int) -> tuple[int, int]:
    """The most of them within a length, and the earliest begin of such a part."""
    best, begin, behind = 0, instants[0], 0
    for first, at_ns in enumerate(instants):
        while behind < len(instants) and instants[behind] < at_ns + length_ns:
            behind += 1
        if behind - first > best:
            best, begin = behind - first, at_ns
    return best, begin


def colour_of(state: str) -> str:
    """The name of the colour that a state of a vcpu is drawn in."""
    return _COLOURS.get(state) or ("halted" if is_halt(state) else "idle")


def is_halt(state: str) -> bool:
    """Whether a vcpu in this state is halted because of a page."""
    return state.startswith(_HALTED) and state not in _NO_PAGE
