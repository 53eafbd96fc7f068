"""`pagewake load` on the command line: wrong input, results, comparison; tiny sizes, no brokers."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from pagewake.load.measured import LoadResult, Measurement
from tests.unit.cli.support import invoke
from tests.unit.load.support import measured, result

TINY = ("load", "--embedded", "--vcpus", "2,4", "--duration", "100ms")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--vcpus", "64,x"], "--vcpus 64,x: 'x' is no size"),
        (["--duration", "30"], "--duration"),
        (["--regression", "0.2"], "give the --baseline"),
        (["--baseline", "/nowhere.json"], "--baseline /nowhere.json: cannot be read"),
        (
            ["--html", "/nowhere/page.html"],
            "the directory /nowhere does not exist",
        ),
    ],
)
def test_wrong_input_is_usage(
    capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    outcome = invoke(capsys, "load", *arguments)
    assert outcome.code == 2
    assert words in outcome.err
    assert outcome.out == ""


def test_a_table_names_every_size(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    outcome = invoke(capsys, *TINY, "--html", str(page))
    assert outcome.code == 0, outcome.err
    assert "load, embedded: 2 sizes, 0.1 s each" in outcome.out
    assert "CPU per fault is" in outcome.out
    assert "<svg" in page.read_text("utf-8")


def test_what_got_worse_ends_with_1_and_its_name(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "saved.json"
    path.write_bytes(msgspec.json.encode(result(measured(4, rate=1e9))))
    outcome = invoke(capsys, *TINY, "--json", "--baseline", str(path), "--regression", "0.5")
    assert outcome.code == 1
    assert "4 vcpus: faults_per_s 1e+09" in outcome.err
    printed = msgspec.json.decode(outcome.out, type=LoadResult)
    assert "faults_per_s" in {found.figure for found in printed.regressions}


def test_ctrl_c_prints_what_was_measured(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def measure(vcpus: int, *_: object) -> Measurement:
        if vcpus == 4:
            raise KeyboardInterrupt
        return measured(vcpus)

    monkeypatch.setattr("pagewake.load.embedded.measure", measure)
    outcome = invoke(capsys, *TINY, "--json")
    assert outcome.code == 130
    assert outcome.err == "pagewake: interrupted: 1 of 2 sizes measured\n"
    found = msgspec.json.decode(outcome.out, type=LoadResult)
    assert found.interrupted
    assert [size.vcpus for size in found.sizes] == [2]
