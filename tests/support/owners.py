"""Owners over a bus and a clock of the test's own."""

from __future__ import annotations

from pagewake.cluster.owner import Owner
from pagewake.participants.commands import Answer, encode_command
from pagewake.participants.plan import RunPlan, topic_name
from tests.support.clock import FakeClock
from tests.support.fake_bus import FakeBus

SNAPSHOT_S = 5.0


class Owners:
    """Makes the owners of one run; what they send stands on `bus`."""

    def __init__(self, plan: RunPlan) -> None:
        self.plan = plan
        self.bus = FakeBus()
        self.clock = FakeClock()
        self.answers: list[Answer] = []
        self.sent: list[str] = []

    def name(self, topic: str) -> str:
        """Of a topic of the run, in Kafka."""
        return topic_name(self.plan.run, topic)

    def new(self, plan: RunPlan, topic: str, partition: int) -> Owner:
        """At time 0."""
        return Owner(
            self.bus,
            plan,
            topic,
            partition,
            clock=self.clock,
            snapshot_s=SNAPSHOT_S,
            instance="here",
            sent=lambda topic, _: self.sent.append(topic),
            answered=lambda _, answer: self.answers.append(answer),
        )

    async def recovered(self, topic: str, partition: int = 0, *, over: bool = False) -> Owner:
        """Of a partition, as one that has just taken it over."""
        owner = self.new(self.plan, topic, partition)
        await owner.recover(await self.bus.end_offset(self.name(topic), partition), over=over)
        return owner

    async def read(self, owner: Owner, until: int | None = None) -> None:
        """All that stands in its partition by now, or up to an offset."""
        participant = owner.participant
        values = self.bus.values(self.name(participant.topic), participant.partition)
        for offset in range(owner.offset, len(values) if until is None else until):
            await owner.feed(offset, values[offset])

    def command(self, topic: str, do: str, **more: object) -> None:
        """A command as a record, for the first host."""
        record = encode_command(self.plan.run, do, {"do": do, **more})
        self.bus.append(self.name(topic), 0, record)
