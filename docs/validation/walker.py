"""The walker of the recordings, as page traces: what its threads touch, in bursts.

A burst is a random page and those behind it.  Each thread has its own part of the buffer, so that
its trace is a task of its own; in the recordings they share all of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from pagewake.simtime.randomness import Draws

THREADS: Final = 6
ACCESSES: Final = 10_000
BURST: Final = 32
BUFFER_PAGES: Final = (80 << 20) >> 12
SEED: Final = 1


def write_traces(directory: Path) -> None:
    """`burst-N.csv` for every thread, in the page format: an instruction is an access."""
    for thread in range(THREADS):
        rows = [f"{at},{page:x},{kind},1\n" for at, (page, kind) in enumerate(accesses(thread), 1)]
        place = directory / f"burst-{thread}.csv"
        place.write_text("icount,page,kind,count\n" + "".join(rows), "utf-8")


def accesses(thread: int) -> Iterator[tuple[int, str]]:
    """Page and kind of each access; half of them write."""
    pages = BUFFER_PAGES // THREADS
    starts = Draws(SEED, f"walker-{thread}").block_u32(0, -(-ACCESSES // BURST))
    coins = Draws(SEED, f"walker-{thread}/access").block_u32(0, ACCESSES)
    for number in range(ACCESSES):
        start = int(starts[number // BURST]) * pages >> 32
        page = (start + number % BURST) % pages
        yield page, "S" if coins[number] & 1 else "L"
