"""From a request to its answer: devices, frames, stock, joining, media, interventions."""

from __future__ import annotations

import dataclasses

import pytest
from msgspec.structs import replace

from pagewake.errors import ConfigError
from pagewake.events.ids import Gfn, Token
from pagewake.events.types import (
    AgePages,
    ApfCleared,
    FramesGranted,
    MediumChanged,
    NmiArrived,
    PageReady,
    PagesAged,
    PagesEvicted,
    PageTouched,
    PageUnmapped,
    VcpuOffline,
)
from pagewake.host_memory.config import VmMemory
from pagewake.host_memory.manager import HostMemory
from pagewake.host_memory.media import MEDIA, uniform_medium
from tests.unit.host_memory.driver import US, drain, host_with, memory, request

IN_SWAP = memory(populated=40, resident=0)


def answers(host: HostMemory) -> list[tuple[int, int, bool]]:
    """(microseconds, gfn, read) of every PageReady; all other deliveries are dropped."""
    ready = [event for event in drain(host) if isinstance(event, PageReady)]
    return [(event.at_ns // US, event.gfn, event.read) for event in ready]


def test_requests_are_answered_as_the_device_serves_them() -> None:
    host = host_with(IN_SWAP)
    host.handle([request(0, 1), request(10 * US, 2), request(500 * US, 3)])
    assert host.next_ns() == 100 * US
    assert answers(host) == [(100, 1, True), (200, 2, True), (600, 3, True)]


def test_an_answer_carries_what_the_request_said() -> None:
    host = host_with(IN_SWAP)
    host.handle([replace(request(0, 5), vcpu=3, epoch=7, token=0x12)])
    assert drain(host) == [PageReady(100 * US, "vm-0", 0, 3, Gfn(5), 7, Token(0x12), True)]


def test_joined_requests_need_no_answer() -> None:
    host = host_with(IN_SWAP)
    host.handle([request(0, 1), request(5, 1, joined=True)])
    assert answers(host) == [(100, 1, True)]


def test_a_second_request_for_a_page_in_flight_shares_its_read() -> None:
    host = host_with(IN_SWAP)
    host.handle([request(0, 1), request(20 * US, 1), request(80 * US, 1)])
    assert answers(host) == [(100, 1, True), (100, 1, False), (130, 1, False)]
    assert host._counts.page_ins().reads == 1


def test_a_page_that_is_in_memory_needs_no_read() -> None:
    host = host_with(memory(populated=4, resident=4))
    host.handle([request(0, 1)])
    assert answers(host) == [(50, 1, False)]
    assert host._counts.page_ins().reads == 0


def test_a_first_touch_without_stock_waits_for_nothing_but_a_frame() -> None:
    host = host_with(memory())
    host.handle([request(0, 1, first_touch=True)])
    assert answers(host) == [(50, 1, False)]
    assert host._counts.page_ins().reads == 0


def test_withdrawn_tokens_do_not_stop_the_read() -> None:
    host = host_with(IN_SWAP)
    host.handle([request(0, 1), ApfCleared(10, "vm-0", 2, 0, 1, [1], "reset")])
    assert answers(host) == [(100, 1, True)]


def test_workers_bound_the_page_ins_of_the_host() -> None:
    host = host_with(IN_SWAP, medium=uniform_medium(100 * US, 0, 4), workers=2)
    host.handle([request(0, gfn) for gfn in range(4)])
    assert answers(host) == [(100, 0, True), (100, 1, True), (200, 2, True), (200, 3, True)]


# ----------------------------------------------------------------------------------------- frames


def test_without_a_free_frame_requests_wait_in_order_until_frames_come_free() -> None:
    host = host_with(memory(limit=2, populated=4, resident=2))
    host.handle([request(0, 2), request(1, 3)])
    assert len(host._accounts[0].waiting) == 2
    first, second = drain(host)
    assert first == AgePages(50 * US, "vm-0", 0, [0])
    assert second == AgePages(50 * US + 1, "vm-0", 0, [1])
    host.handle([PagesAged(50 * US, "vm-0", 3, [], []), PagesAged(50_001, "vm-0", 4, [], [])])
    assert [type(event) for event in drain(host)] == [PageUnmapped, PageUnmapped]
    host.handle([PagesEvicted(100 * US, "vm-0", 5, [0]), PagesEvicted(100_001, "vm-0", 6, [1])])
    assert answers(host) == [(200, 2, True), (300, 3, True)]
    assert not host._accounts[0].waiting


def test_first_touches_use_up_the_stock_and_half_of_it_is_refilled() -> None:
    host = host_with(memory(stock=8))
    host.handle([PageTouched(0, "vm-0", 1, [0, 1, 2])])
    assert drain(host) == []
    host.handle([PageTouched(7, "vm-0", 2, [3])])
    assert drain(host) == [FramesGranted(50 * US + 7, "vm-0", 0, 4)]
    assert host._accounts[0].stock == 8
    assert host.summary().resident == {"vm-0": 4}


def test_a_refill_without_free_frames_starts_reclaim_and_is_granted_once_there_are() -> None:
    host = host_with(memory(limit=8, populated=4, resident=4, stock=4))
    host.handle([PageTouched(0, "vm-0", 1, [10, 11])])
    aging = drain(host)
    assert [getattr(event, "gfns", None) for event in aging] == [[0], [1]]
    host.handle([PagesAged(50 * US, "vm-0", n, [], []) for n in (2, 3)])
    drain(host)
    host.handle([PagesEvicted(100 * US, "vm-0", 4, [0])])
    assert drain(host) == [FramesGranted(150 * US, "vm-0", 0, 1)]
    host.handle([PagesEvicted(100 * US, "vm-0", 5, [1])])
    assert drain(host) == []


def test_a_refill_waits_until_at_least_half_of_it_is_free() -> None:
    host = host_with(memory(limit=16, populated=8, resident=8, stock=8))
    host.handle([PageTouched(0, "vm-0", 1, [10, 11, 12, 13])])
    host.handle([PagesAged(50 * US, "vm-0", n, [], []) for n in (2, 3, 4, 5)])
    drain(host)
    host.handle([PagesEvicted(100 * US, "vm-0", 6, [0])])
    assert drain(host) == []
    host.handle([PagesEvicted(100 * US, "vm-0", 7, [1])])
    assert drain(host) == [FramesGranted(150 * US, "vm-0", 0, 2)]


def test_using_more_than_was_granted_is_an_error() -> None:
    with pytest.raises(AssertionError, match="more frames than it was granted"):
        host_with(memory(stock=1)).handle([PageTouched(0, "vm-0", 1, [0, 1])])


def test_a_full_host_evicts_from_the_vm_that_fills_its_limit_most() -> None:
    lean = memory("vm-0", pages=4_096, limit=4_096, populated=4_096, resident=100)
    full = memory("vm-1", pages=4_096, limit=2_048, populated=4_096, resident=1_000)
    host = host_with(lean, full, total=1_100)
    host.handle([request(0, 200)])
    assert drain(host) == [AgePages(50 * US, "vm-1", 0, list(range(64)))]
    host.handle([PagesAged(50 * US, "vm-1", 1, list(range(32)), [])])
    assert PageUnmapped(100 * US, "vm-1", 0, list(range(32, 64))) in drain(host)
    host.handle([PagesEvicted(100 * US, "vm-1", 2, list(range(32, 64)))])
    assert answers(host) == [(200, 200, True)]


def test_frames_of_a_full_host_go_to_the_vm_that_waits_longest() -> None:
    vms = [memory(f"vm-{i}", limit=8, populated=8, resident=4) for i in range(3)]
    host = host_with(*vms, total=12)
    host.handle([request(0, 5, vm="vm-2"), request(1, 5, vm="vm-1")])
    assert [(event.vm, getattr(event, "gfns", None)) for event in drain(host)] == [
        ("vm-0", [0]),
        ("vm-1", [0]),
    ]
    host.handle([PagesAged(50 * US, "vm-0", 1, [], [])])
    drain(host)
    host.handle([PagesEvicted(100 * US, "vm-0", 2, [0])])
    assert [(event.vm, event.at_ns) for event in drain(host)] == [("vm-2", 200 * US)]


# ------------------------------------------------------------------------------ synchronous media


def test_a_synchronous_page_in_takes_its_frame_from_the_stock() -> None:
    host = host_with(memory(populated=8, stock=4), medium=MEDIA["zram"])
    host.handle([request(0, 1, served=True)])
    assert drain(host) == []
    assert host.summary().resident == {"vm-0": 1}
    assert host._accounts[0].stock == 3
    host.handle([request(9, 2, served=True)])
    assert drain(host) == [FramesGranted(50 * US + 9, "vm-0", 0, 2)]
    assert host._counts.page_ins().reads == 2


def test_a_synchronous_page_in_without_stock_waits_for_a_frame_and_pays_its_cost() -> None:
    host = host_with(memory(populated=8), medium=MEDIA["zram"])
    host.handle([request(0, 1)])
    assert answers(host) == [(52, 1, True)]


def test_lookahead_is_the_shortest_of_service_and_lag() -> None:
    assert host_with(memory(), medium=MEDIA["zram"]).lookahead_ns == 50 * US
    assert host_with(memory(), medium=MEDIA["hdd-2010"]).lookahead_ns == 50 * US
    assert host_with(memory(), medium=MEDIA["nvme"]).lookahead_ns == 20 * US
    change = MediumChanged(9, "", 0, "rdma")
    assert host_with(memory(), controls=[change]).lookahead_ns == 8 * US


# ---------------------------------------------------------------------------------- interventions


def test_interventions_come_out_at_their_time_before_what_the_host_decided() -> None:
    offline, nmi = VcpuOffline(100 * US, "vm-0", 0, 1), NmiArrived(30, "vm-0", 0, 0)
    host = host_with(IN_SWAP, controls=[offline, nmi])
    assert host.next_ns() == 30
    host.handle([request(0, 1)])
    assert host.take(0, 31) == [nmi]
    assert [type(event) for event in drain(host)] == [VcpuOffline, PageReady]


def test_a_changed_medium_counts_for_requests_from_then_on_and_every_vm_hears_of_it() -> None:
    change = MediumChanged(50 * US, "", 0, "nvme")
    other = dataclasses.replace(IN_SWAP, vm="vm-1")
    host = host_with(IN_SWAP, other, controls=[change])
    host.handle([request(0, 1), request(200 * US, 2)])
    first, second, old, new = drain(host)
    assert [(e.vm, getattr(e, "medium", None)) for e in (first, second)] == [
        ("vm-0", "nvme"),
        ("vm-1", "nvme"),
    ]
    assert old.at_ns == 100 * US
    assert 220 * US <= new.at_ns <= 280 * US
    assert host.summary().medium == "nvme"


def test_a_medium_brought_in_later_answers_no_sooner_than_the_lookahead() -> None:
    host = host_with(IN_SWAP, lag=100 * US)
    host.intervene(MediumChanged(0, "", 0, "rdma"))
    host.handle([request(0, 1)])
    assert drain(host)[-1].at_ns == 100 * US


def test_interventions_on_unknown_things_are_refused_by_name() -> None:
    host = host_with(IN_SWAP)
    with pytest.raises(ConfigError, match=r"'floppy'; there are cxl, hdd-2010, migration"):
        host.intervene(MediumChanged(0, "", 0, "floppy"))
    with pytest.raises(ConfigError, match="'vm-7'"):
        host.intervene(VcpuOffline(0, "vm-7", 0, 0))


def test_nothing_can_be_scheduled_into_a_span_that_was_handed_out() -> None:
    host = host_with(IN_SWAP)
    host.take(0, 1_000)
    with pytest.raises(AssertionError, match="handed out already"):
        host.intervene(VcpuOffline(999, "vm-0", 0, 0))


def test_events_must_come_in_order_of_time() -> None:
    with pytest.raises(AssertionError, match="out of order"):
        host_with(IN_SWAP).handle([request(5, 1), request(4, 2)])


# -------------------------------------------------------------------------- what cannot be started


@pytest.mark.parametrize(
    ("vm", "said"),
    [
        (memory(limit=0), "limit of 0 pages"),
        (memory(limit=8, stock=8), "stock of 8 frames"),
        (memory(limit=8, populated=8, resident=6, stock=3), "6 pages resident"),
        (memory(pages=8, populated=9), "outside its 8 pages"),
    ],
)
def test_impossible_vms_are_refused(vm: VmMemory, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        host_with(vm)


def test_a_host_must_hold_what_its_vms_hold_at_time_0() -> None:
    with pytest.raises(ConfigError, match="hold 12 pages, 4 of them in stocks; the host has 11"):
        host_with(memory(populated=8, resident=8, stock=4), total=11)


def test_two_vms_of_one_name_are_refused() -> None:
    with pytest.raises(ConfigError, match="same name"):
        host_with(memory(), memory())
