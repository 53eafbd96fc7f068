"""Settings of services and cluster commands, from the environment (design, "Command line")."""

from __future__ import annotations

import re
import socket
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BeforeValidator, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, SettingsConfigDict

from pagewake.bus.kafka import KafkaSettings
from pagewake.bus.kafka_settings import BROKERS_OWN
from pagewake.cluster.mqtt_address import MqttAddress
from pagewake.cluster.secrets import with_files
from pagewake.scenario.units import parse_duration

ServiceKind = Literal["host", "guest", "nested"]
# A person waits for a command; a service may be started along with its broker.
COMMAND_WAIT_S = 10.0
SERVICE_WAIT_S = 30.0

SecurityProtocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
SaslMechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]
SECRETS = ("kafka_password", "kafka_key_password", "mqtt_password")
"""Each may stand in a file, too."""
ADDRESS = re.compile(r"([^\s:,]+|\[[0-9a-fA-F:.]+\]):(\d{1,5})")
INSTANCE = re.compile(r"[A-Za-z0-9._-]{1,64}")
PORT_MAX = 65_535
REPLICATION_MAX = 32_767  # 16 bits in Kafka's protocol


def _seconds(value: object) -> object:
    """A duration with its unit, as everywhere, in seconds; a number alone is seconds already."""
    text = str(value).strip()
    try:
        return float(text)
    except ValueError:
        pass
    try:
        return parse_duration(text) / 1e9
    except ValueError as error:
        raise PydanticCustomError("duration", "{why}", {"why": str(error)}) from None


def _file_of(secret: str) -> Any:  # noqa: ANN401 - as pydantic has it
    return Field(
        default=None, description=f"file in which `PAGEWAKE_{secret.upper()}` stands instead"
    )


Seconds: TypeAlias = Annotated[float, BeforeValidator(_seconds)]


class Settings(BaseSettings):
    """`PAGEWAKE_*`; those that differ between processes of one cluster are flags too."""

    model_config = SettingsConfigDict(env_prefix="PAGEWAKE_", frozen=True, extra="ignore")

    kafka: str = Field(
        default="127.0.0.1:9092", description="bootstrap servers, `host:port,host:port`"
    )
    kafka_wait: Seconds | None = Field(
        default=None,
        ge=0,
        allow_inf_nan=False,
        description="how long to wait for a broker at start, such as `5s` (a number alone:"
        f" seconds); default {COMMAND_WAIT_S:g} s for commands, {SERVICE_WAIT_S:g} s for services",
    )
    kafka_security_protocol: SecurityProtocol = Field(
        default="PLAINTEXT", description="`PLAINTEXT`, `SSL`, `SASL_PLAINTEXT` or `SASL_SSL`"
    )
    kafka_sasl_mechanism: SaslMechanism = Field(
        default="PLAIN", description="`PLAIN`, `SCRAM-SHA-256` or `SCRAM-SHA-512`"
    )
    kafka_username: str | None = Field(default=None, description="of SASL")
    kafka_password: str | None = Field(default=None, repr=False, description="of SASL")
    kafka_password_file: str | None = _file_of("kafka_password")
    kafka_cafile: str | None = Field(
        default=None, description="file of certificate authorities (PEM); default: the system's"
    )
    kafka_certfile: str | None = Field(
        default=None,
        description="file of the client's certificate (PEM), where Kafka wants one; its key stands"
        " there too, or in `PAGEWAKE_KAFKA_KEYFILE`",
    )
    kafka_keyfile: str | None = Field(
        default=None, description="file of the key of the client's certificate (PEM)"
    )
    kafka_key_password: str | None = Field(
        default=None, repr=False, description="of the key, if it has one"
    )
    kafka_key_password_file: str | None = _file_of("kafka_key_password")
    kafka_replication: int | None = Field(
        default=None,
        ge=1,
        le=REPLICATION_MAX,
        description="copies of each topic that is created; default: the brokers' own"
        " (`default.replication.factor`)",
    )
    kafka_rack: str | None = Field(
        default=None,
        description="rack of this process, as in `broker.rack`: what it reads comes from a broker"
        " there, if the brokers allow it (`replica.selector.class`); default: from the leaders",
    )
    mqtt: str = Field(
        default="",
        repr=False,
        description="control plane, `mqtt://host:port` or `mqtts://user:pass@host:port`;"
        " empty: none",
    )
    mqtt_password: str | None = Field(
        default=None, repr=False, description="of the user that `PAGEWAKE_MQTT` names"
    )
    mqtt_password_file: str | None = _file_of("mqtt_password")
    mqtt_cafile: str | None = Field(
        default=None,
        description="file of certificate authorities (PEM) for `mqtts://`; default: the system's",
    )
    http: str = Field(
        default="127.0.0.1:0", description="address of metrics and health; port 0: any"
    )
    instance: str = Field(
        default_factory=socket.gethostname,
        description="name of this process; default: the host's name",
    )
    snapshot_s: Seconds = Field(
        default=5.0,
        gt=0,
        allow_inf_nan=False,
        description="least time between two snapshots, such as `5s`; a number alone is seconds",
    )

    @model_validator(mode="before")
    @classmethod
    def _secrets_of_files(cls, values: dict[str, Any]) -> dict[str, Any]:
        return with_files(values, SECRETS)

    @field_validator("instance")
    @classmethod
    def _part_of_a_topic(cls, text: str) -> str:
        if not INSTANCE.fullmatch(text):
            raise PydanticCustomError(
                "instance", "use 1 to 64 letters, digits, dots, hyphens and underscores"
            )
        return text

    @field_validator("kafka")
    @classmethod
    def _addresses(cls, text: str) -> str:
        for address in text.split(","):
            found = ADDRESS.fullmatch(address.strip())
            if found is None or not 0 < int(found[2]) <= PORT_MAX:
                raise PydanticCustomError(
                    "address", "{address} is no host:port", {"address": repr(address)}
                )
        return text

    def kafka_settings(self, wait_s: float) -> KafkaSettings:
        """For the bus; `wait_s` unless `PAGEWAKE_KAFKA_WAIT` says otherwise."""
        return KafkaSettings(
            bootstrap=self.kafka,
            security_protocol=self.kafka_security_protocol,
            sasl_mechanism=self.kafka_sasl_mechanism,
            username=self.kafka_username,
            password=self.kafka_password,
            cafile=self.kafka_cafile,
            certfile=self.kafka_certfile,
            keyfile=self.kafka_keyfile,
            key_password=self.kafka_key_password,
            replication=self.kafka_replication or BROKERS_OWN,
            rack=self.kafka_rack,
            wait_s=wait_s if self.kafka_wait is None else self.kafka_wait,
        )

    def mqtt_address(self) -> MqttAddress | None:
        """None for no control plane; ConfigError for what is no address."""
        if not self.mqtt:
            return None
        return MqttAddress.of(self.mqtt).with_secrets(self.mqtt_password, self.mqtt_cafile)
