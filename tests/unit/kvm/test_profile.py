"""Kernel profiles: what each generation has, overrides, and errors that name the nearest name."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import fields

import pytest

from pagewake.errors import ConfigError
from pagewake.kvm.profile import PROFILES, SWITCHES, ProfileError, Switches, resolve


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
    assert list(PROFILES) == ["posted-v7", "2.6.38", "2.6.39", "3.x", "4.13", "5.8", "6.x"]
    for profile in PROFILES.values():
        assert profile.description
        assert list(profile.values) == list(SWITCHES)
        for name, value in profile.values.items():
            assert value in SWITCHES[name].values, (profile.name, name)


VALUES: Mapping[str, Sequence[object]] = {
    "gup": ["posted_noio", "v2638_sync"] + ["v2639_nowait"] * 5,
    "present_all": [False] + [True] * 6,
    "present_unhalts": [False] + [True] * 6,
    "present_makes_runnable": [False] * 3 + [True] * 4,
    "probe_fixed": [False] + [True] * 6,
    "pg_clears_queue": [True] * 7,
    "pg_resets_hash": [False] * 2 + [True] * 5,
    "hash_multiplier": ["old"] * 4 + ["new"] * 3,
    "guest_wait": ["halt_unsafe"] * 5 + ["user_only"] * 2,
    "send_always": ["auto"] * 5 + ["never"] * 2,
    "host_kernel_rule": ["send_user_only"] * 7,
    "preempt": [False] * 7,
    "prefault": ["direct_only"] + ["same_mmu"] * 6,
    "ready_needs_not_present": [False] * 5 + [True] * 2,
    "ready_by_interrupt": [False] * 5 + [True] * 2,
    "completion_kicks": [False] * 5 + [True] * 2,
    "token_nonzero": [False] * 6 + [True],
    "online_zeroes_slot": [False] * 7,
    "apf_in_guest_mode": [True] * 4 + [False] * 3,
    "paging_required": [False] * 6 + [True],
    "msr_reserved": [0x3C] * 4 + [0x38, 0x30, 0x30],
    "alloc_before_lock": [False] * 6 + [True],
    "nested_fix": ["none"] * 4 + ["2017", "2020", "2020"],
    "gap_g0": [True] * 5 + [False] * 2,
    "gap_g1": [True] * 7,
    "gap_g2": [True] * 7,
    "gap_g3": [True] * 5 + [False] * 2,
    "gap_g5": [True] * 7,
    "gap_g6": [True] * 7,
    "gap_g7": [True] * 7,
}
"""What each switch is in the profiles, oldest first."""


def test_the_values_of_every_switch_are_known() -> None:
    assert list(VALUES) == list(SWITCHES), "VALUES has every switch, in the order of the table"


@pytest.mark.parametrize(("switch", "values"), VALUES.items(), ids=VALUES)
def test_a_switch_over_the_generations(switch: str, values: Sequence[object]) -> None:
    assert [getattr(resolve(name, {}), switch) for name in PROFILES] == values


@pytest.mark.parametrize("name", SWITCHES)
def test_every_switch_can_be_used_alone(name: str) -> None:
    base = resolve("2.6.38", {})
    for value in SWITCHES[name].values:
        changed = resolve("2.6.38", {name: value})
        differing = [s for s in SWITCHES if getattr(changed, s) != getattr(base, s)]
        assert differing == ([] if value == getattr(base, name) else [name])
        assert getattr(changed, name) == value


@pytest.mark.parametrize(
    ("overrides", "g1", "g2"),
    [
        ({}, True, True),
        ({"nested_fix": "2017"}, False, True),
        ({"nested_fix": "2020"}, False, False),
        ({"gap_g1": False}, False, True),
        ({"gap_g2": False}, True, False),
    ],
)
def test_the_nested_fixes_close_gaps_whatever_their_switches_say(
    overrides: dict[str, object], g1: bool, g2: bool
) -> None:
    switches = resolve("2.6.38", overrides)
    assert (switches.g1_open, switches.g2_open) == (g1, g2)


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
        ("5.4", 'the newest profile not after 5.4 is "4.13"'),
        ("5.10", 'the newest profile not after 5.10 is "5.8"'),
        ("4.4.302", 'the newest profile not after 4.4.302 is "3.x"'),
        ("2.6.40", 'the newest profile not after 2.6.40 is "2.6.39"'),
        ("6.12", 'the newest profile not after 6.12 is "6.x"'),
        ("2.6.32", 'the first version with a profile is "2.6.38"'),
        ("posted-v6", 'did you mean "posted-v7"?'),
    ],
)
def test_a_version_without_a_profile_is_told_the_one_before_it(version: str, hint: str) -> None:
    with pytest.raises(ProfileError, match=re.escape(hint)):
        resolve(version, {})
