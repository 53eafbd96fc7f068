"""Which populated pages are resident at time 0 (scenario key `populated`).

Memory that was written before the run began is resident up to the VM's limit and in swap beyond
it.  Which pages are which is a keyed draw per gfn: each gfn has a word that depends on nothing but
(seed, vm, gfn), and the gfns with the smallest words are resident.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pagewake.simtime.randomness import mix_u64


def populate(
    seed: int, vm: str, gfns: npt.NDArray[np.integer], resident_pages: int
) -> npt.NDArray[np.bool_]:
    """Which of the distinct `gfns` are resident at time 0, in their order: min(len, pages) are."""
    assert resident_pages >= 0, resident_pages
    resident = np.zeros(len(gfns), dtype=np.bool_)
    if resident_pages >= len(gfns):
        resident[:] = True
    elif resident_pages:
        words = mix_u64(seed, f"{vm}/residency", gfns.astype(np.uint64))
        resident[np.argpartition(words, resident_pages - 1)[:resident_pages]] = True
    return resident
