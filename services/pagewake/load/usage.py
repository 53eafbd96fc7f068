"""What the services of a run use, from what they say of themselves once a second over MQTT."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from pagewake.cluster.clock import Clock
from pagewake.cluster.messages import PROGRESS_TOPIC, Progress
from pagewake.events.codec import UNDECODABLE

SAMPLES_MAX = 8192
"""One a second: more than the longest time that a size is measured for and its warm-up."""


class Sample(NamedTuple):
    """CPU seconds and memory of a process at an instant of our clock."""

    at_s: float
    cpu_s: float
    memory_bytes: int | None


class ServiceUsage(NamedTuple):
    """What one process used: CPU seconds per wall second, and its memory at the end."""

    service: str
    cpu_share: float
    memory_bytes: int | None


class Usage:
    """Hears what the services of one run say of themselves; `topics` are where."""

    def __init__(self, run: str, clock: Clock) -> None:
        self.run = run
        self.topics = (PROGRESS_TOPIC.format(run=run),)
        self.samples: dict[str, list[Sample]] = {}
        self._clock = clock

    def hear(self, _: str, payload: bytes) -> None:
        """Take a message; what is no progress of a service is passed over."""
        try:
            progress = msgspec.json.decode(payload, type=Progress)
        except UNDECODABLE:
            return
        if progress.cpu_s is None:
            return
        samples = self.samples.setdefault(f"{progress.service} {progress.instance}", [])
        samples.append(Sample(self._clock.monotonic_s(), progress.cpu_s, progress.memory_bytes))
        del samples[:-SAMPLES_MAX]

    def between(self, since_s: float, until_s: float) -> list[ServiceUsage]:
        """What each service used between two instants; those that said too little are left out.

        The samples nearest to the two instants are taken, as they come only once a second.
        """
        found: list[ServiceUsage] = []
        for service, samples in sorted(self.samples.items()):
            first = min(samples, key=lambda sample: abs(sample.at_s - since_s))
            last = min(samples, key=lambda sample: abs(sample.at_s - until_s))
            if last.at_s > first.at_s and last.cpu_s >= first.cpu_s:
                share = (last.cpu_s - first.cpu_s) / (last.at_s - first.at_s)
                found.append(ServiceUsage(service, share, last.memory_bytes))
        return found
