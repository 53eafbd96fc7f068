"""A Kafka that asks who is there, and allows each process what it needs and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.processes import (
    Cluster,
    digest_of,
    embedded_digest,
    needs_own_brokers,
    new_run,
    running,
)
from tests.support.secured import Acl, SecuredKafka, acls_of, grant

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


def test_who_may_delete_deletes(cluster: Cluster, kafka: SecuredKafka) -> None:
    cluster.env |= kafka.env("load")
    deleted = cluster.run("runs", "delete", RUN)
    assert deleted.returncode == 0, deleted.stderr
