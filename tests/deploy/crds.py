"""Schemas of custom resources, cut down to what deploy/kubernetes uses of them.

`python -m tests.deploy.crds CRD.yaml...` writes crds/*.json from the custom resource definitions of
a release of Strimzi or of the Prometheus operator.  What is not used is left out, so a field that
is used for the first time is refused until that is done again.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator

from tests.deploy.kubernetes import OVERLAYS, rendered

DIRECTORY = Path(__file__).parent / "crds"
KEPT = (
    "type", "required", "enum", "pattern", "minimum", "maximum", "minItems", "maxItems",
    "minLength", "maxLength", "format",
)  # fmt: skip


def schema_of(group: str, kind: str) -> dict[str, Any]:
    """The checked-in one."""
    text = (DIRECTORY / f"{kind.lower()}.{group}.json").read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


def problems(document: dict[str, Any]) -> list[str]:
    """What its schema says against a custom resource."""
    group, _, version = document["apiVersion"].partition("/")
    schema = schema_of(group, document["kind"])
    assert schema["$id"].endswith(f"/{version}"), f"{document['kind']} is of {schema['$id']}"
    return [
        f"{error.json_path}: {error.message}"
        for error in Draft202012Validator(schema).iter_errors(document)
    ]


def cut(schema: dict[str, Any], used: list[Any]) -> dict[str, Any]:
    """Of an OpenAPI schema what says something about these values, as a closed JSON schema."""
    kept = {key: schema[key] for key in KEPT if key in schema}
    if schema.get("x-kubernetes-int-or-string"):
        kept["type"] = ["integer", "string"]
    if "items" in schema:
        kept["items"] = cut(schema["items"], [item for value in used for item in value])
    if isinstance(more := schema.get("additionalProperties"), dict):
        kept["additionalProperties"] = cut(more, [each for one in used for each in one.values()])
    elif "properties" in schema:
        there = sorted({key for value in used for key in value} & schema["properties"].keys())
        kept["properties"] = {
            key: cut(schema["properties"][key], [one[key] for one in used if key in one])
            for key in there
        }
        kept["additionalProperties"] = False
    return kept


def _written(path: Path, documents: Iterable[dict[str, Any]]) -> None:
    definition = yaml.safe_load(path.read_text(encoding="utf-8"))["spec"]
    kind, group = definition["names"]["kind"], definition["group"]
    (version,) = [one for one in definition["versions"] if one["storage"]]
    used = [one for one in documents if one["kind"] == kind]
    schema = cut(version["schema"]["openAPIV3Schema"], used)
    # Which every resource has, and the API server knows.
    schema["properties"]["metadata"] = {"type": "object", "required": ["name"]}
    schema["$id"] = f"{group}/{version['name']}"
    text = json.dumps(schema, indent=1, sort_keys=True) + "\n"
    (DIRECTORY / f"{kind.lower()}.{group}.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    everything = [document for overlay in OVERLAYS for document in rendered(overlay)]
    for argument in sys.argv[1:]:
        _written(Path(argument), everything)
