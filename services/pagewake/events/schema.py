"""JSON Schemas of the wire: one per event, and one of the commit that carries them.

They are derived from the structs that are encoded and describe what a reader of a log sees, so a
consumer in another language needs nothing else.  `cluster.schema` writes them out.
"""

from __future__ import annotations

from inspect import cleandoc

import msgspec

from pagewake.events.codec import Commit
from pagewake.events.types import EVENTS, ShardEnded, WindowClosed, WindowOpened

DIALECT = "https://json-schema.org/draft/2020-12/schema"
RECORDS: tuple[type[msgspec.Struct], ...] = (*EVENTS, WindowOpened, WindowClosed, ShardEnded)
IN_A_LOG: tuple[type[msgspec.Struct], ...] = (*RECORDS, Commit)


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


def event_schemas() -> dict[str, dict[str, object]]:
    """File name to schema, for all that stands in a log."""
    return {f"{record.__name__}.json": schema_of(record) for record in IN_A_LOG}
