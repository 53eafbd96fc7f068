"""Files that grow, are rotated, cut, or end."""

from __future__ import annotations

import gzip
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pagewake.errors import DataError
from pagewake.recorded.following import Begun, Follower, Grown


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "f"
    path.write_bytes(b"")
    return path


@pytest.fixture
def follower(file: Path) -> Iterator[Follower]:
    made = Follower(str(file))
    yield made
    made.close()


def append(file: Path, data: bytes) -> None:
    with file.open("ab") as opened:
        opened.write(data)


def test_lines_are_given_out_when_they_have_their_end(file: Path, follower: Follower) -> None:
    assert follower.read() is None
    append(file, b"one\ntw")
    assert follower.read() == Grown("one\n")
    assert follower.read() is None
    assert follower.at_end
    append(file, b"o\n")
    assert follower.read() == Grown("two\n")


def test_a_renamed_file_is_read_to_its_end_first(file: Path, follower: Follower) -> None:
    append(file, b"one\n")
    assert follower.read() == Grown("one\n")
    append(file, b"two\nthr")
    file.rename(file.with_name("f.1"))
    assert follower.read() == Grown("two\n")
    assert follower.read() is None
    file.write_bytes(b"four\n")
    assert follower.read() == Begun(lost=False, torn="thr")
    assert follower.read() == Grown("four\n")
    assert not follower.ended


@pytest.mark.parametrize("left", [b"", b"x\n"])
def test_a_file_that_is_cut_is_read_anew_and_told(
    file: Path, follower: Follower, left: bytes
) -> None:
    append(file, b"one\ntwo\n")
    assert follower.read() == Grown("one\ntwo\n")
    assert follower.read() is None
    file.write_bytes(left)
    assert follower.read() == Begun(lost=True, torn="")
    append(file, b"three\n")
    assert follower.read() == Grown((left + b"three\n").decode())


def test_a_pipe_without_a_writer_waits_for_one(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    follower = Follower(str(tmp_path / "pipe"))
    try:
        assert follower.read() is None
        with (tmp_path / "pipe").open("wb", buffering=0) as writer:
            assert follower.read() is None
            writer.write(b"one\n")
            assert follower.read() == Grown("one\n")
        assert follower.read() is None
        assert not follower.ended
    finally:
        follower.close()


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (gzip.compress(b"one"), "packed or binary"),
        (b"\0" * 9, "packed or binary"),
        (b"x" * 70_000, "no line ends within"),
    ],
)
def test_what_is_no_text_is_refused(file: Path, follower: Follower, data: bytes, what: str) -> None:
    append(file, data)
    with pytest.raises(DataError, match=what):
        follower.read()
