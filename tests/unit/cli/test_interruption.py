"""Ctrl-C ends a run at once, says how far it got, and leaves nothing half-written."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.cli.support import small_scenario, start

PATIENCE_S = 60.0


def _until(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline_s, "the run did not get under way"
        time.sleep(0.02)


def _interrupt(process: subprocess.Popen[str]) -> tuple[str, str]:
    os.killpg(process.pid, signal.SIGINT)
    return process.communicate(timeout=PATIENCE_S)


def _children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split()


def test_a_run_ends_with_130_and_one_line(tmp_path: Path) -> None:
    scenario = small_scenario(tmp_path, "100h")
    process = start("run", scenario, "--log", str(tmp_path / "log"))
    _until(lambda: any(tmp_path.glob(".log*/*.jsonl")), process)
    out, err = _interrupt(process)
    assert process.returncode == 130
    assert out == ""
    line = r"pagewake: interrupted: [\d.]+ of 360000 s simulated \(\d+ %\) after [\d.]+ m?s\n"
    assert re.fullmatch(line, err), err
    assert [path.name for path in tmp_path.iterdir()] == ["small.toml"]


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks for children in /proc")
def test_a_grid_ends_with_130_and_takes_its_processes_with_it(tmp_path: Path) -> None:
    scenario = small_scenario(tmp_path, "100h")
    process = start("compare", scenario, "--axis", "kernel.apf=off,pv", "--jobs", "2")
    # Two runs, and the helper of multiprocessing that watches over them.
    _until(lambda: len(_children(process.pid)) >= 2, process)
    children = _children(process.pid)
    out, err = _interrupt(process)
    assert process.returncode == 130
    assert out == ""
    assert re.fullmatch(r"pagewake: interrupted: 0 of 2 runs done, .* simulated .*\n", err), err
    assert not [pid for pid in children if _runs_still(pid)]


def _runs_still(pid: str) -> bool:
    """Whether it is alive and one of ours; the watching helper ends by itself a moment later."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
    return b"spawn_main" in command


@pytest.mark.parametrize("compared", [False, True])
def test_more_of_them_change_nothing(tmp_path: Path, compared: bool) -> None:
    scenario = small_scenario(tmp_path, "100h")
    if compared:
        process = start("compare", scenario, "--axis", "kernel.apf=off,pv", "--jobs", "2")
        _until(lambda: len(_children(process.pid)) >= 2, process)
    else:
        process = start("run", scenario, "--log", str(tmp_path / "log"))
        _until(lambda: any(tmp_path.glob(".log*/*.jsonl")), process)
    while process.poll() is None:
        os.killpg(process.pid, signal.SIGINT)
        time.sleep(0.002)
    out, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130
    assert out == ""
    assert re.fullmatch(r"pagewake: interrupted: .* simulated .*\n", err), err
    assert [path.name for path in tmp_path.iterdir()] == ["small.toml"]
