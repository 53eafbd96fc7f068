"""What is in `schemas/`: JSON Schemas of all events and messages, and the AsyncAPI document.

All of it is derived from what is encoded and decoded.  It is checked in, and a test fails when it
and the code differ.

    python -m pagewake.cluster.schema schemas
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from pagewake.cluster.asyncapi import document
from pagewake.cluster.cost import Spent
from pagewake.cluster.messages import Progress, Status
from pagewake.cluster.runs import Announced, HostEnded, StateChanged
from pagewake.errors import ConfigError
from pagewake.events.schema import DIALECT, event_schemas, schema_of
from pagewake.participants.commands import RUN_COMMANDS, Answer, CommandRecord, OrderId
from pagewake.participants.snapshots import Manifest
from pagewake.scenario.interventions import EVENT_KINDS
from pagewake.scenario.keys import Choice, Choices, Duration, Flag, Integer, Reader, Text

ON_KAFKA: tuple[type[msgspec.Struct], ...] = (
    CommandRecord,
    Announced,
    HostEnded,
    StateChanged,
    Spent,
    Manifest,
)
_YAML_WORDS = "y|n|yes|no|on|off|true|false|null"
_PLAIN_KEY = re.compile(rf"(?!(?i:{_YAML_WORDS})$)[$A-Za-z_][\w.$-]*")


def schema_texts() -> dict[str, str]:
    """Path below `schemas/` to content."""
    schemas: dict[str, object] = {
        **event_schemas(),
        **{f"kafka/{record.__name__}.json": schema_of(record) for record in ON_KAFKA},
        "mqtt/Status.json": status_schema(),
        "mqtt/Progress.json": schema_of(Progress),
        "mqtt/Command.json": command_schema(),
        "mqtt/Answer.json": schema_of(Answer),
    }
    texts = {name: _json_text(schema) for name, schema in schemas.items()}
    return {**texts, "asyncapi.yaml": "".join(f"{line}\n" for line in yaml_lines(document()))}


def status_schema() -> dict[str, Any]:
    """Of the word, which is sent as it is and not as JSON."""
    words = msgspec.json.schema(Status)
    return {"$schema": DIALECT, "title": "Status", "type": "string", **words}


def command_schema() -> dict[str, Any]:
    """One alternative per `do`: interventions by the table that reads them, others by struct."""
    return {
        "$schema": DIALECT,
        "title": "Command",
        "description": "An `id` of the sender's choice, and what is to be done.",
        "oneOf": [
            *(_intervention(do) for do in EVENT_KINDS),
            *(_run_command(schema_of(command)) for command in RUN_COMMANDS),
        ],
    }


def _intervention(do: str) -> dict[str, Any]:
    kind = EVENT_KINDS[do]
    keys = {each.key.name: each.key for each in kind.keys}
    values = {
        name: {"description": key.doc, **_value_schema(key.reader)} for name, key in keys.items()
    }
    required = [each.key.name for each in kind.keys if each.required]
    return {
        "title": do,
        "description": kind.doc,
        "type": "object",
        "properties": {"id": msgspec.json.schema(OrderId), "do": {"enum": [do]}, **values},
        "required": ["id", "do", *required],
        "additionalProperties": False,
    }


def _value_schema(reader: Reader[Any]) -> dict[str, Any]:
    """What a reader takes; where that is not a matter of types, anything."""
    match reader:
        case Integer(minimum=minimum, maximum=maximum):
            bounds = {"minimum": minimum, "maximum": maximum}
            return {"type": "integer", **{k: v for k, v in bounds.items() if v is not None}}
        case Choice():
            return {"enum": reader.names()}
        case Choices():
            items = {"enum": reader.one.names()}
            return {"type": "array", "items": items, "uniqueItems": True}
        case Flag():
            return {"type": "boolean"}
        case Duration():
            return {"type": "string", "examples": ["5us"]}
        case Text():
            return {"type": "string"}
        case _:
            return {}


def _run_command(schema: dict[str, Any]) -> dict[str, Any]:
    """The struct has no `id`: it is taken off before."""
    body = {name: value for name, value in schema.items() if name != "$schema"}
    body["properties"] = {"id": msgspec.json.schema(OrderId), **body["properties"]}
    body["required"] = ["id", *body["required"]]
    return body


def _json_text(schema: object) -> str:
    return msgspec.json.format(msgspec.json.encode(schema), indent=2).decode() + "\n"


def yaml_lines(value: object, indent: str = "") -> Iterator[str]:
    """Block YAML of what JSON can hold; scalars and odd keys stand as JSON, which YAML reads."""
    deeper = f"{indent}  "
    if isinstance(value, dict):
        for key, item in value.items():
            name = key if _PLAIN_KEY.fullmatch(key) else _scalar(key)
            if _is_block(item):
                yield f"{indent}{name}:"
                yield from yaml_lines(item, deeper)
            else:
                yield f"{indent}{name}: {_scalar(item)}"
    elif isinstance(value, list):
        for item in value:
            first, *rest = yaml_lines(item, deeper) if _is_block(item) else (_scalar(item),)
            yield f"{indent}- {first.lstrip()}"
            yield from rest


def _is_block(value: object) -> bool:
    return isinstance(value, dict | list) and bool(value)


def _scalar(value: object) -> str:
    return msgspec.json.encode(value).decode()


def write_schemas(directory: Path) -> int:
    """Write all below an existing directory, less what is gone; returns how many files."""
    if not directory.is_dir():
        raise ConfigError(f"{directory} is not a directory: name the one the schemas go to")
    texts = schema_texts()
    folders = {(directory / name).parent for name in texts}
    for path in (path for folder in folders for path in folder.glob("*.json")):
        left_over = path.relative_to(directory).as_posix() not in texts
        if left_over and DIALECT in path.read_text("utf-8"):
            path.unlink()
    for name, text in texts.items():
        path = directory / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return len(texts)


def main(arguments: list[str]) -> int:
    """Entry of `python -m pagewake.cluster.schema DIRECTORY`."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m pagewake.cluster.schema DIRECTORY\n")
        return ConfigError.exit_code
    try:
        count = write_schemas(Path(arguments[0]))
    except ConfigError as error:
        sys.stderr.write(f"pagewake: error: {error}\n")
        return error.exit_code
    sys.stdout.write(f"{count} files in {arguments[0]}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
