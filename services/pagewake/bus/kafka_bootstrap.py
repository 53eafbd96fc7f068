"""Which of several brokers to begin with: one that can be reached.

A client asks its bootstrap servers in order, and has patience with each.  The machine of the first
may be gone without a word; every reader would wait for it anew.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace

from pagewake.bus.kafka_settings import KafkaSettings

REACHED_S = 5.0
"""All are tried at once; if none is reached in this time the client goes on as ever."""


async def reachable_first(settings: KafkaSettings) -> KafkaSettings:
    """The same, headed by the bootstrap server that is reached soonest, if one is."""
    addresses = [address.strip() for address in settings.bootstrap.split(",")]
    if len(addresses) == 1:
        return settings
    tried = [asyncio.create_task(_reached(address)) for address in addresses]
    try:
        for answer in asyncio.as_completed(tried, timeout=REACHED_S):
            with suppress(OSError):
                first = await answer
                rest = [address for address in addresses if address != first]
                return replace(settings, bootstrap=",".join([first, *rest]))
    finally:
        for task in tried:
            task.cancel()
        await asyncio.gather(*tried, return_exceptions=True)
    return settings


async def _reached(address: str) -> str:
    """The address, once somebody listens there; OSError if nobody does."""
    host, _, port = address.rpartition(":")
    _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
    writer.close()
    return address
