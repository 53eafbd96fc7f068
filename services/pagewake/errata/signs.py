"""What shows a defect, or that it is mended: a pattern over the events of a run.

A sign is an event with certain fields, so many times; it may have to be followed by another one in
time, or not to be.  So a task that sleeps for ever is a `TaskSlept` that no `TaskWoken` of the same
task follows.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from pagewake.events import types as ev
from pagewake.scenario.units import parse_duration

FieldValue = str | int | bool | None


class Next(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An event that follows, on the same VM; `same` are fields in which it equals the first.

    `within`: at the latest so long after the first; empty: until the end of the run.
    """

    event: str
    fields: dict[str, FieldValue] = {}
    same: list[str] = []
    within: str = ""


class Sign(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`says` is the sign in words; it is there if `times` events match.

    An event matches if it is of the kind, has these field values, is followed by those of `then`
    one after another, and by none of `never`.
    """

    says: str
    event: str
    fields: dict[str, FieldValue] = {}
    then: list[Next] = []
    never: Next | None = None
    times: int = 1


def find(sign: Sign, events: Sequence[ev.Event]) -> list[ev.Event]:
    """The events that show the sign, of its first match: it and those of `then`; none: no sign.

    `events` are those of a run, VM by VM in order.
    """
    shown: list[ev.Event] = []
    times = 0
    for place, event in enumerate(events):
        if not _is(event, sign.event, sign.fields):
            continue
        if sign.never is not None and _following(sign.never, events, place, event) is not None:
            continue
        chain = _chain(sign, events, place)
        if chain:
            times += 1
            shown = shown or chain
    return shown if times >= sign.times else []


def _chain(sign: Sign, events: Sequence[ev.Event], place: int) -> list[ev.Event]:
    chain = [events[place]]
    for wanted in sign.then:
        found = _following(wanted, events, place, chain[0])
        if found is None:
            return []
        place = found
        chain.append(events[place])
    return chain


def _is(event: ev.Event, kind: str, fields: dict[str, FieldValue]) -> bool:
    return type(event).__name__ == kind and all(
        _holds(getattr(event, name), value) for name, value in fields.items()
    )


def _holds(field: object, value: FieldValue) -> bool:
    """A list holds a value that is in it."""
    return value in field if isinstance(field, list) else field == value


def _following(wanted: Next, events: Sequence[ev.Event], place: int, first: ev.Event) -> int | None:
    """Where the wanted event is, behind `place`."""
    last_ns = first.at_ns + parse_duration(wanted.within) if wanted.within else None
    same = {name: getattr(first, name) for name in wanted.same}
    for at, event in enumerate(events[place + 1 :], place + 1):
        if event.vm != first.vm or (last_ns is not None and event.at_ns > last_ns):
            return None
        if _is(event, wanted.event, {**wanted.fields, **same}):
            return at
    return None


def beside(sign: Sign) -> list[str]:
    """What the lines that show a sign do not say: how often, and what did not come."""
    often = [f"{sign.times:,} times or more"] if sign.times > 1 else []
    return [*often, *([_not_come(sign.never)] if sign.never else [])]


def _not_come(never: Next) -> str:
    alike = f" of the same {' and '.join(never.same)}" if never.same else ""
    given = "".join(f", {name} {value}" for name, value in never.fields.items())
    until = f"within {never.within}" if never.within else "to the end of the run"
    return f"no {never.event}{alike}{given}, {until}"
