"""What goes over MQTT: topics, status and progress (design, "Control plane").

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
OVER: tuple[Status, ...] = ("ended", "left", LOST)
"""Words of a service that has no more part in a run."""


class VmProgress(msgspec.Struct, frozen=True):
    """One VM: tasks asleep for a page, and vcpus that stand still for one."""

    vm: str
    sleepers: int
    halted: int


class Progress(msgspec.Struct, frozen=True):
    """How far a service's part of a run is, once a second.

    `window` and `at_ns` are of the participant that is furthest behind; `sources` are the
    participants that the service owns, `waits_for` those of other services that keep a window open.
    `lag` are records of its partitions that it has not read, `speed` is simulated by wall time
    since the message before.  `cpu_s` and `memory_bytes` are of the whole process.  `sleepers` and
    `halted` are of all `vms_owned` VMs of its shards, `vms` those that have most of them.
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
    lag: int = 0
    speed: float | None = None
    cpu_s: float | None = None
    memory_bytes: int | None = None
    sleepers: int = 0
    halted: int = 0
    vms_owned: int = 0
    vms: list[VmProgress] = []


def encode_status(word: Status) -> bytes:
    """The payload of `.../status`."""
    return word.encode()
