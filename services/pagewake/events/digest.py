"""The running digest of a VM, and how digests combine (design, "Digest").

A VM's digest is a chain over its domain events in order of `n`: 256 events at a time, as JSON
lines, are hashed together with the digest so far.  They are encoded and hashed some at a time,
before the VM rests, so few wait as structs, and those are still in the CPU's caches.  A hash under
way cannot be saved: what a snapshot holds is the digest before the block and the lines of the
block, so where a window or a snapshot cuts the run leaves no trace.

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
BATCH_EVENTS_MIN: Final = 8
"""Encoded in one go: enough that an event costs hardly more, few enough to wait in every VM."""
DIGEST_BYTES: Final = 32

_encode_lines = msgspec.json.Encoder().encode_lines
_any_event: Any = reduce(or_, EVENTS)
_decode_lines = msgspec.json.Decoder(_any_event).decode_lines


class RunningDigest:
    """Digest of one VM's events; `add` takes them already numbered (`n` set), in order.

    `room` is how many more the block takes, those pending among them: then they must be folded.

    `lines` are those of the block so far, batch by batch; None if it will not be saved.
    """

    __slots__ = ("_block", "lines", "pending", "room", "state")

    def __init__(self, *, saved: bool = True) -> None:
        self.state = bytes(DIGEST_BYTES)
        self.pending: list[Event] = []
        self.lines: list[bytes] | None = [] if saved else None
        self._block: blake2b | None = None
        self.room = BLOCK_EVENTS

    def add(self, event: Event) -> None:
        """Take in the next event."""
        self.pending.append(event)
        if len(self.pending) >= self.room:
            self.fold()

    def rest(self) -> None:
        """The VM does nothing for a while: hash what is pending, if that is worth it."""
        if len(self.pending) >= BATCH_EVENTS_MIN:
            self.fold()

    def fold(self) -> None:
        """Hash what is pending; a block that is full joins the chain."""
        events = len(self.pending)
        lines = _encode_lines(self.pending)
        self.pending.clear()
        self._take(lines, events)

    def _take(self, lines: bytes, events: int) -> None:
        assert events <= self.room
        block = self._block
        if block is None:
            block = self._block = blake2b(self.state, digest_size=DIGEST_BYTES)
        block.update(lines)
        self.room -= events
        if not self.room:
            self.state = block.digest()
            self._block = None
            self.room = BLOCK_EVENTS
            if self.lines:
                self.lines.clear()
        elif self.lines is not None:
            self.lines.append(lines)

    def __getstate__(self) -> tuple[bytes, list[bytes], bytes]:
        assert self.lines is not None, "a digest that was not to be saved"
        return self.state, self.lines, _encode_lines(self.pending)

    def __setstate__(self, state: tuple[bytes, list[bytes], bytes]) -> None:
        self.state, batches, pending = state
        self.lines = []
        self._block = None
        self.room = BLOCK_EVENTS
        for lines in batches:
            self._take(lines, lines.count(b"\n"))
        self.pending = _decode_lines(pending)

    def hexdigest(self) -> str:
        """The digest of everything added so far; the chain itself does not move."""
        if not self.pending and self._block is None:
            return self.state.hex()
        block = self._block or blake2b(self.state, digest_size=DIGEST_BYTES)
        block = block.copy()
        block.update(_encode_lines(self.pending))
        return block.hexdigest()


def combine_vms(digests: Mapping[str, str]) -> str:
    """One simulated host's digest from its VMs' hex digests."""
    return _combine(f"{vm} {digests[vm]}\n" for vm in sorted(digests))


def combine_hosts(digests: Sequence[str]) -> str:
    """The run's digest from its simulated hosts' hex digests, in host order."""
    return _combine(f"{index} {digest}\n" for index, digest in enumerate(digests))


def _combine(lines: Iterable[str]) -> str:
    text = "".join(lines)
    return blake2b(text.encode(), digest_size=DIGEST_BYTES).hexdigest()
