"""Figures on terminals of any width, and in any encoding."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from io import BytesIO, StringIO, TextIOWrapper
from pathlib import Path

import msgspec
import pytest
from rich.console import Console, Group

from pagewake.cli.figures import Counted, Figures
from pagewake.cli.output import print_json
from pagewake.cli.plain import asks_for_ascii, spelled
from pagewake.cli.top_view import RunRow, ServiceRow, run_parts
from tests.unit.cli.support import SERVICES, small_scenario

NUMBERS = ("793,366,836", "1.000", "12,855", "3.99 ms")
GRID = ("--axis", "kernel.apf=off,pv", "--axis", "host.medium=ssd-sata,nvme")
STYLED = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def drawn(part: object, width: int) -> list[str]:
    """What a terminal of some width shows."""
    text = StringIO()
    Console(file=text, width=width, color_system=None).print(part)
    return [line.rstrip() for line in text.getvalue().splitlines()]


def figures() -> Figures:
    table = Figures(["host.medium", "work", "of first", "page-ins", "p50"], first_out=["page-ins"])
    table.add_row("ssd-sata", *NUMBERS)
    return table


@pytest.mark.parametrize("width", range(16, 80))
def test_numbers_stand_whole_or_not_at_all(width: int) -> None:
    lines = drawn(figures(), width)
    assert max(map(len, lines)) <= width
    row = next(line for line in lines if NUMBERS[0] in line)
    out = " ".join(lines).partition("left out for width:")[2]
    for name, number in zip(("work", "of first", "page-ins", "p50"), NUMBERS, strict=True):
        assert (number in row) is not (name in " ".join(out.split())), name


def test_columns_go_by_their_order_and_then_from_the_right() -> None:
    said = [" ".join(drawn(figures(), width)).partition("left out")[2] for width in (60, 45, 36)]
    assert said == [
        "",
        " for width: page-ins; a pipe (| less -S) or --json has all",
        " for width: page-ins, p50; a pipe (| less -S) or --json has all",
    ]


@pytest.mark.parametrize("width", range(14, 60))
def test_a_list_is_broken_between_its_counts(width: int) -> None:
    parts = ["slept 400", "early ready 0", "halted 31", "batch 99.5 %"]
    lines = drawn(Counted(", ".join(parts)), width)
    assert [part for line in lines for part in line.removesuffix(",").split(", ")] == parts
    assert max(map(len, lines)) <= width


@pytest.mark.parametrize("width", range(7, 14))
def test_a_unit_stands_beside_its_number(width: int) -> None:
    lines = drawn(Counted("interrupt 99.5 %, p50 991 us"), width)
    assert any("99.5 %" in line for line in lines)
    assert any("991 us" in line for line in lines)
    assert max(map(len, lines)) <= max(width, len("interrupt"))


def test_a_title_may_be_wider_than_its_table() -> None:
    title = "work relative to master"
    table = Figures(["mode", "work"], title=title)
    table.add_row("pv", "1")
    assert drawn(table, 40)[0] == title


def on_a_terminal(columns: int, *arguments: str) -> list[str]:
    """What `pagewake ARGUMENTS` leaves on a terminal of some columns."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    kept = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    process = subprocess.Popen(
        [sys.executable, "-m", "pagewake", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=subprocess.DEVNULL,
        env={**kept, "PYTHONPATH": str(SERVICES), "TERM": "xterm"},
    )
    os.close(theirs)
    text = b""
    while True:
        try:
            text += os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
    os.close(ours)
    assert process.wait() == 0
    return [line.rstrip() for line in STYLED.sub("", text.decode()).splitlines()]


@pytest.mark.parametrize("columns", [80, 60, 40])
def test_tables_fit_a_terminal(columns: int, tmp_path: Path) -> None:
    scenario = small_scenario(tmp_path, "20ms")
    piped = msgspec.json.decode(
        subprocess.run(
            [sys.executable, "-m", "pagewake", "compare", scenario, *GRID, "--json"],
            env={"PYTHONPATH": str(SERVICES)},
            capture_output=True,
            check=True,
        ).stdout
    )
    lines = on_a_terminal(columns, "compare", scenario, *GRID)
    assert max(map(len, lines)) <= columns
    for point in piped:
        values = [*point["axes"].values(), f"{point['touches']:,}"]
        assert any(line.split()[:3] == values for line in lines), (values, lines)
    assert max(map(len, on_a_terminal(columns, "run", scenario))) <= columns


@pytest.mark.parametrize("width", [80, 60])
def test_a_run_of_a_cluster_fits(width: int) -> None:
    service = ServiceRow(
        "guest", "guest-1", "waiting", 12_345, 1_234_567_890, 60_000_000_000, 0.0274, 12,
        replaying=False, silent_s=0.0, waits_for=["host-0"],
    )  # fmt: skip
    row = RunRow(
        "overcommit-1", "running", paused=False, at_ns=1, duration_ns=2, speed=1.0, sleepers=3,
        halted=4, vms_owned=5, services=[service], vms=[],
    )  # fmt: skip
    lines = drawn(Group(*run_parts(row)), width)
    assert max(map(len, lines)) <= width
    assert any("1.235 of 60 s" in line for line in lines)
    assert ("left out for width: lag" in "\n".join(lines)) is (width == 60)


def test_a_pipe_has_all_columns(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pagewake", "compare", small_scenario(tmp_path, "20ms"), *GRID],
        env={"PYTHONPATH": str(SERVICES), "COLUMNS": "40"},
        capture_output=True,
        check=True,
        text=True,
    )
    assert "left out" not in done.stdout
    assert "p99" in done.stdout


# ---------------------------------------------------------------------------------- encodings


ASCII_ONLY = ({"LC_ALL": "C"}, {"LC_ALL": "POSIX"}, {"PYTHONIOENCODING": "ascii"})


@pytest.mark.parametrize("environ", ASCII_ONLY, ids=str)
def test_ascii_where_the_locale_asks_for_it(environ: dict[str, str], tmp_path: Path) -> None:
    text = printed(environ, "compare", small_scenario(tmp_path, "20ms"), *GRID)
    assert text.isascii()
    assert "?" not in text
    assert "\n -----" in text


def test_json_says_the_same_in_any_encoding(monkeypatch: pytest.MonkeyPatch) -> None:
    said = {"trace": "größe-→-😀.csv"}
    written = TextIOWrapper(BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", written)
    print_json(said)
    written.seek(0)
    assert msgspec.json.decode(written.read()) == said


def printed(environ: dict[str, str], *arguments: str) -> str:
    """What `pagewake ARGUMENTS` writes to a pipe in some environment."""
    done = subprocess.run(
        [sys.executable, "-m", "pagewake", *arguments],
        env={"PYTHONPATH": str(SERVICES), **environ},
        capture_output=True,
        check=True,
    )
    return done.stdout.decode("utf-8")


def test_signs_are_spelled_and_letters_lose_their_accents() -> None:
    assert spelled("1.128 ± 0.036 → 3 µs … naïve 語") == r"1.128 +- 0.036 -> 3 us ... naive \u8a9e"


@pytest.mark.parametrize(
    ("environ", "asks"),
    [
        ({}, False),
        ({"LC_ALL": "C"}, True),
        ({"LC_ALL": "C.UTF-8", "LANG": "C"}, False),
        ({"LC_ALL": "POSIX", "LANG": "de_DE.UTF-8"}, True),
        ({"LC_ALL": "C", "PYTHONUTF8": "1"}, False),
        ({"LC_ALL": "C", "PYTHONIOENCODING": "utf-8"}, False),
    ],
    ids=str,
)
def test_the_locale_asks_for_ascii_unless_python_was_told_otherwise(
    environ: dict[str, str], asks: bool
) -> None:
    assert asks_for_ascii(environ) is asks


@pytest.mark.parametrize("arguments", [("--version",), ("--help",), ("scenarios", "--json")])
def test_a_closed_stdout_is_an_error(arguments: tuple[str, ...]) -> None:
    done = subprocess.run(
        ["sh", "-c", '"$0" -m pagewake "$@" >&-', sys.executable, *arguments],
        env={"PYTHONPATH": str(SERVICES)},
        capture_output=True,
        check=False,
        text=True,
    )
    assert done.returncode == 2
    assert "standard output cannot be written" in done.stderr
