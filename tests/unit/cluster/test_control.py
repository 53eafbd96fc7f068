"""What a service says of its runs over MQTT, and what it hears."""

from __future__ import annotations

import msgspec
import pytest
from structlog.testing import capture_logs

from pagewake.cluster.control import QUEUED_MAX, RETRY_S, ControlPlane, RunLink, state_of
from pagewake.cluster.messages import Progress
from pagewake.cluster.mqtt_address import MqttAddress
from pagewake.cluster.owner import STALLED_S
from pagewake.events.codec import APF_GUEST, FAULTS
from pagewake.participants.commands import Answer
from pagewake.participants.plan import RunPlan
from pagewake.scenario.loading import load
from tests.support.clock import FakeClock
from tests.support.fake_mqtt import FakeMqtt, mqtt, turns
from tests.support.owners import Owners

__all__ = ["mqtt"]

PLAN = RunPlan.of("r", load("natapov-2010", ["scenario.duration=400ms"]), 1)


class Heard:
    """Commands that were taken."""

    def __init__(self) -> None:
        self.commands: list[tuple[str, bytes]] = []

    async def __call__(self, run: str, payload: bytes) -> None:
        self.commands.append((run, payload))


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def control(heard: Heard, clock: FakeClock, address: str = "mqtt://broker") -> ControlPlane:
    place = MqttAddress.of(address) if address else None
    return ControlPlane("host", place, "here", heard, clock)


class TestLink:
    """One run's connection."""

    def link(self, heard: Heard, clock: FakeClock) -> RunLink:
        return RunLink(MqttAddress.of("mqtt://broker"), "host", "here", "r", heard, clock)

    async def test_says_that_it_joined_and_what_is_said_when_it_is_lost(
        self, mqtt: FakeMqtt, heard: Heard, clock: FakeClock
    ) -> None:
        link = self.link(heard, clock)
        await turns()
        (client,) = mqtt.clients
        will = client.options["will"]
        assert (will.topic, will.payload, will.retain) == (
            "pagewake/v1/r/host/here/status", b"lost", True,
        )  # fmt: skip
        assert mqtt.published == [("pagewake/v1/r/host/here/status", b"joined", True)]
        await link.close("left")
        assert mqtt.words("status") == ["joined", "left"]
        assert mqtt.clients == []

    async def test_a_word_is_said_when_it_is_news(
        self, mqtt: FakeMqtt, heard: Heard, clock: FakeClock
    ) -> None:
        link = self.link(heard, clock)
        await turns()
        for word in ("running", "running", "paused"):
            link.status(word)
        await link.close("ended")
        assert mqtt.words("status") == ["joined", "running", "paused", "ended"]

    async def test_commands_are_handed_on(
        self, mqtt: FakeMqtt, heard: Heard, clock: FakeClock
    ) -> None:
        link = self.link(heard, clock)
        await turns()
        (client,) = mqtt.clients
        assert client.subscribed == ["pagewake/v1/r/command"]
        client.receive("pagewake/v1/r/command", b"x")
        await turns()
        assert heard.commands == [("r", b"x")]
        await link.close("left")

    async def test_a_lost_broker_is_tried_again_and_told_how_the_run_stands_now(
        self, mqtt: FakeMqtt, heard: Heard, clock: FakeClock
    ) -> None:
        link = self.link(heard, clock)
        await turns()
        since_s = clock.monotonic_s()
        mqtt.stop()
        await clock.sleep(RETRY_S / 2)
        link.status("running")
        assert link.dropped == 1
        mqtt.down = False
        await clock.sleep(RETRY_S)
        await turns()
        assert mqtt.words("status") == ["joined", "running"]
        assert clock.monotonic_s() - since_s == 1.5 * RETRY_S
        await link.close("left")

    async def test_a_connection_that_was_up_may_have_been_taken_by_a_namesake(
        self, mqtt: FakeMqtt, heard: Heard, clock: FakeClock
    ) -> None:
        with capture_logs() as told:
            link = self.link(heard, clock)
            await turns()
            mqtt.stop()
            await clock.sleep(1.5 * RETRY_S)
            await link.close("left")
        hints = [line.get("hint") for line in told]
        assert hints == ["is another host instance called here running?", None]

    async def test_what_waits_is_bounded(
        self, mqtt: FakeMqtt, heard: Heard, clock: FakeClock
    ) -> None:
        link = self.link(heard, clock)
        await turns()
        for _ in range(QUEUED_MAX + 3):
            link.put("t", b"")
        assert link.dropped == 3
        await link.close("left")


class TestPlane:
    """All links of a service."""

    async def test_a_run_is_told_of_once_a_second_until_it_is_not_owned(
        self, mqtt: FakeMqtt, heard: Heard, clock: FakeClock
    ) -> None:
        owners = Owners(PLAN)
        mine = [await owners.recovered(FAULTS)]
        plane = control(heard, clock)
        await plane.tell(mine)
        await turns()
        await plane.tell(mine)
        await plane.tell([], {"r"})
        assert mqtt.words("status") == ["running", "ended"]
        (word,) = mqtt.words("progress")
        progress = msgspec.json.decode(word, type=Progress)
        assert (progress.service, progress.instance, progress.state) == ("host", "here", "running")
        assert progress.sources == ["host-0"]

    async def test_who_leaves_a_run_that_goes_on_says_so(
        self, mqtt: FakeMqtt, heard: Heard, clock: FakeClock
    ) -> None:
        owners = Owners(PLAN)
        plane = control(heard, clock)
        await plane.tell([await owners.recovered(FAULTS)])
        await turns()
        await plane.tell([])
        assert mqtt.words("status")[-1] == "left"

    async def test_an_answer_goes_to_its_run_if_that_is_ours(
        self, mqtt: FakeMqtt, heard: Heard, clock: FakeClock
    ) -> None:
        owners = Owners(PLAN)
        plane = control(heard, clock)
        await plane.tell([await owners.recovered(FAULTS)])
        await turns()
        for run in ("r", "other"):
            plane.answer(run, Answer("a", ok=True, at_ns=5))
        await plane.close()
        (word,) = mqtt.words("reply")
        assert msgspec.json.decode(word, type=Answer) == Answer("a", ok=True, at_ns=5)

    async def test_without_an_address_nothing_is_said(
        self, mqtt: FakeMqtt, heard: Heard, clock: FakeClock
    ) -> None:
        plane = control(heard, clock, "")
        await plane.tell([await Owners(PLAN).recovered(FAULTS)])
        plane.answer("r", Answer("a", ok=True))
        await turns()
        assert mqtt.published == []


class TestState:
    """One word for how a service's part of a run stands."""

    async def test_it_runs_waits_and_is_paused(self) -> None:
        owners = Owners(PLAN)
        host, shard = [await owners.recovered(topic) for topic in (FAULTS, APF_GUEST)]
        await owners.read(shard)
        assert state_of([host, shard]) == "running"
        owners.clock.advance(STALLED_S)
        assert state_of([host, shard]) == "waiting"
        assert state_of([shard]) == "running"
        owners.command(FAULTS, "pause")
        await owners.read(host)
        assert state_of([host, shard]) == "paused"

    async def test_it_replays_until_all_have_caught_up_and_ends_with_the_last(self) -> None:
        owners = Owners(PLAN)
        host, shard = [await owners.recovered(topic) for topic in (FAULTS, APF_GUEST)]
        while not host.participant.ended:
            await owners.read(shard)
            await owners.read(host)
        assert state_of([host, shard]) == "ended"
        again = await owners.recovered(APF_GUEST)
        assert state_of([host, again]) == "replaying"
