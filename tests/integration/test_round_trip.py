"""A run written as a kernel's trace and imported again has the same protocol events."""

from __future__ import annotations

import pytest

from tests.support.exported import KERNELS, SCENARIOS, SHORT
from tests.support.round_trip import RoundTrip, round_trip
from tests.support.runs import run_logged


@pytest.fixture(
    scope="module",
    params=[(name, kernel) for name in SCENARIOS for kernel in KERNELS],
    ids="-".join,
)
def trip(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> RoundTrip:
    name, kernel = request.param
    directory = tmp_path_factory.mktemp("trip")
    sets = [f"kernel.profile={kernel}", *([SHORT] if name == "web" else [])]
    return round_trip(run_logged(name, directory, *sets), kernel, directory)


def test_the_same_events_come_back(trip: RoundTrip) -> None:
    assert trip.sent
    assert trip.differences() == []


def test_they_break_no_rule(trip: RoundTrip) -> None:
    assert [str(breach) for breach in trip.breaches] == []
    assert {span.why for span in trip.spans} <= {"end"}
