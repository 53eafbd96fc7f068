"""Whether a reader that has only `schemas/` would take a message."""

from __future__ import annotations

from typing import Any

import msgspec
from jsonschema import Draft202012Validator
from referencing import Registry
from referencing.jsonschema import DRAFT202012

from pagewake.cluster.asyncapi import MESSAGES
from pagewake.cluster.schema import schema_texts

TEXTS = schema_texts()
JSON = {name: msgspec.json.decode(text) for name, text in TEXTS.items() if name.endswith(".json")}
REGISTRY: Registry[Any] = Registry().with_resources(
    (f"/{name}", DRAFT202012.create_resource(schema)) for name, schema in JSON.items()
)


def accepts(schema: dict[str, Any], sent: object) -> bool:
    """By a schema whose references are relative to `schemas/`."""
    checker = Draft202012Validator({"$id": "/here", **schema}, registry=REGISTRY)
    return bool(checker.is_valid(sent))


def payload_accepts(message: str, sent: object) -> bool:
    """By the payload of a message of the AsyncAPI document."""
    return accepts(MESSAGES[message].payload, sent)
