"""No output replaces what somebody wrote, and a bad place is found before the run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pagewake.cli.report import log_for
from pagewake.engine.run import run_scenario
from pagewake.errors import ConfigError
from pagewake.observe.result import RunResult
from tests.unit.cli.support import SERVICES, invoke, small_scenario

GRID = ("--axis", "kernel.apf=off,pv")
TINY = ("--embedded", "--vcpus", "2", "--duration", "0.1s")


@pytest.fixture
def log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    directory = tmp_path / "log"
    assert (
        invoke(capsys, "run", small_scenario(tmp_path, "10ms"), "--log", str(directory)).code == 0
    )
    return directory


def commands(scenario: str, log: Path, output: str) -> list[tuple[str, ...]]:
    """Every command that writes a file, with its option."""
    return [
        ("run", scenario, "--report", output),
        ("compare", scenario, *GRID, "--report", output),
        ("report", str(log), "-o", output),
        ("trace", str(log), "-o", output),
        ("load", *TINY, "--html", output),
        ("export", scenario, "--ftrace", output),
    ]


@pytest.fixture
def never(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is simulated or measured from here on."""

    def ran(*_: Any, **__: Any) -> None:
        pytest.fail("the run began")

    for name in ("run.run_all", "compare.run_missing", "load._found"):
        monkeypatch.setattr(f"pagewake.cli.{name}", ran)


@pytest.mark.usefixtures("never")
@pytest.mark.parametrize("which", range(6))
def test_a_file_is_replaced_only_by_its_like(
    which: int, log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scenario = tmp_path / "small.toml"
    before = scenario.read_bytes()
    outcome = invoke(capsys, *commands(str(scenario), log, str(scenario))[which])
    assert outcome.code == 2
    assert f"{scenario} is there, and is not a" in outcome.err
    assert scenario.read_bytes() == before


@pytest.mark.usefixtures("never")
@pytest.mark.parametrize("which", range(6))
@pytest.mark.parametrize(
    ("output", "why"),
    [("-", "- is no file"), ("/dev/null", "is a device or a pipe"), ("/no/x", "does not exist")],
)
def test_a_place_that_takes_no_file_is_named_before_the_run(
    which: int,
    output: str,
    why: str,
    log: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = invoke(capsys, *commands("small.toml", log, output)[which])
    assert outcome.code == 2
    assert why in outcome.err
    assert not (tmp_path / "-").exists()


def test_an_output_is_written_again(
    log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in ("report", "trace"):
        output = tmp_path / command
        output.touch()
        for _ in range(2):
            assert invoke(capsys, command, str(log), "-o", str(output)).code == 0
            assert output.stat().st_size > 0


def test_a_full_place_is_named_as_its_user_does(log: Path, tmp_path: Path) -> None:
    limited = "ulimit -f 20; exec " + '"$0" -m pagewake "$@"'
    done = subprocess.run(
        ["sh", "-c", limited, sys.executable, "trace", str(log), "-o", "x.json"],
        env={"PYTHONPATH": str(SERVICES), "PYTHONDONTWRITEBYTECODE": "1"},
        cwd=tmp_path,
        capture_output=True,
        check=False,
        text=True,
    )
    assert done.returncode == 2
    assert done.stderr == "pagewake: error: x.json: cannot be written: File too large\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log", "small.toml"]


def test_a_log_for_a_page_that_finds_no_room_names_tmpdir(tmp_path: Path) -> None:
    def written(log: Path | None) -> None:
        cause = OSError(28, "No space left on device")
        raise ConfigError(f"{log}: cannot be written") from cause

    with (
        pytest.raises(ConfigError, match=r"^TMPDIR \(.*\) has .* No space left .*set TMPDIR"),
        log_for(tmp_path / "out.html", None) as log,
    ):
        written(log)


def test_figures_are_printed_where_a_log_for_a_page_finds_no_room(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    simulate = run_scenario

    def full(*arguments: Any, log_dir: Path | None, **options: Any) -> RunResult:
        if log_dir is not None:
            cause = OSError(28, "No space left on device")
            raise ConfigError(f"{log_dir}: cannot be written") from cause
        return simulate(*arguments, **options)

    monkeypatch.setattr("pagewake.cli.parallel.run_scenario", full)
    page = tmp_path / "out.html"
    outcome = invoke(capsys, "run", small_scenario(tmp_path, "10ms"), "--report", str(page))
    assert outcome.code == 2
    assert "TMPDIR" in outcome.err
    assert "digest" in outcome.out
    assert not page.exists()


def test_another_error_of_the_run_stays_as_it_is(tmp_path: Path) -> None:
    with (
        pytest.raises(ConfigError, match=r"^host-0: "),
        log_for(tmp_path / "out.html", None),
    ):
        raise ConfigError("host-0: its VMs hold more than it has")
