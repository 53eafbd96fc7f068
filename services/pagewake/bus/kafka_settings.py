"""How the clients of Kafka are set, and why: every default that matters is written out here.

A window costs one round trip, so nothing waits to fill a batch.  Records are commits with their own
numbers (design, "Delivery"): the log may hold one twice, so neither transactions nor
committed offsets are needed, and what is read may be applied at once.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from typing import Any

from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor

from pagewake.errors import ConfigError

RECORD_BYTES_MAX = 1_000_000
"""Key and value of one record; commits are split long before it."""
ENVELOPE_BYTES = 65_536
"""What a request may hold besides its records."""
FETCH_BYTES_MAX = 8 << 20
"""One answer to a fetch: a service that is behind catches up in large steps."""
REQUEST_TIMEOUT_MS = 30_000
"""A broker that does not answer for so long is given up, and what was to be sent is lost."""
RETRY_BACKOFF_MS = 100
"""The client's own default, written out: ten attempts a second to reach a broker that is away."""
SESSION_TIMEOUT_MS = 10_000
"""A service that is silent for so long loses its partitions."""
HEARTBEAT_MS = 1_000
"""How soon members hear that they have to join again: nobody owns anything new before."""
REBALANCE_TIMEOUT_MS = 20_000
"""What members may take to finish a window, leave a snapshot and join again."""
POLL_INTERVAL_MS = 300_000
"""Between two reads: a window of a large shard may take long."""
BROKERS_OWN = -1
"""As Kafka's protocol has it: as many copies as the brokers' `default.replication.factor`."""
METADATA_MAX_AGE_MS = 5_000
"""New topics and partitions are seen within this time even if nobody asks for them."""


@dataclass(frozen=True, slots=True)
class KafkaSettings:
    """How to reach the brokers; `wait_s` is the patience at start."""

    bootstrap: str = "127.0.0.1:9092"
    security_protocol: str = "PLAINTEXT"
    sasl_mechanism: str = "PLAIN"
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    cafile: str | None = None
    certfile: str | None = None
    keyfile: str | None = None
    key_password: str | None = field(default=None, repr=False)
    wait_s: float = 10.0
    replication: int = BROKERS_OWN
    rack: str | None = None

    def options(self) -> dict[str, Any]:
        """The options that every client is given; ConfigError for contradictory settings."""
        options: dict[str, Any] = {
            "bootstrap_servers": self.bootstrap,
            "client_id": "pagewake",
            "security_protocol": self.security_protocol,
            "request_timeout_ms": REQUEST_TIMEOUT_MS,
            "retry_backoff_ms": RETRY_BACKOFF_MS,
            "metadata_max_age_ms": METADATA_MAX_AGE_MS,
        }
        if self.security_protocol.startswith("SASL"):
            options |= self._sasl()
        else:
            self._without("SASL", username=self.username, password=self.password)
        if self.security_protocol.endswith("SSL"):
            options["ssl_context"] = self._tls()
        else:
            self._without("TLS", cafile=self.cafile, certfile=self.certfile, keyfile=self.keyfile)
        return options

    def _without(self, what: str, **given: str | None) -> None:
        """Who gives a password or a certificate believes that it is asked for."""
        for name, value in given.items():
            if value is not None:
                raise ConfigError(
                    f"PAGEWAKE_KAFKA_{name.upper()} does nothing without {what}:"
                    f" PAGEWAKE_KAFKA_SECURITY_PROTOCOL is {self.security_protocol}"
                )

    def _sasl(self) -> dict[str, Any]:
        if self.username is None or self.password is None:
            raise ConfigError(
                f"{self.security_protocol} needs PAGEWAKE_KAFKA_USERNAME and "
                "PAGEWAKE_KAFKA_PASSWORD"
            )
        return {
            "sasl_mechanism": self.sasl_mechanism,
            "sasl_plain_username": self.username,
            "sasl_plain_password": self.password,
        }

    def _tls(self) -> ssl.SSLContext:
        """Certificates are checked, against the system's authorities or those of `cafile`."""
        context = trusting("PAGEWAKE_KAFKA_CAFILE", self.cafile)
        if self.certfile is None:
            if self.keyfile is not None:
                raise ConfigError("PAGEWAKE_KAFKA_KEYFILE needs PAGEWAKE_KAFKA_CERTFILE")
            return context
        try:
            # An empty password is none, where without one the terminal would be asked.
            context.load_cert_chain(self.certfile, self.keyfile, self.key_password or "")
        except (OSError, ValueError) as error:  # SSLError is an OSError
            keyfile = f", PAGEWAKE_KAFKA_KEYFILE={self.keyfile}" if self.keyfile else ""
            raise ConfigError(
                f"PAGEWAKE_KAFKA_CERTFILE={self.certfile}{keyfile}: no certificate with its key,"
                f" or a key of another password ({error})"
            ) from None
        return context


def trusting(variable: str, cafile: str | None) -> ssl.SSLContext:
    """A client's TLS, which checks certificates and host names."""
    try:
        return ssl.create_default_context(cafile=cafile)
    except OSError as error:  # SSLError is one
        raise ConfigError(f"{variable}={cafile}: {error}") from None


def producer_options() -> dict[str, Any]:
    """An idempotent producer that sends at once."""
    return {
        "acks": "all",
        # Retries keep order and add nothing twice while the producer lives; `seq` does the rest.
        "enable_idempotence": True,
        "linger_ms": 0,
        "compression_type": None,
        # What waits while a request is under way goes out in one batch of this size per partition;
        # more than that makes `send` wait, so what is unsent is bounded.
        "max_batch_size": RECORD_BYTES_MAX,
        "max_request_size": RECORD_BYTES_MAX + ENVELOPE_BYTES,
    }


def fetch_options(wait_ms: int, rack: str | None = None) -> dict[str, Any]:
    """A consumer whose fetch is answered with the first byte, or empty after `wait_ms`."""
    return {
        "client_rack": rack,
        "fetch_min_bytes": 1,
        "fetch_max_wait_ms": wait_ms,
        "fetch_max_bytes": FETCH_BYTES_MAX,
        "max_partition_fetch_bytes": FETCH_BYTES_MAX,
        "check_crcs": True,
        # There are no transactions in these logs, so nothing is uncommitted.
        "isolation_level": "read_uncommitted",
        "enable_auto_commit": False,
        "auto_offset_reset": "earliest",
    }


def group_options() -> dict[str, Any]:
    """A group that decides who owns what; it stores no positions.

    Round robin, not sticky: who keeps what does not matter, as every owner starts from a snapshot.
    """
    return {
        "partition_assignment_strategy": (RoundRobinPartitionAssignor,),
        "session_timeout_ms": SESSION_TIMEOUT_MS,
        "heartbeat_interval_ms": HEARTBEAT_MS,
        "rebalance_timeout_ms": REBALANCE_TIMEOUT_MS,
        "max_poll_interval_ms": POLL_INTERVAL_MS,
        # A log that has lost what is read next is not to be read from its beginning instead.
        "auto_offset_reset": "none",
    }
