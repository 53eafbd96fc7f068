"""Where the MQTT broker is, and a client for it."""

from __future__ import annotations

import ssl
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

import aiomqtt

from pagewake.errors import ConfigError

PORTS = {"mqtt": 1883, "mqtts": 8883}


class MqttAddress(NamedTuple):
    """`mqtt://host:port` or `mqtts://user:pass@host:port`."""

    host: str
    port: int
    user: str | None
    password: str | None
    tls: bool

    @classmethod
    def of(cls, text: str) -> MqttAddress:
        """ConfigError for what is no such address."""
        wrong = f"PAGEWAKE_MQTT={text}: give mqtt://host:port or mqtts://user:pass@host:port"
        try:
            url = urlsplit(text)
            usual = PORTS[url.scheme]
            port = url.port or usual
        except (ValueError, KeyError):
            raise ConfigError(wrong) from None
        if not url.hostname:
            raise ConfigError(wrong)
        user, password = (word and unquote(word) for word in (url.username, url.password))
        return cls(url.hostname, port, user, password, url.scheme == "mqtts")

    def client(self, **options: Any) -> aiomqtt.Client:  # noqa: ANN401 - as aiomqtt has them
        """Not connected yet; `options` beside those that the address has."""
        return aiomqtt.Client(
            self.host,
            self.port,
            username=self.user,
            password=self.password,
            tls_context=ssl.create_default_context() if self.tls else None,
            **options,
        )
