"""Log directories: written whole or not at all, and read back as they were written."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
import zstandard

from pagewake.bus.log_dir import LogWriter
from pagewake.bus.log_reader import LogReader
from pagewake.errors import ConfigError, DataError
from pagewake.events.codec import FAULTS, Encoded
from pagewake.events.types import PagesAged, WindowClosed
from tests.support.logs import RUN_TOML, commits_of, write_log

FILES = [
    *("faults-0.jsonl", "faults-1.jsonl"),
    *(f"apf.guest-{partition}.jsonl" for partition in range(4)),
    *("apf.nested-0.jsonl", "apf.nested-1.jsonl"),
    *(f"journal-{partition}.jsonl" for partition in range(6)),
]


def compress(path: Path, how: str) -> None:
    content = path.read_bytes()
    path.unlink()
    packed = gzip.compress(content) if how == ".gz" else zstandard.compress(content)
    path.with_name(path.name + how).write_bytes(packed)


def test_a_log_has_its_files_and_no_other(tmp_path: Path) -> None:
    write_log(tmp_path / "log")
    names = sorted(path.name for path in (tmp_path / "log").iterdir())
    assert names == sorted([*FILES, "run.toml", "digest.txt"])
    assert [path.name for path in tmp_path.iterdir()] == ["log"]


def test_digest_txt_begins_with_the_digest_and_counts_the_files(tmp_path: Path) -> None:
    outcome = write_log(tmp_path / "log")
    lines = (tmp_path / "log" / "digest.txt").read_text().splitlines()
    assert lines[:3] == [
        f"{outcome.digest}  run",
        f"{outcome.host_digests[0]}  host-0",
        f"{outcome.host_digests[1]}  host-1",
    ]
    faults = (tmp_path / "log" / "faults-0.jsonl").read_text().splitlines()
    (listed,) = [line.split() for line in lines if "faults-0" in line]
    assert listed[1:] == ["faults-0.jsonl", str(len(faults)), json.loads(faults[-1])["hash"]]


def test_a_log_reads_back(tmp_path: Path) -> None:
    outcome = write_log(tmp_path / "log")
    reader = LogReader(tmp_path / "log")
    assert reader.problems() == []
    assert reader.run_toml == RUN_TOML
    assert reader.sums is not None
    assert (reader.sums.digest, reader.sums.host_digests) == (
        outcome.digest,
        outcome.host_digests,
    )
    assert [file.name for file in reader.files] == FILES
    commits = commits_of(reader, reader.files[0])
    assert [commit.source for commit in commits[:3]] == ["guest-0", "guest-1", "nested-0"]
    assert all(isinstance(commit.events[-1], WindowClosed) for commit in commits)
    assert any(isinstance(event, PagesAged) for commit in commits for event in commit.events)


@pytest.mark.parametrize("how", [".gz", ".zst"])
def test_compressed_files_read_the_same(tmp_path: Path, how: str) -> None:
    write_log(tmp_path / "log")
    plain = LogReader(tmp_path / "log")
    expected = commits_of(plain, plain.files[0])
    for name in FILES[::2]:
        compress(tmp_path / "log" / name, how)
    reader = LogReader(tmp_path / "log")
    assert reader.problems() == []
    assert commits_of(reader, reader.files[0]) == expected


def test_equal_runs_make_equal_logs(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_log(tmp_path / name)
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_a_directory_with_something_in_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "precious").touch()
    with pytest.raises(ConfigError, match=r"log exists and is not an empty directory"):
        LogWriter(tmp_path / "log", RUN_TOML)
    with pytest.raises(ConfigError, match=r"precious exists and is not an empty directory"):
        LogWriter(tmp_path / "log" / "precious", RUN_TOML)


def test_an_empty_directory_and_missing_parents_will_do(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    write_log(tmp_path / "empty")
    write_log(tmp_path / "some" / "where")
    assert LogReader(tmp_path / "empty").problems() == []
    assert LogReader(tmp_path / "some" / "where").problems() == []


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"file/log: cannot be written: File exists \(.*/file\)"):
        LogWriter(tmp_path / "file" / "log", RUN_TOML)


def test_a_run_that_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    def write() -> None:
        with LogWriter(tmp_path / "log", RUN_TOML) as log:
            log.declare(FAULTS, 0)
            log.append(FAULTS, 0, Encoded(b"{}" * 200_000, "0"))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write()
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_log_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nowhere does not exist: name a log directory"):
        LogReader(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"holds no log: neither run.toml nor digest.txt"):
        LogReader(tmp_path)


def test_a_place_that_the_log_could_not_take_at_the_end_is_refused_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_log(tmp_path / "log")
    for name in ("target", "here"):
        (tmp_path / name).mkdir()
    (tmp_path / "link").symlink_to("target")
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "loop").symlink_to("loop")
    monkeypatch.chdir(tmp_path / "here")
    before = sorted(tmp_path.rglob("*"))
    for place, why in {
        "../link": "is a symbolic link",
        "../dangling": "is a symbolic link",
        "../loop/log": "cannot be written",
        ".": "is the current directory",
        "../here": "is the current directory",
        "../log/log": r"lies inside the log .*/log",
        "../log/some/where": r"lies inside the log .*/log",
    }.items():
        with pytest.raises(ConfigError, match=why):
            LogWriter(Path(place), RUN_TOML)
    assert sorted(tmp_path.rglob("*")) == before


def test_the_way_to_a_log_leaves_no_directories(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_log(Path("a/../log"))
    assert [path.name for path in tmp_path.iterdir()] == ["log"]
    with LogWriter(tmp_path / "some" / "where" / "log", RUN_TOML):
        assert (tmp_path / "some" / "where").is_dir()
    assert [path.name for path in tmp_path.iterdir()] == ["log"]
