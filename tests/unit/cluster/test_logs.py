"""A library that says the same over and over is passed on now and then."""

from __future__ import annotations

import errno
import io
import logging
import sys
from collections.abc import Iterator

import msgspec
import pytest
import structlog

from pagewake.cluster.logs import KINDS_MAX, QUIET_S, Sparse, log_as_json
from tests.support.clock import FakeClock


class Passed:
    """What a `Sparse` passes on: the words, and how many were held before."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.words: list[tuple[str, int]] = []
        self._sparse = Sparse(
            lambda record, held: self.words.append((record.getMessage(), held)), self.clock
        )

    def say(self, template: str, *values: object, logger: str = "aiokafka") -> None:
        record = logging.LogRecord(logger, logging.ERROR, __file__, 1, template, values, None)
        self._sparse.emit(record)


@pytest.fixture
def passed() -> Passed:
    return Passed()


def test_a_kind_is_passed_on_at_once_then_not_for_a_while(passed: Passed) -> None:
    for number in range(4):
        passed.say("no broker %d", number)
        passed.clock.advance(QUIET_S / 4 - 0.1)
    assert passed.words == [("no broker 0", 0)]
    passed.clock.advance(1.0)
    passed.say("no broker %d", 4)
    assert passed.words[1:] == [("no broker 4", 3)]


def test_kinds_are_apart_by_template_and_by_logger(passed: Passed) -> None:
    passed.say("a")
    passed.say("b")
    passed.say("a", logger="aiokafka.cluster")
    assert [word for word, _ in passed.words] == ["a", "b", "a"]


def test_kinds_that_are_remembered_are_bounded(passed: Passed) -> None:
    for number in range(KINDS_MAX + 1):
        passed.say(f"kind {number}")
    passed.say("kind 0")
    assert passed.words[-1] == ("kind 0", 0)


class Disk(io.StringIO):
    """A log on a disk that may be full."""

    full = False

    def write(self, text: str) -> int:
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(text)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    """What a service logs to."""
    disk = Disk()
    monkeypatch.setattr(sys, "stderr", disk)
    handlers, level = logging.root.handlers[:], logging.root.level
    log_as_json(FakeClock())
    yield disk
    structlog.reset_defaults()
    logging.root.handlers[:], logging.root.level = handlers, level


def test_a_service_goes_on_without_its_log_and_says_how_much_is_missing(disk: Disk) -> None:
    log = structlog.get_logger()
    log.info("before")
    disk.full = True
    log.info("lost")
    logging.getLogger("aiokafka").error("lost too")
    disk.full = False
    log.warning("after", run="r")
    log.error("at last")
    lines = [msgspec.json.decode(line) for line in disk.getvalue().splitlines()]
    assert [line["event"] for line in lines] == [
        "before",
        "log lines were lost",
        "after",
        "at last",
    ]
    assert lines[1]["lines"] == 2
    assert (lines[2]["run"], lines[2]["level"]) == ("r", "warning")
