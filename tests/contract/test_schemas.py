"""What is checked in under `schemas/` is what the code says, and what is sent is what it says."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from pagewake.bus.log_reader import LogReader
from pagewake.cluster.asyncapi import document
from pagewake.cluster.messages import LOST, Progress, Status, encode_status
from pagewake.cluster.runs import Announced, HostEnded, StateChanged
from pagewake.cluster.schema import main, write_schemas, yaml_lines
from pagewake.events.codec import RECORDS_OF, encode_commit, head_of
from pagewake.events.schema import RECORDS, schema_of
from pagewake.events.types import EVENTS
from pagewake.participants.commands import (
    Answer,
    BadCommandError,
    CommandRecord,
    parse_command,
    read_order,
)
from pagewake.participants.plan import RunPlan
from pagewake.participants.snapshots import Manifest
from pagewake.scenario.interventions import COMMAND_ONLY, EVENT_KINDS
from pagewake.scenario.keys import Choice
from pagewake.scenario.loading import load
from tests.support.logs import commits_of
from tests.support.samples import any_record
from tests.support.schemas import JSON, TEXTS, accepts, payload_accepts

ROOT = Path(__file__).parents[2]
SCHEMAS = ROOT / "schemas"
MESSAGE_TYPES = {
    **{f"kafka/{kind.__name__}.json": kind for kind in (Announced, HostEnded, StateChanged)},
    "kafka/CommandRecord.json": CommandRecord,
    "kafka/Manifest.json": Manifest,
    "mqtt/Progress.json": Progress,
    "mqtt/Answer.json": Answer,
}
STRUCTS = {**{f"{record.__name__}.json": record for record in RECORDS}, **MESSAGE_TYPES}
each_struct = pytest.mark.parametrize("name", STRUCTS)


def files_below(directory: Path) -> dict[str, str]:
    return {
        path.relative_to(directory).as_posix(): path.read_text("utf-8")
        for path in directory.rglob("*")
        if path.is_file()
    }


# ------------------------------------------------------------------ drift


def test_what_is_checked_in_is_what_is_generated(tmp_path: Path) -> None:
    write_schemas(tmp_path)
    generated, checked_in = files_below(tmp_path), files_below(SCHEMAS)
    assert checked_in.keys() == generated.keys(), "run `make schemas`"
    for name, text in generated.items():
        assert checked_in[name] == text, f"{name}: run `make schemas`"


def test_the_writer_removes_schemas_of_what_is_gone_and_nothing_else(tmp_path: Path) -> None:
    write_schemas(tmp_path)
    of_an_event = (tmp_path / "PageReady.json").read_text("utf-8")
    for name, text in (
        ("Gone.json", of_an_event),
        ("mqtt/Gone.json", of_an_event),
        ("mine.json", "{}"),
    ):
        (tmp_path / name).write_text(text, "utf-8")
    write_schemas(tmp_path)
    assert files_below(tmp_path).keys() - TEXTS.keys() == {"mine.json"}


def test_the_writer_refuses_a_directory_that_is_not_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path / "nowhere")]) == 2
    assert "is not a directory" in capsys.readouterr().err


def test_the_writer_says_how_many_it_wrote(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"{len(TEXTS)} files in {tmp_path}\n"


# ------------------------------------------------------------------ events


@pytest.mark.parametrize("name", JSON)
def test_a_schema_is_one(name: str) -> None:
    Draft202012Validator.check_schema(JSON[name])


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.__name__)
def test_a_schema_says_which_event_it_is(record: type[msgspec.Struct]) -> None:
    properties = schema_of(record)["properties"]
    assert isinstance(properties, dict)
    assert properties["event"] == {"enum": [record.__name__]}


@pytest.mark.parametrize("record", EVENTS, ids=lambda record: record.__name__)
def test_every_event_must_carry_its_instant_its_vm_and_its_number(
    record: type[msgspec.Struct],
) -> None:
    required = schema_of(record)["required"]
    assert isinstance(required, list)
    assert {"event", "at_ns", "vm", "n"} <= set(required)


@each_struct
@settings(max_examples=10, deadline=None)
@given(data=st.data())
def test_what_is_encoded_is_what_the_schema_says(name: str, data: st.DataObject) -> None:
    sent = msgspec.json.decode(msgspec.json.encode(data.draw(any_record(STRUCTS[name]))))
    assert accepts(JSON[name], sent)
    assert set(sent) <= set(JSON[name]["properties"])


@each_struct
@settings(max_examples=1, deadline=None)
@given(data=st.data())
def test_a_schema_refuses_what_lacks_a_key_or_holds_another_type(
    name: str, data: st.DataObject
) -> None:
    sent = msgspec.json.decode(msgspec.json.encode(data.draw(any_record(STRUCTS[name]))))
    for key in JSON[name]["required"]:
        assert not accepts(JSON[name], {other: sent[other] for other in sent if other != key})
        if JSON[name]["properties"][key]:
            assert not accepts(JSON[name], {**sent, key: [[sent[key]]]})


# ------------------------------------------------------------------ commits


@pytest.mark.parametrize(
    ("message", "topic"),
    [
        ("FaultsCommit", "faults"),
        ("ApfCommit", "apf.guest"),
        ("ApfCommit", "apf.nested"),
        ("JournalCommit", "journal"),
    ],
)
def test_every_line_of_a_log_is_what_its_channel_says(message: str, topic: str) -> None:
    found = 0
    for log in (ROOT / "tests" / "compat").glob("*/*/"):
        reader = LogReader(log)
        for file in reader.files:
            if file.topic != topic:
                continue
            for commit in commits_of(reader, file):
                (one,) = encode_commit(
                    head_of("run", commit.source), "0", commit.seq, commit.window, commit.events
                )
                assert payload_accepts(message, msgspec.json.decode(one.record))
                found += 1
    assert found


@pytest.mark.parametrize("message", ["FaultsCommit", "ApfCommit", "JournalCommit"])
def test_a_channel_refuses_the_events_of_another(message: str) -> None:
    topic = {"FaultsCommit": "journal", "ApfCommit": "faults", "JournalCommit": "apf.guest"}
    kind = RECORDS_OF[topic[message]][0].__name__
    (one,) = encode_commit(head_of("r", "s"), "0", 0, 0, [])
    commit = msgspec.json.decode(one.record)
    assert payload_accepts(message, commit)
    assert not payload_accepts(message, {**commit, "events": [{"event": kind}]})


# ------------------------------------------------------------------ MQTT


@pytest.mark.parametrize("word", get_args(Status))
def test_a_status_is_one_of_the_words(word: Status) -> None:
    assert payload_accepts("Status", encode_status(word).decode())


def test_other_words_are_no_status() -> None:
    assert not payload_accepts("Status", "fine")
    assert not payload_accepts("Status", f'"{LOST}"')


SCENARIO = load("natapov-2010", ["vm.0.userfault.local=0.5"])
VALUES: dict[str, object] = {
    "vm": "bm-0", "vcpu": 1, "count": 2, "pause": "2ms", "for": "1us", "medium": "nvme", "host": 0,
    "msr": "apf-en", "value": 3, "faults": True,
    "saves": ["lapic", "en"], "on": False, "keeps": True,
}  # fmt: skip


def every_command() -> dict[str, dict[str, object]]:
    """One of each, with all of its keys."""
    commands: dict[str, dict[str, object]] = {do: {"do": do} for do in COMMAND_ONLY}
    commands["pace"]["speed"] = 2
    for do, kind in EVENT_KINDS.items():
        commands[do] = {"do": do}
        for name, reader in ((each.key.name, each.key.reader) for each in kind.keys):
            named = reader.names() if isinstance(reader, Choice) else []
            commands[do][name] = VALUES[name] if name in VALUES else named[0]
    return {do: {"id": "a", **command} for do, command in commands.items()}


COMMANDS = every_command()
each_command = pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)


def is_read(command: dict[str, object]) -> bool:
    """Whether a service takes it."""
    try:
        read_order(SCENARIO, *parse_command(msgspec.json.encode(command)))
    except BadCommandError:
        return False
    return True


@each_command
def test_a_command_is_read_as_its_schema_says(command: dict[str, object]) -> None:
    assert is_read(command)
    assert payload_accepts("Command", command)


@each_command
def test_a_command_that_is_refused_is_none_by_its_schema(command: dict[str, object]) -> None:
    wrong = [{**command, "at": "3s"}, {**command, "do": "dance"}, {**command, "id": ""}]
    wrong += [{**command, key: [value]} for key, value in command.items() if key != "msr"]
    wrong += [{other: command[other] for other in command if other != key} for key in ("id", "do")]
    for one in wrong:
        assert not is_read(one)
        assert not payload_accepts("Command", one)


@each_command
def test_a_key_may_be_left_out_where_the_schema_says_so(command: dict[str, object]) -> None:
    for key in command:
        short = {other: command[other] for other in command if other != key}
        assert is_read(short) == payload_accepts("Command", short), key


# ------------------------------------------------------------------ AsyncAPI

DOCUMENT = document()


def references(part: object) -> list[str]:
    if isinstance(part, dict):
        own = [part["$ref"]] if "$ref" in part else []
        return own + [found for value in part.values() for found in references(value)]
    return [found for item in part for found in references(item)] if isinstance(part, list) else []


def target(reference: str) -> Any:
    """What a reference names; KeyError if there is no such thing."""
    if not reference.startswith("#/"):
        return JSON[reference.removeprefix("./")]
    found: Any = DOCUMENT
    for name in reference[2:].split("/"):
        found = found[name]
    return found


def test_the_document_is_the_yaml_that_is_checked_in() -> None:
    checked_in = yaml.safe_load((SCHEMAS / "asyncapi.yaml").read_text("utf-8"))
    assert checked_in == DOCUMENT, "run `make schemas`"


def test_every_reference_has_a_target() -> None:
    found = references(DOCUMENT)
    assert found
    assert all(target(reference) for reference in found)


def test_every_schema_is_referred_to() -> None:
    payloads = {found for found in references(DOCUMENT) if found.startswith("./")}
    assert payloads == {f"./{name}" for name in JSON}


def test_the_channels_are_the_topics_of_a_run() -> None:
    plan = RunPlan.of("a-run", load("nested"), 2)
    channels = {
        channel["address"].replace("{run}", "a-run"): channel["bindings"]["kafka"]
        for channel in DOCUMENT["channels"].values()
        if "bindings" in channel
    }
    topics = {**plan.topics(), "pagewake.runs": (1, True)}
    assert topics.keys() <= channels.keys()
    for name, (_, compacted) in topics.items():
        policy = channels[name]["topicConfiguration"]["cleanup.policy"]
        assert policy == ["compact" if compacted else "delete"]


def test_every_channel_has_somebody_who_sends_and_somebody_who_receives() -> None:
    for name, channel in DOCUMENT["channels"].items():
        operations = [
            operation
            for operation in DOCUMENT["operations"].values()
            if operation["channel"]["$ref"] == f"#/channels/{name}"
        ]
        for action in ("send", "receive"):
            said = {
                message["$ref"].split("/")[-1]
                for operation in operations
                if operation["action"] == action
                for message in operation["messages"]
            }
            assert said == set(channel["messages"]), (name, action)


@pytest.mark.parametrize(
    "value",
    [
        {"a": {"b": [1, "x: y", None, True]}, "odd key": {}, "$ref": "#/a"},
        {"list": [[1, [2]], {"c": {"d": "e"}, "f": []}, []], "no": "no", "1": "1", "l": "a\nb"},
    ],
)
def test_the_yaml_reads_back(value: object) -> None:
    assert yaml.safe_load("\n".join(yaml_lines(value))) == value
