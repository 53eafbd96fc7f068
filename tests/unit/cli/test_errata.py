"""`pagewake errata`: what it prints, as text and JSON, and its exit codes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import msgspec
import pytest

from pagewake.cli import errata as command
from pagewake.errata.entry import Entry, entries, entry
from tests.unit.cli.support import invoke

Capsys = pytest.CaptureFixture[str]


def test_without_a_number_all_are_listed_and_none_is_run(capsys: Capsys) -> None:
    done = invoke(capsys, "errata")
    assert done.code == 0
    assert [line.split()[0] for line in done.out.splitlines() if line.startswith("D")] == [
        each.name for each in entries()
    ]


def test_one_shows_both_runs_with_lines_of_their_logs(capsys: Capsys) -> None:
    done = invoke(capsys, "errata", "32")
    assert done.code == 0
    before, after = done.out.split("\nafter, ready_needs_not_present = true: ")
    assert 'ms  {"event":"DummyInserted","at_ns":' in before
    assert "no DummyConsumed of the same token, to the end of the run" in before
    assert '"why":"not_due"' in after
    assert "docs/errata/d32.md" in after


def test_json_of_all_is_the_contract(capsys: Capsys) -> None:
    done = invoke(capsys, "errata", "--all", "--json")
    assert done.code == 0
    told = json.loads(done.out)
    assert [each["id"] for each in told] == [each.id for each in entries()]
    for each in told:
        assert each["breaks"] is True
        assert each["fixed"] is True
        assert each["title"]
        assert each["kernels"]
        assert all(isinstance(commit, str) for commit in each["commits"])
        assert each["before"] != each["after"]
        assert each["shown_before"]
        assert each["shown_after"]


def test_json_of_one_is_its_object(capsys: Capsys) -> None:
    told = json.loads(invoke(capsys, "errata", "D43", "--json").out)
    assert (told["id"], told["breaks"], told["fixed"]) == (43, True, True)


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ({"before": True, "after": False}, "does not break"),
        ({"after": False}, "is not mended"),
    ],
)
def test_a_defect_that_is_not_as_told_ends_with_1(
    capsys: Capsys, monkeypatch: pytest.MonkeyPatch, changed: dict[str, bool], complaint: str
) -> None:
    other: Entry = msgspec.structs.replace(entry("32"), **changed)
    monkeypatch.setattr(command, "entry", lambda named: other)
    for arguments in (("32",), ("32", "--json")):
        done = invoke(capsys, "errata", *arguments)
        assert done.code == 1
        assert f"D32: with ready_needs_not_present = {str(other.after).lower()}" in done.err
        assert complaint in done.err


def test_a_table_says_what_was_not_seen(capsys: Capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    other = msgspec.structs.replace(entry("32"), after=False)
    monkeypatch.setattr(command, "entries", lambda: [other])
    done = invoke(capsys, "errata", "--all")
    assert done.code == 1
    assert done.out.splitlines()[1].split()[:3] == ["D32", "yes", "NO"]


def test_those_of_a_kernel_are_listed_by_what_breaks_there(capsys: Capsys) -> None:
    listed = invoke(capsys, "errata", "--profile", "4.14")
    assert listed.code == 0
    assert "\nD67  " in listed.out
    assert "D43  " in listed.out
    assert "D35  " not in listed.out
    told = json.loads(invoke(capsys, "errata", "--profile", "4.14", "--json").out)
    assert [f"D{each['id']}" for each in told] == re.findall(r"^D\d+", listed.out, re.MULTILINE)
    assert all(each["profile"] == "4.14" and each["breaks"] and each["shown"] for each in told)


def test_the_logs_of_both_runs_can_be_kept(capsys: Capsys, tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    done = invoke(capsys, "errata", "35", "--log", str(logs))
    assert done.code == 0
    digests = re.findall(r"^  digest (\w+)$", done.out, re.MULTILINE)
    verified = [invoke(capsys, "verify", str(logs / which)) for which in ("before", "after")]
    assert [each.code for each in verified] == [0, 0]
    assert [each.out.split()[0] for each in verified] == digests
    again = invoke(capsys, "errata", "35", "--log", str(logs))
    assert (again.code, "name a new directory" in again.err) == (2, True)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--log", "new"),
        ("--profile", "9.9x"),
        ("43", "--profile", "5.4"),
        ("4444",),
        ("smm",),
        ("43", "--all"),
    ],
)
def test_usage_errors_end_with_2(capsys: Capsys, arguments: tuple[str, ...]) -> None:
    assert invoke(capsys, "errata", *arguments).code == 2
