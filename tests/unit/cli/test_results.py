"""What the commands print: JSON that is nothing but JSON, the contract's keys, small tables."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.unit.cli.support import Outcome, invoke, small_scenario, start

CONTRACT = [
    *("scenario", "seed", "profile", "apf", "sim_ns", "wall_s", "windows", "events", "digest"),
    *("not_present", "first_touches", "page_ins", "evictions", "waits", "wakes", "dummies"),
    *("halts", "double_faults", "exits", "work", "wait_sim_seconds", "unresolved"),
]


def _json(outcome: Outcome) -> Any:
    assert outcome.code == 0, outcome.err
    assert outcome.err == ""
    return msgspec.json.decode(outcome.out)


def test_run_prints_the_contracts_object(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = _json(invoke(capsys, "run", small_scenario(tmp_path), "--seed", "7", "--json"))
    assert list(result)[: len(CONTRACT)] == CONTRACT
    assert result["seed"] == 7
    assert result["sim_ns"] == 100_000_000
    assert list(result["not_present"]) == ["injected", "halted", "untold", "synchronous"]
    assert list(result["waits"]) == ["slept", "early_ready", "halted"]
    assert list(result["wakes"]) == ["token", "broadcast", "offline"]
    assert list(result["dummies"]) == ["inserted", "consumed", "leaked", "left"]
    assert list(result["work"]["per_task"]) == ["vm-0/worker-0"]
    assert result["not_present"]["injected"] > 0


def test_a_setting_changes_the_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scenario = small_scenario(tmp_path)
    result = _json(invoke(capsys, "run", scenario, "--set", "kernel.apf=off", "--json"))
    assert result["apf"] == "off"
    assert result["not_present"]["injected"] == 0


def test_the_seed_changes_the_digest_and_nothing_else_does(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scenario = small_scenario(tmp_path)
    digests = [
        _json(invoke(capsys, "run", scenario, "--json", *more))["digest"]
        for more in ([], ["--seed", "1"], ["--shards", "3"], ["--seed", "2"])
    ]
    assert digests[0] == digests[1] == digests[2]
    assert digests[0] != digests[3]


def test_run_prints_a_small_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outcome = invoke(capsys, "run", small_scenario(tmp_path))
    assert outcome.code == 0
    assert outcome.err == ""
    lines = outcome.out.splitlines()
    assert lines[0] == "small: seed 1, profile posted-v7, apf pv"
    assert len(lines) < 25
    labels = [line[:14].strip() for line in lines]
    assert {"simulated", "work", "not present", "page-ins", "digest"} <= set(labels)


def test_double_faults_without_a_halt_of_that_name_are_explained(
    capsys: pytest.CaptureFixture[str],
) -> None:
    sets = ["--set", "scenario.duration=3s", "--set", "kernel.apf=nonpv", "--seed", "5"]
    result = _json(invoke(capsys, "run", "natapov-2010", *sets, "--json"))
    other = result["double_faults"] - result["halts"]["double_fault"]
    assert other > 0
    assert f"({other} halted as stale, or not:" in invoke(capsys, "run", "natapov-2010", *sets).out


def test_compare_prints_a_row_per_point_of_the_grid(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    axes = ["--axis", "kernel.apf=off,pv", "--axis", "host.medium=nvme,hdd-2010"]
    results = _json(invoke(capsys, "compare", small_scenario(tmp_path), *axes, "--json"))
    assert [result["axes"] for result in results] == [
        {"kernel.apf": "off", "host.medium": "nvme"},
        {"kernel.apf": "off", "host.medium": "hdd-2010"},
        {"kernel.apf": "pv", "host.medium": "nvme"},
        {"kernel.apf": "pv", "host.medium": "hdd-2010"},
    ]
    assert [result["apf"] for result in results] == ["off", "off", "pv", "pv"]
    assert set(CONTRACT) < set(results[0])


def test_compare_agrees_with_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scenario = small_scenario(tmp_path)
    one = _json(invoke(capsys, "run", scenario, "--set", "kernel.apf=off", "--json"))
    grid = _json(invoke(capsys, "compare", scenario, "--axis", "kernel.apf=off,pv", "--json"))
    assert grid[0]["digest"] == one["digest"]


@pytest.mark.parametrize("what", [[], ["--profiles"], ["--events"]], ids=str)
def test_listings_are_lists_of_named_and_described_things(
    what: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    listed = _json(invoke(capsys, "scenarios", *what, "--json"))
    assert listed
    assert all(item["name"] and item["description"] for item in listed)
    outcome = invoke(capsys, "scenarios", *what)
    assert outcome.code == 0
    assert all(item["name"] in outcome.out for item in listed)


def test_a_log_verifies_and_replays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = str(tmp_path / "log")
    result = _json(invoke(capsys, "run", small_scenario(tmp_path), "--log", log, "--json"))
    verdict = _json(invoke(capsys, "verify", log, "--json"))
    assert verdict == {
        "ok": True,
        "digest": result["digest"],
        "events": result["events"],
        "problems": [],
    }
    replayed = _json(invoke(capsys, "replay", log, "--json"))
    assert replayed["ok"]
    assert replayed["recorded"] == replayed["replayed"] == result["digest"]
    assert invoke(capsys, "verify", log).out.startswith(result["digest"])


def test_an_edited_log_fails_and_names_the_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "log"
    invoke(capsys, "run", small_scenario(tmp_path), "--log", str(log))
    journal = log / "journal-0.jsonl"
    lines = journal.read_text("utf-8").splitlines(keepends=True)
    journal.write_text("".join([lines[0], *lines[2:]]), encoding="utf-8")
    outcome = invoke(capsys, "verify", str(log))
    assert outcome.code == 1
    assert "journal-0.jsonl:2" in outcome.err
    digest = re.match("recorded ([0-9a-f]{64}), not confirmed: [0-9,]+ events?, ", outcome.out)
    assert digest is not None
    assert digest[1] in (log / "digest.txt").read_text("utf-8")


def test_a_trace_is_json_and_leaves_no_temporary_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log, trace = tmp_path / "log", tmp_path / "trace.json"
    invoke(capsys, "run", small_scenario(tmp_path), "--log", str(log))
    outcome = invoke(capsys, "trace", str(log), "-o", str(trace))
    assert (outcome.code, outcome.out) == (0, "")
    assert msgspec.json.decode(trace.read_bytes())
    assert {path.name for path in tmp_path.iterdir()} == {"small.toml", "log", "trace.json"}


def test_a_reader_that_leaves_early_is_no_error() -> None:
    process = start("scenarios", "--profiles")
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    err = process.stderr.read()
    process.stderr.close()
    assert (process.wait(timeout=60), err) == (0, "")
