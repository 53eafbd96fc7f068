"""What bounds a cluster's windows, and where the next process helps."""

from __future__ import annotations

from itertools import pairwise
from math import inf

import pytest

from pagewake.capacity.stations import Model, Station, grown, least


def model_of(hosts: int) -> Model:
    stations = (Station("host", 0.001, hosts), Station("guest", 0.006, hosts))
    return Model(hosts, 0.009, stations, broker_s=0.001)


@pytest.mark.parametrize(
    ("hosts", "guests", "cores", "name", "windows_per_s"),
    [
        (1, 1, 16, "round trips", 1 / 0.009),
        (6, 1, 16, "guest services", 1 / 0.006),
        (6, 4, 16, "guest services", 1 / (0.006 * 2 / 6)),
        (60, 60, 16, "host services", 1 / 0.001),
        (6, 3, 2, "cores", 2 / 0.008),
    ],
)
def test_the_station_that_binds(
    hosts: int, guests: int, cores: float, name: str, windows_per_s: float
) -> None:
    found, bound = least(model_of(hosts).bounds({"host": 1, "guest": guests}, cores))
    assert found == name
    assert bound == pytest.approx(windows_per_s)


def test_every_process_goes_to_what_binds_until_nothing_is_gained() -> None:
    model = model_of(12)
    clusters = list(grown(model))
    assert clusters[:5] == [
        {"host": 1, "guest": 1},
        {"host": 1, "guest": 2},
        {"host": 1, "guest": 3},
        {"host": 1, "guest": 4},
        {"host": 1, "guest": 6},  # five would leave one of them with as many hosts as four do
    ]
    rates = [least(model.bounds(cluster))[1] for cluster in clusters]
    assert all(rate <= following for rate, following in pairwise(rates))  # where two bind: equal
    assert rates[:4] == pytest.approx([rates[0] * guests for guests in (1, 2, 3, 4)])
    assert least(model.bounds(clusters[-1]))[0] == "round trips"


def test_two_guest_services_do_nearly_twice_the_work_of_one() -> None:
    one, two = (
        least(model_of(6).bounds({"host": 1, "guest": guests}, inf))[1] for guests in (1, 2)
    )
    assert two / one == pytest.approx(2)


def test_more_processes_do_not_make_more_cores() -> None:
    assert list(grown(model_of(12), cores=1.0)) == [{"host": 1, "guest": 1}]
