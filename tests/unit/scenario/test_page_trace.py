"""Both trace formats become the same stream, and a line that is neither is named."""

from __future__ import annotations

import gzip
import hashlib
import lzma
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pagewake.errors import DataError
from pagewake.scenario import page_trace
from pagewake.scenario.page_trace import RawFile, TraceSource, read_trace, trace_file
from pagewake.scenario.trace_formats.blocks import TraceBlock

CSV = "icount,page,kind,count\n1,401a,I,2\n2,1fff000,S,1\n3,401b,I,25\n9,401a,L,3\n9,7,M,1\n"
LACKEY = """\
==25007== Lackey, an example Valgrind tool
--25007-- a remark

I  0401ab70,3
I  0401ab73,5
 S 1fff000638,8
 L 1fff000640,8
 M 1fff000648,4
I  0401b000,2
==25007==
"""
PAGES = {CSV: {0x401A, 0x1FFF000, 0x401B, 7}, LACKEY: {0x401A, 0x1FFF000, 0x401B}}


def blocks(path: Path) -> list[TraceBlock]:
    with path.open("rb") as file:
        return list(read_trace(str(path), RawFile(file)))


def rows(path: Path) -> list[tuple[int, int, bool]]:
    """(icount, page, write) of all rows."""
    columns = [np.concatenate(column).tolist() for column in zip(*blocks(path), strict=True)]
    return list(zip(*columns[:3], strict=True))


def write(path: Path, text: str, zipped: bool) -> Path:
    path.write_bytes(gzip.compress(text.encode()) if zipped else text.encode())
    return path


@pytest.mark.parametrize("zipped", [False, True])
def test_the_page_format_says_count_page_and_kind(tmp_path: Path, zipped: bool) -> None:
    assert rows(write(tmp_path / "t", CSV, zipped)) == [
        (1, 0x401A, False),
        (2, 0x1FFF000, True),
        (3, 0x401B, False),
        (9, 0x401A, False),
        (9, 7, True),
    ]


@pytest.mark.parametrize("zipped", [False, True])
def test_lackey_counts_instructions_and_merges_runs(tmp_path: Path, zipped: bool) -> None:
    assert rows(write(tmp_path / "t", LACKEY, zipped)) == [
        (1, 0x401A, False),
        (2, 0x1FFF000, True),
        (2, 0x1FFF000, False),
        (2, 0x1FFF000, True),
        (3, 0x401B, False),
    ]


@pytest.mark.parametrize("text", [CSV, LACKEY])
@pytest.mark.parametrize("chunk_bytes", [26, 64])
def test_where_the_file_is_cut_into_chunks_makes_no_difference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, chunk_bytes: int
) -> None:
    path = write(tmp_path / "t", text, zipped=False)
    whole = rows(path)
    monkeypatch.setattr(page_trace, "_CHUNK_BYTES", chunk_bytes)
    assert rows(path) == whole


def test_a_last_line_without_its_end_still_counts(tmp_path: Path) -> None:
    assert len(rows(write(tmp_path / "t", CSV.rstrip("\n"), zipped=False))) == 5


@pytest.mark.parametrize("pack", [bytes, gzip.compress, lzma.compress])
@pytest.mark.parametrize(("text", "accesses"), [(CSV, 32), (LACKEY, 6)])
def test_a_file_is_summed_up_with_its_sha256(
    tmp_path: Path, pack: Callable[[bytes], bytes], text: str, accesses: int
) -> None:
    data = pack(text.encode())
    (tmp_path / "t").write_bytes(data)
    trace, sha256 = trace_file(tmp_path / "t")
    assert (trace.pages, trace.rows, trace.accesses) == (len(PAGES[text]), 5, accesses)
    assert sha256 == hashlib.sha256(data).hexdigest()


def test_what_follows_the_packed_data_is_summed_too(tmp_path: Path) -> None:
    data = gzip.compress(CSV.encode()) + b"\0" * 100_000
    (tmp_path / "t").write_bytes(data)
    assert trace_file(tmp_path / "t").sha256 == hashlib.sha256(data).hexdigest()


def test_a_file_is_read_once_until_it_changes(tmp_path: Path) -> None:
    path = write(tmp_path / "t", CSV, zipped=False)
    source = TraceSource(str(path))
    first = source.open()
    assert pickle.loads(pickle.dumps(source)).open() is first
    path.write_text(CSV + "10,8,L,1\n")
    assert source.open().rows == 6


def test_reading_tells_how_far_it_is(tmp_path: Path) -> None:
    path = write(tmp_path / "t", CSV, zipped=True)
    told: list[tuple[Path, int, int]] = []
    trace_file(path, lambda *news: told.append(news))
    size = path.stat().st_size
    assert told[-1] == (path, size, size)
    assert [done for _, done, _ in told] == sorted(done for _, done, _ in told)


def test_a_built_in_trace_opens_by_name() -> None:
    trace = TraceSource("builtin:sqlite").open()
    icount, page, write = trace.read(0)
    assert (trace.pages, int(icount[0]), int(page[0])) == (606, 1, 0)
    assert (page.dtype, write.dtype) == (np.dtype(np.int64), np.dtype(np.bool_))


BAD = {
    "no header": ("1,401a,I,2\n", 1, "1,401a,I,2"),
    "another header": ("icount,page,kind\n1,4,I\n", 1, "icount,page,kind"),
    "a column missing": ("icount,page,kind,count\n1,4a,I,1\n2,4a,L\n", 3, "2,4a,L"),
    "a column too many": ("icount,page,kind,count\n1,4a,I,1,9\n", 2, "1,4a,I,1,9"),
    "no instruction count": ("icount,page,kind,count\n,4a,I,1\n", 2, ",4a,I,1"),
    "a page that is no number": ("icount,page,kind,count\n1,0x4a,I,1\n", 2, "1,0x4a,I,1"),
    "a hexadecimal count": ("icount,page,kind,count\n1a,4a,I,1\n", 2, "1a,4a,I,1"),
    "a kind that is not one": ("icount,page,kind,count\n1,4a,X,1\n", 2, "1,4a,X,1"),
    "a kind too long": ("icount,page,kind,count\n1,4a,LS,1\n", 2, "1,4a,LS,1"),
    "a row that stands for nothing": ("icount,page,kind,count\n1,4a,I,0\n", 2, "1,4a,I,0"),
    "a number without end": (
        "icount,page,kind,count\n1,1234567890abcdef,I,1\n",
        2,
        "1,1234567890abcdef,I,1",
    ),
    "an empty line": ("icount,page,kind,count\n1,4a,I,1\n\n2,4a,I,1\n", 3, ""),
    "a row out of order": ("icount,page,kind,count\n5,4a,I,1\n4,4b,I,1\n", 3, "4,4b,I,1"),
    "a torn last row": ("icount,page,kind,count\n1,4a,I,1\n2,4", 3, "2,4"),
    "columns swapped": ("page,icount,kind,count\n4a,1,I,1\n", 1, "page,icount,kind,count"),
    "capitals": ("ICount,Page,Kind,Count\n1,4a,I,1\n", 1, "ICount,Page,Kind,Count"),
    "blanks": ("icount, page, kind, count\n1,4a,I,1\n", 1, "icount, page, kind, count"),
    "another separator": ("page;icount;kind\n4a;1;I\n", 1, "page;icount;kind"),
    "lackey without an address": ("I  ,3\n", 1, "I  ,3"),
    "lackey without a size": ("I  0401ab70\n", 1, "I  0401ab70"),
    "lackey of another kind": ("I  04,3\n X 04,3\n", 2, " X 04,3"),
    "lackey indented otherwise": ("I  04,3\nL 04,3\n", 2, "L 04,3"),
    "prose": ("I  04,3\nSegmentation fault\n", 2, "Segmentation fault"),
}


@pytest.mark.parametrize("bad", BAD.values(), ids=list(BAD))
def test_a_malformed_line_is_named(tmp_path: Path, bad: tuple[str, int, str]) -> None:
    text, line, shown = bad
    path = write(tmp_path / "bad.trace", text, zipped=False)
    with pytest.raises(DataError) as caught:
        blocks(path)
    assert str(caught.value).startswith(f'{path}:{line}: "{shown}" is '), caught.value


def test_the_line_is_right_far_into_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page_trace, "_CHUNK_BYTES", 100)
    good = "".join(f"{n},{n:x},L,1\n" for n in range(1, 1_000))
    path = write(tmp_path / "t", f"icount,page,kind,count\n{good}bad\n{good}", zipped=False)
    with pytest.raises(DataError, match=r't:1001: "bad"'):
        blocks(path)


@pytest.mark.parametrize("text", ["", "icount,page,kind,count\n", "==1== Lackey\n"])
def test_a_trace_without_accesses_is_refused(tmp_path: Path, text: str) -> None:
    path = write(tmp_path / "t", text, zipped=False)
    with pytest.raises(DataError, match="no accesses"):
        blocks(path)


def test_a_file_without_lines_is_refused_before_it_is_held(tmp_path: Path) -> None:
    path = tmp_path / "t"
    path.write_bytes(b"\0" * (3 << 20))
    with pytest.raises(DataError, match="not a text file"):
        blocks(path)


@pytest.mark.parametrize("cut", [3, 12, 30, -1])
def test_a_torn_gzip_file_is_refused(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "t.gz"
    path.write_bytes(gzip.compress(CSV.encode())[:cut])
    with pytest.raises(DataError, match=r"t\.gz: the gzip data is torn"):
        blocks(path)


@pytest.mark.parametrize("cut", [20, 60, -1])
def test_a_torn_xz_file_is_refused(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "t.xz"
    path.write_bytes(lzma.compress(CSV.encode())[:cut])
    with pytest.raises(DataError, match=r"t\.xz: the xz data is torn"):
        rows(path)


def test_an_edited_gzip_file_is_refused(tmp_path: Path) -> None:
    data = bytearray(gzip.compress(CSV.encode()))
    data[-6] ^= 1
    path = tmp_path / "t.gz"
    path.write_bytes(data)
    with pytest.raises(DataError, match="torn or damaged"):
        blocks(path)


@pytest.mark.parametrize("text", [CSV, LACKEY])
@pytest.mark.parametrize("zipped", [False, True])
def test_how_an_editor_saved_it_is_told(tmp_path: Path, text: str, zipped: bool) -> None:
    for saved, why in {
        f"\ufeff{text}": "byte order mark",
        text.replace("\n", "\r\n"): "CR LF: convert them to LF",
    }.items():
        path = write(tmp_path / "t", saved, zipped)
        with pytest.raises(DataError, match=f"t:1: .*{why}"):
            rows(path)


@pytest.mark.parametrize(("size", "good"), [(0, False), (1, True), (512, True), (513, False)])
def test_the_size_of_an_access_is_checked(tmp_path: Path, size: int, good: bool) -> None:
    path = write(tmp_path / "t", LACKEY.replace("638,8", f"638,{size}"), zipped=False)
    if good:
        assert len(rows(path)) == 5
    else:
        with pytest.raises(DataError, match=f't:6: " S 1fff000638,{size}" is not an access'):
            rows(path)


@pytest.mark.parametrize("text", ["page,icount,kind,count\n1,2,L,1\n", "1,4a,I,1\n"])
def test_a_wrong_header_is_answered_with_the_right_one(tmp_path: Path, text: str) -> None:
    path = write(tmp_path / "t", text, zipped=False)
    with pytest.raises(DataError, match='header of the page format, "icount,page,kind,count"'):
        rows(path)
