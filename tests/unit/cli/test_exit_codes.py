"""Every way to end: the exit code, one line that says why, and never a traceback."""

from __future__ import annotations

from pathlib import Path

import pytest

from pagewake.cli.guard import InterruptedRunError, guarded
from pagewake.errors import (
    BrokerError,
    CheckFailedError,
    ConfigError,
    DataError,
    InternalError,
    PagewakeError,
)
from tests.unit.cli.support import invoke, small_scenario, start


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


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["run", "nested", "--seed", "1e3"], "--seed: '1e3' is not a whole number"),
        (["run", "nested", "--seed", "-1"], "--seed: '-1' is too small; give at least 0"),
        (["run", "nested", "--shards", "two"], "--shards: 'two' is not a whole number"),
        (["compare", "nested", "--jobs", "0"], "--jobs: '0' is too small; give at least 1"),
        (["load", "--regression", "much"], "--regression: 'much' is not a number"),
    ],
)
def test_a_wrong_number_is_told_in_our_words(
    arguments: list[str], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = invoke(capsys, *arguments)
    assert outcome.code == 2
    assert outcome.err.startswith(f"pagewake: error: {why}")


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
    empty = tmp_path / "empty"
    empty.mkdir()
    for command in (["verify"], ["replay"], ["trace", "-o", str(tmp_path / "out.json")]):
        outcome = invoke(capsys, *command, str(empty))
        assert outcome.code == 65, command
        assert str(empty) in outcome.err
        assert [path.name for path in tmp_path.rglob("*")] == ["empty"]


@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["run", "--help"]], ids=" ".join)
def test_asking_for_help_is_no_error(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = invoke(capsys, *arguments)
    assert outcome.code == 0
    assert "pagewake" in outcome.out
    assert outcome.err == ""


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "natapov-2010", "--seed", "one"],
        ["run", "natapov-2010", "--shards", "1.5"],
        ["run", "natapov-2010", "--no-such-option"],
        ["no-such-command"],
        ["compare", "natapov-2010"],
    ],
    ids=" ".join,
)
def test_what_the_command_line_library_refuses_is_told_in_our_form(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = invoke(capsys, *arguments)
    assert outcome.code == 2
    assert outcome.err.startswith("pagewake: error: ")
    assert outcome.err.endswith(' -h" says more)\n')
    assert outcome.err.count("\n") == 1


LONG = "a" * 300


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", LONG],
        ["run", f"{LONG}.toml"],
        ["run", "natapov-2010", "--log", LONG],
        ["run", "trace-sort", "--set", f"vm.0.task.0.trace={LONG}"],
        ["verify", LONG],
        ["replay", LONG],
        ["trace", LONG, "-o", "out.json"],
        ["trace", "no-such-directory", "-o", LONG],
        ["conformance", LONG],
    ],
    ids=lambda arguments: " ".join(arguments)[:20],
)
def test_a_name_that_is_too_long_is_a_usage_error(
    arguments: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = invoke(capsys, *arguments)
    assert outcome.code == 2
    assert LONG in outcome.err
    assert "File name too long" in outcome.err
    assert list(tmp_path.iterdir()) == []


def _denied(path: Path, *_: object, **__: object) -> None:
    raise PermissionError(13, "Permission denied", str(path))


@pytest.mark.parametrize("probe", ["exists", "is_dir", "read_text", "iterdir"])
def test_access_that_is_denied_is_a_usage_error(
    probe: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = {
        "exists": ["run", "closed/small.toml"],
        "is_dir": ["verify", "closed"],
        "read_text": ["run", small_scenario(tmp_path)],
        "iterdir": ["verify", str(tmp_path)],
    }[probe]
    monkeypatch.setattr(Path, probe, _denied)
    outcome = invoke(capsys, *arguments)
    assert outcome.code == 2
    assert arguments[1] in outcome.err
    assert "Permission denied" in outcome.err


def test_what_the_system_denies_elsewhere_is_no_defect(capsys: pytest.CaptureFixture[str]) -> None:
    assert guarded(lambda: _denied(Path("there"))) == 2
    assert capsys.readouterr().err.startswith("pagewake: error: there: Permission denied")


def test_too_little_memory_is_no_defect(capsys: pytest.CaptureFixture[str]) -> None:
    def fills() -> None:
        raise MemoryError

    assert guarded(fills) == 2
    assert "vm.0.memory" in capsys.readouterr().err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is full")
@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["run", "--help"], ["runs", "--help"], ["--version"], ["scenarios"]],
    ids=" ".join,
)
def test_a_full_device_behind_stdout_is_told_in_one_line(arguments: list[str]) -> None:
    with open("/dev/full", "w") as full:  # noqa: PTH123
        process = start(*arguments, stdout=full)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert err == "pagewake: error: standard output cannot be written: No space left on device\n"


def test_a_trace_is_not_written_into_the_log(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "log"
    assert invoke(capsys, "run", small_scenario(tmp_path), "--log", str(log)).code == 0
    before = sorted(log.iterdir())
    (tmp_path / "link").symlink_to(log / "out.json")
    for place in (log / "out.json", log / "digest.txt", tmp_path / "link"):
        outcome = invoke(capsys, "trace", str(log), "-o", str(place))
        assert outcome.code == 2
        assert "inside the log" in outcome.err
    assert sorted(log.iterdir()) == before
    assert invoke(capsys, "verify", str(log)).code == 0


def test_a_vector_file_of_nothing_but_a_header_is_bad_data(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    header = '{"format":"apf-conformance","version":1,"family":"%s"%s}\n'
    for name, text in {
        "traps.jsonl": header % ("traps", ""),
        "hash32.json": header % ("hash32", ',"vectors":[]'),
    }.items():
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        outcome = invoke(capsys, "conformance", str(path))
        assert outcome.code == 65
        assert f"{path}: no rows" in outcome.err


def test_a_byte_order_mark_before_vectors_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "traps.jsonl"
    path.write_text('\ufeff{"format":"apf-conformance"}\n', encoding="utf-8")
    outcome = invoke(capsys, "conformance", str(path))
    assert outcome.code == 65
    assert f"{path}:1: begins with a byte order mark" in outcome.err


@pytest.mark.parametrize("words", [["explain", "dummies"], ["scenarios"], ["run", "none.toml"]])
def test_a_setting_that_does_nothing_is_named_by_every_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    monkeypatch.setenv("PAGEWAKE_KAFAK", "kafka:9092")
    monkeypatch.setenv("PAGEWAKE_DEBUG", "0")
    first, _, rest = invoke(capsys, *words).err.partition("\n")
    assert first == (
        'pagewake: PAGEWAKE_KAFAK is no setting, and does nothing: did you mean "PAGEWAKE_KAFKA"?'
    )
    assert "PAGEWAKE" not in rest
