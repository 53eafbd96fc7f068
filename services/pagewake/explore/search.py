"""Walks the space of states: breadth first for the shortest stories, depth first, or at random.

Of every state that was found only a key of 64 bits is kept, and how it was reached: from which
state, by which choice.  Copies of states are kept as long as what follows is still to be found.
"""

from __future__ import annotations

import marshal
import resource
import sys
import time
import zlib
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Final, NamedTuple, Protocol

import msgspec
import numpy as np

from pagewake import __version__
from pagewake.errors import DataError
from pagewake.explore.expand import (
    NUMBERS,
    Copy,
    Expansion,
    Walker,
    choice_at,
    code_of,
    key_of,
)
from pagewake.explore.machine import MUST, Choice
from pagewake.explore.properties import Broken
from pagewake.explore.rounds import for_ever
from pagewake.scenario.model import Scenario
from pagewake.simtime.randomness import Draws

CHECK_EVERY: Final = 64
"""States between two looks at the bounds."""
RANKED_ANEW: Final = 8
"""One choice in so many is the last before its rank is drawn anew."""
UNREACHED: Final = "is reached in no order"
MAY_FROM: Final = len(MUST) * NUMBERS
NO_STATE: Final = 0xFFFF_FFFF


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

    def expand_all(self, copies: Sequence[Copy]) -> Iterator[Expansion]: ...


class Here:
    """In this process."""

    def __init__(self, walker: Walker) -> None:
        self.walker = walker

    @property
    def reached(self) -> Counter[str]:
        """How often each kind of event was seen."""
        return self.walker.reached

    def expand_all(self, copies: Sequence[Copy]) -> Iterator[Expansion]:
        return map(self.walker.expand, copies)


class Space:
    """States found so far: how each was reached, and the copies of those to be expanded.

    `went` and `came` are the steps from state to state that happen sooner or later.
    """

    def __init__(self, start: Copy) -> None:
        self.seen = {key_of(start): 0}
        self.parents = array("I", [NO_STATE])
        self.codes = array("H", [0])
        self.went = array("I")
        self.came = array("I")
        self.ends = array("I")
        self.frontier: list[tuple[int, Copy]] = [(0, start)]

    def add(self, parent: int, code: int, copy: Copy) -> bool:
        """A state that may be new; True if it is, and then it is the last."""
        key = key_of(copy)
        number = len(self.parents)
        known = self.seen.setdefault(key, number)
        if code < MAY_FROM:
            self.went.append(parent)
            self.came.append(known)
        if known != number:
            return False
        self.parents.append(parent)
        self.codes.append(code)
        return True

    def restless(self) -> int | None:
        """The first state from which none is reached in which nothing more is under way."""
        total = len(self.parents)
        ends = np.zeros(total, np.bool_)
        ends[np.frombuffer(self.ends, np.uint32)] = True
        went, came = (np.frombuffer(each, np.uint32) for each in (self.went, self.came))
        while True:
            more = went[ends[came] & ~ends[went]]
            if not len(more):
                break
            ends[more] = True
        left = np.flatnonzero(~ends)
        return int(left[0]) if len(left) else None

    def path(self, state: int) -> list[Choice]:
        """The choices that led to it."""
        codes: list[int] = []
        while self.parents[state] != NO_STATE:
            codes.append(self.codes[state])
            state = self.parents[state]
        return [choice_at(code) for code in reversed(codes)]


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
        self.space = Space(self.walker.copy())
        self._on_progress = on_progress
        self._started = time.monotonic()
        self._spent_s = 0.0

    # ------------------------------------------------------------------ ways to walk

    def breadth_first(self) -> Explored:
        """Level by level, so that the first story of a violation is a shortest one."""
        space, explored = self.space, self.explored
        while space.frontier and not self._at_bound():
            level, space.frontier = space.frontier, []
            expansions = self.expander.expand_all([copy for _, copy in level])
            for number, ((state, _), expansion) in enumerate(zip(level, expansions, strict=True)):
                for code, copy in self._take(state, expansion):
                    if space.add(state, code, copy):
                        space.frontier.append((len(space.parents) - 1, copy))
                if number % CHECK_EVERY == 0:
                    self._tell(len(level) - number + len(space.frontier))
                    if self._at_bound():
                        space.frontier = [*level[number + 1 :], *space.frontier]
                        break
            else:
                explored.depth += 1
            self._tell(len(space.frontier))
        return self._done()

    def depth_first(self) -> Explored:
        """To the end of each order before the next one is begun."""
        space, explored = self.space, self.explored
        stack = [(state, copy, 0) for state, copy in space.frontier]
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
            (expansion,) = self.expander.expand_all([copy])
            for code, after in self._take(state, expansion):
                if space.add(state, code, after):
                    stack.append((len(space.parents) - 1, after, depth + 1))
                    explored.depth = max(explored.depth, depth + 1)
        return self._done()

    def at_random(self, walks: int, seed: int) -> Explored:
        """Some orders, each to its end or to the bound of depth: for a space that is too large."""
        explored = self.explored
        explored.stopped = "walks"
        ((_, start),) = self.space.frontier
        limit = self.plan.bounds.depth or 10_000
        for walk in range(walks):
            chooser = Chooser(Draws(seed, f"explore/walk-{walk}"))
            copy, path = start, list[Choice]()
            while len(path) < limit:
                expansion = self.walker.expand(copy)
                self._note(expansion, path)
                if not expansion.following:
                    break
                explored.transitions += 1
                code, copy = chooser.choose(expansion.following)
                path.append(choice_at(code))
                key = key_of(copy)
                explored.states += key not in self.space.seen
                self.space.seen.setdefault(key, 0)
            explored.depth = max(explored.depth, len(path))
            self._tell(0)
            if self.plan.first_only and explored.found:
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
        elif bounds.memory_bytes and _memory_bytes() >= bounds.memory_bytes:
            explored.stopped = "memory"
        return bool(explored.stopped)

    def _tell(self, frontier: int) -> None:
        explored = self.explored
        if self._on_progress is not None:
            spent_s = self._spent_s + time.monotonic() - self._started
            states = max(explored.states, len(self.space.parents))
            self._on_progress(
                Progress(states, explored.transitions, frontier, explored.depth, spent_s)
            )

    def _done(self) -> Explored:
        explored = self.explored
        explored.states = max(explored.states, len(self.space.parents))
        explored.reached.update(self.expander.reached)
        if not explored.stopped:
            self._note_restless()
            self._note_unreached()
        explored.seconds = self._spent_s + time.monotonic() - self._started
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

    # ------------------------------------------------------------------ to go on later

    def save(self, path: Path) -> None:
        """Keep where a walk level by level stands."""
        space, explored = self.space, self.explored
        found = [
            (*each.broken, [code_of(choice) for choice in each.path])
            for each in explored.found.values()
        ]
        arrays = (
            array("Q", space.seen),
            space.parents,
            space.codes,
            space.went,
            space.came,
            space.ends,
        )
        kept = (
            self._mark(), tuple(each.tobytes() for each in arrays),
            tuple(space.frontier), explored.transitions, explored.depth, explored.at_rest,
            explored.seconds, tuple(explored.reached.items()), tuple(found),
        )  # fmt: skip
        path.write_bytes(zlib.compress(marshal.dumps(kept, 0), 1))

    def load(self, path: Path) -> None:
        """Go on where `save` stood; DataError where that was another space."""
        try:
            kept = marshal.loads(zlib.decompress(path.read_bytes()))  # noqa: S302 - plain values
            mark, arrays, frontier, *figures, spent_s, reached, found = kept
        except (OSError, ValueError, EOFError, TypeError, zlib.error) as error:
            raise DataError(f"{path}: is no exploration that could go on: {error}") from None
        if mark != self._mark():
            raise DataError(f"{path}: is of another scenario, of other bounds or another pagewake")
        space, explored = self.space, self.explored
        seen, space.parents, space.codes, space.went, space.came, space.ends = (
            array(kind, held) for kind, held in zip("QIHIII", arrays, strict=True)
        )
        space.seen = {key: number for number, key in enumerate(seen)}
        space.frontier = [(state, copy) for state, copy in frontier]
        explored.transitions, explored.depth, explored.at_rest = figures
        explored.reached = Counter(dict(reached))
        self._spent_s = spent_s
        for name, what, path_codes in found:
            path_of = [choice_at(code) for code in path_codes]
            explored.found[name] = Found(Broken(name, what), path_of)

    def _mark(self) -> str:
        plan = self.plan
        text = msgspec.json.encode((plan.scenario, list(plan.properties), plan.reduce, __version__))
        return blake2b(text, digest_size=16).hexdigest()


def _memory_bytes() -> int:
    """The most that this process has had; the kernel counts in KiB, but on macOS."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024
