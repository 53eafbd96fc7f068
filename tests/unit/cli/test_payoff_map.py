"""`compare --map`: what it runs, prints, writes and refuses."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pagewake.cli import compare as command
from pagewake.errors import DataError
from tests.unit.cli.support import invoke, small_scenario
from tests.unit.cli.test_compare import failing, never

SHORT = ("--set", "scenario.duration=10ms")
TINY = (
    *("compare", "payoff", "--map", "--jobs", "1", *SHORT),
    *("--axis", "host.medium=nvme,zram", "--axis", "overcommit=1.2,1.8"),
    *("--axis", "kernel.profile=2.6.39,6.6", "--axis", "scenario.seed=1,2"),
)


def document(capsys: pytest.CaptureFixture[str], *more: str) -> dict[str, Any]:
    outcome = invoke(capsys, *TINY, "--json", *more)
    assert outcome.code == 0, outcome.err
    found: dict[str, Any] = msgspec.json.decode(outcome.out)
    return found


def touches(point: dict[str, Any]) -> int:
    return sum(task["touches"] for task in point["progress"].values())


def test_the_json_has_cells_and_regions_of_the_points(capsys: pytest.CaptureFixture[str]) -> None:
    found = document(capsys)
    assert [(one["apf"], one["against"], one["seeds"]) for one in found["maps"]] == [
        ("nonpv", "off", 2),
        ("pv", "off", 2),
    ]
    points = {tuple(point["axes"].values()): touches(point) for point in found["points"]}
    assert len(points) == 2 * 2 * 2 * 2 * 3
    pv = found["maps"][1]
    places = list(product(*pv["axes"].values()))
    assert [tuple(cell["at"].values()) for cell in pv["cells"]] == places
    for place, cell in zip(places, pv["cells"], strict=True):
        pairs = [(points[*place, seed, "pv"], points[*place, seed, "off"]) for seed in ("1", "2")]
        ratios = [new / old for new, old in pairs]
        assert cell["ratio"] == sum(new for new, _ in pairs) / sum(old for _, old in pairs)
        assert (cell["low"], cell["high"]) == (min(ratios), max(ratios))
    costs = {tuple(cell["at"].values()) for cell in pv["cells"] if cell["verdict"] == "costs"}
    boxes = [set(product(*region["at"].values())) for region in pv["regions"]]
    assert set().union(*boxes) == costs
    assert {cell["verdict"] for cell in pv["cells"]} >= {"pays", "neither"}


def test_it_does_not_depend_on_the_number_of_processes(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("compare", "payoff", "--map", *SHORT, "--axis", "overcommit=1.2,1.8", "--json")
    one, two = (invoke(capsys, *words, "--jobs", jobs) for jobs in ("1", "2"))
    maps = [msgspec.json.decode(outcome.out)["maps"] for outcome in (one, two)]
    assert maps[0] == maps[1]


def test_the_table_has_a_row_for_all_axes_but_the_one_across(
    capsys: pytest.CaptureFixture[str],
) -> None:
    outcome = invoke(capsys, *TINY, "--axis", "kernel.apf=off,pv")
    assert outcome.code == 0
    lines = outcome.out.splitlines()
    assert lines[0] == "pv against off: guest/server touches"
    assert lines[2].split() == ["profile", "medium", "overcommit", "1.2", "overcommit", "1.8"]
    rows = [line.split()[:2] for line in lines[4:8]]
    assert rows == [[kernel, medium] for kernel in ("2.6.39", "6.6") for medium in ("nvme", "zram")]
    assert "over 2 seeds: pays at" in outcome.out
    assert lines[-1].startswith("ratio to kernel.apf=off, more is better; + pays, - costs")


def test_one_task_on_each_vcpu_has_nothing_to_run_meanwhile(
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = document(capsys, "--set", "vm.0.task.0.count=2")["maps"][1]
    assert not [cell for cell in found["cells"] if cell["verdict"] == "pays"]
    assert found["regions"][0]["name"] == "medium nvme, profile 6.6, any overcommit"


def test_the_report_has_the_map(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "map.html"
    assert invoke(capsys, *TINY, "--report", str(page)).code == 0
    text = page.read_text("utf-8")
    assert text.count('<table class="payoff">') == 2
    assert "Does it pay? pv against off: guest/server touches" in text
    assert "--axis kernel.apf=off,nonpv,pv" in text


def test_a_grid_that_is_no_map_has_none_in_its_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "grid.html"
    words = ("compare", small_scenario(tmp_path, "10ms"), "--axis", "kernel.apf=off,pv")
    assert invoke(capsys, *words, "--report", str(page)).code == 0
    assert "Does it pay?" not in page.read_text("utf-8")


@pytest.mark.parametrize(
    ("axes", "why"),
    [
        (["kernel.apf=nonpv,pv", "overcommit=1.2,1.8"], "has not both off and a mode"),
        (["kernel.apf=off", "overcommit=1.2,1.8"], "has not both off and a mode"),
        (["scenario.seed=1,2"], "nothing varies but kernel.apf and the seed"),
        (["overcommit=1.5"], "add for example --axis overcommit=1.25,1.5,2"),
        (["overcommit=1.5,much"], "not a number above 0"),
        (["host.medium=nvme,tape"], "tape"),
        (["overcomit=1,2"], "unknown key"),
    ],
)
def test_what_is_no_map_is_refused_before_it_runs(
    axes: list[str],
    why: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(command, "run_each", never)
    words = [word for axis in axes for word in ("--axis", axis)]
    outcome = invoke(capsys, "compare", "payoff", "--map", *words)
    assert (outcome.code, outcome.out) == (2, "")
    assert why in outcome.err


def test_a_mode_that_is_set_is_an_axis_already(capsys: pytest.CaptureFixture[str]) -> None:
    outcome = invoke(capsys, *TINY, "--set", "kernel.apf=pv")
    assert outcome.code == 2
    assert "kernel.apf is an axis already" in outcome.err


def test_points_that_failed_are_missing_in_the_map(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, "nonpv", DataError("t.csv:3: not an access"))
    outcome = invoke(capsys, *TINY, "--json")
    assert outcome.code == 65
    assert [one["apf"] for one in msgspec.json.decode(outcome.out)["maps"]] == ["pv"]
