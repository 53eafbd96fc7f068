"""What the host remembers of reads under way."""

from __future__ import annotations

from pagewake.host_memory.account import VmAccount
from tests.unit.host_memory.driver import memory


def test_reads_that_are_over_are_forgotten_in_the_order_of_their_start() -> None:
    account = VmAccount(memory(), 0)
    for now, gfn, ready in ((0, 1, 10), (0, 2, 30), (20, 3, 50)):
        account.note_in_flight(now, gfn, ready)
    assert account.in_flight == {2: 30, 3: 50}


def test_a_page_read_again_is_a_new_read() -> None:
    account = VmAccount(memory(), 0)
    for now, gfn, ready in ((0, 1, 10), (0, 2, 30), (40, 1, 500)):
        account.note_in_flight(now, gfn, ready)
    assert account.in_flight == {1: 500}
