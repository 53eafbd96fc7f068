"""`write_ftrace`: what a log tells as the file `trace` of tracefs, as a kernel of choice prints it.

One simulated host is one machine with one trace.  A log's lines are written as soon as nothing can
come before them, so that one of any length needs little memory; those of a recording at its end,
because it tells of a fault that a vcpu thread resolved when that is over.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryFile
from typing import Final, NamedTuple

from pagewake.bus.log_reader import LogReader
from pagewake.bus.log_sums import RUN_NAME
from pagewake.errors import ConfigError, DataError
from pagewake.events.types import SyncFault
from pagewake.kvm.profile import resolve
from pagewake.kvm.switches import Switches
from pagewake.recorded.host_trace import NEW_PROCESS, HostTrace, Machine
from pagewake.recorded.log import RecordingReader, is_recording
from pagewake.recorded.tracepoints import Release, release_of
from pagewake.scenario.loading import load
from pagewake.scenario.model import Scenario
from pagewake.verify.log_run import LogRun, PlacedEvent
from pagewake.verify.vm_order import HostOrder, tasks_by_vm

INTERRUPTS_SINCE: Final[Release] = (5, 8)
"""READY by interrupt, and by nothing else."""


class Written(NamedTuple):
    """What was written: lines, and the vcpu threads of the VMs by name, a list for each process.

    `groups`: every line says of which process its thread is.
    """

    kernel: str
    lines: int
    threads: dict[str, list[list[int]]]
    groups: bool


def write_ftrace(directory: Path, place: Path, kernel: str | None, host: int | None) -> Written:
    """Write the trace of a log's simulated host, or of a recording, by default as its own kernel.

    ConfigError for what that kernel has no lines for, DataError for a damaged log.
    """
    if is_recording(directory):
        return _of_recording(RecordingReader(directory), place, kernel)
    return _of_log(directory, place, kernel, host)


def _of_log(directory: Path, place: Path, kernel: str | None, host: int | None) -> Written:
    reader = LogReader(directory)
    if reader.faults:
        raise _damaged(directory, str(reader.faults[0]))
    scenario = load(str(directory / RUN_NAME))
    kernel = kernel or scenario.kernel.profile_of(0)
    release = release_of(kernel)
    _refuse(scenario.kernel.switches(0), kernel, release)
    number = _host_of(scenario, host)
    machine = Machine(
        {
            vm.name: dict.fromkeys(range(vm.spec.vcpus))
            for vm in scenario.instances()
            if vm.host == number
        },
        scenario.host.costs,
        any(isinstance(event.control, NEW_PROCESS) for event in scenario.events),
    )

    def fill(trace: HostTrace) -> None:
        run = LogRun(reader)
        _fill(trace, run, number, tasks_by_vm(scenario, number))
        problems = [str(problem) for problem in run.integrity()] or run.complaints
        if problems:
            raise _damaged(directory, problems[0])

    return _write(place, kernel, machine, fill)


def _fill(trace: HostTrace, run: LogRun, host: int, tasks: dict[str, int]) -> None:
    """Everything that the log has of this host."""
    order = HostOrder(tasks, trace.vms, _stray)
    until_ns: dict[str, int] = {}
    for window in run.windows(host):
        if window.source in until_ns:  # all shards are through the one before
            told_ns = min(until_ns.values())
            waiting_ns = order.waiting_ns()
            trace.flush(told_ns if waiting_ns is None else min(told_ns, waiting_ns))
        until_ns[window.source] = window.until_ns
        order.feed(window)
    order.finish()
    trace.finish(max(until_ns.values(), default=0))


def _of_recording(reader: RecordingReader, place: Path, kernel: str | None) -> Written:
    recording = reader.recording
    kernel = kernel or recording.profile
    _refuse(resolve(recording.profile, {}), kernel, release_of(kernel))
    machine = Machine(
        {vm.name: {int(vcpu): pid for vcpu, pid in vm.vcpus.items()} for vm in recording.vms},
        None,
        begin_ns=recording.begin_ns,
    )

    def fill(trace: HostTrace) -> None:
        begin: dict[str, list[SyncFault]] = {name: [] for name in machine.vms}
        for one in reader.found():
            if isinstance(one, PlacedEvent) and isinstance(one.event, SyncFault):
                begin[one.event.vm].append(one.event)
        for faults in begin.values():
            faults.sort(key=_began_ns, reverse=True)
        for one in reader.found():
            if isinstance(one, PlacedEvent):
                vm, faults = trace.vms[one.event.vm], begin[one.event.vm]
                while faults and _began_ns(faults[-1]) <= one.event.at_ns:
                    vm.reads(faults.pop())
                vm.take(one)
        trace.finish(recording.length_ns + 1)

    return _write(place, kernel, machine, fill)


def _write(
    place: Path, kernel: str, machine: Machine, fill: Callable[[HostTrace], None]
) -> Written:
    """The head counts the lines, so they are written first."""
    with TemporaryFile("w+", dir=place.parent, encoding="utf-8") as body:
        trace = HostTrace(machine, release_of(kernel), body)
        fill(trace)
        body.seek(0)
        with place.open("w", encoding="utf-8") as out:
            out.write(trace.head())
            shutil.copyfileobj(body, out)
    return Written(kernel, trace.lines, trace.threads(), trace.tgids)


def _refuse(rules: Switches, kernel: str, release: Release) -> None:
    """ConfigError where what happened has no lines in that kernel."""
    by_interrupt = rules.ready_by_interrupt
    if by_interrupt != (release >= INTERRUPTS_SINCE):
        how, since = ("interrupt", "from 5.8 on") if by_interrupt else ("exception", "before 5.8")
        raise ConfigError(
            f"{kernel} has no lines for this run, in which READY is an {how}, as in kernels"
            f" {since}: name one of those with --kernel, or run with --set kernel.profile={kernel}"
        )
    if rules.user_apf != "none":
        raise ConfigError(
            f"no released kernel tells user space of asynchronous page faults (user_apf ="
            f' "{rules.user_apf}"), so none has lines for it: run with'
            " --set kernel.overrides.user_apf=none"
        )


def _host_of(scenario: Scenario, host: int | None) -> int:
    count = scenario.host.count
    if host is None and count > 1:
        raise ConfigError(
            f"the run has {count} simulated hosts, each with a trace of its own: name one with"
            f" --host, from 0 to {count - 1}"
        )
    if host is not None and not 0 <= host < count:
        raise ConfigError(f"--host {host}: the hosts of this run are 0 to {count - 1}")
    return host or 0


def _began_ns(fault: SyncFault) -> int:
    return fault.at_ns - fault.took_ns


def _stray(placed: PlacedEvent, what: str) -> None:
    raise DataError(f"{placed.where}: {type(placed.event).__name__} {what}")


def _damaged(directory: Path, what: str) -> DataError:
    return DataError(f"{directory}: {what}: `pagewake verify` names all that is wrong")
