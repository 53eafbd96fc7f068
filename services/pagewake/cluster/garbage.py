"""Memory of what a service has let go of: found by the collector, and given back to the system.

State and events form no cycles, so a service hardly ever looks for some (`pagewake serve`).  An
owner as a whole does: its vcpus know their kernel and it knows them.  When owners were let go the
collector is therefore asked to look, which takes longer the more is still owned.
"""

from __future__ import annotations

import ctypes
import gc
from contextlib import suppress

from pagewake.cluster.clock import Clock

# Runs end by the dozen; one look finds them all.
BETWEEN_S = 2.0
# A look may take a second with thousands of vcpus: so much of the time at most.
SHARE = 0.02


class Garbage:
    """`left` notes that there is some."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._left = False
        self._not_before_s = clock.monotonic_s()

    def left(self) -> None:
        """An owner was let go."""
        self._left = True

    def collect_if_due(self) -> None:
        """Between two windows."""
        began_s = self._clock.monotonic_s()
        if not self._left or began_s < self._not_before_s:
            return
        self._left = False
        gc.collect()
        _give_back()
        took_s = self._clock.monotonic_s() - began_s
        self._not_before_s = began_s + max(BETWEEN_S, took_s / SHARE)


def _give_back() -> None:
    """What the C library keeps of freed memory for later; others have nothing of the kind."""
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)
