"""Where the MQTT broker is, and a client for it."""

from __future__ import annotations

import ssl
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

import aiomqtt

from pagewake.bus.kafka_settings import trusting
from pagewake.errors import ConfigError

NOT_LET_IN = (4, 5, 134, 135)
"""Of MQTT 3.1.1 and 5: bad user name or password, not authorized."""
PORTS = {"mqtt": 1883, "mqtts": 8883}


class MqttAddress(NamedTuple):
    """`mqtt://host:port` or `mqtts://user:pass@host:port`."""

    host: str
    port: int
    user: str | None
    password: str | None
    tls: bool
    cafile: str | None = None

    def __repr__(self) -> str:
        return f"{'mqtts' if self.tls else 'mqtt'}://{self.host}:{self.port}"

    @classmethod
    def of(cls, text: str) -> MqttAddress:
        """ConfigError for what is no such address."""
        wrong = f"PAGEWAKE_MQTT={_without_user(text)}: give mqtt://host:port or mqtts://user:pass@host:port"
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

    def with_secrets(self, password: str | None, cafile: str | None) -> MqttAddress:
        """With what does not stand in the address; ConfigError for what would do nothing."""
        if password is not None and (self.user is None or self.password is not None):
            raise ConfigError(
                "PAGEWAKE_MQTT_PASSWORD needs a user without password in PAGEWAKE_MQTT:"
                " mqtts://user@host:port"
            )
        if cafile is not None and not self.tls:
            raise ConfigError("PAGEWAKE_MQTT_CAFILE needs mqtts://host:port in PAGEWAKE_MQTT")
        return self._replace(password=password or self.password, cafile=cafile)

    def client(self, **options: Any) -> aiomqtt.Client:  # noqa: ANN401 - as aiomqtt has them
        """Not connected yet; `options` beside those that the address has."""
        return aiomqtt.Client(
            self.host,
            self.port,
            username=self.user,
            password=self.password,
            tls_context=trusting("PAGEWAKE_MQTT_CAFILE", self.cafile) if self.tls else None,
            **options,
        )


def refusal(error: aiomqtt.MqttError) -> str:
    """Why a broker lets nobody in, where waiting could not help; empty where it might."""
    cause = error.__context__  # the client tells no more than its words
    if isinstance(cause, ssl.SSLCertVerificationError):
        what = cause.verify_message.rstrip(".")
        return f"has a certificate that is not trusted ({what}): see PAGEWAKE_MQTT_CAFILE"
    code = getattr(error, "rc", None)
    if getattr(code, "value", code) in NOT_LET_IN:
        return "refuses the user or the password: see PAGEWAKE_MQTT and PAGEWAKE_MQTT_PASSWORD"
    return ""


def _without_user(text: str) -> str:
    """What was given, which may be no address, without who logs in and the password."""
    before, at, place = text.rpartition("@")
    scheme, found, _ = before.partition("://")
    return f"{scheme if found else ''}{found}***@{place}" if at else text
