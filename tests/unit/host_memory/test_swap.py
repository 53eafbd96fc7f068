"""The swap device: order of submission, channels, workers, exact times."""

from __future__ import annotations

import dataclasses

from pagewake.host_memory.media import MEDIA, Medium, uniform_medium
from pagewake.host_memory.swap import Device


def fixed(parallelism: int, service: int = 100, transfer: int = 0) -> Medium:
    return uniform_medium(service - transfer, 0, parallelism, transfer_ns_per_page=transfer)


def device(medium: Medium, workers: int = 0) -> Device:
    return Device(medium, 1, "host-0", workers)


def test_one_channel_serves_one_after_the_other() -> None:
    disk = device(fixed(1))
    assert [disk.read(at) for at in (0, 10, 20, 500)] == [100, 200, 300, 600]


def test_channels_serve_side_by_side_and_the_rest_waits_for_the_first_free_one() -> None:
    disk = device(fixed(2))
    assert [disk.read(at) for at in (0, 30, 40, 50)] == [100, 130, 200, 230]


def test_a_write_takes_one_access_and_a_transfer_per_page_in_the_same_queue() -> None:
    disk = device(fixed(1, 100, transfer=10))
    assert disk.write(0, 32) == 90 + 32 * 10
    assert disk.read(1) == 410 + 100


def test_workers_bound_how_many_reads_are_under_way() -> None:
    disk = device(fixed(4), workers=1)
    assert [disk.read(0), disk.read(0), disk.read(0)] == [100, 200, 300]
    assert disk.write(0, 1) == 100


def test_what_a_vcpu_thread_reads_itself_needs_no_worker() -> None:
    disk = device(fixed(4), workers=1)
    assert [disk.read(0), disk.read(0, by_worker=False), disk.read(0)] == [100, 100, 200]


def test_the_device_has_what_is_plugged_only_later() -> None:
    disk = device(fixed(1))
    assert disk.read(0, by_worker=False, pages=2, plugged_ns=30) == 130
    assert disk.read(1) == 230, "behind it, as it was submitted later"


def test_reads_that_wait_for_a_worker_leave_the_other_channels_alone() -> None:
    disk = device(fixed(2), workers=1)
    for _ in range(10):
        disk.read(0)
    assert disk.write(5, 1) == 105


def test_more_workers_than_channels_change_nothing() -> None:
    narrow, wide = device(fixed(2)), device(fixed(2), workers=3)
    arrivals = [0, 5, 10, 15, 400, 410, 420]
    assert [wide.read(at) for at in arrivals] == [narrow.read(at) for at in arrivals]


def test_a_changed_medium_times_what_is_submitted_from_then_on() -> None:
    disk = device(fixed(1))
    disk.read(0)
    disk.read(0)
    disk.change(50, fixed(2, 10))
    assert [disk.read(60), disk.read(60), disk.read(60)] == [70, 80, 90]


def test_a_narrower_medium_first_finishes_what_was_submitted() -> None:
    disk = device(fixed(2))
    disk.read(0)
    disk.read(50)
    disk.change(60, fixed(1, 10))
    assert disk.read(60) == 160


def test_a_draw_depends_on_seed_host_and_request_alone() -> None:
    one, two = device(MEDIA["nvme"]), device(MEDIA["nvme"])
    times = [one.read(at * 10_000_000) % 10_000_000 for at in range(5)]
    assert [two.read(at * 20_000_000) % 20_000_000 for at in range(5)] == times
    other = Device(MEDIA["nvme"], 1, "host-1", 0)
    assert [other.read(at * 10_000_000) % 10_000_000 for at in range(5)] != times
    assert len(set(times)) == 5


def test_a_synchronous_medium_has_no_queue() -> None:
    zram = device(MEDIA["zram"])
    assert [zram.read(0), zram.read(0)] == [2_000, 2_000]
    assert zram.write(0, 8) == 16_000
    assert zram.queue(0) == 0


def test_writes_may_have_times_of_their_own() -> None:
    slow_writes = dataclasses.replace(fixed(1), write=fixed(1, 300).write)
    assert device(slow_writes).write(0, 1) == 300
    assert slow_writes.min_service_ns == 100
