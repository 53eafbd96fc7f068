"""Commands: what a person tells a run, and how it stands in the log (design, "Control plane").

A command is the scenario's `[[event]]` table as JSON without `at`, plus an `id`; `pause`, `resume`,
`pace` and `stop` too, which are structs here.  As a record of `faults` it counts from where it
stands there: interventions and `stop` take effect in the window opened by the first complete set
of closes behind it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, NamedTuple, TypeAlias

import msgspec

from pagewake.errors import DataError, nearest
from pagewake.events.codec import UNDECODABLE
from pagewake.events.types import Control, MediumChanged
from pagewake.scenario.checks import check_medium_change, check_target
from pagewake.scenario.interventions import (
    COMMAND_ONLY,
    EVENT_KINDS,
    control_event,
    read_values,
)
from pagewake.scenario.keys import BadValueError, show
from pagewake.scenario.locate import dotted
from pagewake.scenario.model import Scenario

ID_CHARACTERS_MAX = 128
"""Ids are remembered (`ORDERS_REMEMBERED`), so they are bounded; a UUID has 36 characters."""
SPEED_MAX = 1e9
"""Simulated seconds per second; a finite number, and faster than any machine."""

OrderId: TypeAlias = Annotated[str, msgspec.Meta(min_length=1, max_length=ID_CHARACTERS_MAX)]


class BadCommandError(DataError):
    """A command that changes nothing; the message is the answer's `error`."""


class CommandRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A command as it stands in `faults`; its first key tells it from a commit."""

    command: dict[str, Any]
    id: str
    run: str


class RunCommand(
    msgspec.Struct, frozen=True, tag=str.lower, tag_field="do", forbid_unknown_fields=True
):
    """A command that concerns wall time, or the end: no intervention of a scenario."""


class Pause(RunCommand, frozen=True):
    """Open no more windows until `resume`."""


class Resume(RunCommand, frozen=True):
    """Go on after `pause`."""


class Pace(RunCommand, frozen=True):
    """`speed` is simulated seconds per wall second; 0: as fast as can be."""

    speed: Annotated[float, msgspec.Meta(ge=0, le=SPEED_MAX)]


class Stop(RunCommand, frozen=True):
    """End the run where its hosts are."""


RUN_COMMANDS: tuple[type[RunCommand], ...] = (Pause, Resume, Pace, Stop)


class Order(NamedTuple):
    """A command, read and checked.  `control` for what enters simulated time, `speed` for pace."""

    id: str
    do: str
    control: Control | None = None
    speed: float = 0.0


class Answer(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the run says to a command, on `.../command/reply`."""

    id: str | None
    ok: bool
    at_ns: int | None = None
    error: str | None = None


_HEAD = b'{"command":'
_encode = msgspec.json.Encoder().encode
_decoder = msgspec.json.Decoder(CommandRecord)


def encode_command(run: str, order_id: str, command: Mapping[str, Any]) -> bytes:
    """The record of a command; `command` has neither `id` nor `at`."""
    return _encode(CommandRecord(dict(command), order_id, run))


def is_command(record: bytes) -> bool:
    """Whether a record of `faults` was written by `encode_command`."""
    return record.startswith(_HEAD)


def decode_command(record: bytes) -> CommandRecord:
    """The command that a record of `faults` holds; DataError for what is none."""
    try:
        return _decoder.decode(record)
    except UNDECODABLE as error:
        raise DataError(f"not a command: {error}") from None


def parse_command(payload: bytes) -> tuple[str, dict[str, Any]]:
    """A message as id and the rest; BadCommandError for what is no command at all."""
    try:
        message = msgspec.json.decode(payload)
    except UNDECODABLE as error:
        raise BadCommandError(f"not JSON: {error}") from None
    if not isinstance(message, dict):
        raise BadCommandError("a command is a JSON object with at least id and do")
    try:
        order_id: str = msgspec.convert(message.pop("id", None), OrderId)
    except msgspec.ValidationError:
        raise BadCommandError(f"id must be a text of 1 to {ID_CHARACTERS_MAX} characters") from None
    return order_id, message


def id_of(payload: bytes) -> str | None:
    """The id of a message, for answering even what is wrong in it."""
    try:
        return parse_command(payload)[0]
    except BadCommandError:
        return None


def read_order(scenario: Scenario, order_id: str, command: Mapping[str, Any]) -> Order:
    """Check a command against the run it is for; BadCommandError says what is wrong."""
    do = command.get("do")
    if isinstance(do, str) and do in COMMAND_ONLY:
        return Order(order_id, do, speed=_read_speed(command))
    if not isinstance(do, str) or do not in EVENT_KINDS:
        known = [*EVENT_KINDS, *COMMAND_ONLY]
        raise BadCommandError(f"do: {show(do)} is nothing to do: {nearest(str(do), known)}")
    keys = {name: value for name, value in command.items() if name != "do"}
    try:
        control = control_event(do, 0, read_values(do, keys))
        if isinstance(control, MediumChanged):
            check_medium_change(scenario, control, ())
        else:
            check_target(scenario, control, ())
    except BadValueError as error:
        where = f"{dotted(error.at)}: " if error.at else ""
        raise BadCommandError(f"{where}{error}") from None
    return Order(order_id, do, control)


def _read_speed(command: Mapping[str, Any]) -> float:
    try:
        told = msgspec.convert(command, Pause | Resume | Pace | Stop)
    except msgspec.ValidationError as error:
        given = msgspec.json.encode(command).decode()
        raise BadCommandError(f"{given[:200]}: {error}") from None
    return told.speed if isinstance(told, Pace) else 0.0


def host_of(scenario: Scenario, order: Order) -> int | None:
    """The simulated host that an order is for; None: all of them."""
    control = order.control
    if control is None:
        return None
    if isinstance(control, MediumChanged):
        return control.host
    hosts = {instance.name: instance.host for instance in scenario.instances()}
    return hosts[control.vm]
