"""`--jobs`: the simulated hosts of a run in several processes, and nothing else changes."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pagewake.engine import split
from pagewake.engine.run import Piece, run_piece
from tests.support.runs import files_of
from tests.unit.cli.support import SERVICES, invoke, small_scenario, start

PATIENCE_S = 60.0
SPREAD = ("--set", "host.count=3", "--set", "vm.0.count=4", "--set", "host.medium=nvme")
NEEDS_PROC = pytest.mark.skipif(
    not Path("/proc/self/task").exists(), reason="looks for processes in /proc"
)


def result_of(*arguments: str, hash_seed: str = "0") -> dict[str, Any]:
    """What a command printed as JSON, in a process of its own, but for how it was run."""
    done = subprocess.run(
        [sys.executable, "-m", "pagewake", *arguments, "--json"],
        env={**os.environ, "PYTHONPATH": str(SERVICES), "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        check=True,
        text=True,
    )
    assert done.stderr == ""
    result: dict[str, Any] = msgspec.json.decode(done.stdout)
    return {key: value for key, value in result.items() if key != "wall_s"}


def test_digest_result_and_log_are_those_of_one_process(tmp_path: Path) -> None:
    scenario = small_scenario(tmp_path, "20ms")
    found: list[tuple[dict[str, Any], dict[str, bytes]]] = []
    log = tmp_path
    for jobs, processes in ((1, 1), (2, 2), (8, 3)):
        log = tmp_path / f"log-{jobs}"
        run = ("run", scenario, *SPREAD, "--shards", "2", "--jobs", str(jobs), "--log", str(log))
        result = result_of(*run, hash_seed=str(jobs))
        assert result.pop("jobs") == processes
        found.append((result, files_of(log)))
    assert found[1] == found[0]
    assert found[2] == found[0]
    replayed = result_of("replay", str(log), "--jobs", "2")
    assert replayed["replayed"] == found[0][0]["digest"]


def test_a_grid_of_fewer_points_than_cores_splits_their_hosts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    grid = ("compare", small_scenario(tmp_path, "10ms"), *SPREAD, "--axis", "kernel.apf=off,pv")
    points = [
        msgspec.json.decode(invoke(capsys, *grid, "--json", "--jobs", jobs).out)
        for jobs in ("1", "2", "5")
    ]
    assert [[point["jobs"] for point in found] for found in points] == [[1, 1], [1, 1], [3, 2]]
    digests = [[point["digest"] for point in found] for found in points]
    assert digests[0] == digests[1] == digests[2]


def test_the_table_says_how_many_there_were(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scenario = small_scenario(tmp_path, "1ms")
    assert " in 2 processes (" in invoke(capsys, "run", scenario, *SPREAD, "--jobs", "2").out
    assert " processes" not in invoke(capsys, "run", scenario, *SPREAD, "--jobs", "1").out


def test_by_default_there_is_one_per_core_but_for_a_short_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pagewake.cli.parallel.cores", lambda: 2)
    run = ("run", small_scenario(tmp_path, "10ms"), *SPREAD, "--json")
    assert msgspec.json.decode(invoke(capsys, *run).out)["jobs"] == 1
    monkeypatch.setattr(split, "PAGE_INS_MIN", 100)
    assert msgspec.json.decode(invoke(capsys, *run).out)["jobs"] == 2
    monkeypatch.setattr("pagewake.cli.parallel.side_by_side", lambda _needed, _jobs: 1)
    grid = ("compare", *run[1:], "--axis", "kernel.apf=off,pv")
    assert [point["jobs"] for point in msgspec.json.decode(invoke(capsys, *grid).out)] == [2, 2]


def test_a_log_that_finds_no_room_is_told_as_in_one_process(tmp_path: Path) -> None:
    scenario = small_scenario(tmp_path, "1s")
    told: list[str] = []
    for jobs in ("1", "2"):
        limited = "ulimit -f 100; exec " + '"$0" -m pagewake "$@"'
        page = ("run", scenario, *SPREAD, "--jobs", jobs, "--log", str(tmp_path / "log"))
        done = subprocess.run(
            ["sh", "-c", limited, sys.executable, *page],
            env={**os.environ, "PYTHONPATH": str(SERVICES), "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            check=False,
            text=True,
        )
        assert done.returncode == 2
        told.append(re.sub(r"[^/]*/[^/]*\.jsonl", "FILE", done.stderr))
        assert [path.name for path in tmp_path.iterdir()] == ["small.toml"]
    assert told[0].count("\n") == 1
    assert told[1] == told[0]


# ------------------------------------------------------------------------------- an early end


def children_of(pid: int) -> list[int]:
    """Processes that simulate for this one."""
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split()
    return [int(child) for child in listed if simulates(int(child))]


def simulates(pid: int) -> bool:
    try:
        return b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def wait_until(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline_s, "it did not come to that"
        time.sleep(0.02)


def under_way(tmp_path: Path) -> tuple[subprocess.Popen[str], list[int]]:
    """A long run in two processes that write their logs."""
    log = ("--log", str(tmp_path / "log"))
    process = start("run", small_scenario(tmp_path, "100h"), *SPREAD, "--jobs", "2", *log)

    def both_write() -> bool:
        written = {path.name for path in tmp_path.glob(".log*/faults-*") if path.stat().st_size}
        assert process.poll() is None, process.communicate()
        return {"faults-1.jsonl", "faults-0.jsonl"} <= written

    wait_until(both_write)
    return process, children_of(process.pid)


def nothing_left(tmp_path: Path, children: list[int]) -> None:
    assert [path.name for path in tmp_path.iterdir()] == ["small.toml"]
    assert not any(map(simulates, children))


@NEEDS_PROC
def test_an_interruption_ends_all_with_one_line(tmp_path: Path) -> None:
    process, children = under_way(tmp_path)
    assert len(children) == 2
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, out) == (130, "")
    assert re.fullmatch(r"pagewake: interrupted: [\d.]+ of 360000 s simulated .*\n", err), err
    nothing_left(tmp_path, children)


@NEEDS_PROC
def test_a_process_that_is_killed_is_one_error(tmp_path: Path) -> None:
    process, children = under_way(tmp_path)
    os.kill(children[0], signal.SIGKILL)
    out, err = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, out) == (70, "")
    assert err.startswith("pagewake: error: a worker process ended with exit code -9 before its")
    assert err.count("\n") == 1
    nothing_left(tmp_path, children)


@NEEDS_PROC
def test_processes_whose_parent_is_gone_end_by_themselves(tmp_path: Path) -> None:
    process, children = under_way(tmp_path)
    process.kill()
    assert process.communicate(timeout=PATIENCE_S) == ("", "")
    wait_until(lambda: not any(map(simulates, children)))


def test_a_point_that_fails_ends_its_other_pieces(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pagewake.cli.parallel.simulate", unlucky)
    grid = ("compare", small_scenario(tmp_path, "10ms"), *SPREAD, "--axis", "kernel.apf=off,pv")
    outcome = invoke(capsys, *grid, "--jobs", "4", "--json")
    assert outcome.code == 2
    assert "error: at kernel.apf=off: this machine has too little memory" in outcome.err
    assert outcome.err.count("\n") == 1
    assert [point["apf"] for point in msgspec.json.decode(outcome.out)] == ["pv"]


def unlucky(piece: Piece, _tell: object) -> object:
    """Has no memory for one host of one point; the other host of it takes for ever."""
    if piece.order.scenario.kernel.apf == "pv":
        return run_piece(piece)
    if 0 in piece.hosts:
        raise MemoryError
    time.sleep(600)
    raise AssertionError
