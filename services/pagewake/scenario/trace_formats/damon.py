"""Recordings of DAMON, the kernel's monitor of data access, as a stream in phases.

DAMON says of regions of memory in how many samples of an aggregation interval a page of theirs was
accessed.  Read are the text of `damo report access --raw_form` (before: `damo report raw`), the
tracepoints damon_aggregated and damos_before_apply of `perf script`, trace-cmd or tracefs (also
`damo record --output_type perf_script`), and JSON (`damo record --output_type json`, also
json_compressed).

An interval is a phase.  Its working set is what `damo report wss` counts: all pages of all regions
with an access.  Each is touched the more often the hotter its region: once for 1 access, twice for
2 or 3, three times for 4 to 7, and so on by powers of two, spread evenly over the phase.  DAMON
knows no order within an interval, so it is drawn: a permutation for every round, which depends on
the phase's and the round's number alone, so that a file is the same stream always.  Nor does it
know writes: all touches are reads.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from math import gcd
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from pagewake.errors import DataError
from pagewake.scenario.trace_formats.blocks import (
    OF_ANOTHER_SPACE,
    PAGE_SHIFT,
    Ints,
    TraceBlock,
    single,
)
from pagewake.scenario.trace_formats.lines import numbered, shown, whole_lines
from pagewake.scenario.trace_formats.timed import NS_PER_S, nanoseconds

FIRST_INTERVAL_NS = 100_000_000
"""Of a recording with a single interval: DAMON's default aggregation interval."""
_PIECE_PAGES = 1 << 18
_TARGETS_MAX = 255
_LARGEST = 1 << 63
_PAGE_BYTES = 1 << PAGE_SHIFT

Region: TypeAlias = tuple[int, int, int]
"""First byte, the byte behind it, accesses."""


class Snapshot(NamedTuple):
    """What DAMON saw of a target in one aggregation interval."""

    start_ns: int
    end_ns: int
    target: int
    regions: Sequence[Region]


# -------------------------------------------------------------------------- the stream


def stream(snapshots: Iterator[Snapshot]) -> Iterator[TraceBlock]:
    """The touches of all phases; those of several targets at one time are one phase."""
    clock = _Clock()
    for number, phase in enumerate(_phases(snapshots)):
        yield from _touches(number, phase, clock)


def _phases(snapshots: Iterator[Snapshot]) -> Iterator[list[Snapshot]]:
    phase: list[Snapshot] = []
    for snapshot in snapshots:
        targets = [one.target for one in phase]
        if phase and (snapshot.target in targets or snapshot.start_ns >= phase[0].end_ns):
            yield phase
            phase = []
        phase.append(snapshot)
    if phase:
        yield phase


class _Clock:
    """Since when the recording runs, and the instructions so far."""

    def __init__(self) -> None:
        self.first_ns = -1
        self.icount = 0


class _Heat(NamedTuple):
    """Regions of a phase: the first page of each, its pages, and in how many rounds it is."""

    first: Ints
    pages: Ints
    rounds: Ints


def _heat(phase: Sequence[Snapshot]) -> _Heat:
    rows = [
        (
            one.target << OF_ANOTHER_SPACE | start >> PAGE_SHIFT,
            _pages(start, end),
            seen.bit_length(),
        )
        for one in phase
        for start, end, seen in one.regions
        if seen > 0 and end > start
    ]
    return _Heat(*np.array(rows, np.int64).reshape(-1, 3).T)


def _pages(start: int, end: int) -> int:
    return (end + _PAGE_BYTES - 1 >> PAGE_SHIFT) - (start >> PAGE_SHIFT)


def _touches(number: int, phase: Sequence[Snapshot], clock: _Clock) -> Iterator[TraceBlock]:
    heat = _heat(phase)
    if clock.first_ns < 0:
        clock.first_ns = phase[0].start_ns
    begin_ns = phase[0].start_ns - clock.first_ns
    rounds = int(heat.rounds.max(initial=0))
    length_ns = max(phase[0].end_ns - phase[0].start_ns, rounds)
    for turn in range(rounds):
        its = (turn + 1) * heat.rounds // rounds > turn * heat.rounds // rounds
        starts_ns = begin_ns + turn * length_ns // rounds
        key = number << 8 | turn
        yield from _round(
            heat.first[its], heat.pages[its], starts_ns, length_ns // rounds, key, clock
        )


def _round(
    first: Ints, pages: Ints, start_ns: int, length_ns: int, key: int, clock: _Clock
) -> Iterator[TraceBlock]:
    """All pages of some regions once, in an order drawn by `key`."""
    behind = np.cumsum(pages)
    total = int(behind[-1])
    stride, shift = _permutation(total, key)
    start_ns = max(start_ns, clock.icount)
    for at in range(0, total, _PIECE_PAGES):
        index = np.arange(at, min(at + _PIECE_PAGES, total), dtype=np.int64)
        place = (index * stride + shift) % total
        region = np.searchsorted(behind, place, side="right")
        page = first[region] + place - (behind - pages)[region]
        apart = np.maximum(index * length_ns // total, index)  # one instruction each, at least
        icount = start_ns + 1 + apart
        clock.icount = int(icount[-1])
        yield single(icount, page, np.zeros(len(page), np.bool_))


def _permutation(total: int, key: int) -> tuple[int, int]:
    """A stride without a common divisor with `total`, and a shift."""
    mixed = _mix(key)
    stride = 1 + (mixed & 0xFFFF_FFFF) % max(total - 1, 1)
    while gcd(stride, total) != 1:
        stride += 1
    return stride % total or total, (mixed >> 32) % total


def _mix(key: int) -> int:
    """64 bits that depend on all of a key (the finalizer of splitmix64)."""
    mask = (1 << 64) - 1
    value = (key + 1) * 0x9E3779B97F4A7C15 & mask
    value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 & mask
    value = (value ^ value >> 27) * 0x94D049BB133111EB & mask
    return value ^ value >> 31


# -------------------------------------------------------------------------- tracepoints

_EVENT = re.compile(
    rb"\s(\d+\.\d+): (?:damon:)?damo(?:n_aggregated|s_before_apply): .*?"
    rb"target_i(?:d|dx)=(\d+) nr_regions=(\d+) (\d+)-(\d+): (\d+)(?: (?:\d+|None))?\s*"
)
_EVENTS = (b"damon_aggregated:", b"damos_before_apply:")
_WRONG_EVENT = (
    'not a region such as "1.5: damon:damon_aggregated: target_id=0 nr_regions=9 4096-8192: 3 0"'
)


def events(name: str, begun: bytes, chunks: Iterator[bytes]) -> Iterator[TraceBlock]:
    """`perf script` of damon:damon_aggregated; other lines are skipped."""
    return stream(_timed(_of_events(name, begun, chunks)))


class _Open(NamedTuple):
    """The snapshot of a target that is being read."""

    end_ns: int
    size: int
    regions: list[Region]


def _of_events(
    name: str, begun: bytes, chunks: Iterator[bytes]
) -> Iterator[tuple[int, int, list[Region]]]:
    """Snapshots (end, target, regions): whole, or what is left of them."""
    targets: dict[bytes, int] = {}
    opened: dict[int, _Open] = {}
    for first_line, text in whole_lines(name, begun, chunks):
        for number, line in numbered(name, first_line, text):
            if not any(event in line for event in _EVENTS):
                continue
            found = _EVENT.search(line)
            region = (int(found[4]), int(found[5]), int(found[6])) if found else (0, 0, 0)
            if not found or not region[0] < region[1] < _LARGEST:
                raise DataError(f"{name}:{number}: {shown(line)} is {_WRONG_EVENT}")
            target = _number(name, targets, found[2])
            now = opened.get(target)
            if now is not None and region[0] < now.regions[-1][1]:  # addresses go up in each
                yield now.end_ns, target, now.regions
                now = None
            if now is None:
                now = opened[target] = _Open(nanoseconds(found[1]), int(found[3]), [])
            now.regions.append(region)
            if len(now.regions) == now.size:
                yield now.end_ns, target, opened.pop(target).regions
    for target, left in opened.items():
        yield left.end_ns, target, left.regions


def _number(name: str, targets: dict[bytes, int], target: bytes) -> int:
    number = targets.setdefault(target, len(targets))
    if number > _TARGETS_MAX:
        raise DataError(f"{name}: more than {_TARGETS_MAX} targets: record fewer at a time")
    return number


def _timed(found: Iterator[tuple[int, int, list[Region]]]) -> Iterator[Snapshot]:
    """Snapshots begin where the one before them ended; the first is as long as the second."""
    first: list[tuple[int, int, list[Region]]] = []
    length_ns, before = 0, {-1: -1}
    for end_ns, target, regions in found:
        if length_ns:
            start_ns = before.get(target, end_ns - length_ns)
            yield Snapshot(min(start_ns, end_ns), end_ns, target, regions)
            before[target] = end_ns
            continue
        known = next((one[0] for one in first if one[1] == target), end_ns)
        first.append((end_ns, target, regions))
        if end_ns > known:
            length_ns = end_ns - known
            yield from _early(first, length_ns, before)
    if not length_ns:
        yield from _early(first, FIRST_INTERVAL_NS, before)


def _early(
    first: Sequence[tuple[int, int, list[Region]]], length_ns: int, before: dict[int, int]
) -> Iterator[Snapshot]:
    for end_ns, target, regions in first:
        start_ns = before.get(target, max(0, end_ns - length_ns))
        yield Snapshot(start_ns, end_ns, target, regions)
        before[target] = end_ns


# -------------------------------------------------------------------------- damo's own text

_RAW_REGION = re.compile(
    rb"([0-9a-f]{1,16})-([0-9a-f]{1,16}) \(\s*[\d.]+(?: ?\w+)?\s*\):?\s+(-?\d+)(?:\s+-?\d+)?\s*"
)
_RAW_VALUE = re.compile(rb"(\w[\w ]*):\s+(\S.*?)\s*")
_TIME_PART = re.compile(r"(-?[\d.,]+)\s*(ns|us|ms|s|m|h|d)?\s*")
_UNITS_NS = {
    None: 1, "ns": 1, "us": 1_000, "ms": 1_000_000, "s": NS_PER_S, "m": 60 * NS_PER_S,
    "h": 3_600 * NS_PER_S, "d": 86_400 * NS_PER_S,
}  # fmt: skip
_TIMES = (b"base_time_absolute", b"monitoring_start", b"monitoring_end")
_WRONG_RAW = (
    'not a region such as "563eba000000-563ebb000000 ( 16.000 MiB) 3 0" nor a "name: value"'
)


def raw(name: str, begun: bytes, chunks: Iterator[bytes]) -> Iterator[TraceBlock]:
    """`damo report access --raw_form`."""
    return stream(iter(sorted(_of_raw(name, begun, chunks), key=lambda one: one.start_ns)))


def _of_raw(name: str, begun: bytes, chunks: Iterator[bytes]) -> Iterator[Snapshot]:
    targets: dict[bytes, int] = {}
    times = dict.fromkeys(_TIMES, 0)
    target, regions = 0, list[Region]()
    for first_line, text in whole_lines(name, begun, chunks):
        for number, line in numbered(name, first_line, text):
            region, value = _RAW_REGION.fullmatch(line), _RAW_VALUE.fullmatch(line)
            if region:
                regions.append((int(region[1], 16), int(region[2], 16), int(region[3])))
            elif value and value[1] in times:
                if regions:
                    yield _snapshot(times, target, regions)
                    regions = []
                times[value[1]] = _time_ns(f"{name}:{number}", value[2].decode("utf-8", "replace"))
            elif value and value[1] == b"target_id":
                target = _number(name, targets, value[2])
            elif line.strip() and not value and not line.startswith(b"#"):
                raise DataError(f"{name}:{number}: {shown(line)} is {_WRONG_RAW}")
    if regions:
        yield _snapshot(times, target, regions)


def _snapshot(times: Mapping[bytes, int], target: int, regions: list[Region]) -> Snapshot:
    base_ns, start_ns, end_ns = (times[name] for name in _TIMES)
    return Snapshot(base_ns + start_ns, base_ns + max(start_ns, end_ns), target, regions)


def _time_ns(where: str, text: str) -> int:
    """A time as damo prints it: `104.599 ms`, `8 m 59.809 s`, or a bare number of nanoseconds."""
    total_ns, rest = 0, text
    while found := _TIME_PART.match(rest):
        whole, _, part = found[1].replace(",", "").partition(".")
        unit_ns = _UNITS_NS[found[2]]
        if whole.lstrip("-").isdigit() and (not part or part.isdigit()):
            total_ns += int(whole) * unit_ns + int(part or 0) * unit_ns // 10 ** len(part)
            rest = rest[found.end() :]
        else:
            break
    if rest:
        raise DataError(f'{where}: "{text[:80]}" is not a time such as 104.599 ms')
    return total_ns


# -------------------------------------------------------------------------- JSON


def records(name: str, begun: bytes, chunks: Iterator[bytes]) -> Iterator[TraceBlock]:
    """`damo record --output_type json`, read as a whole."""
    data = begun + b"".join(chunks)
    try:
        found = sorted(_of_records(json.loads(data)), key=lambda one: one.start_ns)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        line = getattr(error, "lineno", 1)
        raise DataError(
            f"{name}:{line}: not a record of DAMON in JSON ({error!r:.80}): write it anew with"
            " damo record --output_type json"
        ) from None
    return stream(iter(found))


def _of_records(found: Any) -> Iterator[Snapshot]:  # noqa: ANN401 - JSON
    targets: dict[bytes, int] = {}
    for record in found:
        target = _number("JSON", targets, str(record["target_id"]).encode())
        for snapshot in record["snapshots"]:
            regions = [
                (_integer(one["start"]), _integer(one["end"]), _accesses(one))
                for one in snapshot["regions"]
            ]
            start_ns = _integer(snapshot["start_time"])
            yield Snapshot(start_ns, _integer(snapshot["end_time"]), target, regions)


def _integer(value: str | float) -> int:
    return int(str(value).replace(",", "").split(".")[0])


def _accesses(region: Mapping[str, Any]) -> int:
    """In samples; a share of them, where that is all there is, of a hundred."""
    counted = region["nr_accesses"]
    samples = counted["samples"]
    return _integer(str(counted["percent"]).split()[0] if samples is None else samples)
