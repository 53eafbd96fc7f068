"""The pace a person sets for a run: simulated seconds a second of wall time."""

from __future__ import annotations

from pagewake.cluster.clock import Clock


class Pace:
    """When a window may open: where the wall clock reaches its beginning."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._speed = 0.0
        self._from_s = 0.0
        self._from_ns = 0

    def wait_s(self, speed: float, at_ns: int, *, caught_up: bool) -> float:
        """How long a window at `at_ns` has to wait yet; 0 without a pace, and in a replay."""
        if not speed or not caught_up:
            self._speed = 0.0
            return 0.0
        now_s = self._clock.monotonic_s()
        if speed != self._speed:
            self._speed = speed
            self._from_s = now_s
            self._from_ns = at_ns
        due_s = self._from_s + (at_ns - self._from_ns) / 1e9 / speed
        return max(0.0, due_s - now_s)
