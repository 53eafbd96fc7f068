"""Durations, sizes and rates as people write them."""

from __future__ import annotations

import pytest

from pagewake.scenario.units import (
    format_duration,
    format_pages,
    parse_duration,
    parse_pages,
    parse_rate,
    parse_size,
)


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("0ns", 0), ("5us", 5_000), ("1.5ms", 1_500_000), ("60s", 60 * 10**9), ("2m", 120 * 10**9),
        ("1h", 3600 * 10**9), ("0.1us", 100), (" 7 ms ", 7_000_000), ("1.000000001s", 10**9 + 1),
    ],
)  # fmt: skip
def test_durations_are_whole_nanoseconds(text: str, ns: int) -> None:
    assert parse_duration(text) == ns


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [("4KiB", 4096), ("512MiB", 512 << 20), ("1GiB", 1 << 30), ("1.5GiB", 3 << 29), ("7B", 7)],
)
def test_sizes_are_whole_bytes(text: str, size_bytes: int) -> None:
    assert parse_size(text) == size_bytes


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("5", '"5us"'), ("us", '"5us"'), ("5 sec", '"5s"'), ("5µs", '"5us"'), ("-5us", '"5us"'),
        ("1e3us", '"5us"'), ("5us 3ns", '"5us"'), ("", '"5us"'), ("0.5ns", '"5us"'),
        ("5000000h", '"5us"'), ("5MiB", '"5us"'),
    ],
)  # fmt: skip
def test_what_is_no_duration_is_shown_with_one_that_is(text: str, hint: str) -> None:
    with pytest.raises(ValueError, match=r"duration|unit") as caught:
        parse_duration(text)
    assert f'"{text}"' in str(caught.value)
    assert hint in str(caught.value)


@pytest.mark.parametrize(
    ("text", "hint"),
    [("512MB", '"512MiB"'), ("512M", '"512MiB"'), ("512", '"512MiB"'), ("1kb", '"512MiB"')],
)
def test_what_is_no_size_is_shown_with_one_that_is(text: str, hint: str) -> None:
    with pytest.raises(ValueError, match="unit") as caught:
        parse_size(text)
    assert hint in str(caught.value)


def test_memory_comes_in_pages() -> None:
    assert (parse_pages("512MiB"), format_pages(3), format_pages(256)) == (131_072, "12KiB", "1MiB")
    with pytest.raises(ValueError, match=r'"5KiB" is not a multiple.*nearest is "8KiB"'):
        parse_pages("5KiB")


def test_durations_are_written_in_the_largest_whole_unit() -> None:
    written = [format_duration(ns) for ns in (0, 1, 1_500, 2_000_000, 60 * 10**9)]
    assert written == ["0ns", "1ns", "1500ns", "2ms", "60s"]


def test_rates_are_per_second() -> None:
    assert parse_rate("100/s") == 100.0
    with pytest.raises(ValueError, match=r'"100/m" is not a rate.*"100/s"'):
        parse_rate("100/m")
