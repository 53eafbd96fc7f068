"""Of several bootstrap servers one that can be reached comes first."""

from __future__ import annotations

import asyncio

from pagewake.bus.kafka_bootstrap import reachable_first
from pagewake.bus.kafka_settings import KafkaSettings

NOBODY = "127.0.0.1:1"


async def test_who_is_reached_comes_first_and_the_others_stay() -> None:
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    somebody = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    settings = KafkaSettings(bootstrap=f"{NOBODY}, {somebody}", rack="a")
    found = await reachable_first(settings)
    server.close()
    assert found.bootstrap == f"{somebody},{NOBODY}"
    assert found.rack == "a"


async def test_where_nobody_is_reached_nothing_changes() -> None:
    settings = KafkaSettings(bootstrap=f"{NOBODY},127.0.0.1:2")
    assert await reachable_first(settings) == settings


async def test_one_alone_is_not_tried() -> None:
    settings = KafkaSettings(bootstrap=NOBODY)
    assert await reachable_first(settings) is settings
