"""Log lines: one JSON object each for services, and the libraries' words in bounded number.

A Kafka client that has lost its broker says so many times a second.  Each kind of message is
passed on once, then not again for a while, with the number of times it came in between.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from typing import TextIO

import structlog

from pagewake.cluster.clock import Clock

QUIET_S = 10.0  # a lost broker is missed for minutes: once in a while says enough
SENDER = "aiokafka.producer.sender"
"""Warns of what a broker refuses and is asked again; other warnings are of no consequence."""
KINDS_MAX = 256  # the libraries have fewer templates; a bound all the same


class Sparse(logging.Handler):
    """Passes a message of a kind (logger and template) on at most every `QUIET_S` seconds."""

    def __init__(self, write: Callable[[logging.LogRecord, int], None], clock: Clock) -> None:
        super().__init__(logging.WARNING)
        self._write = write
        self._clock = clock
        self._kinds: dict[tuple[str, str], tuple[float, int]] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Pass on, or count."""
        kind = (record.name, str(record.msg))
        now_s = self._clock.monotonic_s()
        passed_s, held = self._kinds.get(kind, (now_s - QUIET_S, 0))
        if now_s - passed_s < QUIET_S:
            self._kinds[kind] = (passed_s, held + 1)
            return
        if len(self._kinds) >= KINDS_MAX:
            self._kinds.clear()
        self._kinds[kind] = (now_s, 0)
        self._write(record, held)


class Lines:
    """Log lines on a stream; one that cannot be written, on a full disk say, is no reason to end.

    What was lost is said with the next line that can be.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lost = 0

    def msg(self, line: str) -> None:
        """Write it, or count it."""
        lost = f'{{"event": "log lines were lost", "lines": {self._lost}}}\n' if self._lost else ""
        try:
            self._stream.write(f"{lost}{line}\n")
            self._stream.flush()
        except OSError:
            self._lost += 1
        else:
            self._lost = 0

    debug = info = warning = error = msg


def log_as_json(clock: Clock) -> None:
    """For a service: everything is a JSON line on stderr."""
    lines = Lines(sys.stderr)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=lambda *_: lines,
    )
    log = structlog.get_logger()

    def write(record: logging.LogRecord, held: int) -> None:
        log.log(record.levelno, record.getMessage(), library=record.name, again=held)

    logging.basicConfig(handlers=[Sparse(write, clock)], level=logging.ERROR, force=True)
    logging.getLogger(SENDER).setLevel(logging.WARNING)


def tell_person(text: str) -> None:
    """A line beside a command's result."""
    sys.stderr.write(f"pagewake: {text}\n")
    sys.stderr.flush()


def log_to_person(clock: Clock) -> None:
    """For a command: the same as plain lines."""

    def write(record: logging.LogRecord, _: int) -> None:
        tell_person(f"waiting: {' '.join(record.getMessage().split())}")

    logging.basicConfig(handlers=[Sparse(write, clock)], level=logging.ERROR, force=True)
