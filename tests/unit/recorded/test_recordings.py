"""The recordings of a real kernel, and what tools make of them, break no rule."""

from __future__ import annotations

from pathlib import Path

import pytest

from pagewake.events.types import Event
from pagewake.recorded.check import check_recording
from pagewake.recorded.importing import import_files
from pagewake.recorded.log import RecordingReader
from pagewake.recorded.page import page_of_recording
from pagewake.verify.log_run import PlacedEvent
from tests.support.recordings import FOLDER, recording

ALL = sorted(path.name for path in FOLDER.glob("*.txt.*"))


def imported(name: str, directory: Path) -> RecordingReader:
    import_files([str(recording(name))], directory)
    return RecordingReader(directory)


@pytest.mark.parametrize("name", ALL)
def test_a_real_kernel_breaks_no_rule(name: str, tmp_path: Path) -> None:
    checks = check_recording(imported(name, tmp_path / "log"))
    assert checks.events.total() > 10
    assert checks.breaches == []


@pytest.mark.parametrize("name", [name for name in ALL if name.count(".") == 3])
def test_tools_show_the_events_of_the_recording(name: str, tmp_path: Path) -> None:
    """But for nanoseconds, which their clocks have."""
    theirs = events(imported(name, tmp_path / "tool"))
    ours = events(imported("seq.txt.gz", tmp_path / "log"))[: len(theirs)]
    assert [type(event) for event in theirs] == [type(event) for event in ours]
    assert {event.vm for event in theirs} == {"vm-0"}


def events(reader: RecordingReader) -> list[Event]:
    return [one.event for one in reader.found() if isinstance(one, PlacedEvent)]


def test_the_time_of_a_recording_is_not_simulated(tmp_path: Path) -> None:
    text = page_of_recording(imported("crash.txt.zst", tmp_path / "log"))
    assert "time since the recording began" in text
    assert ">simulated time<" not in text
