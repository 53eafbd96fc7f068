"""The book-keeping of one vcpu: tokens, queue, done list (semantics 1.3, 3.4 to 3.11)."""

from __future__ import annotations

import pytest

from pagewake.events.ids import Gfn, Token
from pagewake.kvm.async_pf import ASYNC_PF_PER_VCPU, AsyncPf, Work
from pagewake.kvm.profile import resolve


def apf(profile: str = "2.6.39", vcpu: int = 0) -> AsyncPf:
    return AsyncPf(vcpu, resolve(profile, {}))


def started(book: AsyncPf, gfn: int) -> int:
    """Set up one item; its token."""
    token = book.next_token()
    assert isinstance(book.setup(token, Gfn(gfn), 1, lambda: True), Work)
    return token


class TestTokens:
    def test_first_token_of_vcpu_0_is_0(self) -> None:
        assert apf().next_token() == 0

    def test_counts_per_vcpu_with_the_vcpu_in_the_low_bits(self) -> None:
        book = apf(vcpu=3)
        assert [book.next_token() for _ in range(3)] == [0x3, 0x1003, 0x2003]

    def test_repeats_after_2_to_the_20(self) -> None:
        book = apf(vcpu=1)
        book.id = (1 << 20) - 1
        assert [book.next_token() for _ in range(2)] == [0xFFFFF001, 0x1]

    def test_counter_is_32_bits(self) -> None:
        book = apf()
        book.id = 0xFFFFFFFF
        book.next_token()
        assert book.id == 0

    def test_5_17_makes_no_token_whose_id_is_0(self) -> None:
        book = apf("6.x")
        book.id = 0
        assert book.next_token() == 0x1000
        book.id = 1 << 20
        assert book.next_token() == 0x1000

    def test_5_8_makes_a_token_of_0(self) -> None:
        assert apf("5.8").next_token() == 0

    def test_clearing_does_not_reset_the_counter(self) -> None:
        book = apf()
        started(book, 7)
        book.clear()
        assert book.next_token() == 0x1000


class TestSetup:
    def test_64_items_and_no_more(self) -> None:
        book = apf()
        for gfn in range(ASYNC_PF_PER_VCPU):
            started(book, gfn)
        assert book.setup(book.next_token(), Gfn(99), 1, lambda: True) == "limit"
        assert book.queued == ASYNC_PF_PER_VCPU

    def test_the_limit_is_looked_at_before_memory_is_asked_for(self) -> None:
        book = apf()
        for gfn in range(ASYNC_PF_PER_VCPU):
            started(book, gfn)

        def memory() -> bool:
            pytest.fail("asked for memory")

        assert book.setup(book.next_token(), Gfn(99), 1, memory) == "limit"

    def test_no_memory(self) -> None:
        book = apf()
        assert book.setup(book.next_token(), Gfn(7), 1, lambda: False) == "no_memory"
        assert (book.queued, book.queue) == (0, {})

    def test_a_waiting_broadcast_takes_a_place(self) -> None:
        book = apf()
        assert book.queue_broadcast()
        for gfn in range(ASYNC_PF_PER_VCPU - 1):
            started(book, gfn)
        assert book.setup(book.next_token(), Gfn(99), 1, lambda: True) == "limit"

    def test_a_broadcast_is_queued_on_top_of_64(self) -> None:
        book = apf()
        for gfn in range(ASYNC_PF_PER_VCPU):
            started(book, gfn)
        assert book.queue_broadcast()
        assert book.queued == ASYNC_PF_PER_VCPU + 1


class TestDone:
    def test_is_first_in_first_out_by_completion(self) -> None:
        book = apf()
        first, second = started(book, 7), started(book, 8)
        book.complete(Token(second), True)
        book.complete(Token(first), True)
        taken = [book.take(), book.take()]
        assert [work.token for work in taken if work is not None] == [second, first]
        assert book.queued == 0

    def test_an_item_stays_in_queue_until_it_is_taken(self) -> None:
        book = apf()
        token = started(book, 7)
        book.complete(Token(token), True)
        assert token in book.queue
        assert not book.awaits(Token(token), Gfn(7))

    def test_awaits_the_right_page_only(self) -> None:
        book = apf()
        token = started(book, 7)
        assert book.awaits(Token(token), Gfn(7))
        assert not book.awaits(Token(token), Gfn(8))
        assert not book.awaits(Token(token + 1), Gfn(7))

    def test_no_broadcast_while_something_waits(self) -> None:
        book = apf()
        token = started(book, 7)
        book.complete(Token(token), True)
        assert not book.queue_broadcast()
        book.take()
        assert book.queue_broadcast()
        assert not book.queue_broadcast()
        assert book.take() is None


def test_clear_withdraws_everything_done_or_not() -> None:
    book = apf()
    first, second = started(book, 7), started(book, 8)
    assert book.queue_broadcast()
    book.complete(Token(second), True)
    items = book.clear()
    assert [work.token if work else None for work in items] == [first, second, None]
    assert (book.queued, len(book.done), len(book.queue)) == (0, 0, 0)


def test_5_8_counts_as_enabled_only_with_delivery_by_interrupt() -> None:
    old, new = apf("2.6.39"), apf("5.8")
    for book in (old, new):
        book.msr_val = 0x1001
    assert (old.enabled, new.enabled) == (True, False)
    new.msr_val = 0x1009
    assert new.enabled


class TestWhatBeginsAgain:
    """The table at `AsyncPf`."""

    def _used(self) -> AsyncPf:
        apf = AsyncPf(0, resolve("4.13", {}))
        assert apf.write_enable(0x1001 | 4, 256)
        apf.next_token()
        apf.gfn_hash.add(Gfn(7))
        apf.request_halt("double_fault")
        return apf

    def _state(self, apf: AsyncPf) -> tuple[int, int, int, bool, bool, bool]:
        flags = apf.halt_requested, apf.send_user_only, apf.as_vmexit
        return (len(apf.gfn_hash), apf.msr_val, apf.id, *flags)

    def test_nothing_before(self) -> None:
        assert self._state(self._used()) == (1, 0x1005, 1, True, True, True)

    def test_a_reset_keeps_the_structures(self) -> None:
        apf = self._used()
        apf.reset()
        assert self._state(apf) == (0, 0, 1, True, True, True)

    def test_a_migrated_vcpu_has_new_structures_and_its_msr(self) -> None:
        apf = self._used()
        apf.restore()
        assert self._state(apf) == (0, 0x1005, 0, False, False, False)

    def test_disabling_by_msr_keeps_all_but_the_hash(self) -> None:
        apf = self._used()
        assert apf.write_enable(0, 256)
        assert self._state(apf) == (0, 0, 1, True, True, True)

    def test_a_bad_address_is_stored_and_changes_no_flag(self) -> None:
        apf = self._used()
        assert not apf.write_enable(0x100_001 | 2, 256)
        assert self._state(apf) == (1, 0x100_003, 1, True, True, True)


class TestHaltRequest:
    def test_says_why_it_was_made(self) -> None:
        apf = AsyncPf(0, resolve("2.6.39", {}))
        apf.setup(apf.next_token(), Gfn(7), 1, lambda: True)
        apf.request_halt("kernel_mode")
        assert apf.halt() == "kernel_mode"
        assert (apf.halted, apf.halt_requested) == (True, False)

    def test_is_stale_when_no_work_is_left(self) -> None:
        apf = AsyncPf(0, resolve("2.6.39", {}))
        apf.request_halt("kernel_mode")
        assert apf.halt() == "stale"
