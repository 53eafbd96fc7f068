"""Kernel profiles: what each generation has, overrides, and errors that name the nearest name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields

import pytest

from pagewake.errors import ConfigError
from pagewake.kvm.profile import PROFILES, RELEASES, SWITCHES, ProfileError, Switches, resolve


def test_there_is_a_switch_for_every_field_and_its_default_is_allowed() -> None:
    assert list(SWITCHES) == [field.name for field in fields(Switches)]
    for switch in SWITCHES.values():
        assert switch.default in switch.values
        assert switch.introduced
        assert switch.description
        assert set(switch.relaxing) <= set(switch.values)
        assert bool(switch.relaxes) == bool(switch.relaxing)
        assert set(switch.relaxes) <= {f"I{n}" for n in range(1, 8)}


def test_every_profile_has_an_allowed_value_for_every_switch() -> None:
    for profile in PROFILES.values():
        assert profile.description
        assert list(profile.values) == list(SWITCHES)
        for name, value in profile.values.items():
            assert value in SWITCHES[name].values, (profile.name, name)


def test_releases_stand_in_order_and_aliases_stand_for_one_of_them() -> None:
    names = [release.name for release in RELEASES]
    versions = [[int(part) for part in name.split(".")] for name in names[1:]]
    assert versions == sorted(versions)
    assert not any(release.alias_of for release in RELEASES)
    aliases = [profile for profile in PROFILES.values() if profile.name not in names]
    assert {alias.alias_of for alias in aliases} <= set(names)
    for alias in aliases:
        differing = [s for s in SWITCHES if alias.values[s] != PROFILES[alias.alias_of].values[s]]
        for switch in differing:
            assert switch in alias.description, f"{alias.name}: a backport without its reason"


SINCE: Mapping[str, Mapping[str, object]] = {
    "gup": {"posted-v7": "posted_noio", "2.6.38": "v2638_sync", "2.6.39": "v2639_nowait"},
    "worker_writes": {"posted-v7": True},
    "sync_writes": {"posted-v7": True, "2.6.38": False},
    "read_ahead": {"posted-v7": "block", "3.16": "cluster", "4.14": "vma"},
    "swap_plug": {"posted-v7": False, "3.10": True},
    "swap_poll": {"posted-v7": False, "4.13": True, "6.6": False},
    "reclaim": {"posted-v7": "worker", "5.8": "fault"},
    "direct_reclaim": {"posted-v7": False, "2.6.39": True},
    "scheduler": {"posted-v7": "cfs", "6.6": "eevdf"},
    "replacement": {"posted-v7": "two-lists-2.6.28", "5.10": "two-lists"},
    "worker_pins": {"posted-v7": True, "3.16": False},
    "present_all": {"posted-v7": False, "2.6.38": True},
    "present_unhalts": {"posted-v7": False, "2.6.38": True},
    "present_makes_runnable": {"posted-v7": False, "3.10": True},
    "probe_fixed": {"posted-v7": False, "2.6.38": True},
    "clear_waits": {"posted-v7": True},
    "pg_clears_queue": {"posted-v7": True, "6.19": False},
    "pg_resets_hash": {"posted-v7": False, "2.6.39": True},
    "smm": {"posted-v7": False, "4.4": True},
    "hash_multiplier": {"posted-v7": "old", "4.9": "new"},
    "guest_wait": {"posted-v7": "halt_unsafe", "4.14": "halt_kernel", "5.8": "user_only"},
    "kernel_mode_panics": {"posted-v7": False, "5.8": True},
    "takes_interrupt": {"posted-v7": True, "5.8": False, "5.10": True},
    "send_always": {"posted-v7": "auto", "5.8": "never"},
    "host_kernel_rule": {"posted-v7": "send_user_only"},
    "preempt": {"posted-v7": False},
    "prefault": {"posted-v7": "direct_only", "2.6.38": "same_mmu"},
    "untold_halts": {"posted-v7": False, "5.4": True},
    "pending_blocks_apf": {"posted-v7": True, "4.14": False, "4.19": True},
    "ready_cancels_not_present": {"posted-v7": False, "4.14": True, "5.8": False},
    "ready_needs_not_present": {"posted-v7": False, "5.8": True},
    "ready_by_interrupt": {"posted-v7": False, "5.8": True},
    "completion_kicks": {"posted-v7": False, "5.8": True},
    "ready_needs_lapic": {"posted-v7": False, "5.14": True},
    "enable_needs_lapic": {"posted-v7": "never", "5.8": "always", "5.10": "nonzero"},
    "token_nonzero": {"posted-v7": False, "6.1": True},
    "online_zeroes_slot": {"posted-v7": False},
    "broadcast_needs_memory": {"posted-v7": True},
    "reset_drops_exception": {"posted-v7": False, "4.4": True},
    "init_behind_halt": {"posted-v7": False, "3.10": True},
    "held_back_wakes": {"posted-v7": True},
    "apf_in_guest_mode": {"posted-v7": True, "4.13": False},
    "paging_required": {"posted-v7": False, "6.1": True},
    "msr_reserved": {"posted-v7": 0x3C, "4.13": 0x38, "5.8": 0x30},
    "alloc_before_lock": {"posted-v7": False, "6.1": True},
    "user_apf": {"posted-v7": "none"},
    "user_apf_ring": {"posted-v7": "64"},
    "user_apf_armed": {"posted-v7": True},
    "guest_teardown": {"posted-v7": "restart", "5.14": "crash"},
    "nested_fix": {"posted-v7": "none", "4.13": "2017", "5.8": "2020-nsvm", "6.1": "2022"},
    "gap_g0": {"posted-v7": True, "5.8": False},
    "gap_g1": {"posted-v7": True},
    "gap_g2": {"posted-v7": True},
    "gap_g3": {"posted-v7": True, "4.14": False},
    "gap_g5": {"posted-v7": True},
    "gap_g6": {"posted-v7": True},
    "gap_g7": {"posted-v7": True},
    "broadcast_ends_latched": {"posted-v7": False},
}
"""What each switch is from which release on."""


def test_the_values_of_every_switch_are_known() -> None:
    assert list(SINCE) == list(SWITCHES), "SINCE has every switch, in the order of the table"


@pytest.mark.parametrize(("switch", "since"), SINCE.items(), ids=SINCE)
def test_a_switch_over_the_releases(switch: str, since: Mapping[str, object]) -> None:
    value: object = None
    for release in RELEASES:
        value = since.get(release.name, value)
        assert release.values[switch] == value, release.name


@pytest.mark.parametrize("name", SWITCHES)
def test_every_switch_can_be_used_alone(name: str) -> None:
    base = resolve("2.6.38", {})
    for value in SWITCHES[name].values:
        changed = resolve("2.6.38", {name: value})
        differing = [s for s in SWITCHES if getattr(changed, s) != getattr(base, s)]
        assert differing == ([] if value == getattr(base, name) else [name])
        assert getattr(changed, name) == value


@pytest.mark.parametrize(
    ("overrides", "g1", "again", "g2"),
    [
        ({}, True, False, True),
        ({"nested_fix": "2017"}, False, False, True),
        ({"nested_fix": "2020"}, False, False, False),
        ({"nested_fix": "2020-nsvm"}, False, True, False),
        ({"nested_fix": "2020-nsvm", "gap_g1": False}, False, False, False),
        ({"nested_fix": "2022"}, False, False, False),
        ({"gap_g1": False}, False, False, True),
        ({"gap_g2": False}, True, False, False),
    ],
)
def test_the_nested_fixes_close_gaps_whatever_their_switches_say(
    overrides: dict[str, object], g1: bool, again: bool, g2: bool
) -> None:
    switches = resolve("2.6.38", overrides)
    assert (switches.g1_open, switches.g1_reopened, switches.g2_open) == (g1, again, g2)


@pytest.mark.parametrize(
    ("profile", "overrides", "says"),
    [
        ("2.6.83", {}, '"2.6.39"'),
        ("posted_v7", {}, '"posted-v7"'),
        ("", {}, "valid are 2.6.38, 2.6.39"),
        ("5.8", {"gup_mode": "x"}, "gup"),
        ("5.8", {"probe_fix": True}, '"probe_fixed"'),
        ("5.8", {"gup": "v2639"}, '"v2639_nowait"'),
        ("5.8", {"preempt": 1}, "valid are false, true"),
        ("5.8", {"preempt": "true"}, '"true"'),
        ("5.8", {"msr_reserved": 0x3F}, "0x3f"),
        ("5.8", {"msr_reserved": True}, "true"),
        ("5.8", {"nested_fix": 2017}, "2017"),
    ],
)
def test_an_unknown_name_or_value_is_an_error_that_helps(
    profile: str, overrides: dict[str, object], says: str
) -> None:
    with pytest.raises(ProfileError) as caught:
        resolve(profile, overrides)
    assert says in str(caught.value)
    assert isinstance(caught.value, ConfigError)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize(
    ("version", "hint"),
    [
        ("5.6", 'the newest profile not after 5.6 is "5.4"'),
        ("5.11", 'the newest profile not after 5.11 is "5.10"'),
        ("4.4.302", 'the newest profile not after 4.4.302 is "4.4"'),
        ("2.6.40", 'the newest profile not after 2.6.40 is "2.6.39"'),
        ("6.18", 'the newest profile not after 6.18 is "6.12"'),
        ("2.6.32", 'the first version with a profile is "2.6.38"'),
        ("posted-v6", 'did you mean "posted-v7"?'),
    ],
)
def test_a_version_without_a_profile_is_told_the_one_before_it(version: str, hint: str) -> None:
    with pytest.raises(ProfileError, match=re.escape(hint)):
        resolve(version, {})
