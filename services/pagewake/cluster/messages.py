"""What goes over MQTT: topics, status and progress (design, section 8).

`status` is one plain word, because a Last Will is sent by the broker as it was given; all else is
JSON.  Commands and answers are in `commands`.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from pagewake.cluster.settings import ServiceKind

PREFIX = "pagewake/v1"
STATUS_TOPIC = f"{PREFIX}/{{run}}/{{service}}/{{instance}}/status"
PROGRESS_TOPIC = f"{PREFIX}/{{run}}/progress"
COMMAND_TOPIC = f"{PREFIX}/{{run}}/command"
REPLY_TOPIC = f"{PREFIX}/{{run}}/command/reply"

Status: TypeAlias = Literal[
    "joined", "replaying", "running", "waiting", "paused", "ended", "left", "lost"
]
LOST: Status = "lost"
"""What the Last Will says."""


class Progress(msgspec.Struct, frozen=True):
    """How far a service's part of a run is, once a second.

    `window` and `at_ns` are of the participant that is furthest behind; `sources` are the
    participants that the service owns, `waits_for` those of other services that keep a window open.
    """

    service: ServiceKind
    instance: str
    state: Status
    window: int
    at_ns: int
    duration_ns: int
    paused: bool
    events: int
    sources: list[str]
    waits_for: list[str]


def encode_status(word: Status) -> bytes:
    """The payload of `.../status`."""
    return word.encode()
