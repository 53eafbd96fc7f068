"""Addresses of MQTT brokers."""

from __future__ import annotations

import pytest

from pagewake.cluster.mqtt_address import MqttAddress
from pagewake.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("mqtt://broker", MqttAddress("broker", 1883, None, None, tls=False)),
        ("mqtt://broker:11883", MqttAddress("broker", 11883, None, None, tls=False)),
        ("mqtts://broker", MqttAddress("broker", 8883, None, None, tls=True)),
        ("mqtts://me:p%40ss@broker:1", MqttAddress("broker", 1, "me", "p@ss", tls=True)),
        ("mqtt://[::1]:1883", MqttAddress("::1", 1883, None, None, tls=False)),
    ],
)
def test_an_address_has_host_port_and_who_logs_in(text: str, address: MqttAddress) -> None:
    assert MqttAddress.of(text) == address


@pytest.mark.parametrize(
    "text", ["", "broker", "http://broker", "http://broker:1883", "mqtt://", "mqtt://broker:port"]
)
def test_what_is_none_is_refused_with_what_one_looks_like(text: str) -> None:
    with pytest.raises(ConfigError, match="give mqtt://host:port"):
        MqttAddress.of(text)
