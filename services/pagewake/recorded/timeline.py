"""A recording as a timeline for Perfetto or chrome://tracing: vcpus, page-ins until READY."""

from __future__ import annotations

import os
from pathlib import Path

from pagewake.errors import ConfigError
from pagewake.recorded.log import RecordingReader
from pagewake.timeline.trace_file import TraceFile, VmWriter
from pagewake.timeline.trace_tracks import VmTracks
from pagewake.verify.log_run import PlacedEvent


def write_timeline(reader: RecordingReader, out_path: Path) -> None:
    """Write the trace; ConfigError for a bad place, DataError for a damaged recording."""
    temporary = out_path.with_name(f".{out_path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            _write(reader, TraceFile(file))
        temporary.replace(out_path)
    except OSError as error:
        raise ConfigError(f"{out_path}: cannot be written: {error.strerror or error}") from error
    finally:
        temporary.unlink(missing_ok=True)


def _write(reader: RecordingReader, trace: TraceFile) -> None:
    recording = reader.recording
    trace.begin({"recording": [one.name for one in recording.sources]})
    vms = {
        vm.name: VmTracks(VmWriter(trace, pid, vm.name), host_alone=True)
        for pid, vm in enumerate(recording.vms, 1)
    }
    for one in reader.found():
        if isinstance(one, PlacedEvent):
            vms[one.event.vm].take(one)
    for tracks in vms.values():
        tracks.close(recording.length_ns)
    trace.end()
