"""Secrets come from the environment or from files, and are told to nobody."""

from __future__ import annotations

from pathlib import Path

import pytest

from pagewake.bus.kafka_settings import KafkaSettings
from pagewake.cli.cluster import settings_of
from pagewake.cluster.clock import SystemClock
from pagewake.cluster.mqtt_address import MqttAddress
from pagewake.cluster.service import Service
from pagewake.cluster.settings import SECRETS, Settings
from pagewake.errors import ConfigError

CANARY = "c4n4ry!"


@pytest.fixture(params=SECRETS)
def variable(request: pytest.FixtureRequest) -> str:
    return f"PAGEWAKE_{request.param.upper()}"


def value_of(variable: str) -> object:
    return getattr(settings_of(), variable.removeprefix("PAGEWAKE_").lower())


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_a_file_is_read_without_the_end_of_its_last_line(
    variable: str, end: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "secret"
    path.write_bytes(f" {CANARY}\n7{end}".encode())
    monkeypatch.setenv(f"{variable}_FILE", str(path))
    assert value_of(variable) == f" {CANARY}\n7"


def test_the_environment_does_as_well(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, CANARY)
    assert value_of(variable) == CANARY


def test_both_are_one_too_many(
    variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secret").write_text("x")
    monkeypatch.setenv(variable, CANARY)
    monkeypatch.setenv(f"{variable}_FILE", str(tmp_path / "secret"))
    with pytest.raises(ConfigError, match=f"{variable} and {variable}_FILE are both set") as told:
        settings_of()
    assert CANARY not in str(told.value)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "No such file"),
        (b"", "there is nothing in it"),
        (b"\n", "there is nothing in it"),
        (b"\xff", "not a text in UTF-8"),
    ],
)
def test_a_file_that_is_none_is_named(
    variable: str,
    content: bytes | None,
    why: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = tmp_path / "secret"
    if content is not None:
        path.write_bytes(content)
    monkeypatch.setenv(f"{variable}_FILE", str(path))
    with pytest.raises(ConfigError, match=f"{variable}_FILE={path}: {why}"):
        settings_of()


def test_no_word_of_them_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever prints settings, or a service that has them, prints none of its secrets."""
    for name in SECRETS:
        monkeypatch.setenv(f"PAGEWAKE_{name.upper()}", CANARY)
    monkeypatch.setenv("PAGEWAKE_MQTT", "mqtts://me@here")
    monkeypatch.setenv("PAGEWAKE_KAFKA_SECURITY_PROTOCOL", "SASL_SSL")
    monkeypatch.setenv("PAGEWAKE_KAFKA_USERNAME", "me")
    settings = settings_of()
    kafka, mqtt = settings.kafka_settings(1.0), settings.mqtt_address()
    assert (kafka.password, kafka.key_password) == (CANARY, CANARY)
    assert mqtt is not None
    assert mqtt.password == CANARY
    service = Service("host", settings, SystemClock())
    pages = [page().body.decode() for path, page in service.http._pages.items()]
    assert CANARY not in f"{settings!r} {settings} {kafka!r} {mqtt!r} {mqtt} {service!r} {pages}"


@pytest.mark.parametrize("name", [name for name in Settings.model_fields if name not in SECRETS])
def test_a_wrong_setting_beside_them_tells_no_secret(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for secret in SECRETS:
        monkeypatch.setenv(f"PAGEWAKE_{secret.upper()}", CANARY)
    monkeypatch.setenv(f"PAGEWAKE_{name.upper()}", "\t?")
    told = ""
    try:
        settings = settings_of()
        settings.kafka_settings(1.0).options()
        settings.mqtt_address()
    except ConfigError as error:
        told = str(error)
    assert CANARY not in told


@pytest.mark.parametrize(
    "text", ["http://me:{}@here", "mqtt://me:{}@", "me:{}@here:1", "mqtt://me:{}@here:port"]
)
def test_an_address_that_is_none_is_told_without_its_password(text: str) -> None:
    with pytest.raises(ConfigError, match=r"\*\*\*@") as told:
        MqttAddress.of(text.format(CANARY))
    assert CANARY not in str(told.value)


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"cafile": "x"}, "PAGEWAKE_KAFKA_CAFILE does nothing without TLS"),
        ({"certfile": "x"}, "PAGEWAKE_KAFKA_CERTFILE does nothing without TLS"),
        ({"username": "x"}, "PAGEWAKE_KAFKA_USERNAME does nothing without SASL"),
        ({"password": CANARY}, "PAGEWAKE_KAFKA_PASSWORD does nothing without SASL"),
        ({"security_protocol": "SSL", "keyfile": "x"}, "needs PAGEWAKE_KAFKA_CERTFILE"),
        ({"security_protocol": "SSL", "certfile": "/nowhere"}, "PAGEWAKE_KAFKA_CERTFILE=/nowhere"),
        ({"security_protocol": "SASL_SSL", "username": "x"}, "needs PAGEWAKE_KAFKA_USERNAME and"),
    ],
)
def test_what_would_do_nothing_or_is_missing_is_refused(settings: dict[str, str], why: str) -> None:
    with pytest.raises(ConfigError, match=why) as told:
        KafkaSettings(**settings).options()  # type: ignore[arg-type]
    assert CANARY not in str(told.value)


@pytest.mark.parametrize(
    ("mqtt", "password", "cafile", "why"),
    [
        ("mqtts://here", CANARY, None, "needs a user without password"),
        ("mqtts://me:other@here", CANARY, None, "needs a user without password"),
        ("mqtt://here", None, "x", "needs mqtts://host:port"),
    ],
)
def test_so_it_is_for_mqtt(mqtt: str, password: str | None, cafile: str | None, why: str) -> None:
    with pytest.raises(ConfigError, match=why) as told:
        MqttAddress.of(mqtt).with_secrets(password, cafile)
    assert CANARY not in str(told.value)
