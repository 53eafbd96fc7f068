"""Settings of services and cluster commands, from the environment (design, "Command line")."""

from __future__ import annotations

import socket
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from pagewake.bus.kafka import KafkaSettings

ServiceKind = Literal["host", "guest", "nested"]
COMMAND_WAIT_S = 10.0
SERVICE_WAIT_S = 30.0


class Settings(BaseSettings):
    """`PAGEWAKE_*`; every one of them is also a flag of the command."""

    model_config = SettingsConfigDict(env_prefix="PAGEWAKE_", frozen=True, extra="ignore")

    kafka: str = "127.0.0.1:9092"
    kafka_wait: float | None = Field(default=None, ge=0)
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    kafka_sasl_mechanism: str = "PLAIN"
    kafka_username: str | None = None
    kafka_password: str | None = None
    kafka_cafile: str | None = None
    mqtt: str = ""
    http: str = "127.0.0.1:0"
    instance: str = Field(default_factory=socket.gethostname)
    snapshot_s: float = Field(default=5.0, gt=0)

    def kafka_settings(self, wait_s: float) -> KafkaSettings:
        """For the bus; `wait_s` unless `PAGEWAKE_KAFKA_WAIT` says otherwise."""
        return KafkaSettings(
            bootstrap=self.kafka,
            security_protocol=self.kafka_security_protocol,
            sasl_mechanism=self.kafka_sasl_mechanism,
            username=self.kafka_username,
            password=self.kafka_password,
            cafile=self.kafka_cafile,
            wait_s=wait_s if self.kafka_wait is None else self.kafka_wait,
        )
