"""The queue of requests, and what a server touches while it serves them."""

from __future__ import annotations

import copy
import pickle
from itertools import pairwise

import numpy as np
import pytest

from pagewake.events.types import RequestDone, TaskFinished
from pagewake.guest_kernel.config import Spread
from pagewake.guest_kernel.requests import (
    Clients,
    ListedArrivals,
    RateArrivals,
    Request,
    Requests,
    RequestStream,
)
from pagewake.guest_kernel.streams import RandomStream, Region, Touching
from pagewake.simtime.randomness import Draws
from tests.support.pages import PageView
from tests.support.small import run_small

DRAWS = Draws(1, "vm/task")


class Listed:
    def __init__(self, *instants: int) -> None:
        self._instants = instants

    def instants(self) -> tuple[int, ...]:
        return self._instants


def queue(*instants: int, limit: int | None = None) -> Requests:
    return Requests("q", ListedArrivals(Listed(*instants)), Spread(50), 3, DRAWS, limit)


def server(*lines: str, count: int = 1) -> str:
    head = ["[[vm.task]]", 'name = "s"', f"count = {count}", 'pattern = "requests"']
    return "\n".join([*head, *lines])


def test_a_rate_is_kept_and_poisson_gaps_are_draws_of_that_mean() -> None:
    constant = RateArrivals(3e5, None)
    assert [constant.next_ns(n) for n in range(4)] == [3333, 6666, 10000, 13333]
    poisson = RateArrivals(1e6, DRAWS)
    instants = [poisson.next_ns(n) for n in range(20_000)]
    assert instants == sorted(instants)
    assert instants[-1] / 20_000 == pytest.approx(1000, rel=0.02)
    gaps = np.diff(instants)
    assert gaps.std() == pytest.approx(1000, rel=0.03)


def test_requests_leave_the_queue_in_order_and_never_before_they_came() -> None:
    requests = queue(10, 20, 30)
    assert requests.take(5) == Request(0, 10, 10, 50, 3)
    assert requests.take(25) == Request(1, 20, 25, 50, 3)
    assert requests.take(25) == Request(2, 30, 30, 50, 3)
    assert requests.take(25) is None
    assert queue(10, 20, limit=1).unanswered(100) == 1


def test_unanswered_are_those_that_came_and_wait_or_are_being_served() -> None:
    requests = queue(10, 20, 30, 40)
    served = requests.take(10)
    assert served is not None
    assert [requests.unanswered(at) for at in (10, 11, 30, 31, 99)] == [0, 1, 2, 3, 4]
    requests.done(served, 60)
    assert requests.unanswered(99) == 3
    assert requests.taken == 1, "nothing was taken by looking"


def test_a_client_asks_again_when_it_has_thought_about_its_answer() -> None:
    clients = Clients(2, Spread(7), DRAWS)
    assert [clients.next_ns(0), clients.next_ns(1), clients.next_ns(2)] == [7, 7, None]
    clients.answered(0, 100)
    looked_at = copy.copy(clients)
    assert looked_at.next_ns(2) == 107
    assert clients.next_ns(2) == 107


def test_touches_are_spread_evenly_over_each_request() -> None:
    view = PageView(16)
    region = Region(0, 16)
    source = RandomStream(view, region, Touching(), 1, "vm/s-0")
    stream = RequestStream(view, region, source)
    touched = []
    for service_ns, touches in ((10, 4), (7, 0), (3, 5)):
        assert stream.remaining_ns() == 0
        stream.begin(service_ns, touches)
        for at in range(service_ns):
            before = stream.touches
            assert stream.cpu_until_miss(1_000) == service_ns - at
            stream.advance(1)
            touched.append(stream.touches - before)
            stream = pickle.loads(pickle.dumps(stream))
    assert touched[:10] == [1, 0, 1, 0, 0, 1, 0, 1, 0, 0]
    assert touched[10:17] == [0] * 7
    assert touched[17:] == [2, 2, 1]
    assert stream.touches == 9


def test_a_server_sleeps_until_a_request_comes_and_serves_in_order() -> None:
    run = run_small(server("rate = 3000", 'service = "100us"', "requests = 12"))
    done = run.of(RequestDone)
    assert [one.request for one in done] == list(range(12))
    assert all(one.arrived_ns <= one.taken_ns <= one.at_ns - 100_000 for one in done)
    assert any(later.taken_ns > later.arrived_ns for later in done)
    assert all(
        one.at_ns <= later.taken_ns or later.taken_ns == later.arrived_ns
        for one, later in pairwise(done)
    )
    assert [one.task for one in run.of(TaskFinished)] == ["s-0"]


def test_clients_that_do_not_think_keep_as_many_servers_busy() -> None:
    two = ("clients = 2", 'service = "100us"')
    assert len(run_small(server(*two, count=3), vcpus=3).of(RequestDone)) > 190
    thinking = (*two, 'think = "900us"')
    assert len(run_small(server(*thinking, count=3), vcpus=3).of(RequestDone)) <= 20


def test_latency_counts_from_the_intended_arrival_although_the_server_lags() -> None:
    """The server has its page in swap and is late for all requests that come meanwhile."""
    slow = server(
        "rate = 10000", 'arrivals = "constant"', 'service = "50us"', "touches_per_request = 1",
        'working_set = "1MiB"\npopulated = true\nresident = "0B"\ntheta = 0.0', "requests = 20",
    )  # fmt: skip
    done = run_small(slow).of(RequestDone)
    late = [one.at_ns - one.arrived_ns for one in done]
    assert [one.arrived_ns for one in done] == [100_000 * (n + 1) for n in range(20)]
    assert late == sorted(late), "each page-in makes all later requests later"
    assert late[-1] > 19 * 200_000
