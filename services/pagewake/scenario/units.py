"""Quantities as people write them, and the base units the simulator counts in.

Durations become whole nanoseconds, sizes whole bytes or whole 4 KiB pages, rates events per
simulated second. A quantity is a number and a unit without a default: "5" could be anything.
Arithmetic is decimal, so "1.5ms" is exactly 1500000 ns, and what does not come out whole is
refused instead of rounded.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal

PAGE_BYTES = 4096  # x86-64, without huge pages

_NS: Mapping[str, int] = {
    "h": 3_600_000_000_000,
    "m": 60_000_000_000,
    "s": 1_000_000_000,
    "ms": 1_000_000,
    "us": 1_000,
    "ns": 1,
}
_WRITTEN_NS = {unit: _NS[unit] for unit in ("s", "ms", "us", "ns")}
_BYTES: Mapping[str, int] = {
    "TiB": 1 << 40,
    "GiB": 1 << 30,
    "MiB": 1 << 20,
    "KiB": 1 << 10,
    "B": 1,
}
_MEANT: Mapping[str, str] = {
    "sec": "s", "secs": "s", "min": "m", "mins": "m", "hours": "h", "msec": "ms", "usec": "us",
    "µs": "us", "nsec": "ns", "T": "TiB", "TB": "TiB", "G": "GiB", "GB": "GiB", "M": "MiB",
    "MB": "MiB", "K": "KiB", "k": "KiB", "KB": "KiB", "kB": "KiB", "bytes": "B",
}  # fmt: skip
_QUANTITY = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-zµ]*)")
LARGEST = 1 << 62
"""Sums of a few such values still fit the signed 64 bits of event fields."""


def _whole(text: str, units: Mapping[str, int], what: str, example: str) -> int:
    found = _QUANTITY.fullmatch(text.strip())
    if found is None:
        raise ValueError(f'"{text}" is not a {what}; write for example "{example}"')
    number, unit = found.groups()
    if unit not in units:
        raise ValueError(_wrong_unit(text, number, unit, units, what, example))
    value = Decimal(number) * units[unit]
    if value != int(value) or value >= LARGEST:
        smallest = min(units, key=lambda name: units[name])
        raise ValueError(
            f'"{text}" is not a whole number of {smallest} below 2**62; '
            f'a valid {what} is for example "{example}"'
        )
    return int(value)


def _wrong_unit(
    text: str, number: str, unit: str, units: Mapping[str, int], what: str, example: str
) -> str:
    meant = _MEANT.get(unit) or next((name for name in units if name.lower() == unit.lower()), "")
    if meant in units:
        return f'"{text}" has no valid unit: write "{number}{meant}" ("{unit}" is no {what} unit)'
    names = ", ".join(sorted(units, key=lambda name: units[name]))
    missing = "has no unit" if not unit else f'has the unknown unit "{unit}"'
    return f'"{text}" {missing}; a {what} ends in one of {names}, for example "{example}"'


def parse_duration(text: str) -> int:
    """Nanoseconds of a duration such as "5us", "1.5ms", "60s" or "2m"; ValueError says why not."""
    return _whole(text, _NS, "duration", "5us")


def parse_size(text: str) -> int:
    """Bytes of a size such as "4KiB", "512MiB" or "1.5GiB"; ValueError says why not."""
    return _whole(text, _BYTES, "size", "512MiB")


def parse_pages(text: str) -> int:
    """Pages of a size, which must be a multiple of the page size."""
    size_bytes = parse_size(text)
    pages, rest = divmod(size_bytes, PAGE_BYTES)
    if rest:
        nearest = format_pages(pages + 1)
        raise ValueError(f'"{text}" is not a multiple of the 4 KiB page; nearest is "{nearest}"')
    return pages


def parse_rate(text: str) -> float:
    """Events per simulated second of a rate such as "100/s"."""
    number, slash, unit = text.partition("/")
    found = _QUANTITY.fullmatch(number.strip())
    if not slash or unit.strip() != "s" or found is None or found.group(2):
        raise ValueError(f'"{text}" is not a rate; write for example "100/s" or 100')
    return float(number)


def mib(size_bytes: int) -> str:
    """Mebibytes to the tenth, rounded up, for people."""
    tenths = -(-size_bytes * 10 // (1 << 20))
    return f"{tenths // 10:,}.{tenths % 10} MiB"


def _largest(value: int, units: Mapping[str, int]) -> str:
    for name, factor in units.items():
        if value and value % factor == 0:
            return f"{value // factor}{name}"
    return f"0{min(units, key=lambda name: units[name])}"


def format_duration(ns: int) -> str:
    """The largest unit up to seconds that is exact: 1500000 is "1500us"; reads back the same."""
    return _largest(ns, _WRITTEN_NS)


def format_size(size_bytes: int) -> str:
    """The largest unit that is exact, of a number of bytes."""
    return _largest(size_bytes, _BYTES)


def format_pages(pages: int) -> str:
    """The largest unit that is exact, of a number of pages."""
    return format_size(pages * PAGE_BYTES)
