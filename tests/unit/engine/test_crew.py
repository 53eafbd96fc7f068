"""Processes that work: what each says arrives, however it ends."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest

from pagewake.engine.crew import Crew, Ended, Tell, at_times
from pagewake.errors import ConfigError, InternalError, PagewakeError


class EndsItsProcess:
    """Stands for an order whose process is killed while it starts."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os._exit, (9,)


def tells(order: Any, tell: Tell[str]) -> str:
    """Say what was ordered, and that it is done."""
    tell(f"begun {order}")
    return f"done {order}"


def fills(order: object, tell: Tell[str]) -> str:
    raise MemoryError


def fails(order: object, tell: Tell[str]) -> str:
    raise ConfigError("x: cannot be written") from OSError(28, "No space left on device")


def breaks(order: object, tell: Tell[str]) -> str:
    raise ZeroDivisionError("by zero")


def kills_itself(order: object, tell: Tell[str]) -> str:
    os.kill(os.getpid(), signal.SIGKILL)
    return ""


def waits(order: object, tell: Tell[str]) -> str:
    tell("waiting")
    time.sleep(600)
    return ""


Crewed = Crew[int, Any, str, str]


def last_word(crew: Crewed) -> dict[int, Ended[str]]:
    """How each process ended."""
    found: dict[int, Ended[str]] = {}
    while len(crew):
        found |= {key: news for key, news in crew.news() if isinstance(news, Ended)}
    return found


def test_what_a_process_says_comes_before_what_it_did() -> None:
    crew = Crewed(tells)
    for key in (1, 2):
        crew.start(key, f"order {key}")
    heard: dict[int, list[object]] = {1: [], 2: []}
    while len(crew):
        for key, news in crew.news():
            heard[key].append(news)
    for key in (1, 2):
        assert heard[key] == [f"begun order {key}", Ended(f"done order {key}")]


@pytest.mark.parametrize(
    ("work", "order", "kind", "words"),
    [
        (tells, EndsItsProcess(), InternalError, "ended with exit code 9 before its run was done"),
        (kills_itself, 0, InternalError, "ended with exit code -9 .*out of memory.* --jobs 1"),
        (fills, 0, ConfigError, "this machine has too little memory"),
        (fails, 0, ConfigError, "^x: cannot be written$"),
        (breaks, 0, InternalError, r"in a run: ZeroDivisionError: by zero \(.*test_crew.py:\d+\)"),
    ],
)
def test_a_process_that_does_not_finish_is_an_error(
    work: Callable[[Any, Tell[str]], str],
    order: object,
    kind: type[PagewakeError],
    words: str,
    capfd: pytest.CaptureFixture[str],
) -> None:
    crew = Crewed(work)
    crew.start(1, order)
    outcome = last_word(crew)[1].outcome
    assert isinstance(outcome, PagewakeError)
    with pytest.raises(kind, match=words) as raised:
        raise outcome
    assert (raised.value.__cause__ is not None) is (work is fails)
    assert capfd.readouterr() == ("", "")


def test_those_of_some_keys_are_ended_and_others_go_on() -> None:
    crew = Crewed(waits)
    for key in (1, 2):
        crew.start(key, key)
    waiting: set[int] = set()
    while waiting != {1, 2}:
        waiting |= {key for key, _ in crew.news()}
    crew.dismiss(lambda key: key == 1)
    assert len(crew) == 1
    crew.dismiss()
    assert len(crew) == 0


def test_news_are_passed_on_as_often_as_somebody_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = [10.0]
    monkeypatch.setattr("pagewake.engine.crew.time.monotonic", lambda: now_s[0])
    heard: list[int] = []
    tell = at_times(heard.append)
    for number in range(5):
        tell(number)
        now_s[0] += 0.06
    assert heard == [0, 2, 4]
