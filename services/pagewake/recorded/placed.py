"""What the stitcher makes of lines: events with their place, spans, and findings.

A *span* is a stretch of which something is not known: its beginning (what was outstanding when the
recording began), a loss of lines, its end.  A *finding* is what only lines can contradict and
events cannot: a page-ready interrupt with no READY before it.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, TypeAlias

import msgspec

from pagewake.events.types import Event
from pagewake.verify.log_run import PlacedEvent

SpanWhy: TypeAlias = Literal["begin", "lost", "unreadable", "clock", "end"]


class Place(NamedTuple):
    """A line of a file."""

    file: str
    line: int

    @property
    def where(self) -> str:
        return f"{self.file}:{self.line}"


class Span(msgspec.Struct, frozen=True, tag=True, tag_field="event", omit_defaults=True):
    """From `from_ns` to `until_ns` something is unknown; behind it nothing is taken for granted."""

    why: SpanWhy
    from_ns: int
    until_ns: int
    what: str
    file: str = ""
    line: int = 0


class Finding(msgspec.Struct, frozen=True, tag=True, tag_field="event", omit_defaults=True):
    """A rule that lines break, which no event shows."""

    rule: str
    at_ns: int
    vm: str
    vcpu: int
    what: str
    file: str
    line: int
    token: int | None = None


Found: TypeAlias = PlacedEvent | Span | Finding


class Draft(NamedTuple):
    """An event to be, without its number: that is given when its place in the order is certain."""

    kind: type[Event]
    at_ns: int
    values: tuple[Any, ...]
    place: Place
