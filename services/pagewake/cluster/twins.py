"""Whether another process has this one's name in its group.

Two of one name dismiss each other from the group when they start, are one status over MQTT, and
take the connection from each other.  Only a person can name them anew, so a person is told.
"""

from __future__ import annotations

from typing import Protocol

import structlog

from pagewake.cluster.clock import Clock, now_and_then

LOOK_S = 5.0
# A predecessor that was killed, or stands still, is a member until its session is over.
CERTAIN_S = 15.0

log = structlog.get_logger()


class Group(Protocol):
    """Who can be asked for the members of a group."""

    async def members_called(self, group: str, instance: str) -> int:
        """How many have a name."""
        ...


class Twins:
    """`lines` for `/readyz`."""

    def __init__(self, group: Group, name: str, instance: str, clock: Clock) -> None:
        self._group = group
        self._name = name
        self._instance = instance
        self._clock = clock
        self._since_s: float | None = None
        self._certain = False

    async def follow(self) -> None:
        """Look for ever."""
        await now_and_then(self._clock, LOOK_S, self.look, "no look at the group")

    async def look(self) -> None:
        """Count, and say so once it is certain."""
        if await self._group.members_called(self._name, self._instance) < 2:
            self._since_s, self._certain = None, False
            return
        now_s = self._clock.monotonic_s()
        if self._since_s is None:
            self._since_s = now_s
        if not self._certain and now_s - self._since_s >= CERTAIN_S:
            self._certain = True
            log.error("another instance has this name", group=self._name, what=self.lines()[0])

    def lines(self) -> list[str]:
        """One if there is another, none else."""
        if not self._certain:
            return []
        who = f"another process of {self._name} is called {self._instance} too"
        return [f"{who}: give each its own --instance or PAGEWAKE_INSTANCE"]
