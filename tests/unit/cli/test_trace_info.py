"""`pagewake trace-info`: figures, JSON, a page, and what it expects against what a run does."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.unit.cli.support import Outcome, invoke

Command = Callable[..., Outcome]
TRACES = Path(__file__).parents[1] / "scenario" / "traces"

SCENARIO = """
[scenario]
name = "traced"
duration = "20s"
[kernel]
profile = "6.x"
[host]
medium = "nvme"
[[vm]]
name = "vm"
vcpus = 1
memory = "16MiB"
limit = "4MiB"
[[vm.task]]
name = "program"
pattern = "trace"
trace = "builtin:sort"
"""


@pytest.fixture
def pagewake(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Command:
    monkeypatch.chdir(tmp_path)
    Path("mine.toml").write_text(SCENARIO)
    return partial(invoke, capsys)


def test_it_says_what_is_in_a_trace(pagewake: Command) -> None:
    done = pagewake("trace-info", "builtin:sort", "--limit", "4MiB,8MiB")
    assert done.code == 0
    for said in ("page format", "2,121 (8.3 MiB)", "58,000 touches", "32 parts", "all accesses"):
        assert said in done.out
    assert [line.split()[:3] for line in done.out.splitlines() if " MiB " in line[:9]] == [
        ["4.0", "MiB", "1,024"], ["8.0", "MiB", "2,048"],
    ]  # fmt: skip


def test_json_has_the_curve(pagewake: Command) -> None:
    info = json.loads(pagewake("trace-info", "builtin:sort", "--limit", "4MiB", "--json").out)
    misses = [point["page_ins"] for point in info["curve"]]
    assert (len(misses), misses[-1]) == (64, 0)
    assert misses == sorted(misses, reverse=True)
    assert info["limits"][0]["limit_pages"] == 1024


def test_a_sample_says_how_wrong_it_may_be(pagewake: Command) -> None:
    done = pagewake("trace-info", "builtin:sort", "--one-page-in", "4")
    assert "one page in 4; expected page-ins are wrong by about" in done.out


def test_the_page_has_the_curve(pagewake: Command) -> None:
    assert pagewake("trace-info", "builtin:sort", "--report", "sort.html").code == 0
    page = Path("sort.html").read_text()
    assert page.count("<svg ") == 6
    assert "Miss-ratio curve" in page
    assert "http" not in page.replace("http-equiv", "")


def test_it_reads_standard_input(pagewake: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    data = io.BytesIO(b"LD 0x1000\nST 0x2000\nLD 0x1000\n")
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=data))
    info = json.loads(pagewake("trace-info", "-", "--json").out)
    assert (info["trace"], info["format"], info["pages"]) == ("standard input", "Ramulator", 2)


def test_of_faults_it_says_that_hits_are_missing(pagewake: Command) -> None:
    done = pagewake("trace-info", str(TRACES / "perf-trace.txt"))
    assert "It has faults and no hits" in done.out
    assert "which are written: not in this format" in done.out


@pytest.mark.parametrize("name", ["damon-events.txt.gz", "exceptions.txt"])
def test_a_recording_replays_alike_with_any_seed(pagewake: Command, name: str) -> None:
    trace = str(TRACES / name)
    info = json.loads(pagewake("trace-info", trace, "--json").out)
    for seed in ("1", "2"):
        done = pagewake(
            "run", "mine.toml", "--json", "--seed", seed, "--set", f"vm.0.task.0.trace={trace}"
        )
        result = json.loads(done.out)
        assert (result["touches"], result["first_touches"]) == (info["touches"], info["pages"])


MISTAKES = {
    "a size": (["builtin:sort", "--limit", "4"], 2, '--limit: "4"'),
    "a sample": (["builtin:sort", "--one-page-in", "3"], 2, "give a power of two"),
    "a file": (["nowhere.csv"], 2, "there is no file"),
    "content": (["mine.toml"], 65, "is of no format that is read"),
}


@pytest.mark.parametrize("which", MISTAKES)
def test_mistakes_are_told(pagewake: Command, which: str) -> None:
    words, code, said = MISTAKES[which]
    done = pagewake("trace-info", *words)
    assert (done.code, done.out) == (code, "")
    assert said in done.err


def test_runs_come_close_to_what_it_expects(pagewake: Command) -> None:
    """A run evicts by second chance, in batches, and not the page used least recently: its page-ins
    lie between those of LRU with that limit and with an eighth less, but for a tenth.
    """
    sizes = [512, 1024, 1536, 2048, 3072, 4096]
    limits = ",".join(f"{kib}KiB,{kib * 7 // 8}KiB" for kib in sizes)
    info = json.loads(pagewake("trace-info", "builtin:sort", "--limit", limits, "--json").out)
    expected = [point["page_ins"] for point in info["limits"]]
    for kib, least, most in zip(sizes, expected[::2], expected[1::2], strict=True):
        result = json.loads(
            pagewake("run", "mine.toml", "--json", "--set", f"vm.0.limit={kib}KiB").out
        )
        assert result["first_touches"] == info["pages"]
        assert 0.9 * least <= result["page_ins"] <= 1.1 * most, kib
