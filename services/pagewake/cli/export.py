"""`pagewake export`: a run in other forms: a cluster's as a log directory, any as ftrace text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from pagewake.cli.guard import complain
from pagewake.cli.options import KafkaOption, SeedOption, SetOption
from pagewake.cli.output import print_line, replacing
from pagewake.cli.places import FTRACE, refuse_place
from pagewake.cli.versions import need_journal, tell_version
from pagewake.errors import ConfigError
from pagewake.recorded.log import is_recording

if TYPE_CHECKING:
    from pagewake.recorded.export import Written

RunArgument = Annotated[
    str,
    typer.Argument(
        metavar="RUN_OR_LOG",
        help="With -o the name of a finished run of a cluster; with --ftrace a log directory, an"
        " imported recording, a scenario file, or the name of a built-in scenario, which is run.",
    ),
]
OutOption = Annotated[
    Path | None, typer.Option("--output", "-o", metavar="DIR", help="New directory for the log.")
]
FtraceOption = Annotated[
    Path | None,
    typer.Option("--ftrace", metavar="FILE", help="Write ftrace text, as tracefs prints it."),
]
KernelOption = Annotated[
    str | None,
    typer.Option(
        "--kernel",
        metavar="P",
        help="Whose lines: a kernel profile; by default that of the run's host.",
        show_default=False,
    ),
]
HostOption = Annotated[
    int | None,
    typer.Option("--host", metavar="N", help="Which simulated host, where there are several."),
]


def export(
    run: RunArgument,
    out: OutOption = None,
    ftrace: FtraceOption = None,
    kernel: KernelOption = None,
    host: HostOption = None,
    seed: SeedOption = None,
    sets: SetOption = None,
    kafka: KafkaOption = None,
) -> None:
    """Copy a cluster's run into a log directory, or write any run as ftrace text."""
    if (out is None) == (ftrace is None):
        raise ConfigError("give either -o DIR, for a log, or --ftrace FILE, for ftrace text")
    if out is not None:
        if kernel is not None or host is not None or seed is not None or sets:
            raise ConfigError("--kernel, --host, --seed and --set are for --ftrace")
        from pagewake.cli.cluster import copy_log  # noqa: PLC0415 - it loads Kafka's client

        copy_log(run, out, kafka)
    elif ftrace is not None:
        _write(run, ftrace, kernel, host, seed, sets or ())


def _write(
    run: str,
    place: Path,
    kernel: str | None,
    host: int | None,
    seed: int | None,
    sets: Sequence[str],
) -> None:
    from pagewake.recorded.export import write_ftrace  # noqa: PLC0415 - loads numpy
    from pagewake.recorded.tracepoints import release_of  # noqa: PLC0415 - as above

    if kernel is not None:
        release_of(kernel)
    log = Path(run)
    if log.is_dir() and (seed is not None or sets):
        raise ConfigError(f"{run} is a log, and has happened: leave out --seed and --set")
    refuse_place(place, log if log.is_dir() else None, FTRACE)
    with _log_of(run, seed, sets) as log:
        written: list[Written] = []
        replacing(place, lambda path: written.append(write_ftrace(log, path, kernel, host)))
    _tell(place, written[0])


@contextmanager
def _log_of(run: str, seed: int | None, sets: Sequence[str]) -> Iterator[Path]:
    """The log that is named, or that of the scenario that is named, for as long as it is read."""
    if Path(run).is_dir():
        if not is_recording(Path(run)):
            need_journal(Path(run), "export")
            tell_version(Path(run))
        yield Path(run)
        return
    from pagewake.cli.loading import load, tell_hints  # noqa: PLC0415 - loads numpy
    from pagewake.engine.run import run_scenario  # noqa: PLC0415 - as above

    scenario = load(run, sets, seed)
    tell_hints([scenario])
    with TemporaryDirectory(prefix="pagewake-") as directory:
        log = Path(directory) / "log"
        run_scenario(scenario, log_dir=log)
        yield log


def _tell(place: Path, written: Written) -> None:
    print_line(f"{place}: {written.lines} lines, as Linux {written.kernel} prints them")
    if sum(map(len, written.threads.values())) > 1:
        of_vms = [
            f"{vm} {','.join(map(str, threads))}"
            for vm, processes in written.threads.items()
            for threads in processes
        ]
        complain(f"vcpu threads: {'; '.join(of_vms)}")
    if len(written.threads) > 1 and not written.groups:
        complain(
            "hint: these lines do not say of which VM a thread is; pagewake import is told by"
            " --vm PID,.. with the threads of each"
        )
