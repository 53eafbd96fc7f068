"""`pagewake trace`: a log as a timeline for Chrome's trace viewer or Perfetto."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pagewake.cli.guard import complain
from pagewake.cli.options import LogArgument
from pagewake.cli.output import resolved
from pagewake.cli.places import TIMELINE, refuse_place
from pagewake.cli.versions import need_journal, tell_version
from pagewake.recorded.log import RecordingReader, is_recording
from pagewake.recorded.timeline import write_timeline
from pagewake.timeline.chrome_trace import write_trace

OutputOption = Annotated[
    Path, typer.Option("--output", "-o", metavar="FILE.json", help="Where to write the trace.")
]


def trace(log: LogArgument, output: OutputOption) -> None:
    """Write a log as a Chrome/Perfetto trace in simulated time."""
    refuse_place(output, log, TIMELINE)
    if is_recording(log):
        write_timeline(RecordingReader(log), resolved(output))
        complain(f"{output} written; open it in chrome://tracing or ui.perfetto.dev")
        return
    need_journal(log, "trace")
    write_trace(log, resolved(output))
    tell_version(log)
    complain(f"{output} written; open it in chrome://tracing or ui.perfetto.dev")
