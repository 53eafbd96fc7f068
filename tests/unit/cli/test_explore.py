"""`pagewake explore`: exit codes, JSON, and what it writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pagewake.cli import explore as command
from tests.unit.cli.support import Outcome, invoke, small_scenario

Capsys = pytest.CaptureFixture[str]
LOST = ("one-vcpu", "--set", "kernel.profile=5.10", "--no-invariants")
MENDED = (*LOST, "--set", "kernel.overrides.token_nonzero=true")


def told(done: Outcome) -> Any:
    return json.loads(done.out)


def test_a_violation_is_exit_1_and_in_the_json(capsys: Capsys) -> None:
    done = invoke(capsys, "explore", *LOST, "--json")
    assert done.code == 1
    assert done.err.startswith("pagewake: error: asleep: one-0 sleeps for token 0x0")
    found = told(done)
    assert found["complete"] is True
    assert {"states", "transitions", "depth", "seconds", "reached"} <= found.keys()
    (violation,) = found["violations"]
    assert violation["property"] == "asleep"
    assert violation["what"] == "one-0 sleeps for token 0x0, which nobody will wake"
    assert violation["length"] == len(violation["choices"])


def test_none_is_exit_0(capsys: Capsys) -> None:
    done = invoke(capsys, "explore", *MENDED, "--json")
    assert done.code == 0
    assert told(done)["violations"] == []
    assert told(done)["reached"]["TaskSlept"] > 0


def test_the_story_is_printed_and_kept(capsys: Capsys, tmp_path: Path) -> None:
    log, save = tmp_path / "story", tmp_path / "saved.toml"
    done = invoke(capsys, "explore", *LOST, "--log", str(log), "--save", str(save))
    assert done.code == 1
    line = "vcpu 0  one-0 touches gfn 0 in user mode: NOT_PRESENT, token 0x0, is to be injected"
    assert f"\n  {line}\n" in done.out
    assert invoke(capsys, "verify", str(log)).code == 0
    assert invoke(capsys, "replay", str(log)).code == 0
    text = save.read_text("utf-8")
    assert text.startswith("# asleep: one-0 sleeps for token 0x0, which nobody will wake\n")
    assert f"#   {line}\n" in text
    assert "parallelism" in text
    assert "kernel.costs" not in text  # a default
    run = invoke(capsys, "run", str(save), "--json", "--log", str(tmp_path / "run"))
    assert run.code == 0
    assert json.loads(run.out)["unresolved"] == 1
    assert invoke(capsys, "verify", str(tmp_path / "run")).code == 0


def test_what_no_run_by_the_clock_shows_is_said(
    capsys: Capsys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "timed", lambda *_: None)
    done = invoke(capsys, "explore", *LOST, "--save", str(tmp_path / "saved.toml"))
    assert done.code == 1
    assert "runs by the clock show none of these: keep the story with --log" in done.err
    assert not (tmp_path / "saved.toml").exists()


def test_a_scenario_made_to_be_run_is_explored(capsys: Capsys) -> None:
    done = invoke(capsys, "explore", "row-06-two-completions", "--json")
    assert done.code == 1
    assert {each["property"] for each in told(done)["violations"]} == {"asleep", "halted"}


def test_a_bound_is_said_and_is_no_violation(capsys: Capsys) -> None:
    done = invoke(capsys, "explore", *LOST, "--max-states", "100", "--json")
    assert done.code == 0
    assert told(done)["complete"] is False
    assert told(done)["stopped"] == "states"


def test_a_property_that_is_not_reached_is_a_violation(capsys: Capsys) -> None:
    never = "sometimes TaskSlept == 9"
    done = invoke(capsys, "explore", *MENDED, "--property", never)
    assert done.code == 1
    assert f"\n{never}: 0 times\n" in done.out
    assert done.err == f"pagewake: error: {never}: is reached in no order\n"


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("--budget", "tik=1"), 'there is no "tik": did you mean "tick"?'),
        (("--budget", "tick"), 'write a number, as in "tick=1"'),
        (("--order", "sideways"), "valid are breadth, depth"),
        (("--memory", "much"), '"much" is not a size'),
        (("--property", "TaskSlept == 1"), "write always, finally or sometimes"),
        (("--log", "."), "is the current directory"),
        (("--save", "no/such/saved.toml"), "there is no no/such: make it"),
    ],
)
def test_a_mistake_is_exit_2_before_anything_is_explored(
    capsys: Capsys, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, str], why: str
) -> None:
    monkeypatch.setattr(command, "timed", lambda *_: pytest.fail("explored"))
    done = invoke(capsys, "explore", *LOST, *arguments)
    assert done.code == 2
    assert done.out == ""
    assert why in done.err


def test_a_machine_that_is_not_small_is_exit_2(capsys: Capsys, tmp_path: Path) -> None:
    done = invoke(capsys, "explore", small_scenario(tmp_path), "--set", "vm.0.count=2")
    assert done.code == 2
    assert "one VM at a time: keep one [[vm]] table with count = 1" in done.err


def test_without_a_scenario_those_made_for_this_are_listed(capsys: Capsys) -> None:
    done = invoke(capsys, "explore")
    assert done.code == 0
    assert "one-vcpu" in done.out
    assert "hypervisor-in-hypervisor" in done.out


def test_what_reads_logs_works_on_a_story(capsys: Capsys, tmp_path: Path) -> None:
    log, page = tmp_path / "story", tmp_path / "story.html"
    assert invoke(capsys, "explore", *LOST, "--log", str(log)).code == 1
    verified = invoke(capsys, "verify", str(log))
    replayed = invoke(capsys, "replay", str(log))
    traced = invoke(capsys, "trace", str(log), "-o", str(tmp_path / "story.json"))
    reported = invoke(capsys, "report", str(log), "-o", str(page))
    assert [each.code for each in (verified, replayed, traced, reported)] == [0, 0, 0, 0]
    assert verified.out.split()[0] in replayed.out
    assert "one-0" in page.read_text()
    assert (tmp_path / "story.json").stat().st_size > 0


def test_a_cluster_is_not_asked_to_tell_a_story(capsys: Capsys, tmp_path: Path) -> None:
    log = tmp_path / "story"
    invoke(capsys, "explore", *LOST, "--log", str(log))
    done = invoke(capsys, "submit", str(log / "run.toml"), "--kafka", "127.0.0.1:1")
    assert done.code == 2
    assert "explore.choices" in done.err
    assert "pagewake run" in done.err
