"""A consumer that is stopped while its broker is away."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from pagewake.bus.kafka_group import stop_consumer


class Consumer:
    """One whose `stop` lets a cancellation out, as aiokafka's does; or waits for ever."""

    def __init__(self, *, waits: bool) -> None:
        self.waits = waits
        self.closed = False
        self._client = SimpleNamespace(close=self._close)

    async def stop(self) -> None:
        if self.waits:
            await asyncio.Event().wait()
        raise asyncio.CancelledError

    async def _close(self) -> None:
        self.closed = True


async def test_the_cancellation_of_its_own_task_stays_inside() -> None:
    consumer = Consumer(waits=False)
    await stop_consumer(consumer)
    assert consumer.closed


async def test_who_is_cancelled_meanwhile_is_cancelled() -> None:
    consumer = Consumer(waits=True)
    stopping = asyncio.create_task(stop_consumer(consumer))
    await asyncio.sleep(0)
    stopping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stopping
    assert consumer.closed
