"""What the broker says of topics as logs: which topic it is, where its partitions begin and end.

A topic that is deleted and created again has its name again and another id.  The client library
asks for metadata of a time before ids, so the request of a later version is spelled out here, in
the library's own terms; a broker that does not know it leaves the ids out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from io import BytesIO
from typing import Any, TypeAlias
from uuid import UUID

from aiokafka import AIOKafkaClient
from aiokafka.errors import KafkaConnectionError, UnknownTopicOrPartitionError
from aiokafka.protocol.abstract import AbstractType
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.metadata import MetadataRequest_v5
from aiokafka.protocol.offset import OffsetRequest, OffsetResetStrategy
from aiokafka.protocol.types import (
    Boolean,
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Schema,
    TaggedFields,
)

from pagewake.bus.partitions import TopicLog

READ_UNCOMMITTED = 0
NO_ID = UUID(int=0)


class _Id(AbstractType[UUID]):  # type: ignore[misc]
    @classmethod
    def encode(cls, value: UUID) -> bytes:
        return value.bytes

    @classmethod
    def decode(cls, data: BytesIO) -> UUID:
        return UUID(bytes=data.read(16))


class _TopicsResponse(Response):  # type: ignore[misc]
    API_KEY = 3
    API_VERSION = 12
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            CompactArray(
                ("node_id", Int32),
                ("host", CompactString()),
                ("port", Int32),
                ("rack", CompactString()),
                ("tags", TaggedFields),
            ),
        ),
        ("cluster_id", CompactString()),
        ("controller_id", Int32),
        (
            "topics",
            CompactArray(
                ("error_code", Int16),
                ("topic", CompactString()),
                ("topic_id", _Id),
                ("is_internal", Boolean),
                (
                    "partitions",
                    CompactArray(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", CompactArray(Int32)),
                        ("isr", CompactArray(Int32)),
                        ("offline_replicas", CompactArray(Int32)),
                        ("tags", TaggedFields),
                    ),
                ),
                ("authorized_operations", Int32),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class _TopicsRequest12(RequestStruct):  # type: ignore[misc]
    API_KEY = 3
    API_VERSION = 12
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = _TopicsResponse
    SCHEMA = Schema(
        (
            "topics",
            CompactArray(("topic_id", _Id), ("name", CompactString()), ("tags", TaggedFields)),
        ),
        ("allow_auto_topic_creation", Boolean),
        ("include_topic_authorized_operations", Boolean),
        ("tags", TaggedFields),
    )


class _TopicsRequest(Request[MetadataRequest_v5 | _TopicsRequest12]):  # type: ignore[misc]
    """Metadata of topics, with their ids where the broker has them."""

    API_KEY = 3

    def __init__(self, names: list[str]) -> None:
        self._names = names

    def build(
        self, request_struct_class: type[MetadataRequest_v5 | _TopicsRequest12]
    ) -> MetadataRequest_v5 | _TopicsRequest12:
        if request_struct_class is MetadataRequest_v5:
            return MetadataRequest_v5(self._names, False)
        topics: list[tuple[UUID, str, dict[int, bytes]]] = [
            (NO_ID, name, {}) for name in self._names
        ]
        return _TopicsRequest12(topics, False, False, {})


async def topic_logs(client: AIOKafkaClient, names: Iterable[str]) -> dict[str, TopicLog | None]:
    """Of topics: None for one that is not there; left out is what the broker cannot say now."""
    node = client.get_random_node()
    if node is None:
        raise KafkaConnectionError("no broker is known")
    response = await client.send(node, _TopicsRequest(sorted(names)))
    topics = response.to_object()["topics"]
    leaders = _by_leader(topics)
    begins = await _offsets(client, leaders, OffsetResetStrategy.EARLIEST)
    ends = await _offsets(client, leaders, OffsetResetStrategy.LATEST)
    found: dict[str, TopicLog | None] = {}
    for topic in topics:
        name, code = topic["topic"], topic["error_code"]
        if code == UnknownTopicOrPartitionError.errno:
            found[name] = None
        elif not code:
            topic_id = topic.get("topic_id", NO_ID)
            named = "" if topic_id == NO_ID else topic_id.hex
            found[name] = TopicLog(named, begins[name], ends[name])
    return found


_Leaders: TypeAlias = Mapping[int, Mapping[str, list[int]]]
"""Partitions by topic, by the broker that leads them."""


def _by_leader(topics: Iterable[Mapping[str, Any]]) -> _Leaders:
    led: dict[int, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for topic in topics:
        for partition in topic["partitions"]:
            if partition["leader"] >= 0:
                led[partition["leader"]][topic["topic"]].append(partition["partition"])
    return led


async def _offsets(
    client: AIOKafkaClient, leaders: _Leaders, which: int
) -> dict[str, dict[int, int]]:
    found: dict[str, dict[int, int]] = defaultdict(dict)
    for node, topics in leaders.items():
        if client.cluster.broker_metadata(node) is None:
            continue  # it has just come, and is known in a moment
        asked = [
            (name, [(partition, which) for partition in partitions])
            for name, partitions in topics.items()
        ]
        response = await client.send(node, OffsetRequest(-1, READ_UNCOMMITTED, asked))
        for name, partitions in response.topics:
            for partition, code, _, offset, *_ in partitions:
                if not code:
                    found[name][partition] = offset
    return found
