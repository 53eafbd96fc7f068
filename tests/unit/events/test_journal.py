"""How much of a journal is kept."""

from __future__ import annotations

import pytest

from pagewake.errors import ConfigError
from pagewake.events.journal import IN_RESULT, MODES, check_mode, in_words
from pagewake.events.types import Journal
from pagewake.observe.counter import ResultCounter


@pytest.mark.parametrize("mode", MODES)
def test_a_mode_is_known_and_said_in_words(mode: str) -> None:
    assert check_mode(mode) == mode
    assert "journal" in in_words(check_mode(mode))


def test_another_word_is_refused_with_those_there_are() -> None:
    with pytest.raises(ConfigError, match="--journal some: choose one of none, faults, full"):
        check_mode("some")


def test_faults_are_all_that_a_result_is_counted_from() -> None:
    counted = {kind for kind in ResultCounter()._handlers if issubclass(kind, Journal)}
    assert counted == IN_RESULT
