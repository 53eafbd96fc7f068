"""Every defect breaks by the rules that had it, and is mended by the one switch it names."""

from __future__ import annotations

import re

import pytest

from pagewake.errata.entry import Entry, entries, entry
from pagewake.errata.trial import seen_by, try_out
from pagewake.errors import ConfigError
from pagewake.events.types import EVENTS
from pagewake.kvm.profile import PROFILES
from pagewake.scenario.writing import effective_table
from tests.support.invariants import check_run

STRUCTS = {kind.__name__: kind for kind in EVENTS}
ALL = pytest.mark.parametrize("one", entries(), ids=lambda one: one.name)


@ALL
def test_it_breaks_before_and_is_mended_after(one: Entry) -> None:
    trial = try_out(one)
    assert trial.before.broken, one.broken.says
    assert not trial.before.mended, "shown as mended where it is broken"
    assert not trial.after.broken, one.broken.says
    assert trial.after.mended, one.mended.says
    assert trial.before.digest != trial.after.digest
    for ran in (trial.before, trial.after):
        assert check_run(ran.scenario, ran.events) == [], "legal by the rules in force"


def has(number: int, profile: str) -> bool:
    return bool(seen_by(entry(str(number)), profile))


@ALL
def test_the_kernel_it_is_shown_by_has_it_unless_its_rule_is_another_there(one: Entry) -> None:
    rule = PROFILES[one.profile].values.get(one.switch.rpartition(".")[2])
    assert has(one.id, one.profile) == (rule in (one.before, *one.also))


def test_what_a_kernel_has_follows_its_rules_and_backports() -> None:
    assert [has(43, name) for name in ("3.16", "4.4", "6.12", "6.19")] == [False, True, True, False]
    assert [has(35, name) for name in ("5.4", "5.10", "debian11")] == [False, True, False]
    assert [has(63, name) for name in ("4.9", "rhel8", "5.4")] == [False, True, False]
    assert [has(33, name) for name in ("2.6.39", "4.19", "5.8")] == [True, True, False]
    assert not has(42, "6.1"), "a VMM decides, no kernel"


@ALL
def test_its_runs_differ_in_one_value(one: Entry) -> None:
    before, after = (effective_table(one.loaded(value)) for value in (one.before, one.after))
    changed = list(differing(before, after, ""))
    assert len(changed) == 1, changed
    assert changed[0].endswith(f".{one.switch}")


def differing(one: object, other: object, key: str) -> list[str]:
    """The keys of what differs between two scenarios."""
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        one, other = dict(enumerate(one)), dict(enumerate(other))
    if isinstance(one, dict) and isinstance(other, dict):
        names = dict.fromkeys([*one, *other])
        return [
            each
            for name in names
            for each in differing(one.get(name), other.get(name), f"{key}.{name}")
        ]
    return [] if one == other else [key]


@ALL
def test_its_signs_ask_for_events_and_fields_that_exist(one: Entry) -> None:
    for sign in (one.broken, one.mended):
        fields = set(STRUCTS[sign.event].__struct_fields__)
        assert sign.fields.keys() <= fields
        for each in (*sign.then, *([sign.never] if sign.never else [])):
            assert {*each.fields, *each.same} <= set(STRUCTS[each.event].__struct_fields__)
            assert set(each.same) <= fields


@ALL
def test_it_says_how_it_is_known_and_whether_it_was_reported(one: Entry) -> None:
    assert re.search(r"\*\*[SCVTWRDM]\*\*", one.known), "a tag of semantics 0 (evidence)"
    assert one.commits
    assert one.symptom.endswith(".")
    assert one.story.strip().endswith(".")
    assert not one.reported.endswith(".")
    assert not one.title.endswith(".")


def test_there_are_many_and_each_number_is_one() -> None:
    numbers = [each.id for each in entries()]
    assert len(numbers) > 25
    assert numbers == sorted(set(numbers))


@pytest.mark.parametrize("name", ["43", "D43", "d43"])
def test_a_defect_is_found_by_its_number(name: str) -> None:
    assert entry(name).id == 43


def test_of_one_that_cannot_be_run_it_is_said_why() -> None:
    with pytest.raises(ConfigError, match=r"^D1 \(.*c7d28c24042f\) cannot be run: no run deletes"):
        entry("1")


def test_of_an_unknown_number_the_nearest_are_told() -> None:
    with pytest.raises(ConfigError, match=r'no defect "9999": nearest are \d+ \('):
        entry("9999")
    with pytest.raises(ConfigError, match="valid are D11"):
        entry("zero")
