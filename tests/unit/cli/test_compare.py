"""A grid is checked before it runs; what is finished survives an error and an interruption."""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pagewake import __version__
from pagewake.cli import compare as command
from pagewake.cli import fitting, parallel, progress
from pagewake.cli.guard import InterruptedRunError
from pagewake.cli.parallel import Outcome
from pagewake.engine import run as engine
from pagewake.engine.run import RunOrder
from pagewake.errors import DataError
from pagewake.scenario.model import Scenario
from tests.unit.cli.support import Outcome as Printed
from tests.unit.cli.support import invoke, small_scenario, start

PATIENCE_S = 60.0
MODES = ("--axis", "kernel.apf=off,pv")


def compared(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[Any]:
    """The points that `compare --json` printed."""
    outcome = invoke(capsys, "compare", *arguments, "--json")
    assert (outcome.code, outcome.err) == (0, "")
    found: list[Any] = msgspec.json.decode(outcome.out)
    return found


def never(scenario: Scenario, *_: object, **__: object) -> Outcome:
    raise AssertionError(f"{scenario.name} was run")


# ------------------------------------------------------------------------------- before it runs


def test_all_points_that_cannot_run_are_named_and_none_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "run_each", never)
    axes = ("--axis", "vm.0.limit=1KiB,4MiB", "--axis", "kernel.apf=pv,maybe")
    outcome = invoke(capsys, "compare", small_scenario(tmp_path), *axes)
    assert (outcome.code, outcome.out) == (2, "")
    assert "3 of 4 points cannot run, so none was run:" in outcome.err
    for point in ("1KiB, kernel.apf=pv", "1KiB, kernel.apf=maybe", "4MiB, kernel.apf=maybe"):
        assert f"    at vm.0.limit={point}\n" in outcome.err
    assert "at vm.0.limit=4MiB, kernel.apf=pv\n" not in outcome.err


def test_what_is_wrong_at_every_point_is_said_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scenario = tmp_path / "bad.toml"
    scenario.write_text("[scenario\n", "utf-8")
    outcome = invoke(capsys, "compare", str(scenario), *MODES)
    assert outcome.code == 2
    assert outcome.err.count("\n") == 1
    assert "points" not in outcome.err


def test_a_host_that_cannot_hold_what_it_must_is_found_before(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "run_each", never)
    axes = ("--axis", "overcommit=1,1000")
    outcome = invoke(capsys, "compare", small_scenario(tmp_path), *axes)
    assert outcome.code == 2
    assert re.search(r"host-0: host.memory is 0\.1 MiB, its .* raise host.memory", outcome.err)
    assert outcome.err.endswith("    at overcommit=1000\n")


def test_more_memory_than_this_machine_has_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    meminfo = tmp_path / "proc/meminfo"
    meminfo.parent.mkdir()
    meminfo.write_text("MemTotal: 9 kB\nMemAvailable: 63 kB\nSwapFree: 0 kB\n", "ascii")
    monkeypatch.setattr(fitting, "ROOT", tmp_path)
    axis = ("--axis", "vm.0.task.1.working_set=4MiB,16MiB")
    scenario = small_scenario(tmp_path)
    outcome = invoke(capsys, "compare", scenario, *axis, "--set", "vm.0.memory=64MiB")
    assert outcome.code == 2
    assert "    at vm.0.task.1.working_set=16MiB\n" in outcome.err
    assert "1 of 2 points" in outcome.err
    assert "this machine has 0 MiB free" in outcome.err
    assert fitting.side_by_side(31 << 10, 4) == 2
    assert fitting.side_by_side(1 << 20, 4) == 1
    monkeypatch.setattr(fitting, "ROOT", tmp_path / "none")
    assert fitting.side_by_side(32 << 10, 4) == 4


# ------------------------------------------------------------------------------- an error, Ctrl-C


def failing(monkeypatch: pytest.MonkeyPatch, apf: str, error: Exception) -> None:
    """Have the runs of one mode fail; a short grid runs in this process."""
    run = engine.run_scenario

    def runs(scenario: Scenario, **how: Any) -> Any:
        if scenario.kernel.apf == apf:
            raise error
        return run(scenario, **how)

    monkeypatch.setattr(parallel, "run_scenario", runs)


def test_a_point_that_fails_leaves_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, "off", DataError("t.csv:3: not an access"))
    page = tmp_path / "grid.html"
    scenario = small_scenario(tmp_path)
    outcome = invoke(capsys, "compare", scenario, *MODES, "--json", "--report", str(page))
    assert outcome.code == 65
    assert [point["axes"] for point in msgspec.json.decode(outcome.out)] == [{"kernel.apf": "pv"}]
    assert "at kernel.apf=off: t.csv:3: not an access" in outcome.err
    assert page.exists()


def test_an_interruption_leaves_the_points_that_are_finished(tmp_path: Path) -> None:
    file = tmp_path / "grid.jsonl"
    axis = ("--axis", "scenario.duration=5ms,100h", "--resume", str(file))
    process = start("compare", small_scenario(tmp_path), *axis, "--jobs", "1", "--json")
    deadline_s = time.monotonic() + PATIENCE_S
    while not file.exists():
        assert time.monotonic() < deadline_s, "the first point did not finish"
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130
    assert [point["sim_ns"] for point in msgspec.json.decode(out)] == [5_000_000]
    assert re.search("interrupted: [01] of 2 runs done", err)
    assert "; the same command goes on from there" in err


def test_an_interruption_without_a_file_says_what_would_have_kept_the_points(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise InterruptedRunError("interrupted: 0 of 2 runs done")

    monkeypatch.setattr(command, "run_each", interrupted)
    outcome = invoke(capsys, "compare", small_scenario(tmp_path), *MODES)
    assert outcome.code == 130
    assert outcome.err == (
        "pagewake: interrupted: 0 of 2 runs done;"
        " with --resume FILE.jsonl, finished points are kept for the next time\n"
    )


# ------------------------------------------------------------------------------- what it says


def test_what_an_axis_changes_stands_below_the_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = invoke(capsys, "compare", small_scenario(tmp_path), *MODES)
    assert outcome.code == 0
    table, _, sentence = outcome.out.partition("\n\nkernel.apf=pv against off: ")
    assert "touches" in table
    assert re.fullmatch(r"vm/faulter .* the touches,.* worker .*the work\.\n", sentence, re.DOTALL)


def test_a_check_names_the_points_at_which_something_went_wrong(
    capsys: pytest.CaptureFixture[str],
) -> None:
    grid = ("compare", "row-12-ready-write-fails", *MODES)
    assert invoke(capsys, *grid).code == 0
    outcome = invoke(capsys, *grid, "--check")
    assert outcome.code == 1
    assert "unresolved" in outcome.out
    assert "kernel.apf=pv: 1 wake-up lost: vm-0/toucher-0" in outcome.err
    assert "kernel.apf=off" not in outcome.err
    fixed = ("--axis", "kernel.apf=off", "--check")
    assert invoke(capsys, "compare", "row-12-ready-write-fails", *fixed).code == 0


# ------------------------------------------------------------------------------- --resume


def test_a_grid_goes_on_with_the_points_that_are_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    scenario, kept = small_scenario(tmp_path), ("--resume", str(tmp_path / "grid.jsonl"))
    first = compared(capsys, scenario, "--axis", "kernel.apf=pv", *kept)
    ran: list[str] = []
    run = parallel.run_each

    def noting(orders: list[RunOrder], *how: Any) -> None:
        ran.extend(order.scenario.kernel.apf for order in orders)
        run(orders, *how)

    monkeypatch.setattr(command, "run_each", noting)
    both = compared(capsys, scenario, *MODES, *kept)
    assert ran == ["off"]
    assert [point["axes"]["kernel.apf"] for point in both] == ["off", "pv"]
    assert both[1] == first[0]
    assert compared(capsys, scenario, *MODES, *kept) == both
    assert ran == ["off"]


def test_a_line_is_the_result_that_is_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "grid.jsonl"
    printed = compared(capsys, small_scenario(tmp_path), *MODES, "--resume", str(file))
    lines = [msgspec.json.decode(line) for line in file.read_bytes().splitlines()]
    assert all(len(line.pop("point")) == 64 for line in lines)
    assert sorted(lines, key=str) == sorted(printed, key=str)


def test_a_torn_line_is_dropped_and_its_point_runs_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scenario, file = small_scenario(tmp_path), tmp_path / "grid.jsonl"
    whole = compared(capsys, scenario, *MODES, "--jobs", "1", "--resume", str(file))
    file.write_bytes(file.read_bytes()[:-20])
    again = compared(capsys, scenario, *MODES, "--resume", str(file))
    assert [point["digest"] for point in again] == [point["digest"] for point in whole]
    assert len(file.read_bytes().splitlines()) == 2


OTHER_GRIDS = [
    (["--axis", "kernel.apf=off"], "the point kernel.apf=pv of small, seed 1, is not in this grid"),
    ([*MODES, "--seed", "2"], "was run with other settings"),
    ([*MODES, "--set", "vm.0.vcpus=1"], "was run with other settings"),
]


@pytest.mark.parametrize(("other", "why"), OTHER_GRIDS, ids=lambda value: str(value)[:40])
def test_the_file_of_another_grid_is_refused_and_left_as_it_is(
    other: list[str], why: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scenario, file = small_scenario(tmp_path), tmp_path / "grid.jsonl"
    compared(capsys, scenario, "--axis", "kernel.apf=pv", "--resume", str(file))
    before = file.read_bytes()
    outcome = invoke(capsys, "compare", scenario, *other, "--resume", str(file))
    assert (outcome.code, outcome.out) == (2, "")
    assert why in outcome.err
    assert file.read_bytes() == before


def refused(capsys: pytest.CaptureFixture[str], scenario: str, file: Path) -> str:
    """What is said of a file that cannot be resumed from; it stays as it is."""
    before = file.read_bytes() if file.is_file() else b""
    outcome: Printed = invoke(capsys, "compare", scenario, *MODES, "--resume", str(file))
    assert (outcome.code, outcome.out) == (2, "")
    assert (file.read_bytes() if file.is_file() else b"") == before
    return outcome.err


def test_a_scenario_is_no_file_to_resume_from(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scenario = small_scenario(tmp_path)
    other = "is there, and is not a file of finished points"
    assert other in refused(capsys, scenario, Path(scenario))
    one_line = tmp_path / "one"
    one_line.write_text("no line end", "utf-8")
    assert other in refused(capsys, scenario, one_line)
    one_line.write_text('{"axes":{}}\n', "utf-8")
    assert "one:1: not a finished point" in refused(capsys, scenario, one_line)
    assert "is a directory" in refused(capsys, scenario, tmp_path)
    assert "does not exist" in refused(capsys, scenario, tmp_path / "none" / "grid.jsonl")


def test_a_page_does_not_go_where_the_points_are_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    both = str(tmp_path / "grid")
    arguments = (small_scenario(tmp_path), *MODES, "--resume", both, "--report", both)
    outcome = invoke(capsys, "compare", *arguments)
    assert (outcome.code, outcome.out) == (2, "")
    assert "--resume keeps its points there" in outcome.err


def test_the_file_of_another_version_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scenario, file = small_scenario(tmp_path), tmp_path / "grid.jsonl"
    compared(capsys, scenario, *MODES, "--resume", str(file))
    text = file.read_text("utf-8").replace(f'"version":"{__version__}"', '"version":"0.0.1"')
    file.write_text(text, "utf-8")
    assert "written by pagewake 0.0.1" in refused(capsys, scenario, file)


# ------------------------------------------------------------------------------- how it goes


def test_a_long_grid_says_on_stderr_what_is_finished(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "TELL_AFTER_S", 0.0)
    outcome = invoke(capsys, "compare", small_scenario(tmp_path), *MODES, "--jobs", "1")
    first, second = outcome.err.splitlines()
    assert re.fullmatch("pagewake: 1 of 2 runs done after .*: kernel.apf=off", first)
    assert re.fullmatch("pagewake: 2 of 2 runs done after .*: kernel.apf=pv", second)
