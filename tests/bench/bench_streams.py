"""How fast access streams are: touches per second of resident tasks, microseconds per miss.

    PYTHONPATH=services python tests/bench/bench_streams.py

A resident task is asked for its next miss and run for a guest timer tick at a time; the figure
includes looking ahead and marking.  A thrashing task finds every page missing: plan, run to the
miss, see what missed, map the page, plan again, run, lose the page.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import numpy as np

from pagewake.guest_kernel.streams import (
    AccessKind,
    AccessStream,
    RandomStream,
    Region,
    SequentialStream,
    Touching,
    ZipfStream,
    ZipfTable,
)
from pagewake.guest_kernel.trace_stream import TraceStream
from pagewake.scenario.packed_trace import PackedTrace
from pagewake.scenario.trace_formats.blocks import TraceBlock
from tests.support.pages import PageView

TICK_NS = 1_000_000
MISSES = 20_000
STRETCH = 20
SECONDS = 0.5
PAGES = {"16 MiB": 4_096, "256 MiB": 65_536, "1 GiB": 262_144}


class LocalTrace:
    """A synthetic trace: runs of accesses to a drifting set of pages."""

    def __init__(self, rows: int) -> None:
        draw = np.random.default_rng(1)
        place = np.arange(rows) // 500 + draw.integers(0, 64, rows)
        icount = np.cumsum(draw.integers(0, 200, rows))
        ones = np.ones(rows, np.int64)
        block = TraceBlock(icount, place + 0x4A21, draw.random(rows) < 0.3, ones)
        self.trace = PackedTrace([block])

    def open(self) -> PackedTrace:
        return self.trace


def view_of(pages: int, mapped: int) -> PageView:
    return PageView(pages, mapped)


def patterns(view: PageView, pages: int) -> Iterator[tuple[str, AccessStream]]:
    region, seed = Region(0, pages), 7
    accesses: tuple[AccessKind, ...] = ("read", "write", "mixed")
    for access in accesses:
        yield f"random {access}", RandomStream(view, region, Touching(access), seed, "t")
    touching = Touching("write")
    yield "sequential write", SequentialStream(view, region, touching, seed, "t")
    table = ZipfTable(pages, 0.99)
    yield "zipf write", ZipfStream(view, region, touching, seed, "t", table)
    trace = LocalTrace(500_000)
    yield "trace", TraceStream(view, region, trace, repeat=1_000)


def touches_per_s(stream: AccessStream) -> float:
    """Resident: nothing misses."""
    began = time.perf_counter()
    while (took := time.perf_counter() - began) < SECONDS:
        for _ in range(STRETCH):
            stream.advance(stream.cpu_until_miss(TICK_NS))
    return stream.touches / took


def us_per_miss(stream: AccessStream, view: PageView) -> float:
    """Nothing is mapped but what just missed, and that is taken away again."""
    mapped = view.mapped
    began = time.perf_counter()
    for _ in range(MISSES):
        stream.advance(stream.cpu_until_miss(TICK_NS))
        gfn, _ = stream.current()
        mapped[gfn] = 1
        stream.advance(stream.cpu_until_miss(1))
        mapped[gfn] = 0
        stream.unmapped((gfn,))
    return (time.perf_counter() - began) / MISSES * 1e6


Figures = dict[str, list[float]]


def measured(mapped: int, measure: Callable[[AccessStream, PageView], float]) -> Figures:
    """Per pattern, a figure for each size of region."""
    rows: Figures = {}
    for pages in PAGES.values():
        view = view_of(pages, mapped)
        for name, stream in patterns(view, pages):
            rows.setdefault(name, []).append(measure(stream, view))
            view.mapped[:] = bytes([mapped]) * pages
    return rows


def show(title: str, rows: Figures) -> None:
    print(f"\n{title:32}" + "".join(f"{name:>10}" for name in PAGES))
    for name, figures in rows.items():
        print(f"{name:32}" + "".join(f"{figure:10.1f}" for figure in figures))


def main() -> None:
    resident = measured(1, lambda stream, _: touches_per_s(stream) / 1e6)
    thrashing = measured(0, us_per_miss)
    show("resident: million touches/s", resident)
    show("thrashing: us per miss", thrashing)
    ratios = {
        name: [a * b for a, b in zip(figures, thrashing[name], strict=True)]
        for name, figures in resident.items()
    }
    show("hits in the time of one miss", ratios)


if __name__ == "__main__":
    main()
