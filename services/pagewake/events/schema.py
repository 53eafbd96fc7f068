"""JSON Schemas of the wire: one per event, and one of the commit that carries them.

They are derived from the structs that are encoded and describe what a reader of a log sees, so a
consumer in another language needs nothing else.  They are checked in under `schemas/`; a test fails
when they and the structs differ.

    python -m pagewake.events.schema schemas
"""

from __future__ import annotations

import sys
from inspect import cleandoc
from pathlib import Path

import msgspec

from pagewake.errors import ConfigError
from pagewake.events.codec import Commit
from pagewake.events.types import EVENTS, ShardEnded, WindowClosed, WindowOpened

DIALECT = "https://json-schema.org/draft/2020-12/schema"
RECORDS: tuple[type[msgspec.Struct], ...] = (*EVENTS, WindowOpened, WindowClosed, ShardEnded)
ON_THE_WIRE: tuple[type[msgspec.Struct], ...] = (*RECORDS, Commit)


def schema_of(record: type[msgspec.Struct]) -> dict[str, object]:
    """The schema of one record, self-contained."""
    (own,), components = msgspec.json.schema_components([record])
    assert own == {"$ref": f"#/$defs/{record.__name__}"}, own
    if record is Commit:
        # Kept undecoded in the struct; what stands in it depends on the topic (codec).
        components["Commit"]["properties"]["events"] = {"type": "array"}
    described = {name: _described(component) for name, component in components.items()}
    body = described.pop(record.__name__)
    if described:
        body["$defs"] = described
    return {"$schema": DIALECT, **body}


def _described(component: dict[str, object]) -> dict[str, object]:
    """The description without the indentation of the source, which not every Python keeps."""
    text = component.get("description")
    return {**component, "description": cleandoc(text)} if isinstance(text, str) else component


def schema_texts() -> dict[str, str]:
    """File name to content, for everything on the wire."""
    return {f"{record.__name__}.json": _text(schema_of(record)) for record in ON_THE_WIRE}


def _text(schema: dict[str, object]) -> str:
    return msgspec.json.format(msgspec.json.encode(schema), indent=2).decode() + "\n"


def write_schemas(directory: Path) -> int:
    """Write all schemas into an existing directory; returns how many."""
    if not directory.is_dir():
        raise ConfigError(f"{directory} is not a directory: name the one the schemas go to")
    texts = schema_texts()
    for name, text in texts.items():
        (directory / name).write_text(text, encoding="utf-8")
    return len(texts)


def main(arguments: list[str]) -> int:
    """Entry of `python -m pagewake.events.schema DIRECTORY`."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m pagewake.events.schema DIRECTORY\n")
        return ConfigError.exit_code
    try:
        count = write_schemas(Path(arguments[0]))
    except ConfigError as error:
        sys.stderr.write(f"pagewake: error: {error}\n")
        return error.exit_code
    sys.stdout.write(f"{count} schemas in {arguments[0]}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
