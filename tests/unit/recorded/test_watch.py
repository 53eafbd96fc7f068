"""The service that follows a recording: what it serves, and how it ends."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from pagewake.errors import DataError
from pagewake.recorded.watch import TOLD_MAX, Watch, WatchSettings
from tests.support.clock import FakeClock
from tests.support.recordings import recording

LINES = gzip.decompress(recording("burst.txt.gz").read_bytes()).splitlines(keepends=True)
NONE = b"  a-1  [000] d..1.  1.000001: sched_switch: x\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "f"
    path.write_bytes(b"")
    return path


def write(file: Path, data: bytes) -> None:
    file.write_bytes(data)


def watching(file: Path, *, until_end: bool = False) -> Watch:
    return Watch(WatchSettings(str(file), "a", "127.0.0.1:0", until_end=until_end), FakeClock())


async def until(holds: Callable[[], bool]) -> None:
    while not holds():  # noqa: ASYNC110 - what it waits for is no event
        await asyncio.sleep(0)


async def during(watch: Watch, then: Awaitable[None]) -> None:
    running = asyncio.create_task(watch.run())
    await then
    watch.stopping.set()
    await running


async def test_it_serves_what_has_come(file: Path) -> None:
    watch = watching(file)

    async def look() -> None:
        await until(lambda: watch.http.port > 0)
        assert b"no line of a recording" in watch.http.answer("/readyz").body
        write(file, b"".join(LINES[:5000]))
        await until(lambda: watch.live.lines > 4900)
        assert watch.http.answer("/readyz").status == "200 OK"
        assert watch.http.answer("/healthz").status == "200 OK"
        body = watch.http.answer("/metrics").body.decode()
        assert 'pagewake_group_vcpus{group="vm-0",run="a",source="recording"} 2.0' in body
        assert "process_resident_memory_bytes" in body

    await during(watch, look())
    assert watch.live.ended


async def test_it_ends_with_the_file_if_it_is_to(file: Path) -> None:
    write(file, b"".join(LINES))
    watch = watching(file, until_end=True)
    with capture_logs() as logs:
        await watch.run()
    assert logs[-1]["event"] == "left"
    assert logs[-1]["violations"] == 0
    assert [log["why"] for log in logs if log["event"] == "unknown"] == ["end", "begin"]


async def test_violations_are_log_lines_in_bounded_number(file: Path) -> None:
    write(file, b"".join(LINES[n] for n in range(5000) for _ in range(1 + (n % 3 == 0))))
    watch = watching(file, until_end=True)
    with capture_logs() as logs:
        await watch.run()
    told = [log for log in logs if log["event"] == "violation"]
    assert 0 < len(told) <= TOLD_MAX < watch.live.breaches.total()
    assert told[0]["where"].startswith(f"{file}:")
    json.dumps(told[0])
    assert b"lines break" in watch.http.answer("/readyz").body


async def test_what_is_no_recording_ends_it(file: Path) -> None:
    write(file, b"hello\n" * 5000)
    with pytest.raises(DataError, match="no recording"):
        await watching(file).run()


@pytest.mark.parametrize("content", [b"", b"hello\n"])
async def test_what_ends_and_was_no_recording_is_refused(file: Path, content: bytes) -> None:
    write(file, content)
    with pytest.raises(DataError, match="f:1: no recording"):
        await watching(file, until_end=True).run()


async def test_what_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"{tmp_path}:1: cannot be read: Is a directory"):
        await watching(tmp_path).run()


async def test_lines_of_others_are_a_recording_that_says_nothing_yet(file: Path) -> None:
    write(file, NONE * 10)
    watch = watching(file, until_end=True)
    await watch.run()
    assert watch.live.passed + watch.live.lines == 10
    assert watch.http.answer("/readyz").status == "200 OK"


def test_what_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as missing:
        watching(tmp_path / "none")
    assert missing.value.filename
