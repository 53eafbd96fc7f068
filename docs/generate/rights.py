"""reference/kafka-rights.md: the ACLs of each process, from `deploy/kafka/acls.toml`."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from docs.generate.markdown import code, head, table

ACLS = Path(__file__).parents[2] / "deploy" / "kafka" / "acls.toml"
ABOUT = """
What each process may do on a Kafka that enforces ACLs: the least with which it works. Read, Write
and Delete have Describe with them. Who is refused something is told the operation and the topic or
group, and ends with exit code 69. No right to the cluster is needed, and no transactional id.
"""


def page() -> str:
    """The whole page."""
    about = head("Kafka: rights", "deploy/kafka/acls.toml", ABOUT)
    headings = ["who", "on", "named", "operations", "why"]
    return about + "\n" + table(headings, _rows(tomllib.loads(ACLS.read_text("utf-8"))))


def _rows(roles: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    for role in roles.values():
        who = ", ".join(code(f"pagewake {command}") for command in role["commands"])
        for acl in role["acls"]:
            name = f"{acl['name']}*" if acl["patternType"] == "prefix" else acl["name"]
            yield who, acl["type"], code(name), ", ".join(acl["operations"]), acl["why"]
            who = ""
