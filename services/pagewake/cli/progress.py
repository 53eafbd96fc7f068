"""How far a command is: a bar on a terminal, and the line that Ctrl-C leaves behind.

The bar is on stderr, only when that is a terminal, and only for what lasts over a second.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from pagewake.cli.guard import InterruptedRunError, complain
from pagewake.scenario.page_trace import OnRead

SHOW_AFTER_S = 1.0
"""A run that is over sooner needs no bar."""
TELL_AFTER_S = 5.0
"""Where there is no bar: somebody who waits so long wants to know for how much longer."""
REDRAW_S = 0.1
"""Smooth to the eye, and nothing beside a run."""
BAR_COLUMNS = 16
"""Leaves room for the figures beside it on a terminal of 80 columns."""


class Reach:
    """Simulated time reached of the total of one or several runs side by side."""

    def __init__(self, total_ns: int, runs: int = 1) -> None:
        self.total_ns = total_ns
        self.runs = runs
        self.finished = 0
        self._at_ns = [0] * runs
        self._started_s = time.monotonic()
        self._next_draw_s = self._started_s + SHOW_AFTER_S
        self._bar: _Bar | None = None
        self._terminal = sys.stderr.isatty()

    def reporter(self, run: int) -> Callable[[int, int], None]:
        """By which a run in this process says how far it is."""

        def report(at_ns: int, _windows: int) -> None:
            self.report_of(run, at_ns)

        return report

    def report_of(self, run: int, at_ns: int) -> None:
        """A run has reached `at_ns`; draws now and then."""
        self._at_ns[run] = at_ns
        if self._terminal and time.monotonic() >= self._next_draw_s:
            self._draw()

    def run_finished(self, name: str = "") -> None:
        """Count one of several runs as done; a line of those that take a while.

        On a terminal the bar says it, and only a run that has a name gets a line.
        """
        self.finished += 1
        if self.runs > 1 and self.elapsed_s >= TELL_AFTER_S and (name or not self._terminal):
            done = f"{self.finished} of {self.runs} runs done after {duration(self.elapsed_s)}"
            self.close()  # the next report draws it again, below the line
            complain(f"{done}: {name}" if name else done)

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    @property
    def at_ns(self) -> int:
        """Simulated time so far, of all runs together."""
        return sum(self._at_ns)

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self._started_s

    def line(self) -> str:
        """How far it got, for whoever interrupted it."""
        runs = f"{self.finished} of {self.runs} runs done, " if self.runs > 1 else ""
        share = 100 * self.at_ns / self.total_ns if self.total_ns else 0
        return (
            f"interrupted: {runs}{self.at_ns / 1e9:.3f} of {seconds(self.total_ns)} simulated"
            f" ({share:.0f} %) after {duration(self.elapsed_s)}"
        )

    def _draw(self) -> None:
        self._next_draw_s = time.monotonic() + REDRAW_S
        if self._bar is None:
            self._bar = _Bar("simulating", self.total_ns, _SimulatedColumn())
        self._bar.move(self.at_ns, self.elapsed_s)


class _Bar:
    """The bar on the terminal, drawn by rich."""

    def __init__(self, what: str, total: int | None, column: ProgressColumn) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=BAR_COLUMNS),
            column,
            TimeRemainingColumn(),
            console=Console(file=sys.stderr),
            transient=True,
            auto_refresh=False,
        )
        self._progress.start()
        self._task = self._progress.add_task(what, total=total, elapsed_s=0.0)

    def move(self, done: int, elapsed_s: float) -> None:
        self._progress.update(self._task, completed=done, elapsed_s=elapsed_s)
        self._progress.refresh()

    def stop(self) -> None:
        self._progress.stop()


class _SimulatedColumn(ProgressColumn):
    """A column of the bar: simulated time and speed."""

    def render(self, task: Task) -> Text:
        elapsed_s = float(task.fields["elapsed_s"])
        speed = task.completed / 1e9 / elapsed_s if elapsed_s else 0.0
        reached = f"{task.completed / 1e9:.2f} of {seconds(int(task.total or 0))} simulated"
        return Text(f"{reached}, {factor(speed)} x real time", no_wrap=True)


class Reading:
    """How far a trace has been read: a bar per file, on a terminal, once it takes a while."""

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        self._path: Path | None = None
        self._started_s = self._next_draw_s = 0.0
        self._bar: _Bar | None = None

    def report(self, path: Path, done: int, size: int) -> None:
        """So many bytes of a file have been read, 0 if its size is unknown; draws now and then."""
        now_s = time.monotonic()
        if path != self._path:
            self.close()
            self._path = path
            self._started_s, self._next_draw_s = now_s, now_s + SHOW_AFTER_S
        if self._terminal and now_s >= self._next_draw_s:
            self._next_draw_s = now_s + REDRAW_S
            if self._bar is None:
                self._bar = _Bar(f"reading {path.name}", size or None, DownloadColumn())
            self._bar.move(done, now_s - self._started_s)

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


@contextmanager
def reading() -> Iterator[OnRead]:
    """Follow the reading of traces."""
    shown = Reading()
    try:
        yield shown.report
    finally:
        shown.close()


@contextmanager
def following(total_ns: int, runs: int = 1) -> Iterator[Reach]:
    """Follow a run; Ctrl-C inside becomes an error that says how far it got."""
    reach = Reach(total_ns, runs)
    try:
        yield reach
    except KeyboardInterrupt:
        reach.close()
        raise InterruptedRunError(reach.line()) from None
    finally:
        reach.close()


def seconds(at_ns: int) -> str:
    """Simulated time for a person: at most six decimals, none that say nothing."""
    return f"{at_ns / 1e9:.6f}".rstrip("0").rstrip(".") + " s"


def duration(value_s: float) -> str:
    """Seconds with a unit that keeps them readable."""
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if value_s >= scale:
            return f"{factor(value_s / scale)} {unit}"
    return f"{value_s * 1e9:.0f} ns"


def factor(value: float) -> str:
    """Three digits, more where there are more before the point, and never an exponent."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
