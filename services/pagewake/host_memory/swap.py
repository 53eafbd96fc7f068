"""The swap device: requests in order of submission onto `parallelism` channels.

A request starts when it is submitted or when a channel is free, whichever is later, and takes the
medium's drawn access time plus a transfer per page. So its completion is known at submission, and
nothing submitted later can change it. The draw is keyed (seed, "<host>/device", request number).

Swap space is taken to be ample: slots are handed out in sequence, as Linux does from a free
cluster, so dirty pages that leave together are neighbours on the device and are written by one
request of up to `writeback_pages` pages. Whether a page's copy in swap is still valid is the
shard's knowledge, its dirty bit; a valid one is dropped without I/O (design,
"Eviction in two steps").

`workers` bounds how many page-ins are worked on at once, like the kernel's workqueue (semantics
3.6): a read that a worker starts holds it to its completion, further ones wait for one in order.
Write-back needs no worker, nor does what a vcpu thread reads itself.

A synchronous medium has no queue: a page takes its cost, and that is all (semantics 3.3).
"""

from __future__ import annotations

from bisect import bisect_right, insort
from heapq import heappop, heappush
from typing import Final

from mypy_extensions import mypyc_attr

from pagewake.host_memory.media import AccessTime, Medium
from pagewake.simtime.randomness import Draws
from pagewake.simtime.state import Saved

DRAWS_AHEAD: Final = 128
"""So many take as long as two dozen one by one in pure Python, and some five kilobytes."""


@mypyc_attr(allow_interpreted_subclasses=True)
class Device(Saved):
    """Simulates the swap device of one host."""

    __slots__ = (
        "medium",
        "requests",
        "_draws",
        "_drawn",
        "_channels",
        "_workers",
        "_outstanding",
    )

    def __init__(self, medium: Medium, seed: int, host: str, workers: int) -> None:
        self.medium = medium
        self.requests = 0
        self._draws = Draws(seed, f"{host}/device")
        self._drawn: list[int] = []
        self._channels = [0] * medium.parallelism
        self._workers = [0] * workers
        self._outstanding: list[int] = []

    def free_ns(self) -> int:
        """The first channel is free from then on."""
        return self._channels[0]

    def read(self, now_ns: int, by_worker: bool = True, pages: int = 1, plugged_ns: int = 0) -> int:
        """Submit the read of `pages` neighbours, by a worker or without; when it is complete.

        The device has what a thread reads without a worker, and has `plugged`, so much later.
        """
        if self.medium.synchronous:
            return now_ns + pages * self.medium.cost_ns
        workers = self._workers
        if not (workers and by_worker):
            return self._submit(now_ns, now_ns + plugged_ns, self.medium.read, pages)
        free = heappop(workers)
        done = self._submit(now_ns, max(now_ns, free), self.medium.read, pages)
        heappush(workers, done)
        return done

    def soonest_ns(self) -> int:
        """No read submitted from now on is complete before."""
        return self._channels[0] + self.medium.read_min_ns

    def write(self, now_ns: int, pages: int) -> int:
        """Submit the write-back of `pages` neighbours as one request; when it is complete."""
        if self.medium.synchronous:
            return now_ns + pages * self.medium.cost_ns
        return self._submit(now_ns, now_ns, self.medium.write, pages)

    def queue(self, now_ns: int) -> int:
        """How many requests are submitted and not complete."""
        return sum(done > now_ns for done in self._outstanding)

    def change(self, now_ns: int, medium: Medium) -> None:
        """Other timings for what is submitted from now on; what was submitted keeps its times."""
        self.medium = medium
        spare = medium.parallelism - len(self._channels)
        if spare > 0:
            self._channels = sorted(self._channels + [now_ns] * spare)
        else:
            self._channels = self._channels[-spare:]

    def _submit(self, now_ns: int, start_ns: int, access: AccessTime, pages: int) -> int:
        access_ns = access.sample_ns(self._bits())
        transfer_ns = pages * self.medium.transfer_ns_per_page
        self.requests += 1
        if self.medium.pipelined:
            done = self._occupy(start_ns, transfer_ns) + access_ns
        else:
            done = self._occupy(start_ns, access_ns + transfer_ns)
        outstanding = self._outstanding
        while outstanding and outstanding[0] <= now_ns:
            heappop(outstanding)
        heappush(outstanding, done)
        return done

    def _bits(self) -> int:
        """The draw of the request that is next; they are made ahead, many at a time."""
        at = self.requests % DRAWS_AHEAD
        if at == 0 or not self._drawn:
            self._drawn = self._draws.block_u64(self.requests - at, DRAWS_AHEAD)
        return self._drawn[at]

    def _occupy(self, start_ns: int, service_ns: int) -> int:
        """The channel that was free last before the start, else the one that is free first."""
        channels = self._channels
        at = bisect_right(channels, start_ns)
        free = channels.pop(at - 1 if at else 0)
        done = (max(start_ns, free)) + service_ns
        insort(channels, done)
        return done
