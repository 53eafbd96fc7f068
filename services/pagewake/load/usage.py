"""What the services of a run use, from what they say of themselves once a second over MQTT."""

from __future__ import annotations

import asyncio
import time
from typing import NamedTuple

import msgspec

from pagewake.cluster.listening import MqttListener
from pagewake.cluster.live import OVER
from pagewake.cluster.messages import PREFIX, Progress

SAMPLES_MAX = 8192
FAREWELL_S = 3.0


class Sample(NamedTuple):
    """CPU seconds and memory of a process at an instant of our clock."""

    at_s: float
    cpu_s: float
    memory_bytes: int | None


class Used(NamedTuple):
    """Of one process: CPU seconds per wall second, and its memory at the end."""

    service: str
    cpu_share: float
    memory_bytes: int | None


class Usage:
    """Hears one run, on `topics`; `farewell` is set while no service has a part in it."""

    def __init__(self, run: str) -> None:
        self.topics = (f"{PREFIX}/{run}/progress", f"{PREFIX}/{run}/+/+/status")
        self.samples: dict[str, list[Sample]] = {}
        self.farewell = asyncio.Event()
        self._words: dict[str, str] = {}

    def hear(self, topic: str, payload: bytes) -> None:
        """A message; what makes no sense is none of ours."""
        if topic.endswith("/status"):
            self._words[topic] = payload.decode(errors="replace")
            if all(word in OVER or not word for word in self._words.values()):
                self.farewell.set()
            else:
                self.farewell.clear()
            return
        try:
            progress = msgspec.json.decode(payload, type=Progress)
        except msgspec.DecodeError:
            return
        if progress.cpu_s is None:
            return
        samples = self.samples.setdefault(f"{progress.service} {progress.instance}", [])
        samples.append(Sample(time.monotonic(), progress.cpu_s, progress.memory_bytes))
        del samples[:-SAMPLES_MAX]

    def between(self, since_s: float, until_s: float) -> list[Used]:
        """What was used between two instants, by service; those that said too little are left out.

        The samples nearest to the ends are taken, as they come only once a second.
        """
        found: list[Used] = []
        for service, samples in sorted(self.samples.items()):
            first = min(samples, key=lambda sample: abs(sample.at_s - since_s))
            last = min(samples, key=lambda sample: abs(sample.at_s - until_s))
            if last.at_s > first.at_s and last.cpu_s >= first.cpu_s:
                share = (last.cpu_s - first.cpu_s) / (last.at_s - first.at_s)
                found.append(Used(service, share, last.memory_bytes))
        return found

    async def forget(self, listener: MqttListener) -> None:
        """Take back what the broker keeps of the run."""
        for topic, word in self._words.items():
            if word:
                await listener.publish(topic, b"", retain=True)
