"""An MQTT broker with TLS and passwords."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pagewake.cli.cluster import settings_of
from pagewake.cluster.clock import SystemClock
from pagewake.cluster.listener import CONNECT_WAIT_S, MqttListener
from pagewake.errors import BrokerError
from tests.support.processes import needs_own_mosquitto
from tests.support.secured import PASSWORD, SecuredMosquitto, needs_mosquitto_passwd

pytestmark = [pytest.mark.broker, needs_own_mosquitto, needs_mosquitto_passwd]


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredMosquitto]:
    with SecuredMosquitto(tmp_path_factory.mktemp("mosquitto")).running() as broker:
        yield broker


@pytest.fixture(autouse=True)
def settings(broker: SecuredMosquitto, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAGEWAKE_MQTT", f"mqtts://pagewake@{broker.place}")
    monkeypatch.setenv("PAGEWAKE_MQTT_CAFILE", str(broker.certificates.authority))
    monkeypatch.setenv("PAGEWAKE_MQTT_PASSWORD", PASSWORD)


async def listen() -> bool:
    """Connect, and say something."""
    address = settings_of().mqtt_address()
    async with MqttListener(address, [], lambda *_: None, SystemClock()) as listener:
        return await listener.publish("a/b", b"x")


async def test_who_gives_the_password_is_let_in(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert await listen()
    secret = tmp_path / "mqtt"
    secret.write_text(f"{PASSWORD}\n")
    monkeypatch.delenv("PAGEWAKE_MQTT_PASSWORD")
    monkeypatch.setenv("PAGEWAKE_MQTT_PASSWORD_FILE", str(secret))
    assert await listen()


# The client leaves a socket open whose handshake has failed.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    ("otherwise", "told"),
    [
        ({"PASSWORD": "guessed"}, "refuses the user or the password"),
        ({"CAFILE": "stranger"}, "has a certificate that is not trusted"),
    ],
)
async def test_who_is_not_is_told_why_at_once(
    broker: SecuredMosquitto, monkeypatch: pytest.MonkeyPatch, otherwise: dict[str, str], told: str
) -> None:
    for name, value in otherwise.items():
        monkeypatch.setenv(f"PAGEWAKE_MQTT_{name}", str(getattr(broker.certificates, value, value)))
    clock = SystemClock()
    started_s = clock.monotonic_s()
    with pytest.raises(BrokerError) as refused:
        await listen()
    assert f"MQTT broker at {broker.place} {told}" in str(refused.value)
    assert PASSWORD not in str(refused.value)
    assert clock.monotonic_s() - started_s < CONNECT_WAIT_S
