"""A consumer group that is told of a death at once instead of waiting for it to be noticed.

A process that was killed stays a member until its session times out, and its partitions stand
still as long.  The process that is started in its place has its name, so it may say that its
predecessor has left.  Static membership would do the same, but a clean end would then hold the
partitions for a whole session, and two processes of one name would shut each other out for good;
here the elder only joins again.
"""

from __future__ import annotations

import asyncio

from aiokafka import AIOKafkaClient, AIOKafkaConsumer
from aiokafka.client import CoordinationType
from aiokafka.errors import UnknownMemberIdError, for_code
from aiokafka.protocol.admin import DescribeGroupsRequest
from aiokafka.protocol.group import LeaveGroupRequest

from pagewake.bus.kafka_rights import needing
from pagewake.bus.kafka_settings import KafkaSettings, fetch_options, group_options

OWNER_WAIT_MS = 250
"""An empty fetch is answered after so long; a service turns to its other duties in between."""
MEMBERS = 5  # the column of a described group that holds its members


def group_consumer(settings: KafkaSettings, group: str, instance: str = "") -> AIOKafkaConsumer:
    """The consumer whose group decides who owns which partition; it commits no offsets."""
    options = settings.options() | {"client_id": client_id_of(instance)}
    return AIOKafkaConsumer(
        **options,
        **fetch_options(OWNER_WAIT_MS, settings.rack) | group_options(),
        group_id=group,
    )


async def stop_consumer(consumer: AIOKafkaConsumer) -> None:
    """Stop it, also while a broker is away.

    aiokafka 0.14 then lets the cancellation of a task of its own come out of `stop`, which to a
    caller looks like an end of its own, and leaves its connections open.
    """
    try:
        await consumer.stop()
    except asyncio.CancelledError:
        await consumer._client.close()  # noqa: SLF001 - nothing else closes them
        caller = asyncio.current_task()
        if caller is not None and caller.cancelling():
            raise


def client_id_of(instance: str) -> str:
    """The client id by which an instance is known to the members of its group."""
    return f"pagewake-{instance}" if instance else "pagewake"


async def dismiss_predecessor(settings: KafkaSettings, group: str, instance: str) -> int:
    """Have the members of this name leave the group, before joining it; how many there were."""
    client = AIOKafkaClient(**settings.options())
    await client.bootstrap()
    try:
        node, elder = await members_called(client, group, instance)
        for member_id in elder:
            left = await client.send(node, LeaveGroupRequest(group, member_id))
            error = for_code(left.error_code)
            if left.error_code and error is not UnknownMemberIdError:  # else gone by itself
                raise error(member_id)
    finally:
        await client.close()
    return len(elder)


async def members_called(
    client: AIOKafkaClient, group: str, instance: str
) -> tuple[int, list[str]]:
    """The group's coordinator, and its ids of the members of a name."""
    with needing("Read", group):
        node = await client.coordinator_lookup(CoordinationType.GROUP, group)
    described = await client.send(node, DescribeGroupsRequest([group]))
    name = client_id_of(instance)
    members = described.groups[0][MEMBERS]
    return node, [member_id for member_id, client_id, *_ in members if client_id == name]
