"""What a kernel's memory rules cost a guest: a VM that thrashes, under one rule and without it."""

from __future__ import annotations

import pytest

from pagewake.events import types as ev
from tests.support.thrash import thrashing


def evicted_dirty(*settings: str) -> tuple[int, int]:
    """Of all pages that went: how many for nothing, and how many had to be written first."""
    answers = [event for event in thrashing(*settings) if isinstance(event, ev.PagesEvicted)]
    written = sum(len(answer.dirty) for answer in answers)
    return sum(len(answer.dropped) for answer in answers) - written, written


class TestWorkerWrites:
    def test_reads_by_workers_cost_write_backs(self) -> None:
        clean, written = evicted_dirty("kernel.overrides.worker_writes=true")
        assert clean == 0
        assert written > 300

    def test_reads_that_asked_for_no_more_than_the_guest_cost_none_twice(self) -> None:
        clean, written = evicted_dirty("kernel.overrides.worker_writes=false")
        assert clean > 300
        assert written <= 256, "more than what lay there before the first eviction"

    @pytest.mark.parametrize(("profile", "is_clean"), [("posted-v7", False), ("2.6.39", True)])
    def test_synchronous_reads_are_clean_since_2_6_38(self, profile: str, is_clean: bool) -> None:
        clean, _ = evicted_dirty("kernel.apf=off", f"kernel.profile={profile}")
        assert (clean > 300) is is_clean
