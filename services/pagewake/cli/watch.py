"""`pagewake watch`: follows a growing recording and serves metrics, until SIGTERM."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Annotated

import typer

from pagewake.cli.import_ import ProfileOption, VmOption, must_be_known, vm_groups
from pagewake.cluster.clock import SystemClock
from pagewake.cluster.logs import log_as_json
from pagewake.errors import CheckFailedError, ConfigError
from pagewake.observe.report.words import counted
from pagewake.recorded.opening import STDIN
from pagewake.recorded.watch import Watch, WatchSettings


def watch(
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE", help="trace_pipe, or a file that grows; - is standard input."
        ),
    ],
    http: Annotated[
        str, typer.Option("--http", metavar="HOST:PORT", help="Metrics and health; port 0: any.")
    ] = "127.0.0.1:0",
    run: Annotated[
        str | None,
        typer.Option("--run", metavar="NAME", help="The label `run`; default: the file's name."),
    ] = None,
    profile: ProfileOption = None,
    vms: VmOption = None,
    until_end: Annotated[
        bool,
        typer.Option("--until-end", help="Stop at the end of the file; exit 1 on a violation."),
    ] = False,
) -> None:
    """Follow a growing recording and serve its metrics, by the names that a run's have."""
    must_be_known(profile)
    clock = SystemClock()
    log_as_json(clock)
    if not until_end:
        _must_grow(Path(file))
    name = run or ("recording" if file == STDIN else Path(file).name)
    settings = WatchSettings(file, name, http, profile, vm_groups(vms or ()), until_end)
    watched = asyncio.run(_watch(settings, clock))
    broken = watched.live.breaches.total()
    if until_end and broken:
        raise CheckFailedError(counted(broken, "violation"))


def _must_grow(file: Path) -> None:
    """ConfigError for tracefs' `trace`, which is read from its beginning each time."""
    pipe = file.with_name("trace_pipe")
    if file.name == "trace" and pipe.exists():
        raise ConfigError(
            f"{file} is what the tracer's buffer holds now, and does not grow: follow {pipe},"
            " or read it once with --until-end"
        )


async def _watch(settings: WatchSettings, clock: SystemClock) -> Watch:
    watched = Watch(settings, clock)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, watched.stopping.set)
    await watched.run()
    return watched
