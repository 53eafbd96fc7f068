"""Whatever becomes of a recording's bytes, it is read, told to be unknown, or refused by line."""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pagewake.errors import DataError
from pagewake.recorded.check import RecordedChecks, check_recording
from pagewake.recorded.following import Follower
from pagewake.recorded.importing import import_files
from pagewake.recorded.live import LiveRecording
from pagewake.recorded.log import RecordingReader
from tests.support.recordings import recording

TOOLS = ("txt", "trace-cmd.txt", "trace-cmd-l-t.txt", "perf.txt", "perf-columns.txt")
TEXTS = [
    b"".join(
        gzip.decompress(recording(f"seq.{of}.gz").read_bytes()).splitlines(keepends=True)[:300]
    )
    for of in TOOLS
]
PLACED = re.compile(r".+:\d+: .+", re.DOTALL)

DIGITS = bytes.maketrans(b"0123456789", b"9876543210")
Damage = Callable[[bytes, int, int, bytes], bytes]
DAMAGES: dict[str, Damage] = {
    "replaced": lambda data, at, size, new: data[:at] + new + data[at + size :],
    "cut out": lambda data, at, size, new: data[:at] + data[at + size :],
    "cut off": lambda data, at, size, new: data[:at],
    "doubled": lambda data, at, size, new: data[: at + size] + data[at:],
    "mixed in": lambda data, at, size, new: data[:at] + data[size : 2 * size] + data[at:],
    "ends of lines": lambda data, at, size, new: data[:at] + data[at:].replace(b"\n", b"\r\n"),
    "zeros": lambda data, at, size, new: data[:at] + bytes(size) + data[at:],
    "no ends": lambda data, at, size, new: data[:at].replace(b"\n", b" ") + data[at:],
    "digits": lambda data, at, size, new: data[:at].translate(DIGITS) + data[at:],
}

damaged = st.builds(
    lambda text, damage, at, size, new: DAMAGES[damage](
        TEXTS[text], int(at * len(TEXTS[text])), size, new
    ),
    st.integers(0, len(TEXTS) - 1),
    st.sampled_from(sorted(DAMAGES)),
    st.floats(0, 1),
    st.integers(0, 3000),
    st.binary(max_size=200) | st.text(max_size=50).map(str.encode),
)


def imported(content: bytes, folder: Path) -> RecordedChecks | str:
    """What the checks find; or why it is refused."""
    (folder / "f").write_bytes(content)
    try:
        import_files([str(folder / "f")], folder / "log")
        return check_recording(RecordingReader(folder / "log"))
    except DataError as refused:
        return str(refused)


@settings(deadline=None, max_examples=1500)
@given(damaged)
def test_a_damaged_recording_is_read_or_refused(content: bytes) -> None:
    with TemporaryDirectory() as folder:
        found = imported(content, Path(folder))
    if isinstance(found, str):
        assert PLACED.fullmatch(found)
        return
    for breach in found.breaches:
        assert 1 <= breach.line <= content.count(b"\n") + 1


@settings(deadline=None, max_examples=1500)
@given(damaged, st.integers(0, 40_000))
def test_a_damaged_recording_is_followed_or_refused(content: bytes, first: int) -> None:
    with TemporaryDirectory() as folder:
        file = Path(folder) / "f"
        file.write_bytes(content[:first])
        refused = followed(file, content[first:])
    assert refused is None or PLACED.fullmatch(refused)


def followed(file: Path, rest: bytes) -> str | None:
    """Why it is refused, if it is."""
    live = LiveRecording("f", None, (), lambda _: None)
    follower = Follower(str(file))
    try:
        while (more := follower.read()) is not None:
            live.take(more)
        with file.open("ab") as opened:
            opened.write(rest)
        while (more := follower.read()) is not None:
            live.take(more)
        live.finish()
    except DataError as refused:
        return str(refused)
    finally:
        follower.close()
    return None


@pytest.mark.parametrize("text", TEXTS, ids=TOOLS)
def test_a_line_cut_anywhere_is_told(text: bytes, tmp_path: Path) -> None:
    """Of a line that matters: cut short, its rest lost with its end."""
    lines = text.splitlines(keepends=True)
    number = max(n for n, line in enumerate(lines) if b"async_pf_not_present" in line)
    line = lines[number]
    begin = line.index(b"async_pf") + 30
    for at in range(begin, len(line), 3):
        content = b"".join([*lines[:number], line[:at], *lines[number + 1 :]])
        (tmp_path / str(at)).mkdir()
        found = imported(content, tmp_path / str(at))
        assert isinstance(found, RecordedChecks)
        assert found.breaches or any(span.why == "unreadable" for span in found.spans)
