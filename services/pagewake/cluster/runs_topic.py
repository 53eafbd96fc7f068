"""`pagewake.runs` as a service reads and writes it: what runs there are, what became of them."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import structlog
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from pagewake.bus.kafka_rights import MissingRightError
from pagewake.bus.partitions import Bus
from pagewake.cluster.clock import Clock
from pagewake.cluster.owner import Owner
from pagewake.cluster.rejections import Rejections
from pagewake.cluster.runs import HostEnded, RunEntry, Runs, StateChanged
from pagewake.participants.participant import Rejected
from pagewake.participants.plan import RUNS_TOPIC

# Until the topic is read anew after the broker was lost.
AGAIN_S = 1.0

log = structlog.get_logger()


class RunsTopic:
    """`entries` are all runs known now; `heard` is told the name of each that there is news of."""

    def __init__(
        self, bus: Bus, rejections: Rejections, heard: Callable[[str], None], clock: Clock
    ) -> None:
        self._bus = bus
        self._rejections = rejections
        self._heard = heard
        self._clock = clock
        self._runs = Runs()

    @property
    def entries(self) -> dict[str, RunEntry]:
        """By name."""
        return self._runs.entries

    def broken(self) -> dict[str, str]:
        """The runs that were stopped before their end, and why."""
        return {
            run: entry.state.why
            for run, entry in self.entries.items()
            if entry.state is not None and entry.state.state == "stopped"
        }

    def finished(self, run: str) -> bool:
        """It has ended; False for one that is not known."""
        entry = self.entries.get(run)
        return entry is not None and entry.finished

    def active(self, run: str) -> bool:
        """It is under way."""
        entry = self.entries.get(run)
        return entry is not None and entry.active

    # ------------------------------------------------------------------ reading

    async def follow(self) -> None:
        """Read on and on, whatever becomes of the broker.

        MissingRightError where it does not allow that: waiting would not help.
        """
        while True:
            try:
                async for stored in self._bus.read(RUNS_TOPIC, 0, follow=True):
                    run = self._runs.feed(stored)
                    if run is not None:
                        self._heard(run)
                    if self._runs.refused:
                        self._rejections.note(
                            TopicPartition(RUNS_TOPIC, 0),
                            stored.offset,
                            Rejected("malformed", self._runs.refused),
                        )
            except MissingRightError:
                raise
            except KafkaError as error:
                log.warning("runs cannot be read, trying again", error=str(error))
                await self._clock.sleep(AGAIN_S)

    # ------------------------------------------------------------------ writing

    async def say_ended(self, owner: Owner) -> None:
        """Once all that it sent is in the log; of a simulated host the topic hears it too."""
        await owner.acknowledged()
        run, host = owner.plan.run, owner.participant
        if host.end_ns is not None and not self.finished(run):
            ended = HostEnded(host.end_ns, host.window + 1, self._clock.wall_s())
            await self._say(f"{run}/{host.source}", ended)
        log.info("ended", run=run, source=host.source, window=host.window, at_ns=host.at_ns)

    async def stop(self, run: str, why: str) -> None:
        """Loudly: the run's log is broken, or two versions of the code met in it."""
        if self.finished(run):
            log.error("finished run cannot be kept", run=run, why=why)
            return
        entry = self.entries.get(run)
        if entry is not None and entry.state is not None:
            return  # the first reason is the one to be read
        log.error("run stopped", run=run, why=why)
        await self._say(f"{run}/state", StateChanged("stopped", why))

    async def _say(self, key: str, what: HostEnded | StateChanged) -> None:
        await (await self._bus.send(RUNS_TOPIC, 0, msgspec.json.encode(what), key.encode()))
