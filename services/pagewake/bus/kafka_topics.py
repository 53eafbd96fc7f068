"""Topics: created, described and deleted, with patience for brokers that come and go.

A question goes to one broker, whichever, and that one may just have died or be frozen, or may not
know yet what another has done.  So it is asked again, of another as it may be, until an election is
over; what stays wrong for longer is the caller's to handle.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, NamedTuple, TypeAlias, TypeVar

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import (
    InvalidReplicationFactorError,
    KafkaConnectionError,
    KafkaError,
    KafkaTimeoutError,
    LeaderNotAvailableError,
    TopicAlreadyExistsError,
    UnknownTopicOrPartitionError,
    for_code,
)

from pagewake.bus.kafka_rights import REFUSALS, missing
from pagewake.bus.kafka_settings import (
    BROKERS_OWN,
    ENVELOPE_BYTES,
    RECORD_BYTES_MAX,
    KafkaSettings,
)
from pagewake.errors import BrokerError, ConfigError

KEEP_FOR_EVER = "-1"
COMPACTED_BYTES = 16 << 20
"""The newest segment of a topic is never compacted, so an old snapshot outlives so many bytes."""
COMPACTED = {"cleanup.policy": "compact", "segment.bytes": str(COMPACTED_BYTES)}
ASK_MS = 10_000
"""One broker may take so long over an answer, on a machine that has too much to do."""
AGAIN_S = 0.2
"""Between two questions; a dead broker refuses at once."""
PATIENCE_S = 45.0
"""The others notice after 9 s that a broker is gone (`broker.session.timeout.ms`), and elect; so
that each of three brokers may be asked in vain, and waited for."""
KNOWN_S = 2.0
"""After so long every broker has heard of a topic that one of them has created."""


Described: TypeAlias = Mapping[str, Any]
Value = TypeVar("Value")


def passes(error: Exception) -> bool:
    """It is that of a broker which is away, or not yet what it is to be: it may pass."""
    return isinstance(error, KafkaTimeoutError | OSError) or getattr(error, "retriable", False)


async def patiently(
    question: Callable[[], Awaitable[Value]], within_s: float = PATIENCE_S
) -> Value:
    """Asked again and again while the answer is that of a broker which is away."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + within_s
    while True:
        try:
            return await question()
        except (KafkaError, OSError) as error:
            if not passes(error) or loop.time() >= deadline:
                raise
        await asyncio.sleep(AGAIN_S)


class TopicSpec(NamedTuple):
    """How a topic is created."""

    partitions: int
    compacted: bool = False

    def new(self, name: str, copies: int = BROKERS_OWN) -> NewTopic:
        """The topic for the admin client; how many copies must be in step the brokers say."""
        return NewTopic(
            name,
            self.partitions,
            copies,
            replica_assignments={} if copies == BROKERS_OWN else None,  # as the client wants it
            topic_configs={
                **(COMPACTED if self.compacted else {"cleanup.policy": "delete"}),
                "retention.ms": KEEP_FOR_EVER,
                "retention.bytes": KEEP_FOR_EVER,
                "max.message.bytes": str(RECORD_BYTES_MAX + ENVELOPE_BYTES),
                # The broker's clock: it refuses what is stamped by one that is an hour ahead.
                "message.timestamp.type": "LogAppendTime",
            },
        )


class Copies(NamedTuple):
    """Of the partition that has the fewest: how many there are, and how many are in step now."""

    kept: int
    in_sync: int

    @classmethod
    def lowest(cls, several: Iterable[Copies]) -> Copies:
        """Of several partitions or topics; at least one."""
        kept, in_sync = zip(*several, strict=True)
        return cls(min(kept), min(in_sync))

    @property
    def words(self) -> str:
        """For a person."""
        return f"{self.kept} {'copy' if self.kept == 1 else 'copies'}, {self.in_sync} in sync"


def _led(topics: Mapping[str, Described]) -> dict[str, Described]:
    """Those whose partitions all have leaders."""
    return {
        name: topic
        for name, topic in topics.items()
        if all(partition["leader"] >= 0 for partition in topic["partitions"])
    }


def _copies(topics: Mapping[str, Described]) -> dict[str, Copies]:
    return {
        name: Copies.lowest(
            Copies(len(partition["replicas"]), len(partition["isr"]))
            for partition in topic["partitions"]
        )
        for name, topic in topics.items()
    }


class KafkaTopics:
    """The admin client; before `start` and after `stop` it is like a broker that is away."""

    def __init__(self, settings: KafkaSettings) -> None:
        self.settings = settings
        self._admin: AIOKafkaAdminClient | None = None

    async def start(self, bootstrap: str) -> None:
        """Connect, by these addresses."""
        options = self.settings.options() | {
            "bootstrap_servers": bootstrap,
            "request_timeout_ms": ASK_MS,
        }
        self._admin = AIOKafkaAdminClient(**options)
        await self._admin.start()

    async def stop(self) -> None:
        """Disconnect."""
        admin, self._admin = self._admin, None
        if admin is not None:
            await admin.close()

    @property
    def started(self) -> bool:
        """Somebody may be asked."""
        return self._admin is not None

    async def ask(
        self,
        question: Callable[[AIOKafkaAdminClient], Awaitable[Value]],
        within_s: float = PATIENCE_S,
    ) -> Value:
        """Again and again while the answer is that of a broker that is away; KafkaError then."""
        return await patiently(lambda: self._ask_once(question), within_s)

    async def _ask_once(self, question: Callable[[AIOKafkaAdminClient], Awaitable[Value]]) -> Value:
        if self._admin is None:
            raise KafkaConnectionError("not connected")
        try:
            return await question(self._admin)
        except OSError as error:  # a timeout among them
            raise KafkaConnectionError(repr(error)) from error
        except AttributeError as error:
            if error.name != "nodeId":
                raise
            raise KafkaConnectionError("no controller is known") from error

    async def describe(
        self, names: Iterable[str], within_s: float = PATIENCE_S
    ) -> dict[str, Described]:
        """Those that the broker which is asked knows.

        MissingRightError if one may not be looked at: waiting would not help.
        """
        wanted = list(names)
        described = await self.ask(lambda admin: admin.describe_topics(wanted), within_s)
        for topic in described:
            error = for_code(topic["error_code"])
            if error in REFUSALS:
                raise missing("Describe", error(), topic["topic"])
        return {topic["topic"]: topic for topic in described if topic["partitions"]}

    # ------------------------------------------------------------------ creating

    async def create(self, specs: Mapping[str, TopicSpec]) -> dict[str, Copies]:
        """Those that do not exist; ConfigError if one has another partition count.

        Returns how many copies each has, once a broker knows them all and they can be written.
        """
        there = await self.describe(specs)
        copies = self.settings.replication
        wanted = [spec.new(name, copies) for name, spec in specs.items() if name not in there]

        async def created(admin: AIOKafkaAdminClient) -> None:
            answer = await admin.create_topics(wanted)
            for name, code, *why in answer.topic_errors:
                error = for_code(code)
                if error in REFUSALS:
                    raise missing("Create", error(), name)
                if error is InvalidReplicationFactorError:
                    raise ConfigError(await self._too_many_copies(name))
                if code and error is not TopicAlreadyExistsError:
                    reason = next(iter(why), None) or error.__name__
                    raise error(f"topic {name} could not be created: {reason}")

        if wanted:
            await self.ask(created)
        found = await self._known(specs)
        for name, topic in found.items():
            count, needed = len(topic["partitions"]), specs[name].partitions
            if count != needed:
                raise ConfigError(
                    f"topic {name} exists with {count} partitions and is needed with {needed}:"
                    " delete it, or choose another name for the run"
                )
        return _copies(found)

    async def _known(self, specs: Mapping[str, TopicSpec]) -> dict[str, Described]:
        deadline = asyncio.get_running_loop().time() + PATIENCE_S
        while lacking := specs.keys() - _led(found := await self.describe(specs)).keys():
            if asyncio.get_running_loop().time() >= deadline:
                raise BrokerError(
                    f"Kafka at {self.settings.bootstrap} has no leader of"
                    f" {', '.join(sorted(lacking))} after {PATIENCE_S:g} s: bring back the brokers"
                    " that are away; their logs say why"
                )
            await asyncio.sleep(0.02)
        return found

    async def _too_many_copies(self, topic: str) -> str:
        wanted, where = self.settings.replication, self.settings.bootstrap
        there = await self.brokers()
        if wanted == BROKERS_OWN:
            return (
                f"topic {topic}: Kafka at {where} refuses its own default number of copies"
                f" with {there} brokers: set PAGEWAKE_KAFKA_REPLICATION"
            )
        return (
            f"PAGEWAKE_KAFKA_REPLICATION={wanted}: topic {topic} cannot have so many copies,"
            f" Kafka at {where} has {there} brokers: set it to {there} at most"
        )

    # ------------------------------------------------------------------ looking

    async def partitions(self, names: Iterable[str]) -> dict[str, int]:
        """How many partitions each of the topics has, of those that exist and have leaders."""
        led = _led(await self.describe(names))
        return {name: len(topic["partitions"]) for name, topic in led.items()}

    async def beginning(self, prefix: str) -> list[str]:
        """Names of the topics that begin so."""
        names = await self.ask(lambda admin: admin.list_topics())
        return [name for name in names if name.startswith(prefix)]

    async def brokers(self) -> int:
        """How many there are now."""
        return len((await self.ask(lambda admin: admin.describe_cluster()))["brokers"])

    async def copies(self, names: Iterable[str]) -> dict[str, Copies]:
        """Of those topics that are there."""
        return _copies(await self.describe(names))

    async def until_led(self, topic: str, partition: int, within_s: float) -> None:
        """Until a partition is there and has a leader: a consumer would look for it without end.

        UnknownTopicOrPartitionError if it is not there within the time, or with several brokers
        after the moment in which some may not have heard of it; LeaderNotAvailableError if no
        leader is elected in time.
        """
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        while True:
            found = (await self.describe([topic])).get(topic)
            waited_s = loop.time() - began_s
            if found is None or partition >= len(found["partitions"]):
                if waited_s >= within_s and (waited_s >= KNOWN_S or await self.brokers() == 1):
                    waited = f", waited {within_s:g} s for it" if within_s else ""
                    raise UnknownTopicOrPartitionError(f"there is no {topic}-{partition}{waited}")
            elif _led({topic: found}):
                return
            elif waited_s >= PATIENCE_S:
                raise LeaderNotAvailableError(f"{topic} has partitions without a leader")
            await asyncio.sleep(AGAIN_S)

    # ------------------------------------------------------------------ deleting

    async def delete(self, names: Iterable[str]) -> None:
        """Those that exist."""
        wanted = list(names)

        async def deleted(admin: AIOKafkaAdminClient) -> None:
            answer = await admin.delete_topics(wanted)
            for name, code in answer.topic_error_codes:
                error = for_code(code)
                if error in REFUSALS:
                    raise missing("Delete", error(), name)
                if code and error is not UnknownTopicOrPartitionError:
                    raise error(f"topic {name} could not be deleted")

        await self.ask(deleted)
