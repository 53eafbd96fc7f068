"""Requests that a group of tasks serves: when they come, what each costs, whose turn it is.

One queue per group and VM, first come, first served, with the tasks as its servers.  Arrivals are
an open loop (a rate, or instants of a file: they come whether anybody is ready or not) or a closed
one (clients, each of which thinks and asks again once it was answered).  A request's latency counts
from the instant at which it was meant to come, so a server that falls behind cannot hide it.

What request i costs is a function of the seed, the VM, the group and i.  Draws are scaled by
correctly rounded operations only, so every machine draws the same.

A server that is done takes the next request, even one that has yet to come, and sleeps until then
by a timer of its own.  Nothing is lost by that: whoever takes a request holds the earliest that
nobody else has, so while one waits, every server is busy with an earlier one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from copy import copy
from heapq import heapify, heappop, heappush
from typing import Final, NamedTuple, Protocol

from mypy_extensions import mypyc_attr

from pagewake.guest_kernel.config import Spread
from pagewake.guest_kernel.streams import PatternStream
from pagewake.guest_kernel.touch_buffer import BufferedStream, Region, Rows
from pagewake.kvm.page_table import Pages
from pagewake.simtime.randomness import Draws
from pagewake.simtime.state import Saved

NS_PER_S: Final = 1e9


class Request(NamedTuple):
    """`taken_ns`: it left the queue, which is not before it arrived."""

    number: int
    arrived_ns: int
    taken_ns: int
    service_ns: int
    touches: int


# --------------------------------------------------------------------------- arrivals


@mypyc_attr(allow_interpreted_subclasses=True)
class Arrivals(Saved, ABC):
    """When requests come; `endless`: there is always another one."""

    __slots__ = ()

    endless = True

    @abstractmethod
    def next_ns(self, number: int) -> int | None:
        """The earliest that nobody took, which is request `number`; None: there will be none."""

    @abstractmethod
    def answered(self, number: int, at_ns: int) -> None:
        """Request `number` was done: a closed loop goes on from here."""


@mypyc_attr(allow_interpreted_subclasses=True)
class OpenLoop(Arrivals):
    """They come whether those before were answered or not."""

    __slots__ = ()

    def answered(self, number: int, at_ns: int) -> None:
        """Nothing comes of it."""


@mypyc_attr(allow_interpreted_subclasses=True)
class RateArrivals(OpenLoop):
    """So many a second: at equal distances, or (with `draws`) as a Poisson process."""

    __slots__ = ("_at_ns", "_draws", "per_s")

    def __init__(self, per_s: float, draws: Draws | None) -> None:
        self.per_s = per_s
        self._draws = draws
        self._at_ns = 0.0

    def next_ns(self, number: int) -> int:
        due = 1.0 if self._draws is None else self._draws.exponential(number)
        self._at_ns += due / self.per_s * NS_PER_S
        return int(self._at_ns)


class Instants(Protocol):
    """Where instants are read from; a snapshot holds this, not them."""

    def instants(self) -> Sequence[int]: ...


@mypyc_attr(allow_interpreted_subclasses=True)
class ListedArrivals(OpenLoop):
    """At given instants, in order."""

    __slots__ = ("source",)

    endless = False

    def __init__(self, source: Instants) -> None:
        self.source = source

    def next_ns(self, number: int) -> int | None:
        listed = self.source.instants()
        return listed[number] if number < len(listed) else None


@mypyc_attr(allow_interpreted_subclasses=True)
class Clients(Arrivals):
    """A closed loop: each client thinks, asks, and thinks again once it has its answer."""

    __slots__ = ("_asking", "_draws", "clients", "think")

    def __init__(self, clients: int, think: Spread, draws: Draws) -> None:
        self.clients = clients
        self.think = think
        self._draws = draws
        self._asking = [think.draw(draws, client) for client in range(clients)]
        heapify(self._asking)

    def next_ns(self, number: int) -> int | None:
        return heappop(self._asking) if self._asking else None

    def answered(self, number: int, at_ns: int) -> None:
        heappush(self._asking, at_ns + self.think.draw(self._draws, self.clients + number))

    def __copy__(self) -> Clients:
        other = Clients(0, self.think, self._draws)
        other._asking = self._asking.copy()
        return other


# --------------------------------------------------------------------------- the queue


@mypyc_attr(allow_interpreted_subclasses=True)
class Requests(Saved):
    """The queue of the group `name`; `limit`: there are no more than so many."""

    __slots__ = ("_arrivals", "_draws", "_held", "limit", "name", "service", "taken", "touches")

    def __init__(
        self,
        name: str,
        arrivals: Arrivals,
        service: Spread,
        touches: int,
        draws: Draws,
        limit: int | None = None,
    ) -> None:
        self.name = name
        self._arrivals = arrivals
        self.service = service
        self.touches = touches
        self._draws = draws
        self.limit = limit
        self.taken = 0
        self._held: dict[int, int] = {}

    @property
    def ends(self) -> bool:
        """There will be a last one."""
        return self.limit is not None or not self._arrivals.endless

    def take(self, now_ns: int) -> Request | None:
        """The next one, also if it has yet to come; None: there is none for this server."""
        number = self.taken
        if number == self.limit:
            return None
        arrived_ns = self._arrivals.next_ns(number)
        if arrived_ns is None:
            return None
        self.taken += 1
        self._held[number] = arrived_ns
        service_ns = max(1, self.service.draw(self._draws, number))
        return Request(number, arrived_ns, max(arrived_ns, now_ns), service_ns, self.touches)

    def done(self, request: Request, at_ns: int) -> None:
        """It was served."""
        del self._held[request.number]
        self._arrivals.answered(request.number, at_ns)

    def unanswered(self, until_ns: int) -> int:
        """How many came before that instant and wait or are being served."""
        arrivals, number = copy(self._arrivals), self.taken
        while number != self.limit:
            arrived_ns = arrivals.next_ns(number)
            if arrived_ns is None or arrived_ns >= until_ns:
                break
            number += 1
        held = sum(1 for arrived_ns in self._held.values() if arrived_ns < until_ns)
        return number - self.taken + held


# --------------------------------------------------------------------------- what it touches


@mypyc_attr(allow_interpreted_subclasses=True)
class RequestStream(BufferedStream):
    """The touches of a server, spread evenly over the CPU time of each request.

    Touch j of k of a request of S ns starts j * S // k ns after it; which page that is, `source`
    says, whose touches the server makes one after another.
    """

    __slots__ = ("_began_ns", "_ends_ns", "_touches", "source")

    def __init__(
        self, view: Pages, region: Region, source: PatternStream, *, writing: bool = False
    ) -> None:
        super().__init__(view, region, 0, writing)
        self.source = source
        self._touches = 0
        self._began_ns = self._ends_ns = 0

    def begin(self, service_ns: int, touches: int) -> None:
        """From now on the next request."""
        assert self.cpu_ns == self._ends_ns, "the request before is not done"
        assert self.touches == self._count
        self._began_ns = self.cpu_ns
        self._ends_ns = self.cpu_ns + service_ns
        self._touches = touches
        self._count += touches

    def remaining_ns(self) -> int:
        return self._ends_ns - self.cpu_ns

    def cpu_until_miss(self, limit_ns: int) -> int:
        return super().cpu_until_miss(min(limit_ns, self._ends_ns - self.cpu_ns))

    def _start_ns(self, index: int) -> int:
        left = self._count - index
        if left <= 0:
            return self._ends_ns
        touches = self._touches
        return self._began_ns + (self._ends_ns - self._began_ns) * (touches - left) // touches

    def _stop(self, target_ns: int) -> int:
        touches, service_ns = self._touches, self._ends_ns - self._began_ns
        started = -(-(target_ns - self._began_ns) * touches // service_ns)
        return min(self._count - touches + min(started, touches) - self._first, self._size)

    def ahead_max(self) -> int:
        return self.source.ahead_max()

    def _generate(self, index: int) -> Rows:
        return self.source.rows(index, self._misses())
