"""What `pagewake top` shows, and what its keys do: no terminal and no broker in here.

Names come from whoever publishes, so nothing of them reaches a terminal but printable characters.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple, TypeAlias

import msgspec
from rich.console import Group, RenderableType
from rich.text import Text

from pagewake.cli.figures import Figures
from pagewake.cli.progress import factor, seconds
from pagewake.cluster.live import Live, Run, Service
from pagewake.cluster.messages import VmProgress

RUNS_SHOWN = 6
"""Lines of the list of runs: it scrolls, so that the chosen run keeps most of the screen."""
VMS_SHOWN = 16
"""Lines of the table of VMs, those with most faults first."""
NAME_CHARACTERS = 40  # longer names are cut, so that the tables keep their width
STALE_WORDS = "silent for {:.0f} s"
KEYS = "p pause  r resume  s stop  ↑ ↓ choose  q quit"

Do: TypeAlias = Literal["pause", "resume", "stop"]
_DOES: dict[str, Do] = {"p": "pause", "r": "resume"}
_COLOURS = {
    "running": "green",
    "paused": "yellow",
    "waiting": "yellow",
    "replaying": "cyan",
    "lost": "red",
}


class ServiceRow(msgspec.Struct, frozen=True):
    """One service of a run, as `--json` has it."""

    service: str
    instance: str
    state: str
    window: int | None
    at_ns: int | None
    duration_ns: int | None
    speed: float | None
    lag: int | None
    replaying: bool
    silent_s: float
    waits_for: list[str]


class RunRow(msgspec.Struct, frozen=True):
    """One run, as `--json` has it; `at_ns` is where its slowest simulated host is."""

    run: str
    state: str
    paused: bool
    at_ns: int | None
    duration_ns: int | None
    speed: float | None
    sleepers: int
    halted: int
    vms_owned: int
    services: list[ServiceRow]
    vms: list[VmProgress]


class KeyCommand(NamedTuple):
    """What a key asks for: a command to a run, or to quit."""

    do: Do | Literal["quit"]
    run: str = ""


def row_of(run: Run, now_s: float) -> RunRow:
    """The figures of a run at an instant."""
    rows = [_service_row(each, now_s) for each in run.in_order()]
    hosts = [row for row in rows if row.service == "host" and row.at_ns is not None]
    active = [row for row in hosts if row.state not in ("ended", "left", "lost")] or hosts
    slowest = min(active, key=lambda row: row.at_ns or 0, default=None)
    sums = run.sums()
    return RunRow(
        run.name,
        run.word,
        run.paused,
        slowest.at_ns if slowest else None,
        slowest.duration_ns if slowest else None,
        slowest.speed if slowest else None,
        sums.sleepers,
        sums.halted,
        sums.vms,
        rows,
        sums.most[:VMS_SHOWN],
    )


def _service_row(service: Service, now_s: float) -> ServiceRow:
    progress = service.progress
    return ServiceRow(
        service.service,
        service.instance,
        service.status or "unknown",
        progress.window if progress else None,
        progress.at_ns if progress else None,
        progress.duration_ns if progress else None,
        progress.speed if progress and service.active else None,
        progress.lag if progress and service.active else None,
        service.status == "replaying",
        round(service.silent_s(now_s), 1),
        progress.waits_for if progress and service.active else [],
    )


class Viewer:
    """Which run is looked at, and what was asked for.  `note` is the last thing to say."""

    def __init__(self, live: Live, run: str | None = None) -> None:
        self.live = live
        self.fixed = run
        self.chosen = run
        self.confirming = ""
        self.note = ""

    def runs(self) -> list[Run]:
        """The runs to choose from; one that was named is the only one."""
        if self.fixed is not None:
            return [self.live.runs[self.fixed]] if self.fixed in self.live.runs else []
        return self.live.in_order()

    def run(self) -> Run | None:
        """The run that is looked at: the one chosen, else the first."""
        if self.chosen in self.live.runs:
            return self.live.runs[self.chosen]
        return next(iter(self.runs()), None)

    def press(self, key: str) -> KeyCommand | None:
        """Act on a key; arrows and tab come as `up`, `down` and `tab`."""
        if self.confirming:
            run, self.confirming = self.confirming, ""
            self.note = "" if key == "y" else "not stopped"
            return KeyCommand("stop", run) if key == "y" else None
        if key in ("up", "down", "tab"):
            self._move(-1 if key == "up" else 1)
            return None
        if key == "q":
            return KeyCommand("quit")
        run_looked_at = self.run()
        if run_looked_at is None or key not in ("p", "r", "s"):
            return None
        if not run_looked_at.active:
            self.note = f"{shown(run_looked_at.name)} is {run_looked_at.word}"
            return None
        if key == "s":
            self.confirming = run_looked_at.name
            return None
        return KeyCommand(_DOES[key], run_looked_at.name)

    def _move(self, step: int) -> None:
        names = [run.name for run in self.runs()]
        if names:
            now = self.run()
            at = names.index(now.name) if now is not None and now.name in names else 0
            self.chosen = names[(at + step) % len(names)]

    # ------------------------------------------------------------------ pictures

    def screen(self, now_s: float, broker: str, height: int) -> RenderableType:
        """Everything that the terminal shows."""
        run = self.run()
        if self.chosen is None and run is not None and run.active:
            self.chosen = run.name  # what the keys act on changes only by a key
        parts: list[RenderableType] = [self._head(broker), self._keys()]
        if run is None:
            parts.append(Text(f"nothing heard of {self.fixed or 'any run'} yet", style="dim"))
        else:
            if len(self.runs()) > 1:
                parts.append(self._list(now_s))
            room = max(1, height - 12 - len(run.services) - min(RUNS_SHOWN, len(self.runs())))
            parts += run_parts(row_of(run, now_s), min(VMS_SHOWN, room))
        return Group(*parts)

    def _head(self, broker: str) -> Text:
        return Text.assemble(("pagewake top", "bold"), "  ", (broker, "dim"))

    def _list(self, now_s: float) -> Figures:
        runs, chosen = self.runs(), self.run()
        at = runs.index(chosen) if chosen in runs else 0
        first = max(0, min(at - RUNS_SHOWN // 2, len(runs) - RUNS_SHOWN))
        table = Figures(["", "run", "state", "simulated", "speed"], words=3)
        for run in runs[first : first + RUNS_SHOWN]:
            row = row_of(run, now_s)
            mark = "▸" if run is chosen else ""
            table.add_row(
                mark,
                shown(row.run),
                _word(row.state),
                *_position(row),
                style="bold" * (run is chosen),
            )
        return table

    def _keys(self) -> Text:
        if self.confirming:
            return Text(f"stop {shown(self.confirming)} where it is? y / n", style="bold red")
        return Text.assemble((KEYS, "dim"), *(("\n", self.note) if self.note else ()))


def run_parts(row: RunRow, vms: int = VMS_SHOWN) -> list[RenderableType]:
    """A run: its head, its services, its VMs."""
    at, speed = _position(row)
    head = Text.assemble(
        (shown(row.run), "bold"), "  ", _word(row.state), f"  simulated {at}, {speed} x real time"
    )
    return [head, _services(row.services), *_vms(row, vms)]


def _services(rows: Sequence[ServiceRow]) -> Figures:
    table = Figures(
        ["service", "instance", "state", "window", "simulated", "speed", "lag"],
        words=3,
        first_out=("lag", "window", "speed"),
    )
    for row in rows:
        at, speed = _position(row)
        table.add_row(
            row.service, Text(shown(row.instance)), _state(row), _count(row.window), at, speed,
            _count(row.lag),
        )  # fmt: skip
    return table


def _vms(row: RunRow, most: int) -> Iterable[RenderableType]:
    head = f"{row.vms_owned:,} VMs: {row.sleepers:,} tasks asleep, {row.halted:,} vcpus stand still"
    yield Text(head)
    if row.vms and most:
        table = Figures(["vm", "sleepers", "halted"])
        for vm in row.vms[:most]:
            table.add_row(Text(shown(vm.vm)), _count(vm.sleepers), _count(vm.halted))
        yield table


def _state(row: ServiceRow) -> Text:
    if row.silent_s:
        return Text(STALE_WORDS.format(row.silent_s), style="red")
    waits = f" for {shown(', '.join(row.waits_for))}" if row.waits_for else ""
    return Text.assemble(_word(row.state), waits)


def _word(state: str) -> Text:
    return Text(state, style=_COLOURS.get(state, "dim"))


def _position(row: RunRow | ServiceRow) -> tuple[str, str]:
    """Two cells: simulated time of the total, and speed."""
    if row.at_ns is None or row.duration_ns is None:
        return "-", "-"
    at = f"{row.at_ns / 1e9:.3f} of {seconds(row.duration_ns)}"
    return at, "-" if row.speed is None else factor(row.speed)


def _count(number: int | None) -> str:
    return "-" if number is None else f"{number:,}"


def shown(name: str) -> str:
    """A name that somebody published, fit for a terminal."""
    plain = "".join(c if c.isprintable() else "?" for c in name)
    return plain if len(plain) <= NAME_CHARACTERS else plain[: NAME_CHARACTERS - 1] + "…"
