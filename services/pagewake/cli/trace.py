"""`pagewake trace`: a log as a timeline for Chrome's trace viewer or Perfetto."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pagewake.cli.guard import complain
from pagewake.cli.options import LogArgument
from pagewake.cli.output import replacing, resolved
from pagewake.errors import ConfigError
from pagewake.timeline.chrome_trace import write_trace

OutputOption = Annotated[
    Path, typer.Option("--output", "-o", metavar="FILE.json", help="Where to write the trace.")
]


def trace(log: LogArgument, output: OutputOption) -> None:
    """Write a log as a Chrome/Perfetto trace in simulated time."""
    if resolved(output).is_relative_to(resolved(log)):
        raise ConfigError(f"{output} lies inside the log {log}: name a file outside of it")
    replacing(output, lambda temporary: write_trace(log, temporary))
    complain(f"{output} written; open it in chrome://tracing or ui.perfetto.dev")
