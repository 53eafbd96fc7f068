"""Whether the logs of the runs under way are still what they were, asked of the broker.

Every service asks about every run: one whose topic is gone has no owner who could notice.
"""

from __future__ import annotations

from collections.abc import Iterable

from pagewake.bus.partitions import Bus
from pagewake.cluster.clock import Clock, now_and_then
from pagewake.cluster.lost_logs import LogMemory
from pagewake.cluster.runs import RunEntry
from pagewake.cluster.runs_topic import RunsTopic

# Three requests, whatever the number of runs.
LOOK_S = 2.0


class LogWatch:
    """Stops the runs whose logs are not what they were."""

    def __init__(self, bus: Bus, runs: RunsTopic, clock: Clock) -> None:
        self._bus = bus
        self._runs = runs
        self._clock = clock
        self._memories: dict[str, tuple[RunEntry, LogMemory]] = {}

    async def follow(self) -> None:
        """Look for ever."""
        await now_and_then(self._clock, LOOK_S, self.look, "no look at the logs of runs")

    async def look(self) -> None:
        """At the logs of all runs under way."""
        entries = {run: entry for run, entry in self._runs.entries.items() if entry.active}
        for run in self._memories.keys() - entries.keys():
            del self._memories[run]
        for run, why in (await self._wrongs(entries.values())).items():
            await self._runs.stop(run, why)

    async def why_lost(self, entry: RunEntry) -> str:
        """What is known to be wrong with the log of one run; empty for nothing."""
        return (await self._wrongs([entry])).get(entry.announced.run, "")

    def read_up_to(self, entry: RunEntry, topic: str, partition: int, offset: int) -> None:
        """An owner has read so much of a partition."""
        self._memory(entry).read_up_to(topic, partition, offset)

    async def _wrongs(self, entries: Iterable[RunEntry]) -> dict[str, str]:
        memories = {entry.announced.run: self._memory(entry) for entry in entries}
        names = [name for memory in memories.values() for name in memory.topics]
        if not names:
            return {}
        found = await self._bus.topic_logs(names)
        now_s = self._clock.monotonic_s()
        wrongs = {run: memory.wrong(found, now_s) for run, memory in memories.items()}
        return {run: why for run, why in wrongs.items() if why}

    def _memory(self, entry: RunEntry) -> LogMemory:
        """Of this run, and not of an earlier one of its name."""
        run = entry.announced.run
        known = self._memories.get(run)
        if known is None or known[0] is not entry:
            known = self._memories[run] = entry, LogMemory(entry.plan, entry.announced.topics)
        return known[1]
