"""Whether a mode pays: runs in pairs, ratios, what the seeds agree on, and the regions of it."""

from __future__ import annotations

from itertools import product

import pytest

from pagewake.observe.payoff import Payoff, Spot, payoffs, region_lines
from pagewake.observe.result import RunResult
from tests.unit.observe.test_headline import run, touched, worked

MEDIA = ("nvme", "zram")
SEEDS = ("1", "2")


def mapped(
    touches: dict[tuple[str, str, str], int], finished: bool = False
) -> tuple[list[dict[str, str]], list[RunResult]]:
    """A grid over medium, seed and mode, from its touches, or from the instants it ended at."""
    axes, results = [], []
    for medium, seed, mode in product(MEDIA, SEEDS, ("off", "pv")):
        if (medium, seed, mode) not in touches:
            continue
        number = touches[medium, seed, mode]
        axes.append({"host.medium": medium, "scenario.seed": seed, "kernel.apf": mode})
        results.append(run(t=touched(9, number) if finished else touched(number)))
    return axes, results


GRID = {
    ("nvme", "1", "off"): 1000,
    ("nvme", "1", "pv"): 2000,
    ("nvme", "2", "off"): 3000,
    ("nvme", "2", "pv"): 3300,
    ("zram", "1", "off"): 1000,
    ("zram", "1", "pv"): 900,
    ("zram", "2", "off"): 1000,
    ("zram", "2", "pv"): 980,
}


def only(found: list[Payoff]) -> Payoff:
    (payoff,) = found
    return payoff


def test_runs_are_paired_by_seed_and_summed_over_seeds() -> None:
    payoff = only(payoffs(*mapped(GRID)))
    assert (payoff.mode, payoff.seeds, payoff.axes) == ("pv", 2, {"host.medium": list(MEDIA)})
    assert payoff.spots == {
        ("nvme",): Spot(5300 / 4000, 1.1, 2.0),
        ("zram",): Spot(0.94, 0.9, 0.98),
    }
    assert [spot.verdict for spot in payoff.spots.values()] == ["pays", "costs"]


def test_it_is_said_in_words() -> None:
    payoff = only(payoffs(*mapped(GRID)))
    assert payoff.said() == (
        "pv against off: web/t touches, over 2 seeds: pays at 1 of 2 points (up to 1.32),"
        " costs at 1 (down to 0.940), neither at 0."
    )
    assert region_lines(payoff) == ["pv costs more than it gives:", "  medium zram: 0.940"]


def test_where_seeds_disagree_it_neither_pays_nor_costs() -> None:
    payoff = only(payoffs(*mapped({**GRID, ("zram", "2", "pv"): 1020})))
    assert payoff.spots["zram",].verdict == "neither"
    assert region_lines(payoff) == ["Nowhere here does pv cost more than it gives."]


@pytest.mark.parametrize(
    ("ratio", "verdict"),
    [(0.994, "costs"), (0.996, "neither"), (1.004, "neither"), (1.006, "pays")],
)
def test_what_is_negligible_is_neither(ratio: float, verdict: str) -> None:
    assert Spot(ratio, ratio, ratio).verdict == verdict


def test_of_times_the_shorter_is_better() -> None:
    payoff = only(payoffs(*mapped(GRID, finished=True)))
    assert payoff.spots["zram",] == Spot(2000 / 1880, 1000 / 980, 1000 / 900)
    assert payoff.spots["nvme",].verdict == "costs"


def test_one_seed_has_no_spread() -> None:
    single = {key: value for key, value in GRID.items() if key[1] == "1"}
    payoff = only(payoffs(*mapped(single)))
    assert "at one seed, so without a spread" in payoff.said()


def test_a_run_without_its_pair_is_left_out() -> None:
    missing = {key: value for key, value in GRID.items() if key != ("nvme", "2", "off")}
    payoff = only(payoffs(*mapped(missing)))
    assert payoff.spots["nvme",] == Spot(2.0, 2.0, 2.0)


def test_what_came_to_nothing_without_the_mode_has_no_ratio() -> None:
    nothing = {**GRID, ("zram", "1", "off"): 0, ("zram", "2", "off"): 0}
    assert list(only(payoffs(*mapped(nothing))).spots) == [("nvme",)]


def test_a_mode_under_which_nothing_happens_costs_all() -> None:
    stuck = {**GRID, ("zram", "1", "pv"): 0, ("zram", "2", "pv"): 0}
    assert region_lines(only(payoffs(*mapped(stuck))))[1] == "  medium zram: 0.00"


def test_without_a_mode_beside_off_or_anything_else_that_varies_there_is_no_map() -> None:
    axes, results = mapped(GRID)
    assert payoffs(axes[1::2], results[1::2]) == []
    assert payoffs(axes[:4], results[:4]) == []
    assert payoffs([], []) == []
    assert payoffs([{"host.medium": "nvme"}, {"host.medium": "zram"}], results[:2]) == []


def test_every_measure_and_mode_has_a_map() -> None:
    axes = [
        {"kernel.apf": mode, "overcommit": factor}
        for mode in ("off", "nonpv", "pv")
        for factor in ("1", "2")
    ]
    a, b = touched(5), worked(7)
    found = payoffs(axes, [run(a=a, b=b) for _ in axes])
    assert [payoff.name for payoff in found] == [
        "nonpv against off: web/a touches",
        "pv against off: web/a touches",
        "nonpv against off: web/b work",
        "pv against off: web/b work",
    ]
