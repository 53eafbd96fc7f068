"""The checked-in JSON Schemas say what the structs say."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from pagewake.events.schema import RECORDS, main, schema_of, schema_texts
from pagewake.events.types import EVENTS, PageNotPresent

SCHEMAS = Path(__file__).parents[2] / "schemas"


def test_there_is_one_schema_per_record_and_no_other() -> None:
    on_disk = {path.name for path in SCHEMAS.glob("*.json")}
    assert on_disk == set(schema_texts()), "run `make schemas`, and remove what no record has"


@pytest.mark.parametrize("name", sorted(schema_texts()))
def test_a_checked_in_schema_is_what_the_struct_generates(name: str) -> None:
    on_disk = (SCHEMAS / name).read_text(encoding="utf-8")
    assert on_disk == schema_texts()[name], "run `make schemas`"


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


def test_what_is_encoded_has_only_keys_of_the_schema() -> None:
    event = PageNotPresent(5, "vm-0", 1, 0, 7, "write", 3, 1, 0, "injected", token=0x1000)
    encoded = msgspec.json.decode(msgspec.json.encode(event), type=dict[str, object])
    properties = schema_of(PageNotPresent)["properties"]
    assert isinstance(properties, dict)
    assert set(encoded) <= set(properties)


def test_the_writer_refuses_a_directory_that_is_not_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path / "nowhere")]) == 2
    assert "is not a directory" in capsys.readouterr().err


def test_the_writer_writes_all_and_says_how_many(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path)]) == 0
    assert len(list(tmp_path.iterdir())) == len(schema_texts())
    assert capsys.readouterr().out == f"{len(schema_texts())} schemas in {tmp_path}\n"
