"""What the probe cannot see: Kafka.  Measured, and scaled to the machine that asks.

The services' own work is timed where the plan is made.  What their clients of Kafka and the broker
take comes from runs on a real cluster: the bench that prints these costs measured the CPU of every
process, and what the probe took of it at the same time.  A yardstick, some thousand turns of an
event loop, says by how much this machine is slower or faster than that one then was.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import NamedTuple

from pagewake.cluster.settings import ServiceKind

TURNS = 2_000
"""Of the yardstick: ten milliseconds."""
ROUNDS = 5
"""The fastest counts: others may have had the core in between."""


class Costs(NamedTuple):
    """CPU in seconds, memory in bytes.

    `record_s`: of a service, for each record that it reads or writes, its loop and its client of
    Kafka together; `broker_record_s`: of the broker, for each that is written.  `base_bytes`:
    resident memory of a service that owns nothing; `state`: what its VMs take, relative to what
    `participants/footprint.py` says of them at the least.  `slower`: how much slower this machine
    is than that of the table was.
    """

    taken: str
    command: str
    machine: str
    turns_s: float
    round_trip_s: float
    record_s: Mapping[ServiceKind, float]
    broker_record_s: float
    base_bytes: int
    state: Mapping[ServiceKind, float]
    broker_bytes: int
    slower: float = 1.0

    def here(self, turns_s: float) -> Costs:
        """On a machine whose yardstick takes so long."""
        slower = turns_s / self.turns_s
        return self._replace(
            slower=slower,
            round_trip_s=self.round_trip_s * slower,
            record_s={service: slower * each_s for service, each_s in self.record_s.items()},
            broker_record_s=self.broker_record_s * slower,
        )


def yardstick_s() -> float:
    """CPU time of the turns, now and here."""
    return min(asyncio.run(_turns_s()) for _ in range(ROUNDS))


async def _turns_s() -> float:
    """Two tasks that wake each other, as those of a client and of a service do."""
    there, back = asyncio.Queue[int](), asyncio.Queue[int]()

    async def answer() -> None:
        for _ in range(TURNS):
            await back.put(await there.get())

    answering = asyncio.create_task(answer())
    began_s = time.thread_time()
    for turn in range(TURNS):
        await there.put(turn)
        await back.get()
    took_s = time.thread_time() - began_s
    await answering
    return took_s


COSTS = Costs(
    taken="2026-11-28",
    command="python -m tests.bench.bench_plan",
    machine="Intel(R) Xeon(R) Processor, 2 cores, most of them taken by other work",
    turns_s=0.0169,
    round_trip_s=0.0023,
    record_s={"host": 0.00046, "guest": 0.00031, "nested": 0.00031},
    broker_record_s=0.00062,
    base_bytes=71 << 20,
    # 27 to 33 KiB a vcpu in both, by `pagewake load` at 10,000 and 4,096 vcpus
    # (docs/explanation/performance.md), divided as what each of them is built with.
    state={"host": 0.7, "guest": 2.5, "nested": 2.5},
    broker_bytes=480 << 20,
)
