"""The running digest does not depend on where it is cut, saved or looked at."""

from __future__ import annotations

import pickle
from hashlib import blake2b

import msgspec
import pytest

from pagewake.events.digest import (
    BATCH_EVENTS_MIN,
    BLOCK_EVENTS,
    DIGEST_BYTES,
    RunningDigest,
    combine_hosts,
    combine_vms,
)
from pagewake.events.types import Event, TaskFinished


def some_events(count: int) -> list[Event]:
    return [
        TaskFinished(at_ns=7 * n, vm="vm-0", n=n, vcpu=0, task="t") for n in range(1, count + 1)
    ]


def digest_of(events: list[Event]) -> str:
    digest = RunningDigest()
    for event in events:
        digest.add(event)
    return digest.hexdigest()


@pytest.mark.parametrize(
    "count", [1, BATCH_EVENTS_MIN, BLOCK_EVENTS - 1, BLOCK_EVENTS, 3 * BLOCK_EVENTS + 5]
)
def test_saving_and_looking_in_between_change_nothing(count: int) -> None:
    digest = RunningDigest()
    for event in some_events(count):
        digest.add(event)
        if event.n % 97 == 0:
            digest.hexdigest()
            digest = pickle.loads(pickle.dumps(digest))

    assert digest.hexdigest() == digest_of(some_events(count))


def test_every_event_and_its_place_count() -> None:
    events = some_events(300)
    swapped = [events[1], events[0], *events[2:]]

    assert len({digest_of(events), digest_of(events[:-1]), digest_of(swapped)}) == 3


def test_a_block_is_hashed_with_the_digest_before_it() -> None:
    events = some_events(BLOCK_EVENTS + 3)
    first, rest = (
        b"".join(msgspec.json.encode(event) + b"\n" for event in part)
        for part in (events[:BLOCK_EVENTS], events[BLOCK_EVENTS:])
    )
    state = blake2b(bytes(DIGEST_BYTES) + first, digest_size=DIGEST_BYTES).digest()

    assert digest_of(events) == blake2b(state + rest, digest_size=DIGEST_BYTES).hexdigest()


@pytest.mark.parametrize("often", [1, 5, 9, 32, 100, 1000])
def test_where_the_vm_rests_changes_nothing(often: int) -> None:
    digest = RunningDigest()
    for event in some_events(3 * BLOCK_EVENTS + 5):
        digest.add(event)
        if event.n % often == 0:
            digest.rest()
            digest = pickle.loads(pickle.dumps(digest))

    assert digest.hexdigest() == digest_of(some_events(3 * BLOCK_EVENTS + 5))


@pytest.mark.parametrize("saved", [True, False])
def test_a_vm_at_rest_has_less_than_a_batch_waiting_and_lines_of_less_than_a_block(
    saved: bool,
) -> None:
    digest = RunningDigest(saved=saved)
    for event in some_events(2 * BLOCK_EVENTS + 2 * BATCH_EVENTS_MIN + 3):
        digest.add(event)
        digest.rest()

    assert len(digest.pending) == 3
    assert (digest.lines is None) is not saved
    assert digest.lines is None or len(digest.lines) == 2


def test_a_digest_that_is_not_saved_says_so() -> None:
    with pytest.raises(AssertionError, match="not to be saved"):
        pickle.dumps(RunningDigest(saved=False))


def test_vms_combine_in_name_order_whatever_the_order_they_come_in() -> None:
    assert combine_vms({"a": "1", "b": "2"}) == combine_vms({"b": "2", "a": "1"})
    assert combine_vms({"a": "1", "b": "2"}) != combine_vms({"a": "2", "b": "1"})


def test_hosts_combine_in_index_order() -> None:
    assert combine_hosts(["1", "2"]) != combine_hosts(["2", "1"])
