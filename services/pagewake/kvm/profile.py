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
    "RELEASES",
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
    """A kernel generation: a value for every switch.

    `alias_of` names the release that an alias stands for; its description says what, if anything,
    was brought back to that release from later ones.
    """

    name: str
    description: str
    values: Mapping[str, SwitchValue]
    alias_of: str = ""

    def after(self, name: str, description: str, **changes: SwitchValue) -> Profile:
        """The next generation: this one with some switches changed."""
        return Profile(name, description, self._with(name, changes))

    def alias(self, name: str, description: str, **backports: SwitchValue) -> Profile:
        """Another name for this one, with what is known to have been brought back to it."""
        return Profile(name, description, self._with(name, backports), self.name)

    def _with(self, name: str, changes: Mapping[str, SwitchValue]) -> Mapping[str, SwitchValue]:
        unknown = changes.keys() - self.values.keys()
        assert not unknown, f"{name}: no such switches: {sorted(unknown)}"
        return {**self.values, **changes}


_POSTED_V7 = Profile(
    "posted-v7",
    "the series as mailed on 14 October 2010, with its own get_user_pages that never sleeps",
    {name: switch.default for name, switch in SWITCHES.items()},
)
_V2638 = _POSTED_V7.after(
    "2.6.38",
    "as released: without the non-sleeping get_user_pages, so no fault is asynchronous",
    gup="v2638_sync",
    sync_writes=False,
    present_all=True,
    present_unhalts=True,
    probe_fixed=True,
    prefault="same_mmu",
)
_V2639 = _V2638.after(
    "2.6.39",
    "FOLL_NOWAIT: the first release in which a fault is asynchronous",
    gup="v2639_nowait",
    direct_reclaim=True,
    pg_resets_hash=True,
)
_V310 = _V2639.after(
    "3.10",
    "a completion also ends HLT (since 3.5), and INIT is looked for behind a halt for a page; a "
    "window of swap is submitted at once (since 3.6)",
    swap_plug=True,
    present_makes_runnable=True,
    init_behind_halt=True,
)
_V316 = _V310.after(
    "3.16",
    "a page may go again before its READY (since 3.13); read-ahead goes by its hits (3.14)",
    worker_pins=False,
    read_ahead="cluster",
)
_V44 = _V316.after(
    "4.4",
    "SMIs are not ignored any more, and a reset drops a pending exception (since 4.2)",
    smm=True,
    reset_drops_exception=True,
)
_V49 = _V44.after(
    "4.9",
    "new hash multiplier (since 4.7)",
    hash_multiplier="new",
)
_V413 = _V49.after(
    "4.13",
    "none while L2 runs (since 4.12), unless L1 opted in to a forced exit; who reads a page of "
    "swap alone waits for it",
    apf_in_guest_mode=False,
    nested_fix="2017",
    msr_reserved=0x38,
    swap_poll=True,
)
_V414 = _V413.after(
    "4.14",
    "no scheduling in kernel code without preemption; a handler of its own for nested page faults; "
    "a READY may come over a pending exception: a NOT_PRESENT it cancels, a READY makes #DF; "
    "read-ahead in address space",
    guest_wait="halt_kernel",
    gap_g3=False,
    read_ahead="vma",
    pending_blocks_apf=False,
    ready_cancels_not_present=True,
)
_V419 = _V414.after(
    "4.19",
    "nothing over a pending exception again (since 4.16)",
    pending_blocks_apf=True,
)
_V54 = _V419.after(
    "5.4",
    "what is not told is halted (since 5.3)",
    untold_halts=True,
)
_V58 = _V54.after(
    "5.8",
    "page-ready by interrupt, user mode only, READY only after NOT_PRESENT, nested filter fixed, "
    "but an APF may go into L2 again; a vcpu thread reclaims at its VM's limit; a guest that takes "
    "exceptions alone",
    guest_wait="user_only",
    kernel_mode_panics=True,
    takes_interrupt=False,
    send_always="never",
    ready_cancels_not_present=False,
    ready_needs_not_present=True,
    ready_by_interrupt=True,
    completion_kicks=True,
    reclaim="fault",
    msr_reserved=0x30,
    nested_fix="2020-nsvm",
    enable_needs_lapic="always",
    gap_g0=False,
)
_V510 = _V58.after(
    "5.10",
    "a guest that takes READY by interrupt, and a host that lets 0 be written to the enable MSR "
    "whoever has the LAPIC (since 5.9); anonymous pages that are read in are inactive (5.9)",
    replacement="two-lists",
    takes_interrupt=True,
    enable_needs_lapic="nonzero",
)
_V514 = _V510.after(
    "5.14",
    "READY waits while the LAPIC is off, and APF is torn down before hibernation and in a crash "
    "(since 5.13)",
    ready_needs_lapic=True,
    guest_teardown="crash",
)
_V515 = _V514.after("5.15", "as 5.14")
_V61 = _V515.after(
    "6.1",
    "no tokens of 0 (since 5.17), NOT_PRESENT only while paging is on (5.18), and dummies "
    "allocated outside the bucket's lock (5.19); an APF for L1 always leaves L2",
    token_nonzero=True,
    paging_required=True,
    alloc_before_lock=True,
    nested_fix="2022",
)
_V66 = _V61.after(
    "6.6",
    "nobody waits for a page of swap by reading it alone; EEVDF instead of CFS",
    swap_poll=False,
    scheduler="eevdf",
)
_V612 = _V66.after("6.12", "as 6.6")
_V619 = _V612.after(
    "6.19",
    "what is queued outlasts paging that is off, in an SMI too",
    pg_clears_queue=False,
)
_CVE = "token_nonzero came back to it (6f3c1fc53d86, CVE-2022-48943)"
_LAPIC = "so did ready_needs_lapic (2f15d027c05f, mailed for 5.10 in May 2022)"
_UNLISTED = "Red Hat's backports to KVM are not listed"

RELEASES: tuple[Profile, ...] = (
    _POSTED_V7,
    _V2638,
    _V2639,
    _V310,
    _V316,
    _V44,
    _V49,
    _V413,
    _V414,
    _V419,
    _V54,
    _V58,
    _V510,
    _V514,
    _V515,
    _V61,
    _V66,
    _V612,
    _V619,
)
"""Releases, oldest first, as their first version had the rules; stable fixes are overrides."""

_ALIASES: tuple[Profile, ...] = (
    _V316.alias("3.x", "late 3.x: 3.16"),
    _V612.alias("6.x", "6.x up to 6.18: 6.12"),
    _V310.alias("rhel7", f"Red Hat Enterprise Linux 7: 3.10; {_UNLISTED}"),
    _V419.alias(
        "rhel8", f"Red Hat Enterprise Linux 8: 4.18, which has the rules of 4.19; {_UNLISTED}"
    ),
    _V514.alias("rhel9", f"Red Hat Enterprise Linux 9: 5.14; {_UNLISTED}"),
    _V612.alias("rhel10", f"Red Hat Enterprise Linux 10: 6.12; {_UNLISTED}"),
    _V419.alias("debian10", "Debian 10: 4.19"),
    _V510.alias(
        "debian11", f"Debian 11: 5.10; {_CVE}; {_LAPIC}", token_nonzero=True, ready_needs_lapic=True
    ),
    _V61.alias("debian12", "Debian 12: 6.1"),
    _V612.alias("debian13", "Debian 13: 6.12"),
    _V44.alias("ubuntu16.04", "Ubuntu 16.04: 4.4"),
    _V414.alias(
        "ubuntu18.04",
        "Ubuntu 18.04: 4.15; pending_blocks_apf came back to it (2a266f23550b, in stable 4.15)",
        pending_blocks_apf=True,
    ),
    _V54.alias("ubuntu20.04", "Ubuntu 20.04: 5.4"),
    _V515.alias("ubuntu22.04", f"Ubuntu 22.04: 5.15; {_CVE}", token_nonzero=True),
    _V66.alias("ubuntu24.04", "Ubuntu 24.04: 6.8, which has the rules of 6.6"),
    _V510.alias(
        "amazonlinux2",
        f"Amazon Linux 2: 5.10; {_CVE}; {_LAPIC}",
        token_nonzero=True,
        ready_needs_lapic=True,
    ),
    _V61.alias("amazonlinux2023", "Amazon Linux 2023: 6.1"),
)

PROFILES: Mapping[str, Profile] = {profile.name: profile for profile in RELEASES + _ALIASES}


def resolve(profile: str, overrides: Mapping[str, object]) -> Switches:
    """The switches of a profile, some of them overridden; `ProfileError` names the nearest name."""
    chosen = PROFILES.get(profile)
    if chosen is None:
        raise ProfileError(f'unknown kernel profile "{profile}": {nearest_profile(profile)}')
    values = dict(chosen.values)
    for name, value in overrides.items():
        values[name] = _checked(name, value)
    return Switches(**cast("dict[str, Any]", values))


def has_userfaultfd(profile: str) -> bool:
    """The kernel has userfaultfd: 4.3 (86039bd3b4e6) and later."""
    chosen = PROFILES[profile]
    names = [release.name for release in RELEASES]
    return names.index(chosen.alias_of or chosen.name) >= names.index("4.4")


def nearest_profile(wanted: str, names: Iterable[str] = PROFILES) -> str:
    """A hint for a name that is none of `names`: for a version, the newest release before it."""
    version = _version(wanted)
    since = {of: name for name in names if (of := _version(name))}
    if not version:
        return nearest(wanted, names)
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
