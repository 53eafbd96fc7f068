"""A clock for tests: time passes when it is told to, or when nobody has anything else to do."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from heapq import heappop, heappush
from itertools import count
from typing import TypeVar

Value = TypeVar("Value")

TURNS = 20
"""Of the event loop without which nobody is thought to have anything left to do."""


class FakeClock:
    """Who sleeps is woken at its time, which comes at once when all others wait too."""

    def __init__(self, monotonic_s: float = 1_000.0, wall_s: float = 1_700_000_000.0) -> None:
        self._now_s = monotonic_s
        self._ahead_s = wall_s - monotonic_s
        self._due: list[tuple[float, int, asyncio.Future[None]]] = []
        self._numbers = count()
        self._jumping: asyncio.Task[None] | None = None

    def monotonic_s(self) -> float:
        return self._now_s

    def wall_s(self) -> float:
        return self._now_s + self._ahead_s

    def advance(self, by_s: float) -> None:
        """Let time pass, without waking anybody."""
        self._now_s += by_s

    async def sleep(self, for_s: float) -> None:
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heappush(self._due, (self._now_s + for_s, next(self._numbers), woken))
        if self._jumping is None or self._jumping.done():
            self._jumping = asyncio.create_task(self._jump())
        await woken

    async def wait_for(self, awaited: Awaitable[Value], within_s: float) -> Value:
        task = asyncio.ensure_future(awaited)
        alarm = asyncio.ensure_future(self.sleep(within_s))
        try:
            await asyncio.wait([task, alarm], return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise TimeoutError
            return task.result()
        finally:
            for waiting in (task, alarm):
                waiting.cancel()
            await asyncio.gather(task, alarm, return_exceptions=True)

    async def _jump(self) -> None:
        while self._due:
            for _ in range(TURNS):
                await asyncio.sleep(0)
            due_s, _, woken = heappop(self._due)
            if not woken.done():
                self._now_s = max(self._now_s, due_s)
                woken.set_result(None)
