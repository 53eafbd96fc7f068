"""Which partitions a process takes over next, decided from what it owns: a pure function.

What goes on comes first: while a process has a partition of a run under way, it executes nothing of
a run that has ended.  That would be done for its metrics alone, and each window of the run under
way would wait for it; so it is put off, and happens one partition at a time afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, TypeAlias

Place: TypeAlias = tuple[str, int]
"""A partition of a topic."""


class Claims(NamedTuple):
    """What the group assigned to a process, and how each of these partitions stands.

    `owned` says whether it has caught up with its log; `given_up` are those that cannot be
    executed; `not_before_s` holds some back for a while; `active` are those of runs under way.
    """

    assigned: set[Place]
    owned: Mapping[Place, bool]
    given_up: set[Place]
    not_before_s: Mapping[Place, float]
    active: set[Place]


class Takeovers(NamedTuple):
    """What to let go of for now, and what to take over, in order."""

    put_off: list[Place]
    take: list[Place]


def next_takeovers(claims: Claims, now_s: float) -> Takeovers:
    """By name, so that all processes go about it in the same order."""
    early = {place for place, due_s in claims.not_before_s.items() if due_s > now_s}
    missing = sorted(claims.assigned - claims.owned.keys() - claims.given_up - early)
    if not missing:
        return Takeovers([], [])
    active = claims.assigned & claims.active
    if not active:
        return Takeovers([], missing[:1])
    put_off = [
        place for place, caught_up in claims.owned.items() if place not in active and not caught_up
    ]
    return Takeovers(sorted(put_off), [place for place in missing if place in active])
