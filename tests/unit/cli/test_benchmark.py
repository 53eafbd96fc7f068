"""The comparison with the published figures: ratios per seed, errors, and honest remarks."""

from __future__ import annotations

import pytest

from pagewake.cli.benchmark import Benchmark, parse_seeds, summarize
from pagewake.errors import ConfigError
from pagewake.events.types import ShardSummary
from pagewake.observe.counter import ResultCounter
from pagewake.observe.result import RunFacts, RunResult


def _result(apf: str, seed: int, work: int, scenario: str = "natapov-2010") -> RunResult:
    facts = RunFacts(scenario, seed, "posted-v7", apf, 60_000_000_000, 1.0, 3, "00", 1, "0")
    summary = ShardSummary({"bm-0/worker-0": work}, {"worker": work, "idle": 1000 - work})
    return ResultCounter().finish(facts, [summary])


def _benchmark(
    nonpv: int = 200, pv: int = 380, scenario: str = "natapov-2010", as_described: bool = True
) -> Benchmark:
    work = {"off": (200, 100), "nonpv": (nonpv, nonpv // 2), "pv": (pv, pv // 2 + 10)}
    results = {
        apf: [_result(apf, seed, done, scenario) for seed, done in enumerate(of_seed, 1)]
        for apf, of_seed in work.items()
    }
    return summarize(results, 1.5, as_described)


def test_a_ratio_is_formed_per_seed_and_then_averaged() -> None:
    master, nonpv, pv = _benchmark().modes
    assert (master.ratio.value, nonpv.ratio.value) == (1.0, 1.0)
    assert pv.ratio.value == pytest.approx((380 / 200 + 200 / 100) / 2)
    assert pv.ratio.error == pytest.approx(0.05)


def test_published_figures_stand_beside() -> None:
    master, nonpv, pv = _benchmark().modes
    assert master.published_ratio.value == 1.0
    assert nonpv.published_ratio.value == pytest.approx(1.128, abs=5e-4)
    assert nonpv.published_ratio.error == pytest.approx(0.036, abs=5e-4)
    assert pv.published_ratio.value == pytest.approx(1.909, abs=5e-4)
    assert pv.published_ratio.error == pytest.approx(0.104, abs=5e-4)


def test_cpu_shares_add_up_over_seeds() -> None:
    master = _benchmark().modes[0]
    assert master.cpu == {"worker": pytest.approx(0.15), "idle": pytest.approx(0.85)}


def test_the_gap_of_nonpv_is_admitted() -> None:
    remark = _benchmark().remarks[1]
    assert remark.startswith("nonpv/master: 1.000, published 1.128 ± 0.036, 3.6 standard errors")
    assert "do not explain the published gain" in remark


def test_no_gap_is_admitted_where_there_is_none() -> None:
    assert "explain" not in _benchmark(nonpv=226).remarks[1]


@pytest.mark.parametrize(("pv", "verdict"), [(380, "(within 5 %)"), (300, "(not within 5 %)")])
def test_the_prediction_of_pv_is_judged(pv: int, verdict: str) -> None:
    assert verdict in _benchmark(pv=pv).remarks[0]


def test_only_the_unchanged_prediction_is_held_against_the_publication() -> None:
    assert _benchmark(as_described=False).remarks == []
    assert _benchmark(scenario="natapov-2010-fit").remarks == []


def test_without_any_work_there_is_nothing_to_compare() -> None:
    results = {apf: [_result(apf, 1, 0)] for apf in ("off", "nonpv", "pv")}
    with pytest.raises(ConfigError, match="nothing to compare"):
        summarize(results, 1.0, as_described=True)


def test_seeds_are_numbers_each_once() -> None:
    assert parse_seeds("1, 2,30") == [1, 2, 30]
    for text in ("", "1,,2", "x", "-1", "1,01"):
        with pytest.raises(ConfigError, match="--seeds"):
            parse_seeds(text)
