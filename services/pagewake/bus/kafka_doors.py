"""Why Kafka lets nobody in: what its clients keep to themselves when they cannot connect.

A client that cannot connect says so and no more.  So it is tried again by hand, and what comes is
put in words, where waiting cannot help because one of the two sides has to be set otherwise.  A
broker that is not there yet refuses nothing.
"""

from __future__ import annotations

import asyncio
import ssl
from asyncio import IncompleteReadError
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, TypeAlias

from aiokafka.conn import create_conn
from aiokafka.errors import (
    IllegalSaslStateError,
    KafkaError,
    SaslAuthenticationFailed,
)
from aiokafka.protocol.admin import SaslHandShakeRequest
from aiokafka.protocol.metadata import MetadataRequest

from pagewake.bus.kafka_settings import KafkaSettings

ANSWER_MS = 5_000
"""A broker that is there answers in much less; it is asked only once nothing else helped."""
CLOSED_S = 0.05
"""A client that was refused closes its connection in later turns of the loop, which is to end."""
TLS_ALERT = 0x1503
"""How a record of TLS begins that refuses what was said: its type and version."""
CLIENT_REFUSED = (
    "CERTIFICATE_REQUIRED",
    "BAD_CERTIFICATE",
    "UNKNOWN_CA",
    "CERTIFICATE_UNKNOWN",
    "CERTIFICATE_EXPIRED",
    "HANDSHAKE_FAILURE",
)
"""Alerts of TLS that a server sends to a client without a certificate, or with another's."""
OTHER_NAME = (62, 64)
"""What OpenSSL says of a certificate for another host, and for another address."""

PROTOCOL = "PAGEWAKE_KAFKA_SECURITY_PROTOCOL"
BARE = ("PLAINTEXT", "SSL")
OF_A_CONNECTION = (
    *("client_id", "security_protocol", "ssl_context"),
    *("sasl_mechanism", "sasl_plain_username", "sasl_plain_password"),
)
Options: TypeAlias = dict[str, Any]


async def refusal(settings: KafkaSettings) -> str:
    """What has to be changed before a broker lets us in; empty where it may come up yet."""
    for address in settings.bootstrap.split(","):
        host, _, port = address.strip().rpartition(":")
        why = await _why_not(settings, host.strip("[]"), int(port))
        if why:
            await asyncio.sleep(CLOSED_S)
            return f"{address.strip()} {why}"
    return ""


async def _why_not(settings: KafkaSettings, host: str, port: int) -> str:
    """Of one address, and of the brokers of which it tells."""
    options = settings.options()
    brokers, why = await _tried(options, host, port)
    for _, name, number, *_ in brokers:
        _, why = await _tried(options, name, number)
        if why:
            return f"sends its clients to {name}:{number}, which {why}"
    return why


async def _tried(options: Options, host: str, port: int) -> tuple[list[tuple[Any, ...]], str]:
    """Connect and ask which brokers there are, as every client begins; or what is wrong."""
    try:
        connection = await _connection(options, host, port)
        try:
            return (await connection.send(MetadataRequest([]))).brokers, ""
        finally:
            await connection.close()
    except (KafkaError, OSError, TimeoutError) as error:
        for cause in _causes(error):
            if words := _said(cause):
                return [], words
        return [], await _guessed(options, host, port)


async def _connection(options: Options, host: str, port: int) -> Any:  # noqa: ANN401
    """One without patience; the client's types say nothing of it."""
    taken = {name: value for name, value in options.items() if name in OF_A_CONNECTION}
    return await create_conn(host, port, request_timeout_ms=ANSWER_MS, **taken)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _said(error: BaseException) -> str:
    """What is wrong, where the error says it."""
    if isinstance(error, ssl.SSLCertVerificationError):
        what = error.verify_message.rstrip(".")
        if error.verify_code in OTHER_NAME:
            return f"has a certificate of another host ({what}): connect to it by that name"
        return f"has a certificate that is not trusted ({what}): see PAGEWAKE_KAFKA_CAFILE"
    if isinstance(error, ssl.SSLError) and any(word in str(error) for word in CLIENT_REFUSED):
        return "wants a client's certificate that it trusts: see PAGEWAKE_KAFKA_CERTFILE"
    if isinstance(error, SaslAuthenticationFailed):
        return "refuses the user or the password: see PAGEWAKE_KAFKA_USERNAME and _PASSWORD"
    if isinstance(error, IllegalSaslStateError):
        return f"asks for no password: {PROTOCOL} is to be without SASL"
    if isinstance(error, IncompleteReadError) and (error.expected or 0) >> 16 == TLS_ALERT:
        return f"speaks TLS: {PROTOCOL} is to be with SSL"
    return ""


async def _guessed(options: Options, host: str, port: int) -> str:
    """A broker that closes a connection does not say why: it is asked in another way."""
    protocol = str(options["security_protocol"])
    if protocol.endswith("SSL"):
        plain = options | {"security_protocol": "PLAINTEXT"}
        with suppress(KafkaError, OSError, TimeoutError):
            await (await _connection(plain, host, port)).close()
            return f"speaks no TLS: {PROTOCOL} is to be without SSL"
    bare = options | {"security_protocol": protocol.removeprefix("SASL_")}
    with suppress(KafkaError, OSError, TimeoutError):
        connection = await _connection(bare, host, port)
        try:
            offered = (await connection.send(SaslHandShakeRequest("PLAIN"))).enabled_mechanisms
        finally:
            await connection.close()
        if offered and protocol in BARE:
            return f"wants a user and a password: {PROTOCOL} is to be with SASL"
        if offered:
            return f"takes passwords by {', '.join(offered)}: see PAGEWAKE_KAFKA_SASL_MECHANISM"
    return ""
