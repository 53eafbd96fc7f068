"""Which partitions come next, decided from what is owned alone."""

from __future__ import annotations

from collections.abc import Mapping

from pagewake.cluster.takeover import Claims, Place, next_takeovers

A, B, C, D = [("pagewake.r.faults", partition) for partition in range(4)]
NOW_S = 100.0


def takeovers(
    assigned: set[Place],
    owned: Mapping[Place, bool] | None = None,
    *,
    active: set[Place] | None = None,
    given_up: set[Place] | None = None,
    not_before_s: Mapping[Place, float] | None = None,
) -> tuple[list[Place], list[Place]]:
    claims = Claims(
        assigned,
        owned or {},
        given_up or set(),
        not_before_s or {},
        assigned if active is None else active,
    )
    put_off, take = next_takeovers(claims, NOW_S)
    return put_off, take


def test_everything_of_runs_under_way_is_taken_at_once_in_order() -> None:
    assert takeovers({C, A, B}) == ([], [A, B, C])


def test_what_is_owned_is_not_taken_again() -> None:
    assert takeovers({A, B}, {A: True}) == ([], [B])
    assert takeovers({A, B}, {A: True, B: False}) == ([], [])


def test_what_is_given_up_is_left_alone() -> None:
    assert takeovers({A, B}, given_up={A}) == ([], [B])


def test_what_starts_over_waits_for_its_time_and_no_longer() -> None:
    assert takeovers({A, B}, not_before_s={A: NOW_S + 0.1}) == ([], [B])
    assert takeovers({A, B}, not_before_s={A: NOW_S}) == ([], [A, B])


def test_what_has_ended_waits_while_anything_goes_on() -> None:
    assert takeovers({A, B, C}, {A: False}, active={A, B}) == ([], [B])
    assert takeovers({A, B, C}, {A: False, B: True}, active={A, B}) == ([], [])
    assert takeovers({A, B, C}, {A: True, B: True}, active={A, B}) == ([], [])
    assert takeovers({A, B, C}, {A: True, B: True}, active=set()) == ([], [C])


def test_what_has_ended_is_taken_one_by_one() -> None:
    assert takeovers({A, B, C}, active=set()) == ([], [A])
    assert takeovers({A, B, C}, {A: False}, active=set()) == ([], [B])


def test_what_has_ended_and_is_executed_again_gives_way_to_what_goes_on() -> None:
    assert takeovers({A, B, C, D}, {D: False, C: True}, active={A, B}) == ([D], [A, B])


def test_nothing_gives_way_to_what_may_not_be_taken_yet() -> None:
    assert takeovers({A, B}, {B: False}, active={A}, not_before_s={A: NOW_S + 1}) == ([], [])


def test_a_run_under_way_whose_partition_is_another_s_is_none_of_ours() -> None:
    assert takeovers({A, B}, active={C}) == ([], [A])
