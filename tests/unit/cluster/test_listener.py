"""Listening to a control plane from outside: connects, and connects again."""

from __future__ import annotations

import pytest

from pagewake.cluster.listener import (
    AGAIN_S,
    CONNECT_WAIT_S,
    LET_GO_S,
    MQTT_DEFAULT,
    RETAINED_S,
    MqttListener,
    take_back_statuses,
)
from pagewake.cluster.mqtt_address import MqttAddress
from pagewake.errors import BrokerError
from tests.support.clock import FakeClock
from tests.support.fake_mqtt import FakeMqtt, Published, mqtt, turns

__all__ = ["mqtt"]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def status(kind: str, word: bytes) -> Published:
    return Published(f"pagewake/v1/r/{kind}/here/status", word, True)


async def test_messages_are_heard(mqtt: FakeMqtt, clock: FakeClock) -> None:
    heard: list[tuple[str, bytes]] = []
    async with MqttListener(
        None, ["a/+"], lambda *message: heard.append(message), clock
    ) as listener:
        (client,) = mqtt.clients
        assert client.subscribed == ["a/+"]
        client.receive("a/b", b"x")
        await turns()
        assert heard == [("a/b", b"x")]
        assert await listener.publish("c", b"y", retain=True)
    assert mqtt.published == [("c", b"y", True)]
    assert mqtt.clients == []


async def test_patience_at_the_start_is_limited(mqtt: FakeMqtt, clock: FakeClock) -> None:
    mqtt.down = True
    since_s = clock.monotonic_s()
    with pytest.raises(BrokerError, match=r"no MQTT broker at here:7 within 5 s \(refused\)"):
        async with MqttListener(
            MqttAddress.of("mqtt://me:pass@here:7"), [], lambda *_: None, clock
        ):
            pass
    assert clock.monotonic_s() - since_s == CONNECT_WAIT_S


async def test_later_it_connects_again_and_says_since_when_it_hears_nothing(
    mqtt: FakeMqtt, clock: FakeClock
) -> None:
    async with MqttListener(None, [], lambda *_: None, clock) as listener:
        clock.advance(100.0)
        mqtt.stop()
        await turns()
        assert not listener.connected
        assert listener.lost_s == clock.monotonic_s()
        assert not await listener.publish("c", b"")
        mqtt.down = False
        await clock.sleep(2 * AGAIN_S)
        assert listener.connected


class TestTakingBack:
    """What a broker retains of a deleted run."""

    async def test_all_statuses_are_deleted(self, mqtt: FakeMqtt, clock: FakeClock) -> None:
        mqtt.retained = [status("host", b"left"), status("guest", b"lost"), status("x", b"")]
        since_s = clock.monotonic_s()
        await take_back_statuses(MQTT_DEFAULT, "r", clock)
        assert mqtt.published == [status("host", b""), status("guest", b"")]
        assert clock.monotonic_s() - since_s == RETAINED_S

    async def test_a_service_that_has_not_let_go_is_waited_for_but_not_for_ever(
        self, mqtt: FakeMqtt, clock: FakeClock
    ) -> None:
        mqtt.retained = [status("host", b"running")]
        since_s = clock.monotonic_s()
        await take_back_statuses(MQTT_DEFAULT, "r", clock)
        assert mqtt.published == [status("host", b"")]
        assert clock.monotonic_s() - since_s == RETAINED_S + LET_GO_S
