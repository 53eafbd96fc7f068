"""Whether the log of a run is what it was: a pure function of what the broker says of its topics.

A run is its log.  A topic may be deleted, or deleted and created again under its name; records may
be deleted from its beginning, by hand or by a retention that somebody set; a broker that lost its
disk may have fewer of them.  Nobody can go on with what is left, and who waits would wait for ever.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pagewake.bus.partitions import TopicLog
from pagewake.participants.plan import SNAPSHOTS, RunPlan, split_topic

# A broker that has just been started may be asked before it knows its topics.
GONE_S = 4.0
# A new leader may take a moment to know how far its log was acknowledged.
SHORT_S = 4.0

Found = Mapping[str, TopicLog | None]
"""By topic; None: it is not there; left out: the broker could not say."""


class LogMemory:
    """What is remembered of one run's topics; `ids` as its announcement has them, or empty."""

    def __init__(self, plan: RunPlan, ids: Mapping[str, str]) -> None:
        self._topics = plan.topics()
        self._ids = dict(ids)
        self._ends: dict[tuple[str, int], int] = {}
        self._missed_s: dict[tuple[str, int], float] = {}

    @property
    def topics(self) -> list[str]:
        """Names of all topics of the run."""
        return list(self._topics)

    def read_up_to(self, topic: str, partition: int, offset: int) -> None:
        """So many records were there."""
        self._ends[topic, partition] = max(offset, self._ends.get((topic, partition), 0))

    def wrong(self, found: Found, now_s: float) -> str:
        """The first thing that is not what it was; empty for nothing."""
        return next(self._wrongs(found, now_s), "")

    def _wrongs(self, found: Found, now_s: float) -> Iterator[str]:
        for name in self._topics:
            if name not in found:
                continue
            log = found[name]
            if log is None:
                if self._lasts((name, -1), now_s, GONE_S):
                    yield f"topic {name} is gone: it was deleted"
                continue
            self._missed_s.pop((name, -1), None)
            known = self._ids.setdefault(name, log.topic_id)
            if known and log.topic_id and known != log.topic_id:
                yield f"topic {name} is not the run's: it was deleted and created again"
            if split_topic(name)[1] != SNAPSHOTS:  # compacted, and only there to save time
                yield from self._shortened(name, log, now_s)

    def _shortened(self, name: str, log: TopicLog, now_s: float) -> Iterator[str]:
        for partition, begin in log.begins.items():
            if begin > 0:
                yield (
                    f"{name}-{partition} begins at offset {begin}: the records before are gone,"
                    " by a retention or by hand"
                )
        for partition, end in log.ends.items():
            place = name, partition
            had = self._ends.get(place, 0)
            if end >= had:
                self._ends[place] = end
                self._missed_s.pop(place, None)
            elif self._lasts(place, now_s, SHORT_S):
                yield f"{name}-{partition} has {end} records and had {had}: its end was lost"

    def _lasts(self, place: tuple[str, int], now_s: float, for_s: float) -> bool:
        """Whether something is missed for so long by now."""
        return now_s - self._missed_s.setdefault(place, now_s) >= for_s
