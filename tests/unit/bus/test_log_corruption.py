"""Whatever happens to a line of a log, the file and the line are named."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from pagewake.bus.log_dir import LogWriter
from pagewake.bus.log_reader import LogProblem, LogReader
from pagewake.events.codec import APF_GUEST, encode_commit, head_of
from pagewake.events.types import AgePages, Event, TaskFinished, WindowOpened
from tests.support.logs import RUN_TOML, commits_of, write_log

KINDS = ["faults-0.jsonl", "apf.guest-1.jsonl", "apf.nested-0.jsonl", "journal-2.jsonl"]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    write_log(tmp_path / "log", hosts=1)
    return tmp_path / "log"


def edit(path: Path, change: Callable[[list[bytes]], object]) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    change(lines)
    path.write_bytes(b"".join(lines))


def problems_with_each_line(
    log: Path, name: str, change: Callable[[list[bytes], int], object]
) -> dict[int, list[LogProblem]]:
    """What is found when one line is changed, for the first and last lines (counted from 1)."""
    path = log / name
    original = path.read_bytes()
    count = original.count(b"\n")
    found = {}
    for index in [*range(5), *range(count - 4, count)]:
        edit(path, lambda lines, index=index: change(lines, index))  # type: ignore[misc]
        if path.read_bytes() != original:
            found[index + 1] = LogReader(log).problems()
        path.write_bytes(original)
    assert len(found) > 2
    return found


@pytest.mark.parametrize("name", KINDS)
def test_a_dropped_line(log: Path, name: str) -> None:
    last = (log / name).read_bytes().count(b"\n")
    for line, problems in problems_with_each_line(
        log, name, lambda lines, at: lines.pop(at)
    ).items():
        (problem,) = problems
        assert problem.what.startswith("dropped: "), problem
        assert problem.file == name
        # The next line of the same source tells; at the end of a source, the count does.
        assert line <= problem.line <= line + 2 or problem.line == last - 1


@pytest.mark.parametrize("name", KINDS)
def test_a_doubled_line(log: Path, name: str) -> None:
    found = problems_with_each_line(log, name, lambda lines, at: lines.insert(at, lines[at]))
    for line, problems in found.items():
        (problem,) = problems
        assert (problem.file, problem.line) == (name, line + 1)
        assert problem.what.startswith("doubled: "), problem


def swap(lines: list[bytes], at: int) -> None:
    lines[at : at + 2] = reversed(lines[at : at + 2])


@pytest.mark.parametrize("name", KINDS)
def test_two_swapped_lines(log: Path, name: str) -> None:
    for line, problems in problems_with_each_line(log, name, swap).items():
        (problem,) = problems
        assert problem.file == name
        assert problem.line in (line, line + 1)
        assert problem.what.startswith("swapped: "), problem


@pytest.mark.parametrize("name", KINDS)
def test_a_line_that_moved_far(log: Path, name: str) -> None:
    edit(log / name, lambda lines: lines.append(lines.pop(1)))
    problems = LogReader(log).problems()
    assert [problem.what.split(":")[0] for problem in problems] == ["swapped"]
    assert problems[0].file == name


def tear(lines: list[bytes], at: int) -> None:
    lines[at:] = [lines[at][: len(lines[at]) // 2]]


@pytest.mark.parametrize("name", KINDS)
def test_a_file_torn_inside_a_line(log: Path, name: str) -> None:
    for line, problems in problems_with_each_line(log, name, tear).items():
        assert problems[0][:2] == (name, line)
        assert problems[0].what.startswith("torn: ")
        assert len(problems) == 1


def test_a_missing_newline_at_the_end_is_torn(log: Path) -> None:
    path = log / KINDS[0]
    lines = path.read_bytes().count(b"\n")
    path.write_bytes(path.read_bytes()[:-1])
    (problem,) = LogReader(log).problems()
    assert str(problem) == f"{KINDS[0]}:{lines}: torn: the file ends inside this line"


def shorten(lines: list[bytes], at: int) -> None:
    lines[at] = lines[at][:-20] + b"\n"


@pytest.mark.parametrize("name", KINDS)
def test_a_line_torn_in_the_middle_of_a_file(log: Path, name: str) -> None:
    for line, problems in problems_with_each_line(log, name, shorten).items():
        (problem,) = problems
        assert problem[:2] == (name, line)
        assert problem.what.startswith("torn: not valid JSON")


EDITS: list[tuple[bytes, bytes]] = [
    (b'"seq":', b'"seq":1'),
    (b'"window":', b'"window":1'),
    (b'"run":"embedded"', b'"run":"other"'),
    (b'"source":"', b'"source":"x'),
    (b'"hash":"', b'"hash":"0'),
    (b'"code":"', b'"code":"9'),
    (b'"part":0', b'"part":1'),
    (b'"parts":1', b'"parts":2'),
    (b'"events":[', b'"events": ['),
    (b'"run":"', b'"run" :"'),
    (b'"run":"e', b'"run":"\\u0065'),
    (b'"events":[', b'"extra":1,"events":['),
    (b'"events":[', b'"events":0,"x":['),
    (b'"seq"', b'"sequence"'),
    (b"}\n", b"} \n"),
    (b"}\n", b"}\r\n"),
    (b'"at_ns":', b'"at_ns":1'),
    (b'"event":"', b'"event":"X'),
]


@pytest.mark.parametrize(("before", "after"), EDITS)
@pytest.mark.parametrize("name", KINDS)
def test_an_edited_line(log: Path, name: str, before: bytes, after: bytes) -> None:
    def change(lines: list[bytes], at: int) -> None:
        lines[at] = lines[at].replace(before, after, 1)

    for line, problems in problems_with_each_line(log, name, change).items():
        (problem,) = problems
        assert problem[:2] == (name, line)
        assert problem.what.startswith("edited: ")


def test_every_single_byte_counts(log: Path) -> None:
    path = log / "faults-0.jsonl"
    original = path.read_bytes()
    end = original.index(b"\n", original.index(b"\n") + 1)
    for at in range(original.index(b"\n") + 1, end):
        changed = bytearray(original)
        changed[at] ^= 1
        path.write_bytes(changed)
        problems = LogReader(log).problems()
        assert problems, at
        assert problems[0][:2] == ("faults-0.jsonl", 2)


def test_two_corruptions_are_two_problems(log: Path) -> None:
    edit(log / KINDS[0], lambda lines: lines.pop(5))
    edit(log / KINDS[3], lambda lines: lines.insert(1, lines[1]))
    found = [(problem.file, problem.what.split(":")[0]) for problem in LogReader(log).problems()]
    assert found == [(KINDS[0], "dropped"), (KINDS[3], "doubled")]


@pytest.mark.parametrize("name", ["run.toml", "digest.txt", KINDS[0]])
def test_a_file_that_is_gone(log: Path, name: str) -> None:
    (log / name).unlink()
    (problem,) = LogReader(log).problems()
    assert str(problem).startswith(f"{name}: missing")


def test_a_file_that_does_not_belong(log: Path) -> None:
    (log / "faults-7.jsonl").write_bytes((log / "faults-0.jsonl").read_bytes())
    assert [str(problem) for problem in LogReader(log).problems()] == [
        "faults-7.jsonl: not listed in digest.txt"
    ]


def test_a_file_that_is_there_twice(log: Path) -> None:
    content = (log / KINDS[0]).read_bytes()
    (log / f"{KINDS[0]}.gz").write_bytes(gzip.compress(content))
    (problem,) = LogReader(log).problems()
    assert str(problem) == f"{KINDS[0]}: there twice, plain and compressed: remove one"


@pytest.mark.parametrize("name", ["run.toml", "digest.txt"])
def test_an_edited_text_file(log: Path, name: str) -> None:
    path = log / name
    path.write_text(path.read_text().replace("1", "2", 1))
    (problem,) = LogReader(log).problems()
    assert problem.file == name
    assert "edited" in problem.what


@pytest.mark.parametrize("how", [".gz", ".zst"])
def test_a_compressed_file_that_breaks_off(log: Path, how: str) -> None:
    path = log / KINDS[0]
    content = path.read_bytes()
    packed = gzip.compress(content) if how == ".gz" else zstandard.compress(content)
    path.unlink()
    (log / f"{KINDS[0]}{how}").write_bytes(packed[: len(packed) // 2])
    (problem,) = LogReader(log).problems()
    assert problem.file == f"{KINDS[0]}{how}"
    assert problem.what.startswith(("torn", "dropped"))


@pytest.mark.parametrize("how", [".gz", ".zst"])
def test_a_compressed_file_that_is_none(log: Path, how: str) -> None:
    (log / KINDS[0]).rename(log / f"{KINDS[0]}{how}")
    (problem,) = LogReader(log).problems()
    assert str(problem).startswith(f"{KINDS[0]}{how}:1: torn: the compressed stream breaks off")


def log_of(directory: Path, *records: tuple[int, int, list[Event]]) -> LogReader:
    """A log of hand-made commits (seq, window, deliveries) in `apf.guest-0`."""
    with LogWriter(directory, RUN_TOML) as log:
        log.declare(APF_GUEST, 0)
        for seq, window, events in records:
            opened = WindowOpened(window, 100)
            for one in encode_commit(head_of("r", "host-0"), "1", seq, window, [opened, *events]):
                log.append(APF_GUEST, 0, one)
        log.finish("00", [], ["1"])
    return LogReader(directory)


LARGE: list[Event] = [AgePages(at_ns, "vm-0", 0, list(range(20_000))) for at_ns in range(9)]


def test_parts_are_joined(tmp_path: Path) -> None:
    reader = log_of(tmp_path / "log", (0, 0, LARGE), (1, 1, []))
    assert reader.problems() == []
    assert [len(commit.events) for commit in commits_of(reader, reader.files[0])] == [10, 1]


@pytest.mark.parametrize("at", [0, 1, 2])
def test_a_missing_part_is_named(tmp_path: Path, at: int) -> None:
    log_of(tmp_path / "log", (0, 0, LARGE), (1, 1, []))
    edit(tmp_path / "log" / "apf.guest-0.jsonl", lambda lines: lines.pop(at))
    (problem,) = LogReader(tmp_path / "log").problems()
    assert problem.line == at + 1
    assert problem.what.startswith("dropped: commit 0 of host-0")


def test_a_commit_without_its_last_part_is_named(tmp_path: Path) -> None:
    reader = log_of(tmp_path / "log", (0, 0, LARGE))
    edit(tmp_path / "log" / "apf.guest-0.jsonl", lambda lines: lines.pop())
    (problem,) = reader.problems()
    assert "commit 0 of host-0 ends with part" in problem.what


def test_windows_that_go_back_are_named(tmp_path: Path) -> None:
    (problem,) = log_of(tmp_path / "log", (0, 0, []), (1, 5, []), (2, 4, [])).problems()
    assert problem.line == 3
    assert "of window 4 stands behind host-0 of window 5" in problem.what


def test_an_event_in_the_wrong_file_is_named(tmp_path: Path) -> None:
    stray: list[Event] = [TaskFinished(0, "vm-0", 1, 0, "task-0")]
    (problem,) = log_of(tmp_path / "log", (0, 0, stray)).problems()
    assert problem.line == 1
    assert "holds what apf.guest cannot" in problem.what


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("ends", [(0, -1), (1, -2), (2, 6)])
def test_two_lines_swapped_far_apart(log: Path, name: str, ends: tuple[int, int]) -> None:
    def swap_far(lines: list[bytes]) -> None:
        one, other = ends
        lines[one], lines[other] = lines[other], lines[one]

    edit(log / name, swap_far)
    problems = LogReader(log).problems()
    assert 1 <= len(problems) <= 2  # each of the two belongs to a source of its own
    assert {problem.file for problem in problems} == {name}
    assert all(problem.what.startswith("swapped: ") for problem in problems), problems


def test_a_torn_zstd_frame_is_told_as_such(log: Path) -> None:
    path = log / KINDS[0]
    packed = zstandard.compress(path.read_bytes())
    path.unlink()
    place = path.with_name(f"{path.name}.zst")
    for size in (3, len(packed) // 2, len(packed) - 1):
        place.write_bytes(packed[:size])
        (problem,) = LogReader(log).problems()
        assert problem.file == place.name
        assert problem.what.startswith("torn: the compressed stream breaks off"), problem


def test_several_zstd_frames_are_one_file(log: Path) -> None:
    path = log / KINDS[0]
    lines = path.read_bytes().splitlines(keepends=True)
    path.with_name(f"{path.name}.zst").write_bytes(b"".join(map(zstandard.compress, lines)))
    path.unlink()
    assert LogReader(log).problems() == []
