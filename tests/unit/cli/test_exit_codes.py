"""Every way to end: the exit code, one line that says why, and never a traceback."""

from __future__ import annotations

from pathlib import Path

import pytest

from pagewake.cli.main import InterruptedRunError, guarded
from pagewake.errors import (
    BrokerError,
    CheckFailedError,
    ConfigError,
    DataError,
    InternalError,
    PagewakeError,
)
from tests.unit.cli.support import invoke, small_scenario


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (CheckFailedError, 1),
        (ConfigError, 2),
        (DataError, 65),
        (BrokerError, 69),
        (InternalError, 70),
        (PagewakeError, 70),
    ],
)
def test_an_error_ends_with_its_code_and_its_message(
    error: type[PagewakeError], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails() -> None:
        raise error("what, where, what to do")

    assert guarded(fails) == code
    assert capsys.readouterr() == ("", "pagewake: error: what, where, what to do\n")


def _divide() -> float:
    return 1 / 0


def test_a_defect_ends_with_70_and_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PAGEWAKE_DEBUG", raising=False)
    assert guarded(_divide) == 70
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("pagewake: internal error: ZeroDivisionError: division by zero")
    assert err.count("\n") == 1


def test_a_defect_shows_its_traceback_on_request(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PAGEWAKE_DEBUG", "1")
    assert guarded(_divide) == 70
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize("error", [KeyboardInterrupt, InterruptedRunError])
def test_an_interruption_ends_with_130(
    error: type[BaseException], capsys: pytest.CaptureFixture[str]
) -> None:
    def stops() -> None:
        raise error("interrupted: 1 s of 60 s")

    assert guarded(stops) == 130
    assert capsys.readouterr().err == "pagewake: interrupted: 1 s of 60 s\n"


USAGE_ERRORS: list[list[str]] = [
    [],
    ["no-such-command"],
    ["run"],
    ["run", "natapov-2010", "--no-such-option"],
    ["run", "natapov-2010", "--seed", "one"],
    ["run", "natapov-2010", "--seed", "-1"],
    ["run", "natapov-2010", "--shards", "0"],
    ["run", "no-such-scenario"],
    ["run", "no/such/file.toml"],
    ["run", "natapov-2010", "--set", "host.medium"],
    ["run", "natapov-2010", "--set", "host.mediun=nvme"],
    ["run", "natapov-2010", "--set", "host.medium=tape"],
    ["run", "natapov-2010", "--set", "vm.0.limit=0MiB"],
    ["compare", "natapov-2010"],
    ["compare", "natapov-2010", "--axis", "kernel.apf"],
    ["compare", "natapov-2010", "--axis", "kernel.apf=pv,maybe"],
    ["compare", "natapov-2010", "--axis", "kernel.apf=pv", "--axis", "kernel.apf=off"],
    ["compare", "natapov-2010", "--axis", "kernel.apf=pv", "--jobs", "0"],
    ["benchmark", "natapov-2010", "--seeds", "1,two"],
    ["benchmark", "natapov-2010", "--seeds", "1,1"],
    ["benchmark", "natapov-2010", "--seeds", ""],
    ["scenarios", "--profiles", "--events"],
    ["conformance"],
    ["verify"],
    ["verify", "no-such-directory"],
    ["replay", "no-such-directory"],
    ["trace", "no-such-directory", "-o", "out.json"],
    ["trace", "some-log"],
]


@pytest.mark.parametrize("arguments", USAGE_ERRORS, ids=" ".join)
def test_a_usage_error_ends_with_2_and_says_so_on_stderr(
    arguments: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = invoke(capsys, *arguments)
    assert outcome.code == 2
    assert "Traceback" not in outcome.err
    assert "internal error" not in outcome.err
    if arguments:  # without any, the help is what was asked for
        assert outcome.out == ""
        assert outcome.err != ""
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_scenario_is_answered_with_the_nearest(
    capsys: pytest.CaptureFixture[str],
) -> None:
    outcome = invoke(capsys, "run", "natapov-201")
    assert outcome.code == 2
    assert outcome.err.startswith("pagewake: error: ")
    assert "natapov-2010" in outcome.err


def test_a_log_does_not_overwrite_what_is_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "log"
    log.mkdir()
    (log / "notes.txt").write_text("mine", encoding="utf-8")
    outcome = invoke(capsys, "run", small_scenario(tmp_path), "--log", str(log))
    assert outcome.code == 2
    assert str(log) in outcome.err
    assert [path.name for path in log.iterdir()] == ["notes.txt"]


def test_a_directory_without_a_log_is_bad_data(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in (["verify"], ["replay"], ["trace", "-o", str(tmp_path / "out.json")]):
        outcome = invoke(capsys, *command, str(tmp_path))
        assert outcome.code == 65, command
        assert str(tmp_path) in outcome.err
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["run", "--help"]], ids=" ".join)
def test_asking_for_help_is_no_error(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = invoke(capsys, *arguments)
    assert outcome.code == 0
    assert "pagewake" in outcome.out
    assert outcome.err == ""
