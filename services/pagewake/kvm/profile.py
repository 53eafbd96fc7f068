"""Kernel profiles: which generation's rules are in force, as data.

A profile is a named value for every rule switch in `switches.py`; each is written as what changed
since the profile before it (semantics 5.2 for the series, semantics 6 for what came later).
`resolve` turns a profile's name and overrides into the `Switches` that the engine reads.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from pagewake.errors import ConfigError, nearest
from pagewake.kvm.switches import SWITCHES, Switch, Switches, SwitchValue

__all__ = [
    "PROFILES",
    "SWITCHES",
    "Profile",
    "ProfileError",
    "Switch",
    "SwitchValue",
    "Switches",
    "nearest_profile",
    "resolve",
]


class ProfileError(ConfigError, ValueError):
    """An unknown profile or switch, or a value its switch does not have."""


@dataclass(frozen=True, slots=True)
class Profile:
    """A kernel generation: a value for every switch."""

    name: str
    description: str
    values: Mapping[str, SwitchValue]

    def after(self, name: str, description: str, **changes: SwitchValue) -> Profile:
        """The next generation: this one with some switches changed."""
        unknown = changes.keys() - self.values.keys()
        assert not unknown, f"{name}: no such switches: {sorted(unknown)}"
        return Profile(name, description, {**self.values, **changes})


_POSTED_V7 = Profile(
    "posted-v7",
    "the series as mailed on 14 October 2010, with its own get_user_pages that never sleeps",
    {name: switch.default for name, switch in SWITCHES.items()},
)
_V2638 = _POSTED_V7.after(
    "2.6.38",
    "as released: without the non-sleeping get_user_pages, so no fault is asynchronous",
    gup="v2638_sync",
    present_all=True,
    present_unhalts=True,
    probe_fixed=True,
    prefault="same_mmu",
)
_V2639 = _V2638.after(
    "2.6.39",
    "FOLL_NOWAIT: the first release in which a fault is asynchronous",
    gup="v2639_nowait",
    pg_resets_hash=True,
)
_V3X = _V2639.after(
    "3.x",
    "late 3.x: a completion also ends HLT",
    present_makes_runnable=True,
)
_V413 = _V3X.after(
    "4.13",
    "new hash multiplier; none while L2 runs, unless L1 opted in to a forced exit",
    hash_multiplier="new",
    apf_in_guest_mode=False,
    nested_fix="2017",
    msr_reserved=0x38,
)
_V58 = _V413.after(
    "5.8",
    "page-ready by interrupt, user mode only, READY only after NOT_PRESENT, nested filter fixed",
    guest_wait="user_only",
    send_always="never",
    ready_needs_not_present=True,
    ready_by_interrupt=True,
    completion_kicks=True,
    msr_reserved=0x30,
    nested_fix="2020",
    gap_g0=False,
    gap_g3=False,
)
_V6X = _V58.after(
    "6.x",
    "5.8 without tokens of 0, with NOT_PRESENT only while paging is on, and dummies allocated "
    "outside the bucket's lock",
    token_nonzero=True,
    paging_required=True,
    alloc_before_lock=True,
)

PROFILES: Mapping[str, Profile] = {
    profile.name: profile for profile in (_POSTED_V7, _V2638, _V2639, _V3X, _V413, _V58, _V6X)
}


def resolve(profile: str, overrides: Mapping[str, object]) -> Switches:
    """The switches of a profile, some of them overridden; `ProfileError` names the nearest name."""
    chosen = PROFILES.get(profile)
    if chosen is None:
        raise ProfileError(f'unknown kernel profile "{profile}": {nearest_profile(profile)}')
    values = dict(chosen.values)
    for name, value in overrides.items():
        values[name] = _checked(name, value)
    return Switches(**cast("dict[str, Any]", values))


def nearest_profile(wanted: str, names: Iterable[str] = PROFILES) -> str:
    """A hint for a name that is none of `names`: for a version, the newest profile before it."""
    versions = {name: _version(name.removesuffix(".x")) for name in names}
    version = _version(wanted)
    since = {of: name for name, of in versions.items() if of}
    if not version:
        return nearest(wanted, versions)
    if version < min(since):
        return f'the first version with a profile is "{since[min(since)]}"'
    newest = since[max(of for of in since if of <= version)]
    return f'the newest profile not after {wanted} is "{newest}"'


def _version(text: str) -> tuple[int, ...]:
    """As numbers; empty for what is no version of Linux."""
    if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})*", text) is None:
        return ()
    return tuple(int(part) for part in text.split("."))


def _checked(name: str, value: object) -> SwitchValue:
    switch = SWITCHES.get(name)
    if switch is None:
        message = f'unknown kernel switch "{name}": {nearest(name, SWITCHES)}'
        raise ProfileError(message)
    for valid in switch.values:
        if type(valid) is type(value) and valid == value:
            return valid
    shown = _shown(value)
    hint = nearest(shown, [_shown(valid) for valid in switch.values])
    message = f'kernel switch "{name}" has no value {shown}: {hint}'
    raise ProfileError(message)


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return hex(value) if isinstance(value, int) else str(value)
