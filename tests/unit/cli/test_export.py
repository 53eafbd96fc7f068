"""`pagewake export --ftrace`: of a log and of a scenario alike, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.cli.support import invoke, small_scenario

OLD = ("not present", "ready")


def test_a_log_and_its_scenario_are_written_alike(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scenario, log = small_scenario(tmp_path), str(tmp_path / "log")
    assert invoke(capsys, "run", scenario, "--log", log).code == 0
    traces = []
    for source, name in ((scenario, "one.txt"), (log, "two.txt")):
        place = tmp_path / name
        outcome = invoke(capsys, "export", source, "--ftrace", str(place))
        assert outcome.code == 0, outcome.err
        assert outcome.out.endswith("lines, as Linux posted-v7 prints them\n")
        traces.append(place.read_text("utf-8"))
    assert traces[0] == traces[1]
    assert all(line.endswith(OLD) for line in traces[0].splitlines() if "token 0x" in line)


def test_a_seed_changes_what_is_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scenario, place = small_scenario(tmp_path), tmp_path / "trace.txt"
    texts = []
    for seed in ("1", "2", "1"):
        command = ("export", scenario, "--ftrace", str(place), "--seed", seed)
        assert invoke(capsys, *command).code == 0
        texts.append(place.read_text("utf-8"))
    assert texts[0] == texts[2] != texts[1]


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ((), "give either -o DIR, for a log, or --ftrace FILE"),
        (("-o", "out", "--ftrace", "x"), "give either -o DIR"),
        (("-o", "out", "--kernel", "4.4"), "--kernel, --host, --seed and --set are for --ftrace"),
        (("--ftrace", "x", "--kernel", "4.5"), 'the newest profile not after 4.5 is "4.4"'),
        (("--ftrace", "x", "--kernel", "6.1"), "6.1 has no lines for this run"),
        (("--ftrace", "x", "--host", "1"), "--host 1: the hosts of this run are 0 to 0"),
    ],
    ids=["neither", "both", "log", "profile", "kernel", "host"],
)
def test_what_cannot_be_is_a_usage_error(
    arguments: tuple[str, ...],
    why: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = invoke(capsys, "export", small_scenario(tmp_path, "10ms"), *arguments)
    assert outcome.code == 2
    assert why in outcome.err
    assert [path.name for path in tmp_path.iterdir()] == ["small.toml"]


def test_a_log_is_not_run_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = str(tmp_path / "log")
    assert invoke(capsys, "run", small_scenario(tmp_path, "10ms"), "--log", log).code == 0
    outcome = invoke(capsys, "export", log, "--ftrace", str(tmp_path / "x"), "--seed", "2")
    assert outcome.code == 2
    assert "is a log, and has happened" in outcome.err


def test_a_damaged_log_is_bad_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "log"
    assert invoke(capsys, "run", small_scenario(tmp_path, "50ms"), "--log", str(log)).code == 0
    journal = next(log.glob("journal-*"))
    lines = journal.read_text("utf-8").splitlines(keepends=True)
    journal.write_text("".join(lines[:1] + lines[2:]), encoding="utf-8")
    place = tmp_path / "x"
    outcome = invoke(capsys, "export", str(log), "--ftrace", str(place))
    assert outcome.code == 65
    assert "n=24 to 34 missing" in outcome.err
    assert not place.exists()


def test_threads_are_told_where_there_are_several_processes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = str(tmp_path / "x")
    moved = invoke(capsys, "export", "row-11-migrate-sleepers", "--ftrace", place).err
    assert moved == "pagewake: vcpu threads: vm-0 1003,1004; vm-0 1006,1007\n"
    web = ("export", "web", "--ftrace", place, "--set", "scenario.duration=10ms")
    assert "hint" not in invoke(capsys, *web).err
    old = invoke(capsys, *web, "--set", "kernel.profile=2.6.39").err
    assert "vcpu threads: web-0 1009,1010; web-1 1012,1013" in old
    assert "hint: these lines do not say of which VM a thread is" in old
