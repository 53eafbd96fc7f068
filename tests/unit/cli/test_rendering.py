"""Figures for a person, files in one piece, and how far a run is."""

from __future__ import annotations

from pathlib import Path

import pytest

from pagewake.cli.compare import grid
from pagewake.cli.figures import Figures
from pagewake.cli.guard import InterruptedRunError
from pagewake.cli.output import replacing
from pagewake.cli.progress import Reach, duration, factor, following, seconds
from pagewake.cli.screen import print_text
from pagewake.cli.tables import wait_times
from pagewake.cli.task_rows import percent
from pagewake.errors import ConfigError
from pagewake.observe.result import WaitTimes


@pytest.mark.parametrize(
    ("value_s", "text"),
    [(2.5, "2.5 s"), (0.0042, "4.2 ms"), (3.3e-6, "3.3 us"), (4e-8, "40 ns"), (0.0, "0 ns")],
)
def test_durations_have_a_readable_unit(value_s: float, text: str) -> None:
    assert duration(value_s) == text


def test_a_factor_has_no_exponent() -> None:
    assert [factor(value) for value in (0.2751, 4.126, 93.25, 1234.5)] == [
        "0.275",
        "4.13",
        "93.2",
        "1,234",
    ]
    assert duration(1234.5) == "1,234 s"


def test_a_share_that_is_there_does_not_look_like_nothing() -> None:
    assert [percent(share) for share in (0.0, 0.0004, 0.0006, 0.5)] == [
        "0.0 %",
        "<0.1 %",
        "0.1 %",
        "50.0 %",
    ]
    assert percent(0.00004, 2) == "<0.01 %"


def test_simulated_seconds_have_no_empty_decimals() -> None:
    assert [seconds(ns) for ns in (60_000_000_000, 1_500_000_000, 1_000)] == [
        "60 s",
        "1.5 s",
        "0.000001 s",
    ]


def test_figures_are_never_broken_when_piped(capsys: pytest.CaptureFixture[str]) -> None:
    headings = [f"a.rather.long.name.of.a.column.{number}" for number in range(9)]
    table = Figures(headings)
    table.add_row(*["1,592,388,000"] * 9)
    print_text(table)
    (row,) = [line for line in capsys.readouterr().out.splitlines() if "1,592" in line]
    assert row.split() == ["1,592,388,000"] * 9


def test_no_waits_is_said_in_words() -> None:
    assert wait_times(None) == "nobody was woken"
    assert wait_times(WaitTimes(1, 2, 3, 4)) == "p50 1 s, p90 2 s, p99 3 s, max 4 s"


def test_a_grid_is_the_product_of_its_axes_the_last_moving_fastest() -> None:
    assert grid(["kernel.apf=off,pv", "host.medium=nvme,zram"]) == [
        {"kernel.apf": "off", "host.medium": "nvme"},
        {"kernel.apf": "off", "host.medium": "zram"},
        {"kernel.apf": "pv", "host.medium": "nvme"},
        {"kernel.apf": "pv", "host.medium": "zram"},
    ]


def test_a_grid_has_a_bound() -> None:
    many = ",".join(map(str, range(1, 2002)))
    with pytest.raises(ConfigError, match="2001 runs are more than 2000"):
        grid([f"vm.0.count={many}"])


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    path.write_text("old", encoding="utf-8")

    def write(temporary: Path) -> None:
        temporary.write_text("new", encoding="utf-8")

    replacing(path, write)
    assert path.read_text("utf-8") == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_is_left_alone_when_writing_fails(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    path.write_text("old", encoding="utf-8")

    def fails(temporary: Path) -> None:
        temporary.write_text("half", encoding="utf-8")
        raise OSError(28, "No space left on device")

    with pytest.raises(ConfigError, match="No space left on device"):
        replacing(path, fails)
    assert path.read_text("utf-8") == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", [".", "missing/result.json"])
def test_a_place_that_takes_no_file_is_refused_before_the_work(name: str, tmp_path: Path) -> None:
    def never(temporary: Path) -> None:
        pytest.fail(f"wrote {temporary}")

    with pytest.raises(ConfigError, match="directory"):
        replacing(tmp_path / name, never)


def test_an_interruption_says_how_far_all_runs_got() -> None:
    with (
        pytest.raises(InterruptedRunError, match=r"1 of 2 runs done, 15\.000 of 20 s .*\(75 %\)"),
        following(20_000_000_000, runs=2) as reach,
    ):
        reach.report_of(0, 10_000_000_000)
        reach.run_finished()
        reach.report_of(1, 5_000_000_000)
        raise KeyboardInterrupt


def test_nothing_is_drawn_where_there_is_no_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pagewake.cli.progress.SHOW_AFTER_S", 0.0)
    reach = Reach(100)
    reach.report_of(0, 50)
    reach.close()
    assert capsys.readouterr() == ("", "")


def test_runs_that_take_a_while_are_counted_where_there_is_no_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    reach = Reach(100, runs=3)
    reach.run_finished()
    monkeypatch.setattr("pagewake.cli.progress.TELL_AFTER_S", 0.0)
    reach.run_finished()
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("pagewake: 2 of 3 runs done after ")
