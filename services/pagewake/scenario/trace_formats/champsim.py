"""Traces of the ChampSim simulator: a binary record of 64 bytes for every instruction.

Little-endian (`input_instr` of ChampSim's inc/trace_instruction.h): the instruction's address, is
it a branch and was it taken, two destination and four source registers, then two addresses that it
writes and four that it reads; 0 stands for none.  An instruction is fetched, reads, then writes.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pagewake.errors import DataError
from pagewake.scenario.trace_formats.blocks import PAGE_SHIFT, Bools, Ints, Runs, TraceBlock

RECORD_BYTES = 64
_LOOKED_AT = 64  # records, by which a file is known
_RECORD = np.dtype([
    ("ip", "<u8"), ("branch", "u1", 2), ("registers", "u1", 6), ("written", "<u8", 2),
    ("read", "<u8", 4),
])  # fmt: skip


def is_champsim(begun: bytes) -> bool:
    """Whether the first records are plausible: an address each, and flags that are 0 or 1."""
    records = np.frombuffer(begun[: len(begun) // RECORD_BYTES * RECORD_BYTES], _RECORD)
    records = records[:_LOOKED_AT]
    return bool(len(records) and (records["ip"] > 0).all() and (records["branch"] <= 1).all())


def blocks(name: str, begun: bytes, chunks: Iterator[bytes]) -> Iterator[TraceBlock]:
    """Runs of accesses to one page of one kind."""
    runs, icount, data = Runs(), 0, begun
    while data:
        whole = len(data) // RECORD_BYTES * RECORD_BYTES
        records = np.frombuffer(data[:whole], _RECORD)
        _check(name, icount, records)
        yield runs.merged(*_accesses(records, icount))
        icount += len(records)
        more = next(chunks, b"")
        if not more and whole < len(data):
            raise DataError(
                f"{name}: record {icount + 1} is torn: {len(data) - whole} bytes of"
                f" {RECORD_BYTES}; copy the file again, or cut it to whole records"
            )
        data = data[whole:] + more
    yield runs.rest


def _check(name: str, before: int, records: np.ndarray[tuple[int], np.dtype[np.void]]) -> None:
    bad = (records["branch"] > 1).any(axis=1)
    if bad.any():
        raise DataError(
            f"{name}: record {before + int(np.argmax(bad)) + 1} is none of ChampSim's: a flag is"
            " neither 0 nor 1; traces of Cloudsuite (records of 96 bytes) are not read"
        )


def _accesses(
    records: np.ndarray[tuple[int], np.dtype[np.void]], before: int
) -> tuple[Ints, Ints, Bools]:
    addresses = np.column_stack((records["ip"], records["read"], records["written"]))
    there = addresses != 0
    there[:, 0] = True
    icount, column = np.nonzero(there)
    page = (addresses[there] >> np.uint64(PAGE_SHIFT)).astype(np.int64)
    return icount + before + 1, page, column > 4
