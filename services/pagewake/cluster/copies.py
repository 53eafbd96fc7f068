"""How many copies Kafka keeps of a run, and a word of warning where it is a single one."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

import structlog

from pagewake.bus.kafka import Copies, KafkaBus
from pagewake.participants.plan import RunPlan

# Below that nobody expects that a broker may be lost.
BROKERS_MANY = 3

log = structlog.get_logger()


async def copies_of(bus: KafkaBus, plans: Iterable[RunPlan]) -> dict[str, Copies]:
    """Of each run whose topics are there."""
    topics = {plan.run: plan.topics().keys() for plan in plans}
    found = await bus.copies([name for names in topics.values() for name in names])
    return {
        run: Copies.lowest(found[name] for name in names if name in found)
        for run, names in topics.items()
        if names & found.keys()
    }


async def lone_copy(bus: KafkaBus, run: str, copies: Copies) -> str:
    """What to say of a run that is lost with one broker though there are many; empty: nothing."""
    if copies.kept > 1 or (brokers := await bus.brokers()) < BROKERS_MANY:
        return ""
    return (
        f"run {run} has one copy of its topics on {brokers} brokers, and is lost with one of them:"
        " set default.replication.factor=3 and min.insync.replicas=2 on the brokers,"
        " or PAGEWAKE_KAFKA_REPLICATION=3 for whoever submits"
    )


class CopiesWatch:
    """The copies of the runs that a process has a part in; warns once of each with a single one."""

    def __init__(self) -> None:
        self._known: Mapping[str, Copies] = {}
        self._judged = set[str]()

    async def look(self, bus: KafkaBus, plans: Collection[RunPlan]) -> None:
        """Ask the brokers anew."""
        self._known = await copies_of(bus, plans) if plans else {}
        self._judged &= self._known.keys()
        for run in self._known.keys() - self._judged:
            if warning := await lone_copy(bus, run, self._known[run]):
                log.warning("run has one copy", run=run, why=warning)
            self._judged.add(run)

    def lines(self) -> list[str]:
        """For `/readyz`."""
        return [f"run {run}: {copies.words}" for run, copies in sorted(self._known.items())]
