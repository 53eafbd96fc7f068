"""Wall time as services and commands see it.

It is handed in from the top, so that tests let it pass without waiting for it.  What waits for a
network alone (a broker's answer, a request's next line) keeps to the event loop's own time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

import structlog

Value = TypeVar("Value")

log = structlog.get_logger()


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


async def now_and_then(
    clock: Clock, every_s: float, look: Callable[[], Awaitable[None]], failed: str
) -> None:
    """Look again and again, whatever becomes of the broker; `failed` notes a look in vain."""
    while True:
        await clock.sleep(every_s)
        try:
            await look()
        except Exception as error:  # noqa: BLE001 - a client that is just closed fails in any way
            log.debug(failed, error=repr(error))
