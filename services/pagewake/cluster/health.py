"""Whether a service lives, and whether it is ready.

Ready is a service that has joined its group and whose runs are not waiting for somebody else's
service; what it waits for stands in the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from pagewake.cluster.clock import Clock
from pagewake.cluster.http_server import Reply
from pagewake.cluster.owner import Owner

# A turn of the loop takes under a second, a takeover some: for longer it does not go on by itself.
LOOP_S = 30.0


class Health:
    """`ready` once the group is joined; `kafka_silent` is the address that does not answer.

    `broken` are the runs that were broken off, and why: no reason to be unready, as others go on.
    """

    def __init__(
        self,
        owners: Callable[[], Sequence[Owner]],
        broken: Callable[[], Mapping[str, str]],
        clock: Clock,
    ) -> None:
        self.ready = False
        self.kafka_silent = ""
        self._owners = owners
        self._broken = broken
        self._clock = clock
        self._silent_from_s = 0.0
        self._beat_s = clock.monotonic_s()

    def beat(self) -> None:
        """The service's loop is alive."""
        self._beat_s = self._clock.monotonic_s()

    def kafka_is_silent(self, address: str) -> bool:
        """Noted until `kafka_answers`; whether it is news."""
        news = not self.kafka_silent
        if news:
            self._silent_from_s = self._clock.monotonic_s()
        self.kafka_silent = address
        return news

    def kafka_answers(self) -> float:
        """It does again; how long it had been silent."""
        silent_s = self.silent_s
        self.kafka_silent = ""
        return silent_s

    @property
    def silent_s(self) -> float:
        """How long Kafka has not answered; 0 if it does."""
        return self._clock.monotonic_s() - self._silent_from_s if self.kafka_silent else 0.0

    def stuck(self) -> list[str]:
        """Why this process should be started anew."""
        # Without Kafka the loop may wait for long: to be restarted would not help it.
        if not self.ready or self.kafka_silent:
            return []
        still = self._clock.monotonic_s() - self._beat_s >= LOOP_S
        return [f"the loop has stood still for {LOOP_S:g} s"] if still else []

    def problems(self) -> list[str]:
        """What keeps this service from being ready."""
        if not self.ready:
            return ["not connected yet"]
        if self.kafka_silent:
            return [f"kafka at {self.kafka_silent} has not answered for {self.silent_s:.0f} s"]
        return [
            f"run {owner.plan.run}: window {owner.participant.window} has waited "
            f"{waited_s:.0f} s for {source}: is its service running?"
            for owner in self._owners()
            for source, waited_s in owner.waiting_for()
        ]

    def notes(self) -> list[str]:
        """What a person should know, and no other process has to mind."""
        return [f"run {run} was broken off: {why}" for run, why in self._broken().items()]


def verdict(problems: Sequence[str], notes: Sequence[str] = ()) -> Reply:
    """As a page: well, or one problem a line; then what there is to know besides."""
    status = "503 Service Unavailable" if problems else "200 OK"
    lines = [*(problems or ["ok"]), *notes]
    return Reply(status, "".join(f"{each}\n" for each in lines).encode())
