"""Logs that earlier versions recorded can be read, and so can events from before and after.

The rule stands in `events.codec`: an event may gain fields that have a default, a reader skips
fields that it does not know, and everything else about an event or a commit is fixed.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pagewake.bus.log_reader import LogReader
from pagewake.cli.replay import recorded_digest, recorded_scenario
from pagewake.engine.recorded import recorded_of
from pagewake.engine.run import run_scenario
from pagewake.errors import DataError
from pagewake.events.codec import (
    RECORDS_OF,
    Commit,
    Record,
    decode_commit,
    decode_events,
    encode_commit,
    head_of,
)
from pagewake.timeline.chrome_trace import write_trace
from pagewake.verify.verify import verify_log

COMPAT = Path(__file__).parent
LOGS = sorted(path.parent for path in COMPAT.glob("*/*/digest.txt"))
ROUTES = [(topic, record) for topic, records in RECORDS_OF.items() for record in records]

CHANGED: dict[str, str] = {}
"""Logs whose scenario runs otherwise now, and which entry of CHANGELOG.md says why."""

each_log = pytest.mark.parametrize("log", LOGS, ids=lambda log: log.relative_to(COMPAT).as_posix())
each_record = pytest.mark.parametrize(
    ("topic", "record"), ROUTES, ids=lambda route: getattr(route, "__name__", route)
)


def test_there_are_recorded_logs() -> None:
    assert LOGS


@each_log
def test_a_recorded_log_is_whole_and_has_the_digest_that_was_recorded(log: Path) -> None:
    said = (log / "digest.txt").read_text("utf-8").split()[0]
    report = verify_log(log)
    assert report.problems == []
    assert report.digest == said
    assert report.events > 0


@each_log
def test_a_recorded_log_is_of_the_version_it_is_filed_under(log: Path) -> None:
    sums = LogReader(log).sums
    assert sums is not None
    assert sums.codes == [log.parent.name]


@each_log
def test_replay_finds_what_it_starts_from(log: Path) -> None:
    scenario = recorded_scenario(log)
    recorded = recorded_of(log, scenario)
    assert recorded_digest(log) == verify_log(log).digest
    assert scenario.name == log.name
    assert recorded.controls == [[]]
    assert all(0 < end_ns <= scenario.duration_ns for end_ns in recorded.ends_ns)


@each_log
def test_a_replay_of_a_recorded_log_has_its_digest(log: Path) -> None:
    scenario = recorded_scenario(log)
    again = run_scenario(scenario, recorded=recorded_of(log, scenario)).digest
    changed = log.relative_to(COMPAT).as_posix() in CHANGED
    assert (again != recorded_digest(log)) is changed


@each_log
def test_a_recorded_log_can_be_drawn(log: Path, tmp_path: Path) -> None:
    write_trace(log, tmp_path / "trace.json")
    assert json.loads((tmp_path / "trace.json").read_bytes())["traceEvents"]


def commit_of(*events: dict[str, Any]) -> Commit:
    """A commit whose events are these objects, whatever they are."""
    (one,) = encode_commit(head_of("run", "guest-0"), "0.0", 0, 0, events)  # type: ignore[arg-type]
    return decode_commit(one.record)


def required_of(record: type[Record]) -> dict[str, Any]:
    """An event as it was before any of its optional fields."""
    values: dict[object, Any] = {int: 7, str: "x", bool: True}
    fields = [field for field in msgspec.structs.fields(record) if field.required]
    least = {field.encode_name: _least(field.type, values) for field in fields}
    return {"event": record.__name__, **least}


def _least(kind: Any, values: dict[object, Any]) -> Any:
    kind = getattr(kind, "__supertype__", kind)  # a NewType is what it is made of
    if kind in values:
        return values[kind]
    schema = msgspec.json.schema(kind)
    if "$ref" in schema:
        schema = schema["$defs"][schema["$ref"].rpartition("/")[2]]
    if "enum" in schema:
        return schema["enum"][0]
    return {"array": [], "object": {}}.get(schema.get("type", ""))


@each_record
def test_an_event_from_before_its_optional_fields_has_their_defaults(
    topic: str, record: type[Record]
) -> None:
    (event,) = decode_events(topic, commit_of(required_of(record)))
    assert type(event) is record
    optional = [field for field in msgspec.structs.fields(record) if not field.required]
    for field in optional:
        default = field.default
        if default is msgspec.NODEFAULT:
            default = field.default_factory()
        assert getattr(event, field.name) == default


@each_record
def test_a_field_that_a_later_version_added_is_skipped(topic: str, record: type[Record]) -> None:
    now = required_of(record)
    later = {**now, "added_later": {"any": ["thing"]}}
    assert decode_events(topic, commit_of(later)) == decode_events(topic, commit_of(now))


@each_record
def test_a_field_without_a_default_may_not_be_missing(topic: str, record: type[Record]) -> None:
    for name in required_of(record):
        short = {key: value for key, value in required_of(record).items() if key != name}
        with pytest.raises(DataError, match=f"holds what {topic} cannot"):
            decode_events(topic, commit_of(short))


@pytest.mark.parametrize("topic", RECORDS_OF)
def test_a_kind_of_event_that_is_not_known_is_refused(topic: str) -> None:
    commit = commit_of({"event": "AddedLater", "at_ns": 0, "vm": "x", "n": 1})
    with pytest.raises(DataError, match="AddedLater"):
        decode_events(topic, commit)


def test_a_commit_has_exactly_its_keys() -> None:
    (one,) = encode_commit(head_of("run", "guest-0"), "0.0", 0, 0, [])
    whole = json.loads(one.record)
    for other in ({**whole, "added_later": 1}, {k: v for k, v in whole.items() if k != "code"}):
        with pytest.raises(DataError, match="not a commit"):
            decode_commit(json.dumps(other).encode())
