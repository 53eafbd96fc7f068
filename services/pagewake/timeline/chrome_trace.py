"""`write_trace`: a log as a timeline for Perfetto or chrome://tracing, in simulated time.

A process per VM, a track per vcpu with what it did (running, halted and why, waiting for a page in
its own thread, L2), one with the tasks that it ran, an asynchronous span per sleeping task,
instants for what happened, and arrows from each not-present to its ready, if it came. Counters show
sleepers and outstanding items. Timestamps are microseconds of simulated time, as the format wants
them; nanoseconds stand behind the point.
"""

from __future__ import annotations

import os
from pathlib import Path

from pagewake.bus.log_reader import LogReader
from pagewake.errors import ConfigError, DataError
from pagewake.scenario.loading import load
from pagewake.scenario.model import Scenario
from pagewake.timeline.on_cpu import guest_of
from pagewake.timeline.trace_file import TraceFile, VmWriter
from pagewake.timeline.trace_tracks import VmTracks
from pagewake.verify.log_run import LogRun, PlacedEvent
from pagewake.verify.vm_order import HostOrder, tasks_by_vm


def write_trace(log_dir: Path, out_path: Path) -> None:
    """Write the trace of a log; ConfigError for a bad place, DataError for a damaged log."""
    if not out_path.parent.is_dir():
        raise ConfigError(f"{out_path}: {out_path.parent} is no directory: make it first")
    reader = LogReader(log_dir)
    if reader.faults:
        raise DataError(f"{log_dir}: {reader.faults[0]}: `pagewake verify` names all that is wrong")
    scenario = load(str(log_dir / "run.toml"))
    temporary = out_path.with_name(f".{out_path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            _write(LogRun(reader), scenario, TraceFile(file))
        temporary.replace(out_path)
    except OSError as error:
        raise ConfigError(f"{out_path}: cannot be written: {error.strerror or error}") from error
    finally:
        temporary.unlink(missing_ok=True)


def _write(run: LogRun, scenario: Scenario, trace: TraceFile) -> None:
    trace.begin({"scenario": scenario.name, "seed": scenario.seed})
    first_pid = 1
    for host in range(scenario.host.count):
        first_pid += _write_host(run, host, scenario, trace, first_pid)
    trace.end()
    problems = [str(problem) for problem in run.integrity()] or run.complaints
    if problems:
        where = run.reader.directory
        raise DataError(f"{where}: {problems[0]}: `pagewake verify` names all that is wrong")


def _write_host(
    run: LogRun, host: int, scenario: Scenario, trace: TraceFile, first_pid: int
) -> int:
    """Tracks of all VMs of one simulated host; how many there are."""
    instances = [vm for vm in scenario.instances() if vm.host == host]
    vms = {
        vm.name: VmTracks(
            VmWriter(trace, first_pid + index, f"{vm.name} (host {host})"), guest_of(scenario, vm)
        )
        for index, vm in enumerate(instances)
    }
    order = HostOrder(tasks_by_vm(scenario, host), vms, _stray)
    until_ns = 0
    for window in run.windows(host):
        order.feed(window)
        until_ns = window.until_ns
    order.finish()
    for name, tracks in vms.items():
        tracks.close(tracks.last_ns if order.orders[name].frozen else until_ns)
    return len(vms)


def _stray(placed: PlacedEvent, what: str) -> None:
    raise DataError(f"{placed.where}: {type(placed.event).__name__} {what}")
