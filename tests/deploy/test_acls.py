"""The least rights of Kafka: of every command that reaches it, each tried by taking it away."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from typing import Any

from pagewake.cli.app import COMMANDS, command_of
from tests.integration.test_secured_kafka import AFTER, BEFORE, ROLES
from tests.support.secured import ACLS, acls_of


def commands(name: str, command: Any) -> Iterator[str]:
    """Those that take the address of a Kafka."""
    for inner, each in getattr(command, "commands", {}).items():
        yield from commands(f"{name} {inner}", each)
    if any("--kafka" in each.opts for each in command.params):
        yield name


def test_every_command_that_reaches_kafka_has_a_role() -> None:
    reach = {found for name in COMMANDS for found in commands(name, command_of(name))}
    roles = tomllib.loads(ACLS.read_text("utf-8"))
    assert set(roles) == set(ROLES)
    given = [command for role in roles.values() for command in role["commands"]]
    assert {"serve" if name.startswith("serve ") else name for name in given} == reach
    assert len(given) == len(set(given))


def test_each_right_is_taken_away_once() -> None:
    tried = {acl for _, acl, *_ in (*BEFORE, *AFTER)}
    assert tried == {acl for role in ROLES for acl in acls_of(role)}
