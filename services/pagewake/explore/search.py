"""Walks the space of states: breadth first for the shortest stories, depth first, or at random.

A walk level by level can be left and gone on with.  It is kept now and then, in a file that is
whole at any time, so that one that was killed goes on from there.
"""

from __future__ import annotations

import marshal
import os
import resource
import sys
import time
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from hashlib import blake2b
from itertools import chain
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple, Protocol

import msgspec

from pagewake import __version__
from pagewake.errors import DataError
from pagewake.explore.expand import Copy, Expansion, Walker, choice_at, code_of, key_of
from pagewake.explore.machine import Choice
from pagewake.explore.properties import Broken
from pagewake.explore.rounds import for_ever
from pagewake.explore.space import Chunk, Queue, Space
from pagewake.scenario.model import Scenario
from pagewake.simtime.randomness import Draws

CHECK_EVERY: Final = 64
"""States between two looks at the bounds, depth first."""
KEEP_EVERY_S: Final = 60.0
KEEP_COSTS: Final = 20
"""A walk that is killed loses a minute, or twenty times as long as it takes to keep it."""
KEPT: Final = b"pagewake exploration, 2\n"
RANKED_ANEW: Final = 8
"""One choice in so many is the last before its rank is drawn anew."""
UNREACHED: Final = "is reached in no order"


class Bounds(NamedTuple):
    """Where a search stops although there is more; 0: nowhere."""

    states: int = 0
    depth: int = 0
    memory_bytes: int = 0
    seconds: float = 0.0


class Plan(NamedTuple):
    """What is explored, and how; `wanted`: until that property breaks."""

    scenario: Scenario
    properties: Sequence[str] = ()
    reduce: bool = True
    bounds: Bounds = Bounds()
    first_only: bool = False
    wanted: str = ""


class Found(NamedTuple):
    """A violation: what does not hold, and the choices that lead there."""

    broken: Broken
    path: list[Choice]


class Progress(NamedTuple):
    """How far a search is."""

    states: int
    transitions: int
    frontier: int
    depth: int
    seconds: float


class Explored(msgspec.Struct):
    """What a search came to; `stopped` says by which bound, if it is not complete."""

    states: int = 0
    transitions: int = 0
    depth: int = 0
    at_rest: int = 0
    stopped: str = ""
    seconds: float = 0.0
    reached: Counter[str] = msgspec.field(default_factory=Counter)
    found: dict[str, Found] = msgspec.field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """The whole space was walked."""
        return not self.stopped


OnProgress = Callable[[Progress], None]


class Expander(Protocol):
    """Expands many states, perhaps in several processes, and keeps their order."""

    @property
    def reached(self) -> Counter[str]: ...

    @property
    def memory_bytes(self) -> int: ...

    def expand_all(self, chunks: Queue) -> Iterator[Sequence[Expansion]]: ...


class Here:
    """In this process."""

    def __init__(self, walker: Walker) -> None:
        self.walker = walker

    @property
    def reached(self) -> Counter[str]:
        """How often each kind of event was seen since this was cleared."""
        return self.walker.reached

    @property
    def memory_bytes(self) -> int:
        """The most that was in use."""
        return peak_bytes()

    def expand_all(self, chunks: Queue) -> Iterator[Sequence[Expansion]]:
        for chunk in chunks:
            yield [self.walker.expand(copy) for copy in chunk.unpacked()]


class Chooser:
    """At random, as probabilistic concurrency testing has it: whoever ranks first goes on.

    Ranks are drawn, and now and then that of the first anew; so one may be far behind for long.
    """

    def __init__(self, draws: Draws) -> None:
        self._draws = draws
        self._drawn = 0
        self._ranks: dict[int, int] = {}

    def choose(self, following: Sequence[tuple[int, Copy]]) -> tuple[int, Copy]:
        """One of them."""
        first = max(following, key=lambda each: self._rank(each[0]))
        self._drawn += 1
        if self._draws.below(self._drawn, RANKED_ANEW) == 0:
            del self._ranks[first[0]]
        return first

    def _rank(self, code: int) -> int:
        if code not in self._ranks:
            self._drawn += 1
            self._ranks[code] = self._draws.u64(self._drawn)
        return self._ranks[code]


class Search:
    """One walk; `explored` grows as it goes on."""

    def __init__(
        self, plan: Plan, on_progress: OnProgress | None = None, expander: Expander | None = None
    ) -> None:
        self.plan = plan
        self.explored = Explored(states=1)
        self.walker = Walker(plan.scenario, plan.properties, reduce=plan.reduce)
        self.expander: Expander = expander or Here(self.walker)
        self.boot = self.walker.boot()
        for each, holds in self.walker.tally.holding("sometimes"):
            self.explored.reached[each.text] = int(holds)
        self.start = self.walker.copy()
        self.space = Space(self.start)
        self.interrupted = False
        """Set from outside: stop where that costs nothing."""
        self._on_progress = on_progress
        self._started = time.monotonic()
        self._keep_at_s = self._started + KEEP_EVERY_S
        self._spent_s = 0.0

    # ------------------------------------------------------------------ ways to walk

    def breadth_first(self, keep: Path | None = None) -> Explored:
        """Level by level, so that the first story of a violation is a shortest one.

        With `keep` it is kept there now and then.
        """
        space = self.space
        more = len(space.level) > 0 or (len(space.below) > 0 and self._descend())
        while more and not self._at_bound():
            expanded = self.expander.expand_all(space.level)
            for chunk, expansions in zip(space.level, expanded, strict=True):
                self._add(chunk.first, expansions)
                self._tell(len(space.level) + len(space.below))
                if keep is not None:
                    self._keep(keep)
                if self._at_bound():
                    return self._done()
            more = self._descend()
        return self._done()

    def _add(self, first: int, expansions: Sequence[Expansion]) -> None:
        space = self.space
        for state, expansion in enumerate(expansions, first):
            for code, copy in self._take(state, expansion):
                if space.add(state, code, copy):
                    space.below.append(len(space.parents) - 1, copy)
        space.level.done()
        self._gather()

    def _descend(self) -> bool:
        self.explored.depth += 1
        return self.space.descend()

    def depth_first(self) -> Explored:
        """To the end of each order before the next one is begun."""
        space, explored = self.space, self.explored
        self.expander = Here(self.walker)
        stack = [(0, self.start, 0)]
        limit = self.plan.bounds.depth
        number = 0
        while stack:
            number += 1
            if number % CHECK_EVERY == 0:
                self._tell(len(stack))
                if self._at_bound():
                    break
            state, copy, depth = stack.pop()
            if limit and depth >= limit:
                explored.stopped = "depth"
                continue
            for code, after in self._take(state, self.walker.expand(copy)):
                if space.add(state, code, after):
                    stack.append((len(space.parents) - 1, after, depth + 1))
                    explored.depth = max(explored.depth, depth + 1)
        return self._done()

    def at_random(self, walks: int, seed: int) -> Explored:
        """Some orders, each to its end or to the bound of depth: for a space that is too large."""
        explored = self.explored
        explored.stopped = "walks"
        self.expander = Here(self.walker)
        limit = self.plan.bounds.depth or 10_000
        for walk in range(walks):
            chooser = Chooser(Draws(seed, f"explore/walk-{walk}"))
            copy, path = self.start, list[Choice]()
            while len(path) < limit:
                expansion = self.walker.expand(copy)
                self._note(expansion, path)
                if not expansion.following:
                    break
                explored.transitions += 1
                code, copy = chooser.choose(expansion.following)
                path.append(choice_at(code))
                self.space.seen.number_of(key_of(copy))
            explored.depth = max(explored.depth, len(path))
            explored.states = len(self.space.seen)
            self._tell(0)
            if self.interrupted or (self.plan.first_only and explored.found):
                break
        return self._done()

    # ------------------------------------------------------------------ what is found

    def _take(self, state: int, expansion: Expansion) -> list[tuple[int, Copy]]:
        explored = self.explored
        explored.transitions += len(expansion.following) + len(expansion.broken)
        if expansion.broken or expansion.rest:
            self._note(expansion, self.space.path(state))
        explored.at_rest += expansion.at_rest
        if expansion.at_rest or expansion.broken:
            self.space.ends.append(state)
        return expansion.following

    def _note(self, expansion: Expansion, path: list[Choice]) -> None:
        found = self.explored.found
        for code, broken in expansion.broken:
            found.setdefault(broken.property, self._found(broken, [*path, choice_at(code)]))
        for broken in expansion.rest:
            found.setdefault(broken.property, self._found(broken, path))

    def _gather(self) -> None:
        reached = self.expander.reached
        self.explored.reached.update(reached)
        reached.clear()

    def _found(self, broken: Broken, path: Sequence[Choice]) -> Found:
        return Found(broken, [*self.boot, *path])

    def _at_bound(self) -> bool:
        explored, bounds = self.explored, self.plan.bounds
        explored.states = len(self.space.parents)
        if self.plan.first_only and explored.found:
            explored.stopped = "first violation"
        elif self.plan.wanted in explored.found:
            explored.stopped = "found"
        elif bounds.states and explored.states >= bounds.states:
            explored.stopped = "states"
        elif bounds.depth and explored.depth >= bounds.depth:
            explored.stopped = "depth"
        elif bounds.seconds and time.monotonic() - self._started >= bounds.seconds:
            explored.stopped = "seconds"
        elif bounds.memory_bytes and self.expander.memory_bytes >= bounds.memory_bytes:
            explored.stopped = "memory"
        elif self.interrupted:
            explored.stopped = "interrupt"
        return bool(explored.stopped)

    def _tell(self, frontier: int) -> None:
        explored = self.explored
        if self._on_progress is not None:
            spent_s = self._seconds()
            states = max(explored.states, len(self.space.parents))
            self._on_progress(
                Progress(states, explored.transitions, frontier, explored.depth, spent_s)
            )

    def _done(self) -> Explored:
        explored = self.explored
        explored.states = max(explored.states, len(self.space.parents))
        self._gather()
        if not explored.stopped:
            self._note_restless()
            self._note_unreached()
        explored.seconds = self._seconds()
        return explored

    def _note_restless(self) -> None:
        state = self.space.restless()
        if state is not None:
            path = [*self.boot, *self.space.path(state)]
            broken, round_ = for_ever(self.plan.scenario, path)
            self.explored.found.setdefault(broken.property, Found(broken, round_))

    def _note_unreached(self) -> None:
        """Of a whole space it is known that there is none."""
        explored = self.explored
        for each in self.walker.tally.expressions:
            if each.when == "sometimes" and not explored.reached[each.text]:
                explored.found.setdefault(each.text, Found(Broken(each.text, UNREACHED), []))

    def _seconds(self) -> float:
        return self._spent_s + time.monotonic() - self._started

    # ------------------------------------------------------------------ to go on later

    def _keep(self, path: Path) -> None:
        began = time.monotonic()
        if began >= self._keep_at_s:
            self.save(path)
            now = time.monotonic()
            self._keep_at_s = now + max(KEEP_EVERY_S, KEEP_COSTS * (now - began))

    def save(self, path: Path) -> None:
        """Keep where a walk level by level stands; what was kept there is replaced at once."""
        space, explored = self.space, self.explored
        found = [
            (*each.broken, [code_of(choice) for choice in each.path])
            for each in explored.found.values()
        ]
        figures = (explored.transitions, explored.depth, explored.at_rest, self._seconds())
        arrays = list(space.arrays())
        queues = [queue.to_keep() for queue in (space.level, space.below)]
        head = (
            self._mark(), figures, tuple(explored.reached.items()), tuple(found),
            [len(each) for each in arrays], [len(queue) for queue in queues],
        )  # fmt: skip
        fresh = path.with_name(f"{path.name}.new")
        with fresh.open("wb") as file:
            file.write(KEPT)
            marshal.dump(head, file)
            for each in arrays:
                each.tofile(file)
            for chunk in chain(*queues):
                marshal.dump((chunk.first, chunk.states, chunk.copies), file)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)

    def load(self, path: Path) -> None:
        """Go on where `save` stood; DataError where that was another space."""
        try:
            with path.open("rb") as file:
                self._load(path, file)
        except (OSError, ValueError, EOFError, TypeError) as error:
            raise DataError(f"{path}: is no exploration that could go on: {error}") from None

    def _load(self, path: Path, file: BinaryIO) -> None:
        if file.read(len(KEPT)) != KEPT:
            raise ValueError("it does not begin as one")
        mark, figures, reached, found, lengths, counts = marshal.load(file)  # noqa: S302 - own
        if mark != self._mark():
            raise DataError(f"{path}: is of another scenario, of other bounds or another pagewake")
        arrays = [array(each.typecode) for each in self.space.arrays()]
        for each, length in zip(arrays, lengths, strict=True):
            each.fromfile(file, length)
        level, below = [
            Queue(Chunk(*marshal.load(file)) for _ in range(count))  # noqa: S302 - own
            for count in counts
        ]
        self.space.restore(arrays, level, below)
        explored = self.explored
        explored.transitions, explored.depth, explored.at_rest, self._spent_s = figures
        explored.reached = Counter(dict(reached))
        for name, what, path_codes in found:
            path_of = [choice_at(code) for code in path_codes]
            explored.found[name] = Found(Broken(name, what), path_of)

    def _mark(self) -> str:
        plan = self.plan
        text = msgspec.json.encode((plan.scenario, list(plan.properties), plan.reduce, __version__))
        return blake2b(text, digest_size=16).hexdigest()


def peak_bytes() -> int:
    """The most that this process has had; the kernel counts in KiB, but on macOS."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024
