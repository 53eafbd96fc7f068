"""Every word of an output is explained."""

from __future__ import annotations

from typing import get_args

import msgspec
import pytest
from rich.table import Table

from pagewake.cli.grid_table import compare_table
from pagewake.cli.tables import run_table
from pagewake.cli.task_rows import label
from pagewake.engine.run import run_scenario
from pagewake.events.types import Delivery, HaltWhy, Route, WakeHow
from pagewake.load.words import HEADINGS
from pagewake.observe.glossary import GLOSSARY, meanings
from pagewake.observe.result import Dummies, RunResult, Waits
from pagewake.recorded.figures import FigureCounter
from pagewake.recorded.summary import summary_lines
from pagewake.scenario.loading import load
from tests.unit.cli.support import SERVICES, invoke

RUNS = (
    ("row-01-user-fault",),
    ("row-02-kernel-fault",),
    ("row-12-ready-write-fails",),
    ("row-18-l2-npt",),
    ("web", ["scenario.duration=20ms"]),
    ("overcommit", ["scenario.duration=10ms", "vm.0.count=3"]),
)
CLOSED = [
    label(str(word)) for kind in (Delivery, HaltWhy, Route, WakeHow) for word in get_args(kind)
]
PARTS = [label(field) for kind in (Waits, Dummies) for field in kind.__struct_fields__]
OTHERS = ("blackout", "exit", "idle", "interrupt", "l1", "of first", "master", "joined", "stock")
DOCS = SERVICES.parent / "docs"


def labels(result: RunResult) -> list[str]:
    """The labels of `run`; of those that name a VM, what stands before its name."""
    table = run_table(result)[1]
    assert isinstance(table, Table)
    names = map(str, table.columns[0].cells)
    return [name.split()[0] if name.startswith(("of ", "within ")) else name for name in names]


@pytest.mark.parametrize("scenario", RUNS, ids=str)
def test_every_label_of_run_and_compare_is_explained(scenario: tuple[str, list[str]]) -> None:
    result = run_scenario(load(*scenario))
    headings = compare_table([{"kernel.apf": "pv"}], [result]).headings[1:]
    for name in (*labels(result), *headings):
        assert meanings(name), f"{name}: add it to observe/glossary.py"


@pytest.mark.parametrize("word", sorted({*CLOSED, *PARTS, *OTHERS, *HEADINGS}))
def test_every_word_of_a_closed_set_is_explained(word: str) -> None:
    assert meanings(word), f"{word}: add it to observe/glossary.py"


def test_every_line_of_the_summary_of_a_recording_is_explained() -> None:
    for name, _ in summary_lines(FigureCounter().figures(), {}):
        assert meanings(name), f"{name}: add it to observe/glossary.py"


def test_a_word_has_one_entry_by_its_name_and_pages_that_exist() -> None:
    names = [word.name.lower() for word in GLOSSARY]
    assert len(set(names)) == len(names)
    assert [word.see for word in GLOSSARY if word.see and not (DOCS / word.see).is_file()] == []


@pytest.mark.parametrize(
    "asked", [["untold"], ["early", "ready"], ["EARLY_READY"], ["lost wake-up"]]
)
def test_a_word_is_found_by_any_of_its_names(
    asked: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = invoke(capsys, "explain", *asked, "--json")
    assert outcome.code == 0
    (found,) = msgspec.json.decode(outcome.out)
    assert found["name"] in ("untold", "early ready", "unresolved")
    assert found["text"] in " ".join(invoke(capsys, "explain", *asked).out.split())


@pytest.mark.parametrize(
    ("asked", "name", "part"),
    [
        ("row-01-user-fault", "row-01-user-fault", "Built-in scenario"),
        ("2.6.39", "2.6.39", "FOLL_NOWAIT"),
        ("theta", "vm.task.theta", "skew"),
        ("vm.0.task.1.theta", "vm.task.theta", "skew"),
        ("zipf", "vm.task.pattern", "one of work"),
        ("within web", "within", "[[vm]]"),
    ],
)
def test_words_of_scenarios_and_labels_with_a_vm_are_explained(
    asked: str, name: str, part: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found = msgspec.json.decode(invoke(capsys, "explain", asked, "--json").out)
    assert [part in each["text"] for each in found if each["name"] == name] == [True]
    assert part in " ".join(invoke(capsys, "explain", asked).out.split())


def test_an_unknown_word_has_a_nearest_one(capsys: pytest.CaptureFixture[str]) -> None:
    outcome = invoke(capsys, "explain", "blakout")
    assert outcome.code == 2
    assert outcome.out == ""
    assert 'no output or scenario has the word "blakout": nearest: blackout' in outcome.err


def test_without_a_word_all_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    listed = invoke(capsys, "explain").out
    assert [word.name for word in GLOSSARY if f"\n{word.name}" not in f"\n{listed}"] == []
    assert len(msgspec.json.decode(invoke(capsys, "explain", "--json").out)) == len(GLOSSARY)


@pytest.mark.parametrize("arguments", [("-h",), ("run", "-h")])
def test_the_help_points_to_it(
    arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert "pagewake explain WORD" in invoke(capsys, *arguments).out
