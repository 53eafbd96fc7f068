"""The page format: CSV with the header `icount,page,kind,count`.

Instructions so far, page number in hexadecimal, I (fetch), L (load), S (store) or M (load and
store), and how many accesses the row stands for.  A fetch is a read; only S and M write.  Rows
stand as they are: nothing is merged.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pagewake.errors import DataError
from pagewake.scenario.trace_formats.blocks import TraceBlock
from pagewake.scenario.trace_formats.lines import Lines, marked, shown, whole_lines

HEADER = b"icount,page,kind,count"
_COMMA = ord(",")
_KINDS, WRITES = marked(b"ILSM"), marked(b"SM")
_VALID = "not a row such as 1024,4a21,L,3 (icount,page,kind,count)"


def is_header(first: bytes) -> bool:
    """Whether the first line is meant for the header."""
    columns = HEADER.split(b",")
    words = first.lower().replace(b";", b",").replace(b"\t", b",").split(b",")
    return any(word.strip() in columns for word in words)


def is_row(first: bytes) -> bool:
    """Whether the first line is one of the rows, or nearly."""
    return first.count(b",") == HEADER.count(b",")


def blocks(name: str, begun: bytes, chunks: Iterator[bytes]) -> Iterator[TraceBlock]:
    """The rows after the header."""
    icount = 0
    for first_line, piece in whole_lines(name, begun, chunks):
        first, text = first_line, piece
        if first == 1:
            head, _, text = piece.partition(b"\n")
            _check_header(name, head)
            first = 2
        if text:
            block = _rows(Lines(name, text, first), icount)
            icount = int(block.icount[-1])
            yield block


def _check_header(name: str, line: bytes) -> None:
    if line != HEADER:
        raise DataError(
            f'{name}:1: {shown(line)} is not the header of the page format, "{HEADER.decode()}":'
            " these four columns in this order"
        )


def _rows(lines: Lines, since: int) -> TraceBlock:
    rows = np.arange(len(lines.ends))
    commas = lines.marks(_COMMA, 3, rows, _VALID)
    icount, bad_icount = lines.numbers(lines.starts, commas[:, 0], 10)
    page, bad_page = lines.numbers(commas[:, 0] + 1, commas[:, 1], 16)
    count, bad_count = lines.numbers(commas[:, 2] + 1, lines.ends, 10)
    kind = lines.data[commas[:, 1] + 1]
    bad_kind = (commas[:, 2] != commas[:, 1] + 2) | ~_KINDS[kind]
    lines.refuse_first(bad_icount | bad_page | bad_count | bad_kind | (count < 1), _VALID)
    backwards = np.diff(icount, prepend=since) < 0
    lines.refuse_first(backwards, "out of order: icount went back")
    return TraceBlock(icount, page, WRITES[kind], count)
