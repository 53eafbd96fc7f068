"""The enable MSR's bits."""

from __future__ import annotations

import pytest

from pagewake.kvm.msr import EnableValue, decode_enable, encode_enable, reserved_bits


@pytest.mark.parametrize(
    ("value", "decoded"),
    [
        (0, EnableValue(False, False, False, False, 0)),
        (0x1001, EnableValue(True, False, False, False, 0x1000)),
        (0x1043, EnableValue(True, True, False, False, 0x1040)),
        (0xFFFFFFFFFFFFFFC5, EnableValue(True, False, True, False, 0xFFFFFFFFFFFFFFC0)),
        (0x2009, EnableValue(True, False, False, True, 0x2000)),
    ],
)
def test_a_value_is_taken_apart_and_put_together_again(value: int, decoded: EnableValue) -> None:
    assert decode_enable(value) == decoded
    assert encode_enable(decoded) == value


@pytest.mark.parametrize(
    ("value", "mask", "set_bits"),
    [
        (0x1003, 0x3C, 0),
        (0x1002, 0x3E, 0x02),
        (0x1004, 0x3C, 0x04),
        (0x1024, 0x38, 0x20),
        (0x1008, 0x30, 0),
        (0x1040, 0x3C, 0),
    ],
)
def test_reserved_bits_of_a_generation(value: int, mask: int, set_bits: int) -> None:
    assert reserved_bits(value, mask) == set_bits
