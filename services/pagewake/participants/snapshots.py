"""Snapshots: a participant's state as records of a compacted topic, and back (design, "Recovery").

A snapshot is pickled, compressed and cut into parts.  Parts and manifest are written under the
keys of one of two slots, a and b, by turns, so a snapshot that is not finished never replaces the
one before it.  The manifest comes last and has the checksum of all parts together; what is read
back is the newest snapshot whose parts are what its manifest says.

A pickle can run anything, and the topic is open to whoever may write to the broker: before it is
loaded it is looked through (`pickled`), and the unpickler builds only what a participant's state
consists of, and refuses every other name.
"""

from __future__ import annotations

import io
import pickle
import re
import sys
from enum import Enum
from hashlib import blake2b
from typing import Any, NamedTuple, TypeGuard

import msgspec
import numpy as np
import zstandard
from numpy.typing import NDArray

from pagewake.errors import DataError
from pagewake.events.codec import UNDECODABLE
from pagewake.guest_kernel.streams import ZipfTable
from pagewake.kvm.switches import Switches
from pagewake.participants.participant import Participant, SavedState
from pagewake.participants.pickled import Walk
from pagewake.simtime.state import CORE

PART_BYTES = 512 * 1024
"""Of one record; half of what a record may have, so no broker setting has to know of snapshots."""
SLOTS = "ab"
MANIFEST = "manifest"
STATE_BYTES_MAX = 4 << 30
"""What a damaged or forged snapshot may make this process allocate; no state is near it."""
RATIO_MAX = 256
SMALL_BYTES = 1 << 20
"""States are compressed 2 to 10 times, empty memory some more; what says to be packed in far less
than that is made to fill memory."""
TABLE_PAGES_MAX = 1 << 26
"""Of a region whose pages are drawn by Zipf's law: 256 GiB."""
PACKAGES = (
    "pagewake.bus.port",
    "pagewake.participants.commands",
    "pagewake.participants.closing",
    "pagewake.events.",
    "pagewake.guest_kernel.",
    "pagewake.host_memory.",
    "pagewake.kvm.",
    "pagewake.nested_svm.",
    "pagewake.scenario.",
    "pagewake.simtime.",
)
OTHERS = frozenset(
    {
        ("array", "_array_reconstructor"),
        ("array", "array"),
        ("collections", "deque"),
        ("pagewake.events.types", "restored"),
        ("pagewake.participants.snapshots", "array_of"),
    }
)
"""Functions, and classes that are not ours."""
CALLED = (Enum, msgspec.Struct, Switches)
"""Of our classes those that are called; objects of all others are made without their `__init__`."""
ARRAYS = re.compile(r"[<|=][biuf][1248]")
"""Types of numpy's arrays of numbers."""


class Stamp(msgspec.Struct, frozen=True):
    """Whose snapshot it is: what manifests of all versions begin with, whatever else they say.

    `number` counts the snapshots of a participant.
    """

    run: str
    source: str
    code: str
    number: int


class Manifest(Stamp, frozen=True, forbid_unknown_fields=True):
    """A snapshot of this version; `offset` is the next input record, `core` what pickled it."""

    offset: int
    window: int
    at_ns: int
    parts: int
    size: int
    checksum: str
    seqs: dict[str, int]
    core: str


class Snapshot(NamedTuple):
    """A complete snapshot: its manifest and the compressed state."""

    manifest: Manifest
    content: bytes


def array_of(kind: str, shape: tuple[int, ...], content: bytes) -> NDArray[Any]:
    """An array of numbers out of a pickle; of another kind numpy would build anything."""
    if not ARRAYS.fullmatch(kind):
        raise DataError(f"a snapshot has an array of {kind!r}")
    return np.frombuffer(bytearray(content), kind).reshape(shape)


def _array(array: NDArray[Any]) -> tuple[Any, ...]:
    return array_of, (array.dtype.str, array.shape, array.tobytes())


def _zipf_table(pages: int, theta: float, key: int) -> ZipfTable:
    """A table that is made anew: of any size whatever the snapshot's."""
    if not 0 < pages <= TABLE_PAGES_MAX:
        raise DataError(f"a snapshot has a table of {pages} pages, above {TABLE_PAGES_MAX}")
    return ZipfTable(pages, theta, key)


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401 - whatever it names
        if (module, name) in OTHERS:
            return super().find_class(module, name)
        if (module, name) == (ZipfTable.__module__, ZipfTable.__name__):
            return _zipf_table
        if module.startswith(PACKAGES):  # what states consist of is loaded: nothing is for a pickle
            found = getattr(sys.modules.get(module), name, None)
            if isinstance(found, type) and found.__module__ == module:
                return found
        raise DataError(f"a snapshot names {module}.{name}, which no state consists of")


def pack(state: SavedState) -> bytes:
    plain = io.BytesIO()
    pickler = pickle.Pickler(plain, protocol=5)
    pickler.dispatch_table = {np.ndarray: _array}
    pickler.dump(state)
    return zstandard.ZstdCompressor(level=1).compress(plain.getbuffer())


def _ours(found: object) -> TypeGuard[type]:
    return isinstance(found, type) and found.__module__.startswith("pagewake.")


def _may_call(found: object) -> bool:
    return issubclass(found, CALLED) if _ours(found) else True  # one of `OTHERS`


def _may_make(found: object) -> bool:
    """A member of an enumeration is everybody's."""
    return _ours(found) and not issubclass(found, Enum)


def unpack(content: bytes) -> SavedState:
    """The state of a snapshot; DataError for anything that is none."""
    try:
        size = zstandard.frame_content_size(content)
        limit = min(STATE_BYTES_MAX, SMALL_BYTES + RATIO_MAX * len(content))
        if not 0 <= size <= limit:  # `decompress` believes whatever stands there
            raise DataError(f"a snapshot says no size of at most {limit} bytes: {size}")
        plain = zstandard.ZstdDecompressor().decompress(content)
        unpickler = _Unpickler(io.BytesIO(plain))
        Walk(unpickler.find_class, _may_call, _may_make).through(plain)
        state = unpickler.load()
    except DataError:
        raise
    except Exception as error:  # an altered pickle fails in any way it likes
        raise DataError(f"a snapshot cannot be read: {type(error).__name__}: {error}") from error
    if not isinstance(state, dict):
        raise DataError("a snapshot holds no state")
    return state


def take(participant: Participant, number: int, offset: int, **beside: object) -> Snapshot:
    """A snapshot of a participant whose next input record stands at `offset`.

    `beside` is kept with its state.
    """
    content = pack({**participant.state(), **beside})
    manifest = Manifest(
        run=participant.plan.run,
        source=participant.source,
        code=participant.plan.code,
        number=number,
        offset=offset,
        window=participant.window,
        at_ns=participant.at_ns,
        parts=-(-len(content) // PART_BYTES),
        size=len(content),
        checksum=_checksum(content),
        seqs=participant.seqs(),
        core=CORE,
    )
    return Snapshot(manifest, content)


def records_of(snapshot: Snapshot) -> list[tuple[bytes, bytes]]:
    """Keys and values in the order in which they are to be written: the manifest last."""
    manifest, content = snapshot
    slot = SLOTS[manifest.number % len(SLOTS)]
    records = [
        (f"{slot}/{part}".encode(), content[part * PART_BYTES : (part + 1) * PART_BYTES])
        for part in range(manifest.parts)
    ]
    return [*records, (f"{slot}/{MANIFEST}".encode(), msgspec.json.encode(manifest))]


class SnapshotReader:
    """Finds the complete snapshots among the records of one partition, fed in order."""

    def __init__(self, run: str, source: str, code: str) -> None:
        self.run = run
        self.source = source
        self.code = code
        self.refused: list[str] = []
        self._found: dict[str, Snapshot] = {}
        self._parts: dict[str, dict[int, bytes]] = {slot: {} for slot in SLOTS}

    @property
    def complete(self) -> list[Snapshot]:
        """The last complete snapshot of each slot, the newest first."""
        return sorted(self._found.values(), key=lambda found: -found.manifest.offset)

    def feed(self, key: bytes | None, value: bytes | None) -> None:
        """Take the next record of the partition."""
        slot, _, name = (key or b"").decode(errors="replace").partition("/")
        parts = self._parts.get(slot)
        if value is None:
            return
        if parts is not None and name == MANIFEST:
            self._finish(value, slot, parts)
        elif parts is not None and name.isascii() and name.isdecimal() and len(name) < 10:
            parts[int(name)] = value
        else:
            self.refused.append(f"a record with the key {key!r} is none of a snapshot")

    def _finish(self, value: bytes, slot: str, parts: dict[int, bytes]) -> None:
        """Take the snapshot that a manifest completes, or note why it is refused."""
        try:
            stamp = msgspec.json.decode(value, type=Stamp)
            said = f"snapshot {stamp.number} of {stamp.source}"
            if (stamp.run, stamp.source) != (self.run, self.source):
                self.refused.append(f"{said} of run {stamp.run!r} stands in the wrong place")
                return
            if stamp.code != self.code:
                self.refused.append(f"{said} is of version {stamp.code}, this is {self.code}")
                return
            manifest = msgspec.json.decode(value, type=Manifest)
        except UNDECODABLE as error:
            self.refused.append(f"not a manifest: {error}")
            return
        if manifest.core != CORE:
            self.refused.append(f"{said} is of a core that is {manifest.core}, this is {CORE}")
        elif (content := _assembled(manifest, parts)) is None:
            self.refused.append(f"{said} is not complete, or not what its manifest says")
        else:
            self._found[slot] = Snapshot(manifest, content)


def _assembled(manifest: Manifest, parts: dict[int, bytes]) -> bytes | None:
    if any(part not in parts for part in range(manifest.parts)):
        return None
    content = b"".join(parts[part] for part in range(manifest.parts))
    return content if _checksum(content) == manifest.checksum else None


def _checksum(content: bytes) -> str:
    return blake2b(content, digest_size=16).hexdigest()
