"""Records that were not applied: counted each time, logged once per partition and kind."""

from __future__ import annotations

from collections.abc import Callable

import structlog
from aiokafka import TopicPartition

from pagewake.participants.participant import Rejected

# Of what a record says of itself: anybody may have written it.
WORDS_MAX = 500

log = structlog.get_logger()


class Rejections:
    """`counted` is told why, each time."""

    def __init__(self, counted: Callable[[str], None]) -> None:
        self._counted = counted
        self._logged: set[tuple[TopicPartition, str]] = set()

    def forget(self, prefix: str) -> None:
        """The topics of a deleted run: one of the same name may be logged again."""
        self._logged = {each for each in self._logged if not each[0].topic.startswith(prefix)}

    def note(self, place: TopicPartition, offset: int | None, rejected: Rejected) -> None:
        """A record at `offset`, or several that make up something; then None."""
        self._counted(rejected.why)
        if (place, rejected.why) in self._logged:
            return
        self._logged.add((place, rejected.why))
        log.warning(
            "record not applied", topic=place.topic, partition=place.partition, offset=offset,
            why=rejected.why, what=rejected.what[:WORDS_MAX],
        )  # fmt: skip
