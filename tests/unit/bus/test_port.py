"""Delivery: every commit once, in order, whatever the log repeats."""

from __future__ import annotations

import pickle

import pytest

from pagewake.bus.port import Inbox, Outbox
from pagewake.errors import DataError
from pagewake.events.codec import APF_GUEST
from pagewake.events.types import AgePages, WindowOpened


def outbox(code: str = "1.0", source: str = "host-0", run: str = "r") -> Outbox:
    return Outbox(run, source, APF_GUEST, 0, code)


def inbox() -> Inbox:
    return Inbox(APF_GUEST, 0, "r")


def small(sender: Outbox, window: int) -> bytes:
    (one,) = sender.encode(window, [WindowOpened(window, 100 * (window + 1))])
    return one.record


def large(sender: Outbox, window: int) -> list[bytes]:
    events = [AgePages(at_ns, "vm-0", 0, list(range(20_000))) for at_ns in range(9)]
    return [one.record for one in sender.encode(window, [WindowOpened(window, 100), *events])]


def test_commits_come_out_as_they_went_in() -> None:
    sender, receiver = outbox(), inbox()
    for window in range(3):
        applied = receiver.accept(small(sender, window))
        assert applied is not None
        assert (applied.source, applied.seq, applied.window) == ("host-0", window, window)
        assert applied.events == [WindowOpened(window, 100 * (window + 1))]


def test_a_duplicate_is_ignored() -> None:
    sender, receiver = outbox(), inbox()
    first, second = small(sender, 0), small(sender, 1)
    for record in (first, second):
        receiver.accept(record)
    assert receiver.accept(first) is None
    assert receiver.accept(second) is None
    assert receiver.duplicates == 2
    assert receiver.accept(small(sender, 2)) is not None


def test_a_duplicate_by_another_version_with_the_same_content_is_ignored() -> None:
    receiver = inbox()
    receiver.accept(small(outbox("1.0"), 0))
    assert receiver.accept(small(outbox("2.0"), 0)) is None


def test_a_duplicate_with_other_content_stops_the_run() -> None:
    receiver = inbox()
    receiver.accept(small(outbox(), 0))
    (other,) = outbox("2.0").encode(0, [WindowOpened(0, 999)])
    with pytest.raises(DataError, match=r"apf.guest-0: commit 0 of host-0 comes twice .* 2\.0"):
        receiver.accept(other.record)


def test_a_gap_stops_the_run() -> None:
    sender, receiver = outbox(), inbox()
    small(sender, 0)
    with pytest.raises(DataError, match="commit 1 of host-0 follows a gap: commit 0 is due"):
        receiver.accept(small(sender, 1))


def test_a_record_of_another_run_stops_the_run() -> None:
    with pytest.raises(DataError, match="is of run 'other'"):
        inbox().accept(small(outbox(run="other"), 0))


def test_sources_are_counted_apart() -> None:
    one, two, receiver = outbox(source="a"), outbox(source="b"), inbox()
    for record in (small(one, 0), small(one, 1), small(two, 0), small(two, 1)):
        assert receiver.accept(record) is not None


def test_parts_are_applied_only_when_complete() -> None:
    sender, receiver = outbox(), inbox()
    parts = large(sender, 0)
    assert len(parts) > 2
    assert [receiver.accept(part) for part in parts[:-1]] == [None] * (len(parts) - 1)
    applied = receiver.accept(parts[-1])
    assert applied is not None
    assert len(applied.events) == 10


def test_repeated_parts_are_ignored_wherever_they_turn_up() -> None:
    sender, receiver = outbox(), inbox()
    parts = large(sender, 0)
    for part in (parts[0], parts[0], parts[1], parts[0], parts[1]):
        assert receiver.accept(part) is None
    assert receiver.duplicates == 3
    applied = [receiver.accept(part) for part in parts[2:]]
    assert applied[-1] is not None
    assert len(applied[-1].events) == 10


def test_a_missing_part_stops_the_run() -> None:
    receiver = inbox()
    parts = large(outbox(), 0)
    receiver.accept(parts[0])
    with pytest.raises(DataError, match=r"part 3 of \d follows a gap"):
        receiver.accept(parts[2])


def test_both_ends_survive_pickling_between_two_parts() -> None:
    sender, receiver = outbox(), inbox()
    parts = large(sender, 0)
    receiver.accept(parts[0])
    sender, receiver = pickle.loads(pickle.dumps((sender, receiver)))
    applied = [receiver.accept(part) for part in parts[1:]]
    assert applied[-1] is not None
    assert receiver.accept(small(sender, 1)) is not None
