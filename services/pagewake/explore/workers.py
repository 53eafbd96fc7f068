"""Expands the states of a level in several processes, each with a machine of its own."""

from __future__ import annotations

import gc
import os
import signal
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context, parent_process
from threading import Thread
from types import TracebackType
from typing import Final, NamedTuple, Self

from pagewake.explore.expand import Expansion, Walker
from pagewake.explore.search import Here, Plan, peak_bytes
from pagewake.explore.space import CHUNK, Chunk, Queue

FEW: Final = 4 * CHUNK
"""A level with so few states is done here sooner than handed over."""
AHEAD: Final = 3
"""Chunks handed over for each process: none waits, and few results do."""


class _Expanded(NamedTuple):
    """What a process says of a chunk, and of itself."""

    expansions: Sequence[Expansion]
    reached: Counter[str]
    pid: int
    peak_bytes: int


class Workers:
    """See the module; the order of what comes back is that of what was handed out."""

    def __init__(self, plan: Plan, jobs: int) -> None:
        self._here = Here(_walker(plan))
        self._ahead = AHEAD * jobs
        self._pool = ProcessPoolExecutor(
            jobs, get_context("spawn"), initializer=_start, initargs=(plan,)
        )
        self._peaks: dict[int, int] = {}
        self.reached: Counter[str] = Counter()

    @property
    def memory_bytes(self) -> int:
        """The most that this process had, and each of the others, however much of it they share."""
        return peak_bytes() + sum(self._peaks.values())

    def expand_all(self, chunks: Queue) -> Iterator[Sequence[Expansion]]:
        if len(chunks) <= FEW:
            for expansions in self._here.expand_all(chunks):
                self._count(self._here.reached)
                yield expansions
            return
        waiting: deque[Future[_Expanded]] = deque()
        for chunk in chunks:
            waiting.append(self._pool.submit(_expand, chunk))
            if len(waiting) > self._ahead:
                yield self._taken(waiting.popleft())
        while waiting:
            yield self._taken(waiting.popleft())

    def _taken(self, future: Future[_Expanded]) -> Sequence[Expansion]:
        expanded = future.result()
        self._peaks[expanded.pid] = expanded.peak_bytes
        self._count(expanded.reached)
        return expanded.expansions

    def _count(self, reached: Counter[str]) -> None:
        self.reached.update(reached)
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
    Thread(target=_end_with_parent, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the walk ends in the process that began it
    _MINE.append(_walker(plan))
    gc.disable()  # states form no cycles


def _end_with_parent() -> None:
    """One that was killed says nothing to those that wait for its chunks."""
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _expand(chunk: Chunk) -> _Expanded:
    walker = _MINE[0]
    expansions = [walker.expand(copy) for copy in chunk.unpacked()]
    reached = Counter(walker.reached)
    walker.reached.clear()
    return _Expanded(expansions, reached, os.getpid(), peak_bytes())
