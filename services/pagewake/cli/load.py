"""`pagewake load`: how much a cluster, or one process, can take.

Sizes are measured one after the other.  Ctrl-C ends the one under way, prints those that were
measured, and leaves no run behind.
"""

from __future__ import annotations

import asyncio
import platform
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from math import isfinite
from pathlib import Path
from typing import Annotated, NamedTuple, TypeAlias

import msgspec
import typer
from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, TextColumn

from pagewake import __version__
from pagewake.cli.figures import Figures
from pagewake.cli.fitting import refuse_start
from pagewake.cli.guard import InterruptedRunError, complain
from pagewake.cli.options import JobsOption, JournalOption, JsonOption, KafkaOption, MqttOption
from pagewake.cli.output import print_json, replacing
from pagewake.cli.places import refuse_place
from pagewake.cli.screen import folded, print_result
from pagewake.engine.split import cores
from pagewake.errors import CheckFailedError, ConfigError
from pagewake.events.journal import JournalMode, check_mode
from pagewake.load import embedded
from pagewake.load.embedded import Tell
from pagewake.load.measured import (
    LATENCY_SOURCES,
    LoadMode,
    LoadResult,
    Measurement,
    knee_of,
)
from pagewake.load.plan import parse_duration, parse_sizes, scenario_for
from pagewake.load.regression import check_comparable, in_words, read_baseline, regressions
from pagewake.load.words import HEADINGS, cells, cost_cells, remarks, services
from pagewake.observe.report.words import counted

WARM_SHARE, WARM_S_MAX = 0.2, 5.0
"""Chosen: a warm-up in proportion to the measurement, but of seconds only (see `WARM_WINDOWS`)."""
REGRESSION = 0.2
"""Chosen: two runs of one version on one machine differ too, a fifth is worth a look."""


VcpusOption: TypeAlias = Annotated[
    str, typer.Option("--vcpus", metavar="N,N,...", help="Sizes to measure, in vcpus.")
]
DurationOption: TypeAlias = Annotated[
    str, typer.Option("--duration", help="Wall time to measure each size for.")
]
EmbeddedOption: TypeAlias = Annotated[
    bool, typer.Option("--embedded", help="On this machine's cores, without brokers.")
]
HtmlOption: TypeAlias = Annotated[
    Path | None,
    typer.Option("--html", metavar="FILE", help="Write a page with curves.", show_default=False),
]
BaselineOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--baseline",
        metavar="FILE",
        help="Compare with what --json has written before; exit 1 for what got worse.",
        show_default=False,
    ),
]
RegressionOption: TypeAlias = Annotated[
    float | None,
    typer.Option(
        "--regression",
        min=0,
        help=f"Share by which a figure may be worse (default: {REGRESSION:g}).",
        show_default=False,
    ),
]


class _Asked(NamedTuple):
    """What to measure, and for how long each size."""

    mode: LoadMode
    sizes: list[int]
    warm_s: float
    duration_s: float
    jobs: int | None
    journal: JournalMode

    def processes(self, vcpus: int) -> int | None:
        """How many a size has; None on a cluster."""
        return embedded.processes_for(vcpus, self.jobs) if self.mode == "embedded" else None


class _Baseline(NamedTuple):
    """A result of before, and the share by which a figure may be worse than there."""

    result: LoadResult
    share: float


class _Found(NamedTuple):
    """The sizes measured; some are missing if the test was interrupted."""

    sizes: list[Measurement]
    interrupted: bool


def load(
    vcpus: VcpusOption = "64,256,1024",
    duration: DurationOption = "30s",
    in_process: EmbeddedOption = False,
    jobs: JobsOption = None,
    html: HtmlOption = None,
    baseline: BaselineOption = None,
    regression: RegressionOption = None,
    journal: JournalOption = "full",
    kafka: KafkaOption = None,
    mqtt: MqttOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure throughput, latency and cost of growing sizes, and find the knee."""
    mode: LoadMode = "embedded" if in_process else "cluster"
    asked = _asked(vcpus, duration, mode, jobs, check_mode(journal))
    before = _baseline(baseline, regression, asked)
    refuse_place(html)
    found = _found(asked, kafka, mqtt)
    result = _result(asked, found)
    if before is not None:
        worse = regressions(before.result, result, before.share)
        result = msgspec.structs.replace(result, regressions=worse)
    if as_json:
        print_json(result)
    elif result.sizes:
        print_result(*_report(result))
    if html is not None:
        _write_page(html, result)
    if found.interrupted:
        measured = f"{len(found.sizes)} of {counted(len(asked.sizes), 'size')} measured"
        raise InterruptedRunError(f"interrupted: {measured}")
    if result.regressions:
        told = "; ".join(map(in_words, result.regressions))
        raise CheckFailedError(f"worse than {baseline}: {told}")


def _asked(
    vcpus: str, duration: str, mode: LoadMode, jobs: int | None, journal: JournalMode
) -> _Asked:
    if mode == "cluster" and jobs is not None:
        raise ConfigError("--jobs: a cluster has the processes it has; give --embedded with it")
    if mode == "embedded" and journal != "full":
        raise ConfigError(f"--embedded keeps no journal: leave out --journal {journal}")
    sizes, duration_s = parse_sizes(vcpus), parse_duration(duration)
    return _Asked(mode, sizes, min(WARM_SHARE * duration_s, WARM_S_MAX), duration_s, jobs, journal)


def _baseline(path: Path | None, share: float | None, asked: _Asked) -> _Baseline | None:
    """The result to compare with, checked before minutes are spent on measuring."""
    if path is None and share is not None:
        raise ConfigError("--regression: give the --baseline to compare with")
    if share is not None and not isfinite(share):
        raise ConfigError(f"--regression {share}: give a share such as {REGRESSION:g}")
    if path is None:
        return None
    result = read_baseline(path)
    jobs = {vcpus: asked.processes(vcpus) for vcpus in asked.sizes}
    check_comparable(result, asked.mode, jobs, asked.journal)
    return _Baseline(result, REGRESSION if share is None else share)


# ---------------------------------------------------------------------------------- measuring


def _found(asked: _Asked, kafka: str | None, mqtt: str | None) -> _Found:
    with _progress(len(asked.sizes)) as progress:
        if asked.mode == "embedded":
            for vcpus in asked.sizes:
                refuse_start(scenario_for(vcpus))
            return _embedded(asked, progress)
        return _on_cluster(asked, kafka, mqtt, progress)


def _on_cluster(asked: _Asked, kafka: str | None, mqtt: str | None, progress: _Bar) -> _Found:
    # They load the clients of Kafka and MQTT, which an embedded measurement does without.
    from pagewake.cli.cluster import settings_of  # noqa: PLC0415 - as above
    from pagewake.cli.load_cluster import on_cluster  # noqa: PLC0415 - as above

    settings = settings_of(kafka=kafka, mqtt=mqtt)
    work = on_cluster(
        settings, asked.sizes, asked.warm_s, asked.duration_s, asked.journal, progress.of
    )
    return _Found(*asyncio.run(work))


def _embedded(asked: _Asked, progress: _Bar) -> _Found:
    found: list[Measurement] = []
    for vcpus in asked.sizes:
        tell = progress.of(vcpus)
        try:
            found.append(embedded.measure(vcpus, asked.warm_s, asked.duration_s, tell, asked.jobs))
        except KeyboardInterrupt:
            return _Found(found, interrupted=True)
    return _Found(found, interrupted=False)


# ---------------------------------------------------------------------------------- results


def _result(asked: _Asked, found: _Found) -> LoadResult:
    knee, reached = knee_of(found.sizes)
    return LoadResult(
        mode=asked.mode,
        duration_s=asked.duration_s,
        warm_s=asked.warm_s,
        version=__version__,
        python=platform.python_version(),
        cores=cores(),
        latency_source=LATENCY_SOURCES[asked.mode],
        sizes=found.sizes,
        knee_vcpus=knee,
        knee_reached=reached,
        interrupted=found.interrupted,
        journal=asked.journal,
    )


def _report(result: LoadResult) -> list[RenderableType]:
    table = Figures(HEADINGS, words=0)
    for size in result.sizes:
        table.add_row(*cells(size))
    head = (
        f"load, {result.mode}: {counted(len(result.sizes), 'size')}, {result.duration_s:g} s each"
    )
    if result.journal != "full":
        head += f", journal {result.journal}"
    parts: list[RenderableType] = [head, table]
    names = services(result)
    if len(names) > 1:
        title = "CPU seconds per million faults, and share of a core"
        costs = Figures(["vcpus", *names], title=title, words=0)
        for size in result.sizes:
            costs.add_row(*cost_cells(size, names))
        parts.append(costs)
    return [*parts, *(folded(remark) for remark in remarks(result))]


def _write_page(html: Path, result: LoadResult) -> None:
    from pagewake.load.page import page_of  # noqa: PLC0415 - matplotlib, only when it is wanted

    page = page_of(result)
    replacing(html, lambda path: _write(path, page))
    complain(f"{html} written")


def _write(path: Path, page: str) -> None:
    path.write_text(page, encoding="utf-8")


# ---------------------------------------------------------------------------------- progress


class _Bar:
    """A bar on a terminal, nothing elsewhere."""

    def __init__(self, sizes: int, progress: Progress | None) -> None:
        self._sizes = sizes
        self._done = 0
        self._progress = progress
        self._task = None if progress is None else progress.add_task("load", total=1.0)

    def of(self, vcpus: int) -> Tell:
        """The callback by which the measurement of the next size says how far it is."""
        self._done += 1
        head = f"{vcpus:,} vcpus ({self._done} of {self._sizes})"
        started_s = time.monotonic()

        def told(what: str, share: float) -> None:
            if self._progress is not None and self._task is not None:
                waited = f", {time.monotonic() - started_s:.0f} s" if not share else ""
                self._progress.update(
                    self._task, completed=min(1.0, share), description=f"{head}: {what}{waited}"
                )
                self._progress.refresh()

        return told


@contextmanager
def _progress(sizes: int) -> Iterator[_Bar]:
    if not sys.stderr.isatty():
        yield _Bar(sizes, None)
        return
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=24))
    console = Console(file=sys.stderr)
    with Progress(*columns, console=console, transient=True, auto_refresh=False) as progress:
        yield _Bar(sizes, progress)
