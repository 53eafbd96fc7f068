"""What the host remembers of reads under way."""

from __future__ import annotations

from pagewake.host_memory.account import FLIGHTS_MIN, VmAccount
from tests.unit.host_memory.driver import memory


def test_reads_that_are_over_are_forgotten_before_they_are_many() -> None:
    account = VmAccount(memory(), 0)
    for gfn in range(100):
        account.note_in_flight(gfn, gfn, gfn + 3)
        under_way = {gfn, gfn - 1, gfn - 2} & {*range(100)}
        assert under_way <= account.in_flight.keys()
        assert len(account.in_flight) < FLIGHTS_MIN


def test_reads_under_way_are_kept_however_many() -> None:
    account = VmAccount(memory(), 0)
    for gfn in range(100):
        account.note_in_flight(0, gfn, 500)
    assert account.in_flight == dict.fromkeys(range(100), 500)


def test_a_page_read_again_is_a_new_read() -> None:
    account = VmAccount(memory(), 0)
    for now, gfn, ready in ((0, 1, 10), (0, 2, 30), (40, 1, 500)):
        account.note_in_flight(now, gfn, ready)
    assert account.in_flight[1] == 500
