"""A Kafka that asks who is there, and allows each process what it needs and nothing else."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pagewake.cli.cluster import on_bus, settings_of
from pagewake.cluster import client
from pagewake.cluster.clock import SystemClock
from pagewake.errors import BrokerError
from tests.support.processes import (
    Cluster,
    digest_of,
    embedded_digest,
    needs_own_brokers,
    new_run,
    running,
)
from tests.support.secured import KEY_PASSWORD, PRINCIPAL, Acl, SecuredKafka, acls_of, grant

pytestmark = [pytest.mark.broker, needs_own_brokers]
ROLES = ("serve", "submit", "load", "read")
SCENARIO = "row-09-enable"
RUN = new_run()


def without(role: str, number: int) -> str:
    """The user who has all ACLs of a role but one."""
    return f"{role}-but-{number}"


LESS = {
    without(role, number): [acl for acl in acls_of(role) if acl != missing]
    for role in ROLES
    for number, missing in enumerate(acls_of(role))
}


PATIENCE_S = 120
NOBODY: dict[str, str] = {"USERNAME": "", "PASSWORD": ""}
BEFORE = [
    ("serve", Acl("topic", "pagewake.runs", "literal", "Create"), "serve guest",
     "Create on topic pagewake.runs is not allowed"),
    ("serve", Acl("topic", "pagewake.", "prefix", "Write"), "serve guest",
     "Write on any topic is not allowed"),
    ("submit", Acl("topic", "pagewake.", "prefix", "Create"), f"submit {SCENARIO}",
     "Create on topic pagewake.runs is not allowed"),
    ("submit", Acl("topic", "pagewake.", "prefix", "Write"), f"submit {SCENARIO}",
     "Write on any topic is not allowed"),
    ("read", Acl("topic", "pagewake.", "prefix", "Read"), "runs list",
     "Describe on topic pagewake.runs is not allowed"),
]  # fmt: skip
"""Role, the right that is missing, what is done, what is said: while there are no runs."""
AFTER = [
    ("serve", Acl("topic", "pagewake.", "prefix", "Read"), "serve guest",
     "Read on topic pagewake.runs is not allowed"),
    ("serve", Acl("group", "pagewake-", "prefix", "Read"), "serve guest",
     "Read on group pagewake-guest is not allowed"),
    ("submit", Acl("topic", "pagewake.", "prefix", "Read"), f"submit {SCENARIO}",
     "Read on topic pagewake.runs is not allowed"),
    ("load", Acl("topic", "pagewake.", "prefix", "Delete"), f"runs delete {RUN}",
     f"Delete on topic pagewake.{RUN}."),
]  # fmt: skip
"""The same while there are some."""


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredKafka]:
    kafka = SecuredKafka(tmp_path_factory.mktemp("secured"), [*ROLES, *LESS])
    try:
        kafka.up()
        rights = LESS | {role: acls_of(role) for role in ROLES}
        given = [(user, acl) for user, acls in rights.items() for acl in acls]
        asyncio.run(grant(kafka.kafka, given))
        yield kafka
    finally:
        kafka.down()


@pytest.fixture
def cluster(tmp_path: Path, kafka: SecuredKafka) -> Iterator[Cluster]:
    for cluster in running(tmp_path, kafka=kafka.sasl):
        cluster.env |= kafka.env("serve")
        yield cluster


def lacks(role: str, acl: Acl) -> str:
    """Who has no such right."""
    return without(role, acls_of(role).index(acl))


def refused(cluster: Cluster, kafka: SecuredKafka, user: str, *command: str) -> str:
    """What a command says that Kafka does not allow."""
    cluster.env |= kafka.env(user)
    done = cluster.run(*command)
    assert done.returncode == 69, done.stderr
    assert "docs/reference/kafka-rights.md" in done.stderr
    return done.stderr


WRONG: list[tuple[str, dict[str, str], str]] = [
    ("sasl", {"PASSWORD": "guessed"}, "refuses the user or the password"),
    ("sasl", {"USERNAME": "stranger"}, "refuses the user or the password"),
    ("sasl", {"SASL_MECHANISM": "PLAIN"}, "takes passwords by SCRAM-SHA-512: see"),
    ("sasl", {"CAFILE": "stranger"}, "has a certificate that is not trusted"),
    ("sasl", {"CAFILE": ""}, "has a certificate that is not trusted"),
    ("sasl", {"SECURITY_PROTOCOL": "SSL"} | NOBODY, "wants a user and a password"),
    ("sasl", {"SECURITY_PROTOCOL": "SASL_PLAINTEXT", "CAFILE": ""}, "speaks TLS"),
    ("sasl", {"SECURITY_PROTOCOL": "", "CAFILE": ""} | NOBODY, "speaks TLS"),
    ("mtls", {"SECURITY_PROTOCOL": "SSL"} | NOBODY, "wants a client's certificate"),
    ("mtls", {"CERTFILE": "client", "KEYFILE": "client_key"}, "asks for no password"),
    ("elsewhere", {"SECURITY_PROTOCOL": "SSL"} | NOBODY, "has a certificate of another host"),
    ("kafka", {"SECURITY_PROTOCOL": "SSL"} | NOBODY, "speaks no TLS"),
    ("kafka", {"SECURITY_PROTOCOL": "SASL_PLAINTEXT", "CAFILE": ""}, "asks for no password"),
]
"""Listener, what is set otherwise than for the one with passwords, what is said."""


# The client leaves connections open whose handshake has failed.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(("listener", "otherwise", "told"), WRONG)
def test_who_is_not_let_in_is_told_why_at_once(
    kafka: SecuredKafka,
    monkeypatch: pytest.MonkeyPatch,
    listener: str,
    otherwise: dict[str, str],
    told: str,
) -> None:
    for name, value in kafka.env("serve").items():
        monkeypatch.setenv(name, value)
    address = getattr(kafka, listener)
    monkeypatch.setenv("PAGEWAKE_KAFKA", address)
    monkeypatch.setenv("PAGEWAKE_KAFKA_WAIT", f"{PATIENCE_S}s")
    for name, value in otherwise.items():
        path = getattr(kafka.certificates, value, value)
        monkeypatch.setenv(f"PAGEWAKE_KAFKA_{name}", str(path))
        if not value:
            monkeypatch.delenv(f"PAGEWAKE_KAFKA_{name}")
    started_s = time.monotonic()
    with pytest.raises(BrokerError) as refused:
        on_bus(settings_of(), SystemClock(), client.known_runs)
    assert f"Kafka at {address} {told}" in str(refused.value)
    assert refused.value.exit_code == 69
    assert time.monotonic() - started_s < PATIENCE_S


@pytest.mark.parametrize(("role", "acl", "command", "told"), BEFORE)
def test_before_there_are_runs_who_has_one_right_less_is_told_which(
    cluster: Cluster, kafka: SecuredKafka, role: str, acl: Acl, command: str, told: str
) -> None:
    assert told in refused(cluster, kafka, lacks(role, acl), *command.split())


def test_with_its_rights_and_no_others_each_process_does_its_work(
    cluster: Cluster, kafka: SecuredKafka, tmp_path: Path
) -> None:
    cluster.start("host", "guest")
    cluster.env |= kafka.env("submit")
    digest = digest_of(cluster.submit(RUN, SCENARIO))
    assert digest == embedded_digest(SCENARIO)
    cluster.env |= kafka.env("read")
    assert RUN in cluster.run("runs", "list").stdout
    assert cluster.run("runs", "watch", RUN).returncode == 0
    exported = cluster.run("export", RUN, "-o", str(tmp_path / "log"))
    assert exported.stdout.strip() == digest, exported.stderr


@pytest.mark.parametrize(("role", "acl", "command", "told"), AFTER)
def test_where_there_are_runs_who_has_one_right_less_is_told_which(
    cluster: Cluster, kafka: SecuredKafka, role: str, acl: Acl, command: str, told: str
) -> None:
    assert told in refused(cluster, kafka, lacks(role, acl), *command.split())


def test_a_client_with_a_certificate_is_let_in_and_known_by_it(
    kafka: SecuredKafka, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    files = kafka.certificates
    secret = tmp_path / "key-password"
    secret.write_text(f"{KEY_PASSWORD}\n")
    for name, value in {
        "": kafka.mtls,
        "_SECURITY_PROTOCOL": "SSL",
        "_CAFILE": files.authority,
        "_CERTFILE": files.client,
        "_KEYFILE": files.locked_key,
        "_KEY_PASSWORD_FILE": secret,
    }.items():
        monkeypatch.setenv(f"PAGEWAKE_KAFKA{name}", str(value))
    asyncio.run(grant(kafka.kafka, [(PRINCIPAL, acl) for acl in acls_of("read")]))
    assert RUN in on_bus(settings_of(), SystemClock(), client.known_runs, writes=False).entries


def test_who_may_delete_deletes(cluster: Cluster, kafka: SecuredKafka) -> None:
    cluster.env |= kafka.env("load")
    deleted = cluster.run("runs", "delete", RUN)
    assert deleted.returncode == 0, deleted.stderr
