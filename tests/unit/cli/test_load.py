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


def test_hosts_are_measured_in_several_processes(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pagewake.load.plan.VCPUS_PER_HOST", 4)
    sizes = ("load", "--embedded", "--vcpus", "4,8", "--duration", "100ms")
    found: list[Measurement] = []
    for jobs in ("1", "2"):
        outcome = invoke(capsys, *sizes, "--json", "--jobs", jobs)
        assert (outcome.code, outcome.err) == (0, "")
        alone, spread = msgspec.json.decode(outcome.out, type=LoadResult).sizes
        assert (alone.jobs, spread.jobs, spread.hosts) == (1, int(jobs), 2)
        found.append(spread)
    one, two = found
    assert two.wall_s >= 0.1
    assert two.windows > 10
    assert two.faults_per_window == pytest.approx(one.faults_per_window, rel=0.5)
    assert one.memory_bytes_per_vcpu is not None
    assert two.memory_bytes_per_vcpu is not None
    assert two.memory_bytes_per_vcpu > one.memory_bytes_per_vcpu
    (cost,) = two.services
    assert cost.cpu_share > 0
    assert "up to 2 processes" in invoke(capsys, *sizes, "--jobs", "2").out


def test_a_cluster_has_the_processes_it_has(capsys: pytest.CaptureFixture[str]) -> None:
    outcome = invoke(capsys, "load", "--jobs", "2")
    assert (outcome.code, outcome.out) == (2, "")
    assert "--jobs: a cluster has the processes it has" in outcome.err


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


def has_no_memory(*_: object) -> None:
    raise MemoryError


def test_a_process_without_memory_is_one_error(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pagewake.load.plan.VCPUS_PER_HOST", 4)
    monkeypatch.setattr("pagewake.load.embedded._measure", has_no_memory)
    outcome = invoke(capsys, "load", "--embedded", "--vcpus", "8", "--jobs", "2")
    assert (outcome.code, outcome.out) == (2, "")
    assert "too little memory" in outcome.err
    assert outcome.err.count("\n") == 1
