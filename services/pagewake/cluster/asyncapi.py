"""The AsyncAPI document: every topic of Kafka and MQTT, what is said there, and by whom.

Topic names, message types, topic settings and service names are those that the cluster uses; what
stands only here is who sends what where, and a sentence about it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

from pagewake import __version__
from pagewake.bus.kafka import TopicSpec
from pagewake.cluster.messages import (
    COMMAND_TOPIC,
    LOST,
    PROGRESS_TOPIC,
    REPLY_TOPIC,
    STATUS_TOPIC,
)
from pagewake.cluster.settings import ServiceKind, Settings
from pagewake.events.codec import APF_GUEST, APF_NESTED, FAULTS, JOURNAL_TOPIC, RECORDS_OF
from pagewake.participants.plan import RUNS_TOPIC, SNAPSHOTS, topic_name
from pagewake.participants.snapshots import MANIFEST, SLOTS

Schema: TypeAlias = dict[str, Any]
KAFKA_BINDING = "0.5.0"
MQTT_BINDING = "0.2.0"
QOS = 1

Action: TypeAlias = Literal["send", "receive"]
ACTIONS: tuple[Action, ...] = get_args(Action)


class Message(NamedTuple):
    """What is said of it, its payload, and the key that it has as a record of Kafka."""

    summary: str
    payload: Schema
    content_type: str = "application/json"
    key: str = ""


class KafkaTopic(NamedTuple):
    """Its address, what a partition is, and how it is created."""

    address: str
    partition: str
    messages: tuple[str, ...]
    spec: TopicSpec


class MqttTopic(NamedTuple):
    """Its address, what it is for, and whether the broker keeps the last message."""

    address: str
    about: str
    message: str
    retain: bool = False


class Flow(NamedTuple):
    """Who sends or receives what where; `messages` empty: all of the channel's."""

    who: str
    action: Action
    channel: str
    messages: tuple[str, ...] = ()


def _file(name: str) -> Schema:
    return {"$ref": f"./{name}.json"}


def _commit(topic: str) -> Schema:
    """A commit, and which events may stand in it."""
    items = {"oneOf": [_file(record.__name__) for record in RECORDS_OF[topic]]}
    return {"allOf": [_file("Commit"), {"properties": {"events": {"items": items}}}]}


_RUN = "{run}"
_HOSTS = "one per simulated host"
_PER_RUN = 0
"""Partitions of a topic whose number depends on the run."""

MESSAGES: Mapping[str, Message] = {
    "FaultsCommit": Message("a window of a shard, for its host", _commit(FAULTS)),
    "ApfCommit": Message("a window that a host opens, for a shard", _commit(APF_GUEST)),
    "JournalCommit": Message("what happened in a window of a shard", _commit(JOURNAL_TOPIC)),
    "CommandRecord": Message("a command, where it counts from", _file("kafka/CommandRecord")),
    "SnapshotPart": Message(
        "a piece of a snapshot: pickled, compressed with zstd, cut",
        {"type": "string", "format": "binary"},
        "application/octet-stream",
        rf"^[{SLOTS}]/\d+$",
    ),
    "Manifest": Message(
        "a snapshot is complete", _file("kafka/Manifest"), key=f"^[{SLOTS}]/{MANIFEST}$"
    ),
    "Announced": Message("a run is there", _file("kafka/Announced"), key="^[^/]+$"),
    "HostEnded": Message(
        "a simulated host has ended", _file("kafka/HostEnded"), key=r"^[^/]+/host-\d+$"
    ),
    "Spent": Message(
        "what a participant took, and what it wrote",
        _file("kafka/Spent"),
        key="^[^/]+/spent-.+$",
    ),
    "StateChanged": Message(
        "a run will not go on", _file("kafka/StateChanged"), key="^[^/]+/state$"
    ),
    "Status": Message("one word", _file("mqtt/Status"), "text/plain"),
    "Progress": Message("how far a service's part of a run is", _file("mqtt/Progress")),
    "Command": Message("pause, resume, pace, stop or an intervention", _file("mqtt/Command")),
    "Answer": Message("what became of a command", _file("mqtt/Answer")),
}

KAFKA_TOPICS: Mapping[str, KafkaTopic] = {
    "faults": KafkaTopic(
        topic_name(_RUN, FAULTS), _HOSTS, ("FaultsCommit", "CommandRecord"), TopicSpec(_PER_RUN)
    ),
    "apfGuest": KafkaTopic(
        topic_name(_RUN, APF_GUEST), "one per guest shard", ("ApfCommit",), TopicSpec(_PER_RUN)
    ),
    "apfNested": KafkaTopic(
        topic_name(_RUN, APF_NESTED), "one per nested shard", ("ApfCommit",), TopicSpec(_PER_RUN)
    ),
    "journal": KafkaTopic(
        topic_name(_RUN, JOURNAL_TOPIC),
        "one per shard, guests first",
        ("JournalCommit",),
        TopicSpec(_PER_RUN),
    ),
    "snapshots": KafkaTopic(
        topic_name(_RUN, SNAPSHOTS),
        "one per simulated host, then one per shard",
        ("SnapshotPart", "Manifest"),
        TopicSpec(_PER_RUN, compacted=True),
    ),
    "runs": KafkaTopic(
        RUNS_TOPIC,
        "one",
        ("Announced", "HostEnded", "Spent", "StateChanged"),
        TopicSpec(1, compacted=True),
    ),
}

MQTT_TOPICS: Mapping[str, MqttTopic] = {
    "status": MqttTopic(
        STATUS_TOPIC, f"How a service stands; `{LOST}` is its Last Will.", "Status", retain=True
    ),
    "progress": MqttTopic(PROGRESS_TOPIC, "Once a second from every service.", "Progress"),
    "command": MqttTopic(COMMAND_TOPIC, "Commands to a running run.", "Command"),
    "commandReply": MqttTopic(
        REPLY_TOPIC, "Answers to commands, once they stand in the log.", "Answer"
    ),
}

SERVICES: tuple[str, ...] = get_args(ServiceKind)
CLIENT = "client"
PERSON = "person"
WHO: Mapping[str, str] = {
    "host": "host memory: frames, replacement, swap, and the windows of a simulated host",
    "guest": "shards whose guests run tasks",
    "nested": "shards whose guests are hypervisors",
    CLIENT: "pagewake submit, export and runs",
    PERSON: "whoever watches and steers a run over MQTT",
}

FLOWS: tuple[Flow, ...] = (
    *(Flow(shard, "send", "faults", ("FaultsCommit",)) for shard in ("guest", "nested")),
    *(Flow(who, "send", "faults", ("CommandRecord",)) for who in ("host", CLIENT)),
    Flow("host", "receive", "faults"),
    Flow("host", "send", "apfGuest"),
    Flow("host", "send", "apfNested"),
    Flow("guest", "receive", "apfGuest"),
    Flow("nested", "receive", "apfNested"),
    *(Flow(shard, "send", "journal") for shard in ("guest", "nested")),
    *(Flow(CLIENT, "receive", channel) for channel in ("faults", "apfGuest", "apfNested")),
    Flow(CLIENT, "receive", "journal"),
    *(Flow(service, action, "snapshots") for service in SERVICES for action in ACTIONS),
    Flow("host", "send", "runs", ("HostEnded", "Spent", "StateChanged")),
    *(Flow(shard, "send", "runs", ("Spent", "StateChanged")) for shard in ("guest", "nested")),
    Flow(CLIENT, "send", "runs", ("Announced", "StateChanged")),
    *(Flow(who, "receive", "runs") for who in (*SERVICES, CLIENT)),
    *(Flow(service, "send", topic) for service in SERVICES for topic in ("status", "progress")),
    Flow("host", "receive", "command"),
    Flow("host", "send", "commandReply"),
    Flow(PERSON, "send", "command"),
    *(Flow(PERSON, "receive", topic) for topic in ("status", "progress", "commandReply")),
)


def document() -> Schema:
    """The whole document; its references are relative to the directory it stands in."""
    return {
        "asyncapi": "3.0.0",
        "info": _info(),
        "defaultContentType": "application/json",
        "servers": _servers(),
        "channels": {
            **{name: _kafka_channel(topic) for name, topic in KAFKA_TOPICS.items()},
            **{name: _mqtt_channel(topic) for name, topic in MQTT_TOPICS.items()},
        },
        "operations": {_operation_name(flow): _operation(flow) for flow in FLOWS},
        "components": {
            "messages": {name: _message(name, message) for name, message in MESSAGES.items()},
            "parameters": _parameters(),
            "tags": {who: {"name": who, "description": about} for who, about in WHO.items()},
        },
    }


def _info() -> Schema:
    return {
        "title": "pagewake",
        "version": __version__,
        "description": "Page faults of a simulated cluster over Kafka, its control over MQTT.",
        "license": {"name": "MIT"},
        "tags": [_reference("components", "tags", who) for who in WHO],
    }


def _servers() -> Schema:
    will = {"topic": STATUS_TOPIC, "qos": QOS, "message": LOST, "retain": True}
    return {
        "kafka": {
            "host": Settings.model_fields["kafka"].default,
            "protocol": "kafka",
            "description": "PAGEWAKE_KAFKA, with PAGEWAKE_KAFKA_* for SASL and TLS.",
        },
        "mqtt": {
            "host": "127.0.0.1:1883",
            "protocol": "mqtt",
            "protocolVersion": "3.1.1",
            "description": "PAGEWAKE_MQTT; a connection per service and run.  Never event truth.",
            "bindings": {"mqtt": {"lastWill": will, "bindingVersion": MQTT_BINDING}},
        },
    }


def _kafka_channel(topic: KafkaTopic) -> Schema:
    binding: Schema = {
        "replicas": 1,
        "topicConfiguration": _topic_configuration(topic.spec),
        "bindingVersion": KAFKA_BINDING,
    }
    if topic.spec.partitions != _PER_RUN:
        binding = {"partitions": topic.spec.partitions, **binding}
    return {
        **_channel(topic.address, topic.messages),
        "description": f"Partitions: {topic.partition}; the sender names it, no key decides.",
        "servers": [_reference("servers", "kafka")],
        "bindings": {"kafka": binding},
    }


def _topic_configuration(spec: TopicSpec) -> Schema:
    configs = spec.new("").topic_configs
    return {
        name: [value] if name == "cleanup.policy" else _as_number(value)
        for name, value in configs.items()
    }


def _as_number(value: str) -> int | str:
    return int(value) if value.removeprefix("-").isdecimal() else value


def _mqtt_channel(topic: MqttTopic) -> Schema:
    return {
        **_channel(topic.address, (topic.message,)),
        "description": topic.about,
        "servers": [_reference("servers", "mqtt")],
    }


def _channel(address: str, messages: Iterable[str]) -> Schema:
    parameters = {
        name: _reference("components", "parameters", name)
        for name in _parameters()
        if f"{{{name}}}" in address
    }
    channel: Schema = {
        "address": address,
        "messages": {name: _reference("components", "messages", name) for name in messages},
    }
    return {**channel, "parameters": parameters} if parameters else channel


def _parameters() -> Schema:
    return {
        "run": {"description": "Name of a run: letters, digits and hyphens."},
        "service": {"description": "Kind of service.", "enum": list(SERVICES)},
        "instance": {"description": "Name of a process, PAGEWAKE_INSTANCE."},
    }


def _message(name: str, message: Message) -> Schema:
    described: Schema = {
        "name": name,
        "summary": message.summary,
        "contentType": message.content_type,
        "payload": message.payload,
    }
    if message.key:
        key = {"type": "string", "pattern": message.key}
        described["bindings"] = {"kafka": {"key": key, "bindingVersion": KAFKA_BINDING}}
    return described


def _operation_name(flow: Flow) -> str:
    """As `hostReceivesFaults`."""
    channel = flow.channel[0].upper() + flow.channel[1:]
    return f"{flow.who}{flow.action.capitalize()}s{channel}"


def _operation(flow: Flow) -> Schema:
    channel = _reference("channels", flow.channel)
    kafka, mqtt = KAFKA_TOPICS.get(flow.channel), MQTT_TOPICS.get(flow.channel)
    own = kafka.messages if kafka else (MQTT_TOPICS[flow.channel].message,)
    operation: Schema = {
        "action": flow.action,
        "channel": channel,
        "tags": [_reference("components", "tags", flow.who)],
        "messages": [
            _reference("channels", flow.channel, "messages", name) for name in flow.messages or own
        ],
    }
    if mqtt is not None:
        binding: Schema = {"qos": QOS, "bindingVersion": MQTT_BINDING}
        if flow.action == "send":
            binding = {"retain": mqtt.retain, **binding}
        operation["bindings"] = {"mqtt": binding}
    if flow.channel == "command":
        operation["reply"] = {"channel": _reference("channels", "commandReply")}
    return operation


def _reference(*path: str) -> Schema:
    return {"$ref": "/".join(("#", *path))}
