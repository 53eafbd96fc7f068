"""`pagewake.runs` is open to all: what is not true of a run changes nothing, and is named."""

from __future__ import annotations

import msgspec
import pytest

from pagewake.bus.partitions import StoredRecord
from pagewake.cluster.runs import SERIES_KEPT_S, Announced, HostEnded, Runs, StateChanged
from pagewake.participants.plan import RunPlan
from pagewake.scenario.loading import load

PLAN = RunPlan.of("r", load("row-09-enable"), 1)


def fed(*records: tuple[str, msgspec.Struct | bytes]) -> Runs:
    """What is known after these; the last may have been refused."""
    runs = Runs()
    for offset, (key, what) in enumerate([("r", Announced.of(PLAN, 0.0)), *records]):
        value = what if isinstance(what, bytes) else msgspec.json.encode(what)
        runs.feed(StoredRecord(offset, key.encode(), value))
    return runs


@pytest.mark.parametrize(
    ("key", "what", "why"),
    [
        ("r", b"rubbish", "malformed"),
        ("other", Announced.of(PLAN, 0.0), "announces run 'r'"),
        ("r/host-7", HostEnded(1, 1), "the run has no host-7"),
        ("r/host--1", HostEnded(1, 1), "the run has no host--1"),
        ("r/state", b"{}", "missing required field"),
    ],
)
def test_what_is_not_true_is_refused_and_named(
    key: str, what: msgspec.Struct | bytes, why: str
) -> None:
    runs = fed((key, what))
    assert why in runs.refused
    assert runs.skipped == 1
    assert list(runs.entries) == ["r"]
    assert runs.entries["r"].active


def test_what_is_left_of_a_deleted_run_is_no_fault() -> None:
    runs = fed(("gone/state", StateChanged("deleted")), ("gone/host-0", HostEnded(1, 1)))
    assert (runs.skipped, runs.refused) == (0, "")


def test_a_run_that_was_let_go_stays_so_when_the_wall_clock_jumps_back() -> None:
    entry = fed(("r/host-0", HostEnded(1, 1, 1000.0))).entries["r"]
    assert entry.owned(1000.0 - 86_400)
    assert not entry.owned(1000.0 + SERIES_KEPT_S)
    assert not entry.owned(1000.0)


def test_a_run_of_another_version_is_known_though_not_understood() -> None:
    other = Announced.of(PLAN._replace(run="other"), 0.0)
    newer = msgspec.json.encode(
        msgspec.structs.replace(other, code="9.9.9", scenario="[scenario]\nnews = 1")
    )
    runs = fed(("other", newer))
    assert list(runs.entries) == ["r"]
    assert runs.unreadable["other"].code == "9.9.9"
    assert "news" in runs.unreadable["other"].why
    runs.feed(StoredRecord(9, b"other", None))
    assert runs.unreadable == {}


def test_an_announcement_that_comes_again_changes_nothing() -> None:
    runs = fed()
    entry = runs.entries["r"]
    runs.feed(StoredRecord(1, b"r", msgspec.json.encode(Announced.of(PLAN, 0.0))))
    assert runs.entries["r"] is entry
    runs.feed(StoredRecord(2, b"r", msgspec.json.encode(Announced.of(PLAN, 1.0))))
    assert runs.entries["r"] is not entry
