"""Settings from the environment and from flags."""

from __future__ import annotations

import pytest

from pagewake.cli.cluster import settings_of
from pagewake.errors import ConfigError


@pytest.mark.parametrize(
    "text", ["", "host", "host:x", ":9092", "host:0", "host:70000", "a:1,b", "a:1,"]
)
def test_what_is_no_address_of_kafka(text: str) -> None:
    with pytest.raises(ConfigError, match=r"PAGEWAKE_KAFKA: .* is no host:port"):
        settings_of(kafka=text)


@pytest.mark.parametrize("text", ["kafka:9092", "a:1,b:2", "a:1, b:2", "[::1]:9092"])
def test_what_is(text: str) -> None:
    assert settings_of(kafka=text).kafka_settings(1.0).bootstrap == text


def test_a_flag_goes_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAGEWAKE_KAFKA", "broken")
    assert settings_of(kafka="kafka:9092").kafka == "kafka:9092"
    with pytest.raises(ConfigError, match="PAGEWAKE_KAFKA"):
        settings_of()


@pytest.mark.parametrize("name", ["", "a/b", "a+#", "x" * 65, "ä"])
def test_what_cannot_name_a_process(name: str) -> None:
    with pytest.raises(ConfigError, match="PAGEWAKE_INSTANCE: use 1 to 64 letters"):
        settings_of(instance=name)


@pytest.mark.parametrize("value", ["inf", "nan", "0", "-1"])
def test_snapshots_come_now_and_then(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("PAGEWAKE_SNAPSHOT_S", value)
    with pytest.raises(ConfigError, match="PAGEWAKE_SNAPSHOT_S"):
        settings_of()


@pytest.mark.parametrize(
    ("text", "wait_s"), [("5", 5.0), ("0", 0.0), ("2.5", 2.5), ("5s", 5.0), ("250ms", 0.25)]
)
def test_durations_have_a_unit_or_are_seconds(
    monkeypatch: pytest.MonkeyPatch, text: str, wait_s: float
) -> None:
    monkeypatch.setenv("PAGEWAKE_KAFKA_WAIT", text)
    assert settings_of().kafka_settings(1.0).wait_s == wait_s


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("KAFKA_WAIT", "5 sec", 'write "5s"'),
        ("KAFKA_WAIT", "-1", "too small; give at least 0"),
        ("SNAPSHOT_S", "soon", '"soon" is not a duration'),
        ("KAFKA_SECURITY_PROTOCOL", "ssl", "'ssl' is unknown; give one of 'PLAINTEXT', 'SSL'"),
    ],
)
def test_a_wrong_value_is_told_in_our_words(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, why: str
) -> None:
    monkeypatch.setenv(f"PAGEWAKE_{name}", value)
    with pytest.raises(ConfigError, match=f"^PAGEWAKE_{name}: ") as told:
        settings_of()
    assert why in str(told.value)
    assert "Input should be" not in str(told.value)
