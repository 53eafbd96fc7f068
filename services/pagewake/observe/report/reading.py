"""A log read once for a report: its result, and what the pictures need beyond it.

The result is that of `run --json`, but for the wall time, which no log holds.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from pagewake.bus.log_reader import LogReader
from pagewake.bus.log_sums import RUN_NAME
from pagewake.errors import DataError
from pagewake.events.types import ExitRouted, PageNotPresent, TaskWoken
from pagewake.observe.counter import ResultCounter
from pagewake.observe.report.durations import Durations
from pagewake.observe.report.overview import Overview
from pagewake.observe.report.recorder import Best, Lost, Pending, VmRecorder
from pagewake.observe.report.timeline import Timeline
from pagewake.observe.result import RunFacts, RunResult, SwapFacts, swap_facts
from pagewake.scenario.loading import load
from pagewake.scenario.model import Scenario, VmInstance
from pagewake.timeline.on_cpu import guest_of
from pagewake.verify.log_run import LogRun, PlacedEvent
from pagewake.verify.vm_order import HostOrder, tasks_by_vm


@dataclass(slots=True)
class LoggedRun:
    """A run, as its log tells it.

    `slept`: how long tasks slept until they were woken; `halted` and `blacked_out`: how long vcpus
    stood still each time. `routes` counts (level, exit code, route), `reasons` (delivery, why).
    `lost` and `pending` are what nobody may overlook; `overview` is the whole run of the VM that
    `timeline` shows a stretch of.
    """

    scenario: Scenario
    result: RunResult
    timeline: Timeline | None = None
    slept: Durations = field(default_factory=Durations)
    halted: Durations = field(default_factory=Durations)
    blacked_out: Durations = field(default_factory=Durations)
    routes: Counter[tuple[int, int, str]] = field(default_factory=Counter)
    reasons: Counter[tuple[str, str]] = field(default_factory=Counter)
    lost: list[Lost] = field(default_factory=list)
    pending: list[Pending] = field(default_factory=list)
    overview: Overview | None = None


def read_log(log: Path) -> LoggedRun:
    """Read a log directory; ConfigError if it is none, DataError for a damaged one."""
    reader = LogReader(log)
    if reader.faults:
        raise _damaged(log, str(reader.faults[0]))
    scenario = load(str(log / RUN_NAME))
    reading = _Reading(LogRun(reader), scenario)
    for host in range(scenario.host.count):
        reading.read_host(host)
    return reading.finish()


def _damaged(log: Path, what: str) -> DataError:
    return DataError(f"{log}: {what}: `pagewake verify` names all that is wrong")


class _Vm:
    """Hands the events of one VM to everybody who counts or draws them (`VmSink`)."""

    __slots__ = ("_counter", "_recorder", "_told")

    def __init__(self, recorder: VmRecorder, counter: ResultCounter, told: _Reading) -> None:
        self._recorder = recorder
        self._counter = counter
        self._told = told

    def take(self, placed: PlacedEvent) -> None:
        self._counter.feed((placed.event,))
        self._told.count(placed)
        self._recorder.take(placed)

    def complain(self, placed: PlacedEvent, what: str) -> None:
        raise DataError(f"{placed.where}: {what}: `pagewake verify` names all that is wrong")

    @property
    def last_ns(self) -> int:
        """The instant of its last event."""
        return self._recorder.tracks.last_ns

    def close(self, at_ns: int) -> None:
        self._recorder.close(at_ns)


class _Reading:
    """Everything that has been counted of the log so far."""

    def __init__(self, run: LogRun, scenario: Scenario) -> None:
        self._run = run
        self._scenario = scenario
        self._counter = ResultCounter()
        self._best = Best()
        self._windows = 0
        self._sim_ns = 0
        self._vms = 0
        self._slept = Durations()
        self._halted = Durations()
        self._blacked_out = Durations()
        self._routes: Counter[tuple[int, int, str]] = Counter()
        self._reasons: Counter[tuple[str, str]] = Counter()

    def read_host(self, host: int) -> None:
        """Read the windows of one simulated host."""
        tasks = tasks_by_vm(self._scenario, host)
        vms = {vm.name: self._vm(vm) for vm in self._scenario.instances() if vm.host == host}
        order = HostOrder(tasks, vms, _stray)
        windows: Counter[str] = Counter()
        until_ns = 0
        for window in self._run.windows(host):
            order.feed(window)
            until_ns = max(until_ns, window.until_ns)
            windows[window.source] += 1
        order.finish()
        self._windows += max(windows.values(), default=0)
        frozen = [order.orders[name].frozen for name in vms]
        end_ns = min(until_ns, self._scenario.duration_ns)
        if all(frozen) and vms:
            end_ns = min(end_ns, max(vm.last_ns for vm in vms.values()))
        self._sim_ns = max(self._sim_ns, end_ns)
        for name, vm in vms.items():
            vm.close(vm.last_ns if order.orders[name].frozen else end_ns)

    def count(self, placed: PlacedEvent) -> None:
        """Count an event of any VM."""
        event = placed.event
        if isinstance(event, TaskWoken):
            self._slept.add(event.waited_ns)
        elif isinstance(event, ExitRouted):
            self._routes[event.level, event.exit_code, event.route] += 1
        elif isinstance(event, PageNotPresent) and not event.first_touch:
            self._reasons[event.delivery, event.why or ""] += 1

    def _swap_facts(self) -> SwapFacts | None:
        """None for a log of 0.1.0, which shared out memory by another rule."""
        old = self._scenario.about.version == "0.1.0"
        return None if old else swap_facts(self._scenario)

    def finish(self) -> LoggedRun:
        """The run as the log tells it; DataError where the log is damaged."""
        run, reader = self._run, self._run.reader
        problems = [str(problem) for problem in run.integrity()] or run.complaints
        if problems:
            raise _damaged(reader.directory, problems[0])
        assert reader.sums is not None
        kernel = self._scenario.kernel
        facts = RunFacts(
            scenario=self._scenario.name,
            seed=self._scenario.seed,
            profile=kernel.profile,
            apf=kernel.apf,
            sim_ns=self._sim_ns,
            wall_s=0.0,
            windows=self._windows,
            digest=reader.sums.digest,
            shards=sum(file.topic.startswith("apf.") for file in reader.files),
            version=self._scenario.about.version,
            swap=self._swap_facts(),
            expects=self._scenario.expects,
        )
        result = self._counter.finish(facts, [ended.summary for _, ended in run.endings])
        return LoggedRun(
            self._scenario,
            result,
            self._best.timeline,
            self._slept,
            self._halted,
            self._blacked_out,
            self._routes,
            self._reasons,
            self._best.lost,
            self._best.pending,
            self._best.overview,
        )

    def _vm(self, vm: VmInstance) -> _Vm:
        self._vms += 1
        guest = guest_of(self._scenario, vm)
        recorder = VmRecorder(
            vm.name, self._vms, self._best, self._halted, self._blacked_out, guest
        )
        return _Vm(recorder, self._counter, self)


def _stray(placed: PlacedEvent, what: str) -> None:
    raise DataError(f"{placed.where}: {type(placed.event).__name__} {what}")
