"""From a message to a record: a command is checked, and appended to the hosts that it is for.

Every service that owns simulated hosts of a run hears the run's commands.  Each appends to the
hosts it owns; the owner of host 0 answers what is wrong, so that it is answered once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import structlog
from aiokafka.errors import KafkaError

from pagewake.bus.partitions import Bus
from pagewake.cluster.owner import Answered, Owner
from pagewake.events.codec import FAULTS
from pagewake.participants.commands import (
    Answer,
    BadCommandError,
    encode_command,
    host_of,
    id_of,
    parse_command,
    read_order,
)
from pagewake.participants.plan import topic_name

# A command is a few words and numbers; a record of the log may hold a thousand times as much.
COMMAND_BYTES_MAX = 64 * 1024

log = structlog.get_logger()


class Commander:
    """`owners` are what this service owns now."""

    def __init__(self, bus: Bus, owners: Callable[[], Sequence[Owner]], reply: Answered) -> None:
        self._bus = bus
        self._owners = owners
        self._reply = reply

    async def take(self, run: str, payload: bytes) -> None:
        """A message of `.../<run>/command`."""
        owned = {
            owner.participant.partition: owner for owner in self._owners() if owner.plan.run == run
        }
        if not owned:
            return
        scenario = next(iter(owned.values())).plan.scenario
        try:
            if len(payload) > COMMAND_BYTES_MAX:
                raise BadCommandError(f"{len(payload)} bytes are more than {COMMAND_BYTES_MAX}")
            order_id, command = parse_command(payload)
            host = host_of(scenario, read_order(scenario, order_id, command))
        except BadCommandError as error:
            if 0 in owned:
                known_id = id_of(payload[:COMMAND_BYTES_MAX])
                self._reply(run, Answer(known_id, ok=False, error=str(error)))
            return
        record = encode_command(run, order_id, command)
        for partition in owned if host is None else [host]:
            if partition in owned:
                await self._append(run, partition, order_id, record)

    async def _append(self, run: str, partition: int, order_id: str, record: bytes) -> None:
        try:
            await (await self._bus.send(topic_name(run, FAULTS), partition, record))
        except KafkaError as error:
            log.warning("command not written", run=run, id=order_id, error=str(error))
            self._reply(run, Answer(order_id, ok=False, error=f"not written: {error!r}"))
