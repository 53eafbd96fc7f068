"""A page table for access streams: arrays that a test fills."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class PageView:
    """Implements `Pages`: 1 = mapped, accessed, dirty."""

    __slots__ = ("accessed", "dirty", "mapped")

    def __init__(
        self, mapped: NDArray[np.uint8], accessed: NDArray[np.uint8], dirty: NDArray[np.uint8]
    ) -> None:
        self.mapped = mapped
        self.accessed = accessed
        self.dirty = dirty
