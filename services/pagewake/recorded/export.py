"""`write_ftrace`: what a log tells as the file `trace` of tracefs, as a kernel of choice prints it.

One simulated host is one machine with one trace.  Every VM is a process with a thread per vcpu, on
a CPU of its own; a page-in is completed by a kworker of that CPU.  Process ids, host addresses and
frames are made up; all else is what the log says (semantics 7.3).  Lines are written in the order
of time as soon as nothing can come before them, so a log of any length needs little memory.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryFile
from typing import Final, NamedTuple, TextIO

from pagewake.bus.log_reader import LogReader
from pagewake.bus.log_sums import RUN_NAME
from pagewake.errors import ConfigError, DataError
from pagewake.events import types as ev
from pagewake.events.ids import Gfn
from pagewake.kvm.switches import Switches
from pagewake.recorded.tracefs import Columns, columns_of, time_of
from pagewake.recorded.tracepoints import (
    READY_TOKEN_OF_BROADCAST,
    Release,
    Value,
    form_of,
    release_of,
)
from pagewake.recorded.vcpu_lines import VcpuLines
from pagewake.scenario.loading import load
from pagewake.scenario.model import Scenario, VmInstance
from pagewake.verify.log_run import LogRun, PlacedEvent, ShardWindow
from pagewake.verify.vm_order import HostOrder, tasks_by_vm

FIRST_WORKER_PID: Final = 100
FIRST_PID: Final = 1000
"""Of processes, behind a kworker for each CPU; like all of these, made up."""
GUEST_AT: Final = 0x7F0000000000
"""Where each process has the guest's memory."""
FIRST_FRAME: Final = 0x100000
_NEW_PROCESS: Final = (ev.VmMigrated, ev.VmRestored)
"""What has a VM go on in another process."""
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


def write_ftrace(log_dir: Path, place: Path, kernel: str | None, host: int | None) -> Written:
    """Write the trace of one simulated host of a log as a kernel prints it, by default its own.

    ConfigError for what that kernel has no lines for, DataError for a damaged log.
    """
    reader = LogReader(log_dir)
    if reader.faults:
        raise DataError(f"{log_dir}: {reader.faults[0]}: `pagewake verify` names all that is wrong")
    scenario = load(str(log_dir / RUN_NAME))
    kernel = kernel or scenario.kernel.profile_of(0)
    release = release_of(kernel)
    _refuse(scenario.kernel.switches(0), kernel, release)
    number = _host_of(scenario, host)
    vms = [vm for vm in scenario.instances() if vm.host == number]
    with TemporaryFile("w+", dir=place.parent, encoding="utf-8") as body:
        trace = HostTrace(vms, scenario, release, body)
        run = LogRun(reader)
        trace.write(run, number)
        problems = [str(problem) for problem in run.integrity()] or run.complaints
        if problems:
            raise DataError(f"{log_dir}: {problems[0]}: `pagewake verify` names all that is wrong")
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


class HostTrace:
    """The lines of one simulated host; those that may still be preceded by others wait."""

    def __init__(
        self, vms: Iterable[VmInstance], scenario: Scenario, release: Release, body: TextIO
    ) -> None:
        self.lines = 0
        self.release = release
        self.columns: Columns = columns_of(release)
        self.scenario = scenario
        self.broadcast = max(
            each for each in READY_TOKEN_OF_BROADCAST.items() if each[0] <= release
        )[1]
        self._body = body
        self._waiting: list[tuple[int, int, str]] = []
        self._sequence = 0
        self._vms: dict[str, VmLines] = {}
        self._until_ns: dict[str, int] = {}
        self._cpus = 0
        instances = list(vms)
        self._next_pid = FIRST_PID + sum(vm.spec.vcpus for vm in instances)
        several = len(instances) > 1 or any(
            isinstance(event.control, _NEW_PROCESS) for event in scenario.events
        )
        self.tgids = several and self.columns.tgid_width > 0
        for vm in instances:
            self._vms[vm.name] = VmLines(self, vm, self._cpus)
            self._cpus += vm.spec.vcpus

    def threads(self) -> dict[str, list[list[int]]]:
        """The vcpu threads of each VM, by process."""
        return {name: vm.threads for name, vm in self._vms.items()}

    def head(self) -> str:
        """What stands before all lines."""
        return self.columns.head(self.lines, self._cpus, tgids=self.tgids)

    def new_process(self, threads: int) -> int:
        """The id of a process, whose threads have the ids behind it."""
        pid = self._next_pid
        self._next_pid += threads + 1
        return pid

    def write(self, run: LogRun, host: int) -> None:
        """Everything that the log has of this host."""
        order = HostOrder(tasks_by_vm(self.scenario, host), self._vms, _stray)
        for window in run.windows(host):
            self._round(window)
            order.feed(window)
        order.finish()
        end_ns = max(self._until_ns.values(), default=0)
        self._flush(end_ns)
        self._print(len(self._waiting))

    def add(self, at_ns: int, before: str, text: str) -> None:
        """A line; those of one thread come in their order."""
        self._sequence += 1
        self._waiting.append((at_ns, self._sequence, f"{before}{time_of(at_ns)}: {text}\n"))

    def _round(self, window: ShardWindow) -> None:
        """Before a shard's next window: all shards are through the last one."""
        if window.source in self._until_ns:
            self._flush(min(self._until_ns.values()))
        self._until_ns[window.source] = window.until_ns

    def _flush(self, until_ns: int) -> None:
        for vm in self._vms.values():
            until_ns = min(until_ns, vm.advance(until_ns))
        self._waiting.sort()
        ready = 0
        for at_ns, _, _ in self._waiting:
            if at_ns >= until_ns:
                break
            ready += 1
        self._print(ready)

    def _print(self, count: int) -> None:
        self._waiting.sort()
        self._body.writelines(text for _, _, text in self._waiting[:count])
        del self._waiting[:count]
        self.lines += count


class VmLines:
    """One VM as a process, and its events in their total order (`VmSink`)."""

    def __init__(self, trace: HostTrace, vm: VmInstance, first_cpu: int) -> None:
        self._trace = trace
        self._vcpus_count = vm.spec.vcpus
        self._first_cpu = first_cpu
        self.threads: list[list[int]] = []
        self._vcpus: list[VcpuLines] = []
        self._begin_process()

    def _begin_process(self) -> None:
        pid = self._trace.new_process(self._vcpus_count)
        self.threads.append([pid + 1 + vcpu for vcpu in range(self._vcpus_count)])
        costs = self._trace.scenario.host.costs
        self._vcpus = [
            VcpuLines(
                vcpu,
                costs,
                self._trace.broadcast,
                _Thread(self._trace, vcpu, self._first_cpu + vcpu, pid),
                begun=len(self.threads) > 1,
            )
            for vcpu in range(self._vcpus_count)
        ]

    def take(self, placed: PlacedEvent) -> None:
        event = placed.event
        if isinstance(event, ev.PageReady):
            for vcpu in self._vcpus:
                vcpu.page_ready(event)
        elif isinstance(event, _NEW_PROCESS):
            self.advance(event.at_ns)
            self._begin_process()
        elif (number := getattr(event, "vcpu", None)) is not None:
            self._vcpus[number].take(event)

    def complain(self, placed: PlacedEvent, what: str) -> None:
        raise DataError(f"{placed.where}: {type(placed.event).__name__} {what}")

    def advance(self, until_ns: int) -> int:
        """All events before this instant were taken; up to where its lines are complete."""
        for vcpu in self._vcpus:
            vcpu.advance(until_ns)
            until_ns = min(until_ns, vcpu.held_ns() or until_ns)
        return until_ns


class _Thread:
    """The thread of a vcpu, on its CPU (`Out`)."""

    def __init__(self, trace: HostTrace, vcpu: int, cpu: int, process: int) -> None:
        self._trace = trace
        columns = trace.columns
        tgid = process if trace.tgids else None
        comm, pid = f"CPU {vcpu}/KVM", process + 1 + vcpu
        self._before = columns.before(comm, pid, tgid, cpu, masked=False)
        self._masked = columns.before(comm, pid, tgid, cpu, masked=True)
        worker = FIRST_WORKER_PID + cpu
        self._worker = columns.before(
            f"kworker/{cpu}:1", worker, worker if trace.tgids else None, cpu, masked=False
        )

    def line(self, at_ns: int, kind: str, **values: Value) -> None:
        form = form_of(kind, self._trace.release)
        if form is not None:
            before = self._masked if kind == "entry" else self._before
            self._trace.add(at_ns, before, f"{form.name}: {form.text(**values)}")

    def worker_line(self, at_ns: int, gfn: Gfn) -> None:
        form = form_of("completed", self._trace.release)
        assert form is not None
        gva = gfn << 12
        text = form.text(gva=gva, address=GUEST_AT + gva, pfn=FIRST_FRAME + gfn)
        self._trace.add(at_ns, self._worker, f"{form.name}: {text}")


def _stray(placed: PlacedEvent, what: str) -> None:
    raise DataError(f"{placed.where}: {type(placed.event).__name__} {what}")
