"""reference/events.md: every event with its fields, from events/types.py and codec.py."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator, Sequence
from itertools import pairwise
from types import NoneType
from typing import Any, Literal, NamedTuple, get_args, get_origin

import msgspec

from docs.generate.markdown import code, head, prose, table, toml
from pagewake.events import codec
from pagewake.events import types as ev

ABOUT = """
Every event of a run, as it stands in a log and on Kafka. An event is a JSON object; `event` names
its kind. A field that has its default is left out. Quantities end in their unit.

A record of the log is a *commit*: the events of one source for one window and one partition, in
order. The same descriptions for programs: `schemas/`, one JSON Schema per event.
"""
COMMON = (
    ("at_ns", "the simulated instant, in nanoseconds from the start of the run"),
    ("vm", "the VM, as in `bm-0`; empty where an event concerns a whole host"),
    ("n", "the VM's own running number; 0 in what the host sends, the VM numbers it on arrival"),
)
COMMIT = (
    ("run", "name of the run"),
    ("source", "who says it: a simulated host or a shard, as in `host-0`, `guest-0`"),
    ("seq", "counts the commits of one source in one partition, from 0"),
    ("window", "number of the window"),
    ("part, parts", "a commit above 256 KiB is split between events"),
    ("hash", "of everything but `code`"),
    ("code", "version of pagewake that wrote it"),
    ("events", "the events, in order"),
)
FAMILIES: tuple[tuple[str, str, Sequence[type[ev.Event]]], ...] = (
    ("Shard to host memory", "Topic `faults`.", ev.TO_HOST),
    (
        "Host memory to shard",
        "Topics `apf.guest` and `apf.nested`.",
        [event for event in ev.TO_SHARD if event not in ev.CONTROL],
    ),
    (
        "Control",
        "Interventions of the scenario or of a person. Same topics; first in a VM's order.",
        ev.CONTROL,
    ),
    ("Journal", "Topic `journal`: what happened, and why.", ev.JOURNAL),
)
FRAMING = (ev.WindowOpened, ev.WindowClosed, ev.ShardEnded)


class ClosedSet(NamedTuple):
    """A Literal of `events/types.py`, and the text below it."""

    values: Any
    text: str


def closed_sets() -> dict[str, ClosedSet]:
    """By name, in the order of the source."""
    body = ast.parse(inspect.getsource(ev)).body
    return {
        alias.target.id: ClosedSet(getattr(ev, alias.target.id), inspect.cleandoc(text))
        for alias, below in pairwise(body)
        if isinstance(alias, ast.AnnAssign)
        and isinstance(alias.target, ast.Name)
        and get_origin(getattr(ev, alias.target.id)) is Literal
        and isinstance(below, ast.Expr)
        and isinstance(below.value, ast.Constant)
        and isinstance(text := below.value.value, str)
    }


SETS = closed_sets()


def page() -> str:
    """The whole page."""
    parts = [
        head("Events", "`events/types.py`", ABOUT),
        "## A record\n",
        table(["key", "is"], [(code(name), text) for name, text in COMMIT]),
        "What may stand in the records of a topic:\n",
        table(["topic", "records"], _topics()),
        "## Fields of all events\n",
        table(["field", "is"], [(code(name), text) for name, text in COMMON]),
    ]
    for title, about, events in FAMILIES:
        parts += [f"## {title}\n", f"{about}\n", *(_event(event) for event in events)]
    parts += ["## Windows and ends\n", "Not domain events: no digest covers them.\n"]
    parts += [_event(record) for record in (*FRAMING, ev.ShardSummary, ev.TaskAccount)]
    parts += ["## Closed sets\n", "What a field of such a type may hold.\n"]
    parts += [
        f"### {name}\n\n{_values(each.values)}\n\n{each.text}\n" for name, each in SETS.items()
    ]
    return "\n".join(parts)


def _values(literal: Any) -> str:  # noqa: ANN401
    return ", ".join(code(value) for value in get_args(literal))


def _topics() -> Iterator[tuple[str, str]]:
    for topic, records in codec.RECORDS_OF.items():
        yield code(topic), ", ".join(f"[{kind.__name__}](#{_anchor(kind)})" for kind in records)


def _anchor(kind: type[msgspec.Struct]) -> str:
    return kind.__name__.lower()


def _event(kind: type[msgspec.Struct]) -> str:
    common = {name for name, _ in COMMON} if issubclass(kind, ev.Event) else set()
    own = [field for field in msgspec.structs.fields(kind) if field.name not in common]
    rows = [(code(each.name), typed(each.type), _default(each)) for each in own]
    listed = table(["field", "type", "default"], rows)
    return f"### {kind.__name__}\n\n{prose(kind)}\n" + (f"\n{listed}" if listed else "")


def _default(field: msgspec.structs.FieldInfo) -> str:
    if field.required:
        return ""
    value = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
    return code("null" if value is None else toml(value))


def typed(annotation: Any) -> str:  # noqa: ANN401
    """A type in words of JSON."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        named = [name for name, each in SETS.items() if each.values == annotation]
        return f"[{named[0]}](#{named[0].lower()})" if named else _values(annotation)
    if origin is list:
        return f"list of {typed(inner[0])}"
    if origin is dict:
        return f"object of {typed(inner[1])}"
    if inner:
        return " or ".join(typed(part) for part in inner)
    if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
        return f"[{annotation.__name__}](#{_anchor(annotation)})"
    names = {int: "integer", float: "number", str: "string", bool: "boolean", NoneType: "null"}
    return names.get(getattr(annotation, "__supertype__", annotation), "any")
