"""The running digest of a VM, and how digests combine (design, "Digest").

A VM's digest is a chain over its domain events in order of `n`: 256 events at a time are encoded
as JSON lines and hashed together with the digest so far. What is not yet hashed waits as plain
event structs, so the state pickles, and where a window or a snapshot cuts the run leaves no trace.

VMs combine to their simulated host in name order, simulated hosts to the run in index order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from hashlib import blake2b
from operator import or_
from typing import Any, Final

import msgspec

from pagewake.events.types import EVENTS, Event

BLOCK_EVENTS: Final = 256
DIGEST_BYTES: Final = 32

_encode_lines = msgspec.json.Encoder().encode_lines
_any_event: Any = reduce(or_, EVENTS)
_decode_lines = msgspec.json.Decoder(_any_event).decode_lines


class RunningDigest:
    """Digest of one VM's events; `add` takes them already numbered (`n` set), in order."""

    __slots__ = ("pending", "state")

    def __init__(
        self, state: bytes = bytes(DIGEST_BYTES), pending: list[Event] | None = None
    ) -> None:
        self.state = state
        self.pending: list[Event] = [] if pending is None else pending

    def add(self, event: Event) -> None:
        """Take in the next event."""
        self.pending.append(event)
        if len(self.pending) >= BLOCK_EVENTS:
            self.fold()

    def fold(self) -> None:
        """Hash the pending block into the chain; it must be full."""
        assert len(self.pending) == BLOCK_EVENTS
        self.state = _chain(self.state, self.pending)
        self.pending.clear()

    def __getstate__(self) -> tuple[bytes, bytes]:
        return self.state, _encode_lines(self.pending)

    def __setstate__(self, state: tuple[bytes, bytes]) -> None:
        self.state, pending = state
        self.pending = _decode_lines(pending)

    def hexdigest(self) -> str:
        """The digest of everything added so far; the chain itself does not move."""
        return (_chain(self.state, self.pending) if self.pending else self.state).hex()


def _chain(state: bytes, events: list[Event]) -> bytes:
    return blake2b(state + _encode_lines(events), digest_size=DIGEST_BYTES).digest()


def combine_vms(digests: Mapping[str, str]) -> str:
    """One simulated host's digest from its VMs' hex digests."""
    return _combine(f"{vm} {digests[vm]}\n" for vm in sorted(digests))


def combine_hosts(digests: Sequence[str]) -> str:
    """The run's digest from its simulated hosts' hex digests, in host order."""
    return _combine(f"{index} {digest}\n" for index, digest in enumerate(digests))


def _combine(lines: Iterable[str]) -> str:
    text = "".join(lines)
    return blake2b(text.encode(), digest_size=DIGEST_BYTES).hexdigest()
