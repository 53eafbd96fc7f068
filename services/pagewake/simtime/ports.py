"""What the window protocol needs of the two domains it connects.

A simulated host's memory manager is a `HostDomain`; some VMs of that simulated host are a
`ShardDomain`.  Both are deterministic, know no bus and no clock, and pickle.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol

from mypy_extensions import mypyc_attr

from pagewake.events.types import Control, Journal, ShardSummary, ToHost, ToShard
from pagewake.simtime.state import Saved

NEVER_NS: Final = 1 << 61
"""An instant, or a time to wait, that no run reaches: 73 years; twice it fits 63 bits."""


@mypyc_attr(allow_interpreted_subclasses=True)
class ShardOutput(Saved):
    """What a shard did in one window.

    `to_host` is sorted by (at_ns, vm, n).  An answer of a VM that is frozen goes to the host like
    any other, but with `n == 0`: it is not a domain event, so it is neither digested nor counted.
    `journal` is in order of `n` per VM.  `consumed` are the deliveries as their VM numbered them.
    """

    __slots__ = ("to_host", "journal", "consumed")

    def __init__(
        self,
        to_host: list[ToHost] | None = None,
        journal: list[Journal] | None = None,
        consumed: list[ToShard] | None = None,
    ) -> None:
        self.to_host: list[ToHost] = [] if to_host is None else to_host
        self.journal: list[Journal] = [] if journal is None else journal
        self.consumed: list[ToShard] = [] if consumed is None else consumed

    def joined(self, later: ShardOutput) -> ShardOutput:
        """This one, with what the shard did next."""
        self.to_host += later.to_host
        self.journal += later.journal
        self.consumed += later.consumed
        return self


class Calm(NamedTuple):
    """What a host knows of its next answers beyond its lookahead.

    The next `reads` requests for pages in swap cause nothing but a read each, which takes `read_ns`
    at least and ends at `reads_ns` at the soonest.
    """

    reads: int = 0
    read_ns: int = 0
    reads_ns: int = 0


UNKNOWN: Final = Calm()


class HostDomain(Protocol):
    """The memory of one simulated host.  Effects are timed from their cause."""

    lookahead_ns: int
    """No answer takes effect earlier than this after its cause; at least 1."""

    def handle(self, events: Sequence[ToHost]) -> None:
        """Take in one window's events of all shards, sorted by (at_ns, vm, n)."""
        ...

    def go_on(self, from_ns: int) -> int | None:
        """Do what it does of its own accord before `from_ns`; when it does more, None if never.

        All events before `from_ns` are handled.  What comes of it takes effect no sooner than a
        lookahead after its own instant.
        """
        ...

    def take(self, from_ns: int, until_ns: int) -> list[ToShard]:
        """Hand out, once, deliveries and control before `until_ns`: (at_ns, vm, insertion).

        The shards have completed what lies before `from_ns`.

        A control event whose `vm` is empty is for the host itself: it is put into the log of the
        first shard and no shard sees it.
        """
        ...

    def next_ns(self) -> int | None:
        """The earliest pending delivery or control event."""
        ...

    def calm(self) -> Calm:
        """How the requests that come next will be answered, if nothing else comes between."""
        ...

    def intervene(self, control: Control) -> None:
        """A person's control event, at or behind what was handed out."""
        ...


class ShardDomain(Protocol):
    """Some VMs of one simulated host."""

    def never_saved(self) -> None:
        """No snapshot will be taken: what only a snapshot needs is not kept."""
        ...

    def advance(self, until_ns: int, deliveries: Sequence[ToShard]) -> ShardOutput:
        """Simulate up to `until_ns`, exclusive, with everything that the host has for that span."""
        ...

    def next_ns(self) -> int | None:
        """Lower bound of the next event for the host if nothing else comes; None: never."""
        ...

    def frozen_ns(self) -> int | None:
        """The instant at which the last of its VMs froze; None while one has not."""
        ...

    def digests(self) -> dict[str, str]:
        """VM name to the hex digest of its domain events so far."""
        ...

    def summary(self) -> ShardSummary:
        """Accounting that is not events, up to each VM's freeze."""
        ...
