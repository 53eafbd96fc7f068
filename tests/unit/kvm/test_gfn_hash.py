"""The gfn hash: placement, probing with wrap-around, deletion, and the defects it has."""

from __future__ import annotations

from collections import Counter

import pytest

from pagewake.events.ids import Gfn
from pagewake.kvm.gfn_hash import (
    EMPTY,
    NEW_MULTIPLIER,
    OLD_MULTIPLIER,
    SLOTS,
    GfnHash,
    GfnHashFullError,
    hash_32,
)
from pagewake.scenario.interventions import MAX_VCPUS

SLOT_0 = [0, 34, 89, 178, 233, 267]
SLOT_63 = [55, 144, 199, 288, 377]


@pytest.mark.parametrize(
    ("token", "old", "new"),
    [
        (0x0, 0, 0),
        (0x1, 158, 97),
        (0x1000, 112, 136),
        (0x1001, 14, 234),
        (0x2000, 224, 16),
        (0x2003, 186, 54),
        (0x3000, 80, 153),
        (0x12345000, 66, 238),
        (0xFFFFF000, 143, 119),
        (0xFFFFFFFF, 97, 158),
    ],
)
def test_bucket_of_a_token(token: int, old: int, new: int) -> None:
    assert hash_32(token, 8, OLD_MULTIPLIER) == old
    assert hash_32(token, 8, NEW_MULTIPLIER) == new


class TestBucketsOfAVcpusTokens:
    """How many of the 256 buckets the tokens of each vcpu fall into (semantics 1.4)."""

    @staticmethod
    def buckets(vcpu: int, ids: int, multiplier: int) -> list[int]:
        return [hash_32(number << 12 | vcpu, 8, multiplier) for number in range(ids)]

    @pytest.mark.parametrize("vcpu", range(MAX_VCPUS))
    def test_with_the_old_multiplier_few(self, vcpu: int) -> None:
        assert len(set(self.buckets(vcpu, 4096, OLD_MULTIPLIER))) == (32 if vcpu else 16)
        first = len(set(self.buckets(vcpu, 256, OLD_MULTIPLIER)))
        assert first == (32 if vcpu in (23, 37, 51) else 16)

    @pytest.mark.parametrize("vcpu", range(MAX_VCPUS))
    def test_with_the_new_one_many(self, vcpu: int) -> None:
        assert len(set(self.buckets(vcpu, 4096, NEW_MULTIPLIER))) == 256
        first = Counter(self.buckets(vcpu, 256, NEW_MULTIPLIER))
        assert 139 <= len(first) <= 141
        assert max(first.values()) == 3

    def test_buckets_of_vcpu_0_in_closed_form(self) -> None:
        expected = [7 * number % 16 * 16 for number in range(4096)]
        assert self.buckets(0, 4096, OLD_MULTIPLIER) == expected

    def test_the_seventeenth_bucket_of_vcpu_1(self) -> None:
        buckets = self.buckets(1, 3217, OLD_MULTIPLIER)
        assert len(set(buckets[:3216])) == 16
        assert len(set(buckets)) == 17


@pytest.mark.parametrize(
    ("gfn", "old", "new"),
    [
        (0, 0, 0),
        (1, 39, 24),
        (2, 15, 48),
        (3, 54, 9),
        (0x100, 13, 50),
        (0x101, 53, 10),
        (0x12345, 10, 18),
        (0x7FFFF, 24, 52),
        (0x80000, 0, 12),
        (0x100000001, 39, 24),
    ],
)
def test_a_gfn_goes_to_its_home_slot(gfn: int, old: int, new: int) -> None:
    for multiplier, slot in ((OLD_MULTIPLIER, old), (NEW_MULTIPLIER, new)):
        table = GfnHash(multiplier)
        table.add(Gfn(gfn))
        assert table.slots().index(gfn) == slot


def test_the_old_multiplier_uses_16_buckets_for_the_tokens_of_a_vcpu() -> None:
    tokens = [n << 12 for n in range(256)]
    assert len({hash_32(token, 8, OLD_MULTIPLIER) for token in tokens}) == 16
    assert len({hash_32(token, 8, NEW_MULTIPLIER) for token in tokens}) == 141


def test_colliding_gfns_take_the_slots_that_follow() -> None:
    table = GfnHash()
    for gfn in SLOT_0:
        table.add(Gfn(gfn))
    assert table.slots()[: len(SLOT_0)] == SLOT_0
    assert all(table.find(Gfn(gfn)) for gfn in SLOT_0)


def test_probing_wraps_around_the_end() -> None:
    table = GfnHash()
    for gfn in SLOT_63:
        table.add(Gfn(gfn))
    assert table.slots()[63] == SLOT_63[0]
    assert table.slots()[: len(SLOT_63) - 1] == SLOT_63[1:]
    table.delete(Gfn(SLOT_63[0]))
    assert table.slots()[63] == SLOT_63[1]
    assert [table.find(Gfn(gfn)) for gfn in SLOT_63] == [False, True, True, True, True]


def test_deletion_leaves_an_entry_that_is_at_home() -> None:
    table = GfnHash()
    table.add(Gfn(SLOT_63[0]))
    table.add(Gfn(SLOT_0[0]))
    table.add(Gfn(SLOT_63[1]))
    table.delete(Gfn(SLOT_63[0]))
    assert table.slots()[0] == SLOT_0[0]
    assert table.slots()[63] == SLOT_63[1]


def test_the_same_gfn_can_be_in_twice() -> None:
    table = GfnHash()
    table.add(Gfn(7))
    table.add(Gfn(7))
    table.delete(Gfn(7))
    assert table.find(Gfn(7))
    assert len(table) == 1


def test_deleting_an_absent_gfn_changes_nothing_while_there_is_room() -> None:
    table = GfnHash()
    for gfn in SLOT_0[:3]:
        table.add(Gfn(gfn))
    before = table.slots()
    table.delete(Gfn(SLOT_0[3]))
    assert table.slots() == before
    assert len(table) == 3


def full_table(probe_fixed: bool = True) -> GfnHash:
    table = GfnHash(OLD_MULTIPLIER, probe_fixed)
    for gfn in range(1000, 1000 + SLOTS):
        table.add(Gfn(gfn))
    return table


@pytest.mark.parametrize("probe_fixed", [True, False])
def test_deleting_an_absent_gfn_from_a_full_table_erases_who_is_in_its_home_slot(
    probe_fixed: bool,
) -> None:
    table = full_table(probe_fixed)
    victim = table.slots()[hash_32(5, 6)]
    table.delete(Gfn(5))
    assert not table.find(Gfn(victim))
    assert len(table) == SLOTS - 1


def test_as_posted_an_absent_gfn_is_enough_to_erase_another() -> None:
    table = GfnHash(probe_fixed=False)
    table.add(Gfn(SLOT_0[0]))
    table.delete(Gfn(SLOT_0[1]))
    assert not table.find(Gfn(SLOT_0[0]))
    assert table.slots() == [EMPTY] * SLOTS
    assert len(table) == 0


def test_as_posted_the_look_up_goes_past_empty_slots() -> None:
    fixed, posted = GfnHash(), GfnHash(probe_fixed=False)
    for table in (fixed, posted):
        for gfn in SLOT_0:
            table.add(Gfn(gfn))
        for gfn in SLOT_0[:3]:
            table.delete(Gfn(gfn))
        assert [table.find(Gfn(gfn)) for gfn in SLOT_0] == [False] * 3 + [True] * 3


def test_adding_to_a_full_table_is_an_error_not_a_hang() -> None:
    with pytest.raises(GfnHashFullError, match="0x5"):
        full_table().add(Gfn(5))


def test_reset_empties_the_table() -> None:
    table = full_table()
    table.reset()
    assert len(table) == 0
    assert not table.find(Gfn(1000))
    table.add(Gfn(1000))
    assert table.find(Gfn(1000))
