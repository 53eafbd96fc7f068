"""`pagewake trace-reduce`: what it writes runs as its input does, and nothing is overwritten."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.unit.cli.support import SERVICES, Outcome, invoke

Command = Callable[..., Outcome]

SCENARIO = """
[scenario]
name = "traced"
duration = "1s"
[kernel]
profile = "6.x"
[host]
medium = "nvme"
[[vm]]
name = "vm"
vcpus = 1
memory = "1MiB"
limit = "256KiB"
[[vm.task]]
name = "program"
pattern = "trace"
trace = "program.trace"
cpi = 40
"""


def lackey(accesses: int) -> str:
    """A program that goes round 80 pages of data, 5 accesses to each."""
    lines = ["==1== Lackey, an example Valgrind tool"]
    for at in range(accesses):
        data = 0x1FFF000000 + at // 5 % 80 * 4096 + at % 7
        lines += [f"I  {0x401000 + at % 64:08x},4", f" {'LSM'[at % 3]} {data:08x},8"]
    return "\n".join(lines) + "\n"


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("traced.toml").write_text(SCENARIO)
    path = tmp_path / "program.trace"
    path.write_text(lackey(3_000))
    return path


@pytest.fixture
def pagewake(capsys: pytest.CaptureFixture[str]) -> Command:
    return partial(invoke, capsys)


def result_of(pagewake: Command, trace: str) -> dict[str, object]:
    ran = pagewake("run", "traced.toml", "--json", "--set", f"vm.0.task.0.trace={trace}")
    assert ran.code == 0, ran.err
    found: dict[str, object] = json.loads(ran.out)
    return {key: value for key, value in found.items() if not key.startswith("wall")}


def program_ns(result: dict[str, object]) -> int:
    """CPU time of the program: how long it is."""
    return int(result["cpu"]["task:program"])  # type: ignore[index]


@pytest.mark.parametrize("output", ["reduced.csv", "reduced.csv.gz", "reduced.csv.xz"])
def test_the_reduced_trace_has_the_same_digest_and_result(
    pagewake: Command, program: Path, output: str
) -> None:
    reduced = pagewake("trace-reduce", str(program), "-o", output)
    assert reduced.code == 0, reduced.err
    assert reduced.out == ""
    rows = result_of(pagewake, output)["touches"]
    assert f"{output} written: 6,000 accesses to 81 pages became {rows:,} rows" in reduced.err
    assert result_of(pagewake, output) == result_of(pagewake, program.name)
    assert result_of(pagewake, output)["page_ins"] != 0


def test_it_reads_what_is_piped_into_it(pagewake: Command, program: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pagewake", "trace-reduce", "-", "-o", "piped.csv.gz"],
        input=program.read_bytes(),
        env={"PYTHONPATH": str(SERVICES)},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert result_of(pagewake, "piped.csv.gz") == result_of(pagewake, program.name)


def test_leaving_out_pages_used_last_keeps_the_length_and_the_pages(
    pagewake: Command, program: Path
) -> None:
    assert pagewake("trace-reduce", str(program), "-o", "few.csv", "--recent", "4").code == 0
    few, all_of_it = result_of(pagewake, "few.csv"), result_of(pagewake, program.name)
    assert int(str(few["touches"])) * 3 < int(str(all_of_it["touches"]))
    assert few["first_touches"] == all_of_it["first_touches"]
    assert program_ns(few) == program_ns(all_of_it) > 0


def test_a_file_that_is_there_is_left_alone(pagewake: Command, program: Path) -> None:
    Path("there.csv").write_text("precious")
    refused = pagewake("trace-reduce", str(program), "-o", "there.csv")
    assert refused.code == 2
    assert "there.csv exists: name another file, or add --force" in refused.err
    assert Path("there.csv").read_text() == "precious"
    assert pagewake("trace-reduce", str(program), "-o", "there.csv", "--force").code == 0
    assert Path("there.csv").read_text().startswith("icount")


@pytest.mark.parametrize("link", [False, True])
def test_the_input_is_never_written_over(pagewake: Command, program: Path, link: bool) -> None:
    before = program.read_bytes()
    output = program
    if link:
        output = program.with_name("link.csv")
        output.symlink_to(program)
    refused = pagewake("trace-reduce", program.name, "-o", str(output), "--force")
    assert refused.code == 2
    assert "is the trace that is read" in refused.err
    assert program.read_bytes() == before


BAD = {
    "nosuch.trace": (2, "there is no file"),
    "builtin:nosuch": (2, 'did you mean "builtin:'),
    "/dev/null": (65, "/dev/null: no accesses in this trace"),
    "torn.gz": (65, "torn.gz: the gzip data is torn or damaged"),
    "swapped.csv": (65, 'swapped.csv:1: "page,icount,kind,count" is not the header'),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_input_is_answered_and_leaves_nothing(
    pagewake: Command, program: Path, name: str
) -> None:
    Path("torn.gz").write_bytes(gzip.compress(program.read_bytes())[:-40])
    Path("swapped.csv").write_text("page,icount,kind,count\n4a,1,L,1\n")
    before = set(program.parent.iterdir())
    code, why = BAD[name]
    refused = pagewake("trace-reduce", name, "-o", "out.csv")
    assert (refused.code, refused.out) == (code, "")
    assert why in refused.err
    assert set(program.parent.iterdir()) == before


PLACES = {
    "-": "name a file for a reduced trace",
    "nosuch/out.csv": "nosuch does not exist",
    ".": "is a directory",
    "/dev/null": "is a device or a pipe",
}


@pytest.mark.parametrize("place", PLACES)
def test_where_it_cannot_go_is_said_before_anything_is_read(
    pagewake: Command, program: Path, place: str
) -> None:
    program.write_text("no trace")
    refused = pagewake("trace-reduce", program.name, "-o", place, "--force")
    assert refused.code == 2
    assert PLACES[place] in refused.err
