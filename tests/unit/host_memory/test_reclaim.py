"""Second chance in batches, write-back, refusals, and progress when everything is in use."""

from __future__ import annotations

from typing import TypeVar

import pytest

from pagewake.events.ids import Gfn
from pagewake.events.types import (
    AgePages,
    FrameAwaited,
    PageDropped,
    PageReady,
    PagesAged,
    PagesEvicted,
    PageUnmapped,
    ToShard,
)
from pagewake.host_memory.manager import HostMemory
from pagewake.host_memory.media import MEDIA, uniform_medium
from tests.unit.host_memory.driver import US, drain, host_with, memory, request

# A limit of 512 pages: low 8, high 16, 16 pages per batch.
ROOMY = memory(pages=1_024, limit=512, populated=1_024, resident=505)
LINEAR = uniform_medium(90 * US, 0, 1, transfer_ns_per_page=10 * US)


Kind = TypeVar("Kind", bound=ToShard)


def only(events: list[ToShard], kind: type[Kind]) -> list[Kind]:
    return [event for event in events if isinstance(event, kind)]


def aging(host: HostMemory) -> list[int]:
    """Starts reclaim with one request; the pages it examines first."""
    host.handle([request(0, 600)])
    (age,) = only(drain(host), AgePages)
    return age.gfns


def test_reclaim_starts_below_the_low_watermark_and_stops_at_the_high_one() -> None:
    host = host_with(memory(pages=1_024, limit=512, populated=1_024, resident=503))
    host.handle([request(0, 600)])
    assert only(drain(host), AgePages) == []
    host.handle([request(1, 601)])
    assert only(drain(host), AgePages) == [AgePages(50 * US + 1, "vm-0", 0, list(range(16)))]
    host.handle([request(2, 602)])
    assert only(drain(host), AgePages) == []


def test_accessed_pages_get_a_second_chance_and_the_others_are_unmapped() -> None:
    host = host_with(ROOMY)
    batch = aging(host)
    assert batch == list(range(16))
    host.handle([PagesAged(50 * US, "vm-0", 2, batch[:4], batch)])
    (unmap,) = drain(host)
    assert unmap == PageUnmapped(100 * US, "vm-0", 0, batch[4:])
    assert host._accounts[0].pages.isolate(512)[-4:] == batch[:4]


def test_reclaim_goes_on_when_too_many_had_been_accessed() -> None:
    host = host_with(ROOMY)
    batch = aging(host)
    host.handle([PagesAged(50 * US, "vm-0", 2, batch, [])])
    assert drain(host) == [AgePages(100 * US, "vm-0", 0, list(range(16, 32)))]


def test_clean_pages_are_gone_at_once_and_cost_no_write() -> None:
    host = host_with(ROOMY)
    batch = aging(host)
    host.handle([PagesAged(50 * US, "vm-0", 2, [], [])])
    drain(host)
    host.handle([PagesEvicted(100 * US, "vm-0", 3, batch)])
    assert drain(host) == []
    summary = host.summary()
    assert summary.evictions == 16
    assert summary.resident == {"vm-0": 506 - 16}


def test_dirty_pages_are_written_by_clusters_in_the_queue_of_the_device() -> None:
    host = host_with(ROOMY, medium=LINEAR, writeback=6)
    batch = aging(host)
    host.handle([PagesAged(50 * US, "vm-0", 2, [], batch), request(99 * US, 601)])
    drain(host)
    host.handle([PagesEvicted(100 * US, "vm-0", 3, [], batch)])
    dropped = drain(host)
    # The read of 601 keeps the device until 200 us; then 90 us and 10 us per page, three times.
    assert dropped == [
        PageDropped(350 * US, "vm-0", 0, batch[:6]),
        PageDropped(500 * US, "vm-0", 0, batch[6:12]),
        PageDropped(630 * US, "vm-0", 0, batch[12:]),
    ]
    assert host.summary().evictions == 0
    host.handle([PagesEvicted(350 * US, "vm-0", 4, batch[:5], [], batch[5:6])])
    assert host.summary().evictions == 5


def test_refused_pages_are_the_youngest_again() -> None:
    host = host_with(ROOMY)
    batch = aging(host)
    host.handle([PagesAged(50 * US, "vm-0", 2, [], [])])
    drain(host)
    host.handle([PagesEvicted(100 * US, "vm-0", 3, batch[1:], [], batch[:1])])
    pages = host._accounts[0].pages
    assert pages.isolate(pages.count)[-1] == batch[0]


def test_write_back_to_a_synchronous_medium_takes_its_cost_but_never_less_than_the_lag() -> None:
    host = host_with(ROOMY, medium=MEDIA["zram"], lag=20 * US)
    batch = aging(host)
    host.handle([PagesAged(50 * US, "vm-0", 2, [], batch)])
    drain(host)
    host.handle([PagesEvicted(100 * US, "vm-0", 3, [], batch)])
    assert [event.at_ns for event in drain(host)] == [132 * US]


def test_when_everything_is_always_accessed_pages_are_taken_after_one_second_chance() -> None:
    host = host_with(memory(limit=4, populated=8, resident=4))
    host.handle([request(0, 7)])
    for gfn in range(4):
        (age,) = drain(host)
        assert age == AgePages((50 + 50 * gfn) * US, "vm-0", 0, [gfn])
        host.handle([PagesAged(age.at_ns, "vm-0", 1, age.gfns, [])])
    assert drain(host) == [PageUnmapped(250 * US, "vm-0", 0, [0])]


def test_a_frame_ends_the_round_and_pages_get_their_second_chance_again() -> None:
    host = host_with(memory(limit=2, populated=8, resident=2))
    host.handle([request(0, 6)])
    for at in (50, 100):
        host.handle([PagesAged(at * US, "vm-0", 1, [at // 100], [])])
    assert only(drain(host), PageUnmapped) == [PageUnmapped(150 * US, "vm-0", 0, [0])]
    host.handle([PagesEvicted(150 * US, "vm-0", 2, [0])])
    assert [type(event) for event in drain(host)] == [PageReady]
    host.handle([request(400 * US, 7)])
    assert [type(event) for event in drain(host)] == [AgePages]


def test_pages_being_read_are_passed_over() -> None:
    host = host_with(memory(limit=2, populated=8, resident=1))
    host.handle([request(0, 5), request(1, 6)])
    assert only(drain(host), AgePages) == [AgePages(50 * US + 1, "vm-0", 0, [0])]
    host.handle([request(2, 7)])
    assert drain(host) == [AgePages(100 * US, "vm-0", 0, [5])]


def test_an_answer_that_nobody_asked_for_is_an_error() -> None:
    host = host_with(ROOMY)
    with pytest.raises(AssertionError, match="not asked"):
        host.handle([PagesAged(0, "vm-0", 1, [], [])])
    with pytest.raises(AssertionError, match="reclaim did not take"):
        host.handle([PagesEvicted(0, "vm-0", 2, [3])])


def test_an_idle_vm_at_its_limit_costs_nothing() -> None:
    host = host_with(ROOMY, memory("vm-1", limit=8, populated=64, resident=8))
    assert host.next_ns() is None
    aging(host)
    assert all(event.vm == "vm-0" for event in drain(host))


def test_answers_are_matched_by_the_time_of_their_question() -> None:
    host = host_with(memory(limit=2, populated=8, resident=1), lag=30 * US)
    host.handle([request(at, gfn) for at, gfn in enumerate((5, 6, 7))])
    host.handle([PagesAged(30 * US + 1, "vm-0", 1, [0], [])])
    asked = [(event.at_ns, event.gfns) for event in only(drain(host), AgePages)]
    assert asked == [(30 * US + 1, [0]), (60 * US + 1, [0]), (100 * US, [5])]
    host.handle([PagesAged(60 * US + 1, "vm-0", 2, [], [])])
    assert drain(host) == [PageUnmapped(90 * US + 1, "vm-0", 0, [0])]


def test_a_victim_found_by_its_bit_starts_a_new_round() -> None:
    host = host_with(memory(limit=2, populated=8, resident=2))
    host.handle([request(0, 6)])
    host.handle([PagesAged(50 * US, "vm-0", 1, [0], [])])
    host.handle([PagesAged(100 * US, "vm-0", 2, [], [])])
    host.handle([PagesEvicted(150 * US, "vm-0", 3, [], [], [1])])
    drain(host)
    host.handle([PagesAged(200 * US, "vm-0", 4, [0], [])])
    assert drain(host) == [AgePages(250 * US, "vm-0", 0, [1])]


class TestDirectly:
    """From 5.8 on a VM at its limit has no kswapd: whoever needs a frame reclaims a batch."""

    @staticmethod
    def full() -> HostMemory:
        return host_with(memory(pages=1_024, limit=512, populated=1_024, resident=511, direct=True))

    def test_nothing_is_reclaimed_ahead(self) -> None:
        host = self.full()
        host.handle([request(0, 600)])
        assert only(drain(host), AgePages) == []

    def test_each_that_waits_has_a_batch_reclaimed(self) -> None:
        host = self.full()
        host.handle([request(0, 600)])
        host.handle(
            [FrameAwaited(1, "vm-0", 2, 0, Gfn(601)), FrameAwaited(2, "vm-0", 3, 1, Gfn(602))]
        )
        ages = only(drain(host), AgePages)
        assert [age.gfns for age in ages] == [list(range(16)), list(range(16, 32))]

    def test_it_goes_on_until_there_is_a_frame(self) -> None:
        """Where all pages of a batch were accessed, the next is examined; then it is over."""
        host = self.full()
        host.handle([request(0, 600)])
        host.handle([FrameAwaited(1, "vm-0", 2, 0, Gfn(601))])
        (age,) = only(drain(host), AgePages)
        host.handle([PagesAged(age.at_ns, "vm-0", 3, age.gfns, [])])
        (age,) = only(drain(host), AgePages)
        host.handle([PagesAged(age.at_ns, "vm-0", 4, [], [])])
        (unmap,) = only(drain(host), PageUnmapped)
        host.handle([PagesEvicted(unmap.at_ns, "vm-0", 5, unmap.gfns, [], [])])
        assert drain(host) == []
        host.handle([request(unmap.at_ns + 1, 601)])
        assert only(drain(host), AgePages) == []

    def test_a_frame_that_a_read_takes_is_none_for_who_waits(self) -> None:
        """A page-in that has no frame either comes first: reclaim goes on for the thread."""
        host = host_with(memory(pages=1_024, limit=512, populated=1_024, resident=512, direct=True))
        host.handle([request(0, 600), FrameAwaited(1, "vm-0", 2, 0, Gfn(601))])
        ages = only(drain(host), AgePages)
        assert len(ages) == 2
        for n, age in enumerate(ages, 3):
            host.handle([PagesAged(age.at_ns, "vm-0", n, age.gfns[1:], [])])
        gone, refused = only(drain(host), PageUnmapped)
        host.handle([PagesEvicted(gone.at_ns, "vm-0", 5, dropped=gone.gfns)])
        assert [ready.gfn for ready in only(drain(host), PageReady)] == [600]
        host.handle([PagesEvicted(refused.at_ns, "vm-0", 6, refused=refused.gfns)])
        assert only(drain(host), AgePages) != []
