"""What counts as a log that is not what it was."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from pagewake.bus.partitions import TopicLog
from pagewake.cluster.lost_logs import GONE_S, SHORT_S, LogMemory
from pagewake.events.codec import FAULTS, JOURNAL_TOPIC
from pagewake.participants.plan import SNAPSHOTS, RunPlan, topic_name
from pagewake.scenario.loading import load

PLAN = RunPlan.of("r", load("overcommit", ["scenario.duration=5ms"]), 1)
NAMES = list(PLAN.topics())
FAULTS_NAME = topic_name("r", FAULTS)


def found(**changes: TopicLog | None) -> Mapping[str, TopicLog | None]:
    """All topics with ten records each, but for those named (without the run's prefix)."""
    logs: dict[str, TopicLog | None] = {
        name: TopicLog(f"id-{name}", {0: 0}, {0: 10}) for name in NAMES
    }
    return logs | {topic_name("r", name): log for name, log in changes.items()}


@pytest.fixture
def memory() -> LogMemory:
    memory = LogMemory(PLAN, {name: f"id-{name}" for name in NAMES})
    assert memory.wrong(found(), 0.0) == ""
    return memory


def test_a_log_that_grows_is_what_it_was(memory: LogMemory) -> None:
    for end in (10, 11, 500):
        assert memory.wrong(found(faults=TopicLog(f"id-{FAULTS_NAME}", {0: 0}, {0: end})), 1) == ""


def test_a_topic_created_again_is_another(memory: LogMemory) -> None:
    why = memory.wrong(found(faults=TopicLog("another", {0: 0}, {0: 10})), 1.0)
    assert FAULTS_NAME in why
    assert "created again" in why


def test_without_ids_in_the_announcement_the_first_ones_seen_count() -> None:
    memory = LogMemory(PLAN, {})
    assert memory.wrong(found(), 0.0) == ""
    assert "created again" in memory.wrong(found(faults=TopicLog("x", {0: 0}, {0: 10})), 1.0)


def test_a_broker_that_tells_no_ids_is_no_reason(memory: LogMemory) -> None:
    assert memory.wrong(found(faults=TopicLog("", {0: 0}, {0: 10})), 1.0) == ""


def test_a_topic_is_gone_when_it_is_missed_for_a_while(memory: LogMemory) -> None:
    gone = found(faults=None)
    assert memory.wrong(gone, 1.0) == ""
    assert memory.wrong(gone, 1.0 + GONE_S - 0.1) == ""
    assert memory.wrong(found(), 1.0 + GONE_S) == "", "it is there again"
    assert memory.wrong(gone, 20.0) == ""
    assert "is gone" in memory.wrong(gone, 20.0 + GONE_S)


def test_what_the_broker_cannot_say_is_no_reason(memory: LogMemory) -> None:
    assert memory.wrong({}, 1_000.0) == ""
    assert memory.wrong(found(faults=TopicLog(f"id-{FAULTS_NAME}", {}, {})), 1_000.0) == ""


def test_records_deleted_from_the_beginning(memory: LogMemory) -> None:
    name = topic_name("r", JOURNAL_TOPIC)
    why = memory.wrong(found(journal=TopicLog(f"id-{name}", {0: 3}, {0: 10})), 1.0)
    assert f"{name}-0 begins at offset 3" in why


def test_a_log_that_lost_its_end_though_not_for_a_moment_only(memory: LogMemory) -> None:
    short = found(faults=TopicLog(f"id-{FAULTS_NAME}", {0: 0}, {0: 7}))
    assert memory.wrong(short, 1.0) == ""
    assert memory.wrong(found(), 2.0) == ""
    assert memory.wrong(short, 3.0) == ""
    assert "has 7 records and had 10" in memory.wrong(short, 3.0 + SHORT_S)


def test_what_an_owner_has_read_was_there(memory: LogMemory) -> None:
    memory.read_up_to(FAULTS_NAME, 0, 25)
    assert memory.wrong(found(), 1.0) == ""
    assert "had 25" in memory.wrong(found(), 1.0 + SHORT_S)


def test_snapshots_may_be_shortened_and_not_deleted(memory: LogMemory) -> None:
    name = topic_name("r", SNAPSHOTS)
    assert memory.wrong(found(snapshots=TopicLog(f"id-{name}", {0: 9}, {0: 9})), 9.0) == ""
    assert memory.wrong(found(snapshots=None), 9.0) == ""
    assert name in memory.wrong(found(snapshots=None), 9.0 + GONE_S)
