"""The whole run of one VM in a few hundred columns: shares of time, by state and by task.

A run of any length fits: where the columns are used up, two become one. Shares are exact, as time
is only added up; where in a column something happened is not known.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import groupby

from pagewake.observe.report.timeline import L2, Mark, colour_of
from pagewake.timeline.trace_tracks import RUNNING

COLUMNS = 512
"""About as many as the picture has pixels; between half and all of them are used."""
FIRST_NS = 1_000
"""Width of a column at the begin: a run of half a millisecond is shown to the microsecond."""
NAMES_MAX = 12
"""Tasks of a vcpu with columns of their own; what comes later is counted as `OTHERS`."""
OTHERS = "other tasks"


class Columns:
    """Nanoseconds of one kind, by column."""

    __slots__ = ("ns",)

    def __init__(self) -> None:
        self.ns = [0] * COLUMNS

    def add(self, width_ns: int, from_ns: int, until_ns: int, sign: int = 1) -> None:
        first, last = from_ns // width_ns, (until_ns - 1) // width_ns
        if first == last:
            self.ns[first] += sign * (until_ns - from_ns)
            return
        self.ns[first] += sign * ((first + 1) * width_ns - from_ns)
        for column in range(first + 1, last):
            self.ns[column] += sign * width_ns
        self.ns[last] += sign * (until_ns - last * width_ns)

    def halve(self) -> None:
        """Two columns become one."""
        pairs = [one + other for one, other in zip(self.ns[::2], self.ns[1::2], strict=True)]
        self.ns = pairs + [0] * (COLUMNS // 2)


class Overview:
    """What the vcpus of a VM did, from the begin to the end of its run."""

    def __init__(self) -> None:
        self.width_ns = FIRST_NS
        self.end_ns = 0
        self.marks: list[Mark] = []
        self._states: dict[int, dict[str, Columns]] = {}
        self._tasks: dict[int, dict[str, Columns]] = {}
        self._asleep = [0] * COLUMNS
        self._last = (0, 0)  # since when how many tasks sleep

    def add_vcpu(self, vcpu: int) -> None:
        """A vcpu to follow; of others nothing is kept."""
        self._states[vcpu] = {}
        self._tasks[vcpu] = {}

    @property
    def vcpus(self) -> list[int]:
        """Those that are followed."""
        return sorted(self._states)

    def state(self, vcpu: int, state: str, from_ns: int, until_ns: int) -> None:
        """A vcpu was in a state; L2 lies inside *running* and counts for itself."""
        kinds = self._states.get(vcpu)
        if kinds is None or until_ns <= from_ns:
            return
        self._reach(until_ns)
        self._of(kinds, colour_of(state)).add(self.width_ns, from_ns, until_ns)
        if state == L2:
            self._of(kinds, colour_of(RUNNING)).add(self.width_ns, from_ns, until_ns, -1)

    def ran(self, vcpu: int, task: str, from_ns: int, until_ns: int) -> None:
        """A task ran."""
        names = self._tasks.get(vcpu)
        if names is None:
            return
        self._reach(until_ns)
        name = task if task in names or len(names) < NAMES_MAX else OTHERS
        self._of(names, name).add(self.width_ns, from_ns, until_ns)

    def sleepers(self, at_ns: int, number: int) -> None:
        """So many tasks sleep from now on; of a column the highest number is kept."""
        self._reach(at_ns + 1)
        since_ns, before = self._last
        for column in range(since_ns // self.width_ns, at_ns // self.width_ns + 1):
            self._asleep[column] = max(self._asleep[column], before)
        column = at_ns // self.width_ns
        self._asleep[column] = max(self._asleep[column], number)
        self._last = (at_ns, number)

    def close(self, at_ns: int) -> None:
        """The VM's run has ended."""
        self.sleepers(max(at_ns - 1, self._last[0]), self._last[1])
        self.end_ns = at_ns

    def _of(self, kinds: dict[str, Columns], kind: str) -> Columns:
        found = kinds.get(kind)
        if found is None:
            found = kinds[kind] = Columns()
        return found

    def _reach(self, until_ns: int) -> None:
        while until_ns > self.width_ns * COLUMNS:
            self.width_ns *= 2
            for tables in (self._states, self._tasks):
                for kinds in tables.values():
                    for columns in kinds.values():
                        columns.halve()
            asleep = self._asleep
            pairs = [max(pair) for pair in zip(asleep[::2], asleep[1::2], strict=True)]
            self._asleep = pairs + [0] * (COLUMNS // 2)

    # ------------------------------------------------------------------ for the page

    def shares(self, vcpu: int) -> tuple[dict[str, list[int]], dict[str, list[int]]]:
        """Of each column, thousandths of its width by state and by task, as runs (value, times)."""
        return self._packed(self._states[vcpu]), self._packed(self._tasks[vcpu])

    def asleep(self) -> list[int]:
        """The most tasks asleep in each column, as runs (value, times)."""
        return _runs(self._asleep[: self._used()])

    def _used(self) -> int:
        return min(COLUMNS, -(-max(self.end_ns, 1) // self.width_ns))

    def _packed(self, kinds: Mapping[str, Columns]) -> dict[str, list[int]]:
        used = self._used()
        return {
            kind: _runs([round(1000 * ns / self.width_ns) for ns in columns.ns[:used]])
            for kind, columns in sorted(kinds.items())
        }


def _runs(values: list[int]) -> list[int]:
    return [number for value, group in groupby(values) for number in (value, sum(1 for _ in group))]
