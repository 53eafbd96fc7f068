"""What `submit --wait` says of the cost of a run."""

from __future__ import annotations

import pytest

from pagewake.cli.cluster import _cost_figures
from pagewake.cluster.cost import ClusterCost, ProcessCost

PROCESSES = {"guest-a": ProcessCost(10.0, 7.5, 0.5, 2.0, 3)}


@pytest.mark.parametrize(
    ("records", "size", "words"),
    [
        (0.125, 2_189.4, "22.3 faults a window, 0.125 records and 2,189 bytes a fault"),
        (None, None, "22.3 faults a window, 40 records and 6,000 bytes"),
    ],
)
def test_records_are_given_by_fault_where_there_was_one(
    records: float | None, size: float | None, words: str
) -> None:
    cost = ClusterCost(9, 22.31, 40, 6_000, records, size, PROCESSES)
    assert dict(_cost_figures(cost))["on kafka"] == words


def test_a_process_has_its_time_in_shares() -> None:
    cost = ClusterCost(9, 22.31, 40, 6_000, None, None, PROCESSES)
    shares = dict(_cost_figures(cost))["guest-a"]
    assert shares == "10 s: waiting 75 %, codec 5 %, simulation 20 %"
