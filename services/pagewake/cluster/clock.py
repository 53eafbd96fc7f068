"""Wall time as services and commands see it.

It is handed in from the top, so that tests let it pass without waiting for it.  What waits for a
network alone (a broker's answer, a request's next line) keeps to the event loop's own time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from typing import Protocol, TypeVar

Value = TypeVar("Value")


class Clock(Protocol):
    """Two readings of the time, and two ways to let it pass."""

    def monotonic_s(self) -> float:
        """Seconds since some moment; for spans, as it never goes back."""
        ...

    def wall_s(self) -> float:
        """Seconds since 1970 by this machine's clock, which may be set at any time."""
        ...

    async def sleep(self, for_s: float) -> None:
        """Let so many seconds pass."""
        ...

    async def wait_for(self, awaited: Awaitable[Value], within_s: float) -> Value:
        """What is awaited; TimeoutError, and it is cancelled, if it takes longer."""
        ...


class SystemClock:
    """The clock of the machine."""

    monotonic_s = staticmethod(time.monotonic)
    wall_s = staticmethod(time.time)
    sleep = staticmethod(asyncio.sleep)

    async def wait_for(self, awaited: Awaitable[Value], within_s: float) -> Value:
        """As `asyncio.wait_for`."""
        return await asyncio.wait_for(awaited, within_s)
