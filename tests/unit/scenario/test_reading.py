"""Which key each field of a struct has."""

from __future__ import annotations

import msgspec
import pytest

from pagewake.guest_kernel.config import KernelCosts
from pagewake.scenario.domain_keys import DOMAIN_KEYS
from pagewake.scenario.reading import fields_of, read_struct, write_struct


@pytest.mark.parametrize("struct", DOMAIN_KEYS, ids=lambda struct: struct.__name__)
def test_a_table_of_the_domain_reads_back_as_it_was_written(struct: type[msgspec.Struct]) -> None:
    assert len(fields_of(struct)) == len(msgspec.structs.fields(struct))
    assert read_struct(struct, write_struct(struct())) == struct()


def test_a_field_of_the_domain_without_a_key_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = {name: key for name, key in DOMAIN_KEYS[KernelCosts].items() if name != "spin_ns"}
    monkeypatch.setattr("pagewake.scenario.reading.DOMAIN_KEYS", {KernelCosts: keys})
    with pytest.raises(AssertionError, match="KernelCosts"):
        fields_of.__wrapped__(KernelCosts)
