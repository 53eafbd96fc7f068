"""Expands the states of a level in several processes, each with a machine of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from types import TracebackType
from typing import Final, Self

from pagewake.explore.expand import Copy, Expansion, Walker
from pagewake.explore.search import Plan

BATCH: Final = 64
"""States at a time: several milliseconds of work, so that handing over costs little."""
FEW: Final = 4 * BATCH
"""A level with so few is done here sooner than handed over."""


class Workers:
    """See the module; the order of what comes back is that of what was handed out."""

    def __init__(self, plan: Plan, jobs: int) -> None:
        self._here = _walker(plan)
        self._pool = ProcessPoolExecutor(
            jobs, get_context("spawn"), initializer=_start, initargs=(plan,)
        )
        self.reached: Counter[str] = Counter()

    def expand_all(self, copies: Sequence[Copy]) -> Iterator[Expansion]:
        if len(copies) <= FEW:
            yield from map(self._here.expand, copies)
            self._count(self._here.reached)
            return
        batches = [copies[at : at + BATCH] for at in range(0, len(copies), BATCH)]
        for expansions, reached in self._pool.map(_expand, batches):
            self._count(reached)
            yield from expansions

    def _count(self, reached: Counter[str]) -> None:
        self.reached += reached
        reached.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._pool.shutdown(cancel_futures=True)


def _walker(plan: Plan) -> Walker:
    walker = Walker(plan.scenario, plan.properties, reduce=plan.reduce)
    walker.boot()
    walker.reached.clear()
    return walker


_MINE: list[Walker] = []
"""The walker of a worker process; nothing in any other."""


def _start(plan: Plan) -> None:
    _MINE.append(_walker(plan))


def _expand(copies: Sequence[Copy]) -> tuple[list[Expansion], Counter[str]]:
    walker = _MINE[0]
    expansions = [walker.expand(copy) for copy in copies]
    reached = Counter(walker.reached)
    walker.reached.clear()
    return expansions, reached
