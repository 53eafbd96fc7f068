"""`[[host.swap]]` and `[host.zswap]`: swap areas beside `host.medium`, and the pool before them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import msgspec

from pagewake.host_memory import places
from pagewake.scenario.keys import Duration, Integer, Key, Number, Size
from pagewake.scenario.media import Medium, MediumReader


class SwapArea(msgspec.Struct, frozen=True, kw_only=True):
    """`[[host.swap]]`: a swap area with a size; `host.medium` comes behind all of them."""

    medium: Annotated[Medium, Key("medium", MediumReader(), "preset or table")]
    size_pages: Annotated[int, Key("size", Size(), "what fits in, uncompressed")]
    priority: Annotated[
        int, Key("priority", Integer(0, 32_767), "higher ones fill first, equal ones in turn")
    ] = 0


class Zswap(msgspec.Struct, frozen=True, kw_only=True):
    """`[host.zswap]`: a compressed pool in memory, in front of all swap areas."""

    max_pool_percent: Annotated[
        int, Key("max_pool_percent", Integer(1, 100), "of `host.memory`, or of all limits")
    ] = 20
    ratio: Annotated[float, Key("ratio", Number(1.0, 1_000.0), "pages in one frame of it")] = 3.0
    compress_ns: Annotated[int, Key("compress", Duration(1), "CPU time of a page written")] = 5_000
    decompress_ns: Annotated[int, Key("decompress", Duration(1), "of a page loaded")] = 2_000
    incompressible: Annotated[
        float, Key("incompressible", Number(0.0, 1.0), "share of pages that it refuses")
    ] = 0.0


def swap_of(medium: Medium, areas: Sequence[SwapArea], zswap: Zswap | None) -> places.Swap | None:
    """What the hosts simulate; None where the medium is all."""
    if not areas and zswap is None:
        return None
    sized = [
        places.SwapArea(area.medium.device(), area.size_pages, area.priority) for area in areas
    ]
    pool = None
    if zswap is not None:
        pool = places.Zswap(
            zswap.max_pool_percent,
            round(zswap.ratio * 1000),
            zswap.compress_ns,
            zswap.decompress_ns,
            zswap.incompressible,
        )
    return places.Swap((*sized, places.SwapArea(medium.device())), pool)
