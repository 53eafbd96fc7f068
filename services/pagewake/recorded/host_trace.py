"""The trace of one machine: its VMs as processes, their lines in the order of time.

A vcpu is a thread on a CPU of its own; a page-in is completed by a kworker of that CPU.  Ids of
processes, unless they are known, host addresses and frames are made up (semantics 7.3).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple, TextIO

from pagewake.errors import DataError
from pagewake.events import types as ev
from pagewake.events.ids import Gfn
from pagewake.kvm.config import HostCosts
from pagewake.recorded.tracefs import columns_of, time_of
from pagewake.recorded.tracepoints import READY_TOKEN_OF_BROADCAST, Release, Value, form_of
from pagewake.recorded.vcpu_lines import VcpuLines
from pagewake.verify.log_run import PlacedEvent

FIRST_WORKER_PID: Final = 100
FIRST_PID: Final = 1000
"""Of processes, behind a kworker for each CPU; like all of these, made up."""
GUEST_AT: Final = 0x7F0000000000
"""Where each process has the guest's memory."""
FIRST_FRAME: Final = 0x100000
NEW_PROCESS: Final = (ev.VmMigrated, ev.VmRestored)
"""What has a VM go on in another process."""


class Machine(NamedTuple):
    """Whose trace it is: VMs by name, with the numbers of their vcpus and their threads.

    A thread of None has an id that is made up.  `costs` None: nobody knows what an exit takes, so
    an entry stands where the guest is next heard of.  `moves`: a VM may go on in another process.
    """

    vms: Mapping[str, Mapping[int, int | None]]
    costs: HostCosts | None
    moves: bool = False
    begin_ns: int = 0


class HostTrace:
    """The lines of one machine; those that may still be preceded by others wait."""

    def __init__(self, machine: Machine, release: Release, body: TextIO) -> None:
        self.lines = 0
        self.release = release
        self.columns = columns_of(release)
        self.costs = machine.costs
        self.broadcast = max(
            each for each in READY_TOKEN_OF_BROADCAST.items() if each[0] <= release
        )[1]
        self._begin_ns = machine.begin_ns
        self._body = body
        self._waiting: list[tuple[int, int, str]] = []
        self._sequence = 0
        self._cpus = sum(map(len, machine.vms.values()))
        self._next_pid = FIRST_PID + self._cpus
        several = len(machine.vms) > 1 or machine.moves
        self.tgids = several and self.columns.tgid_width > 0
        self.vms: dict[str, VmLines] = {}
        cpu = 0
        for name, threads in machine.vms.items():
            self.vms[name] = VmLines(self, threads, cpu)
            cpu += len(threads)

    def threads(self) -> dict[str, list[list[int]]]:
        """The vcpu threads of each VM, by process."""
        return {name: vm.threads for name, vm in self.vms.items()}

    def head(self) -> str:
        """What stands before all lines."""
        return self.columns.head(self.lines, self._cpus, tgids=self.tgids)

    def new_process(self, vcpus: Iterable[int]) -> dict[int, int]:
        """Made-up threads for these vcpus; the id of their process is the one before the first."""
        first = self._next_pid + 1
        threads = {vcpu: first + vcpu for vcpu in vcpus}
        self._next_pid = max(threads.values()) + 1
        return threads

    def add(self, at_ns: int, before: str, text: str) -> None:
        """A line; those of one thread come in their order."""
        self._sequence += 1
        time = time_of(self._begin_ns + at_ns)
        self._waiting.append((at_ns, self._sequence, f"{before}{time}: {text}\n"))

    def flush(self, until_ns: int) -> None:
        """All events before this instant were taken: write what nothing can precede."""
        for vm in self.vms.values():
            until_ns = min(until_ns, vm.advance(until_ns))
        self._waiting.sort()
        ready = 0
        for at_ns, _, _ in self._waiting:
            if at_ns >= until_ns:
                break
            ready += 1
        self._print(ready)

    def finish(self, end_ns: int) -> None:
        """There are no more events."""
        for vm in self.vms.values():
            vm.advance(end_ns)
            vm.finish()
        self._waiting.sort()
        self._print(len(self._waiting))

    def _print(self, count: int) -> None:
        self._body.writelines(text for _, _, text in self._waiting[:count])
        del self._waiting[:count]
        self.lines += count


class VmLines:
    """One VM as a process, and its events in their total order (`VmSink`)."""

    def __init__(self, trace: HostTrace, threads: Mapping[int, int | None], first_cpu: int) -> None:
        self._trace = trace
        self._cpus = {vcpu: first_cpu + index for index, vcpu in enumerate(threads)}
        self.threads: list[list[int]] = []
        self._vcpus: dict[int, VcpuLines] = {}
        self._begin_process({vcpu: pid for vcpu, pid in threads.items() if pid is not None})

    def _begin_process(self, threads: Mapping[int, int] | None = None) -> None:
        trace = self._trace
        threads = threads or trace.new_process(self._cpus)
        process = min(threads.values()) - 1
        begun = bool(self.threads)
        self.threads.append(list(threads.values()))
        self._vcpus = {
            vcpu: VcpuLines(
                vcpu,
                trace.costs,
                trace.broadcast,
                _Thread(trace, vcpu, self._cpus[vcpu], pid, process),
                begun=begun,
            )
            for vcpu, pid in threads.items()
        }

    def take(self, placed: PlacedEvent) -> None:
        event = placed.event
        if isinstance(event, ev.PageReady):
            self._page_ready(event.at_ns, event.gfn)
        elif isinstance(event, ev.PagesPushed):
            for gfn in event.gfns:
                self._page_ready(event.at_ns, gfn)
        elif isinstance(event, NEW_PROCESS):
            self.advance(event.at_ns)
            self._begin_process()
        elif (number := getattr(event, "vcpu", None)) is not None:
            self._vcpus[number].take(event)

    def _page_ready(self, at_ns: int, gfn: int) -> None:
        for vcpu in self._vcpus.values():
            vcpu.page_ready(at_ns, gfn)

    def reads(self, event: ev.SyncFault) -> None:
        """A vcpu thread begins to wait for a page itself."""
        self._vcpus[event.vcpu].reads(event)

    def complain(self, placed: PlacedEvent, what: str) -> None:
        raise DataError(f"{placed.where}: {type(placed.event).__name__} {what}")

    def finish(self) -> None:
        """There are no more events."""
        for vcpu in self._vcpus.values():
            vcpu.finish()

    def advance(self, until_ns: int) -> int:
        """All events before this instant were taken; up to where its lines are complete."""
        for vcpu in self._vcpus.values():
            vcpu.advance(until_ns)
            until_ns = min(until_ns, vcpu.held_ns() or until_ns)
        return until_ns


class _Thread:
    """The thread of a vcpu, on its CPU (`Out`)."""

    def __init__(self, trace: HostTrace, vcpu: int, cpu: int, pid: int, process: int) -> None:
        self._trace = trace
        columns = trace.columns
        tgid = process if trace.tgids else None
        comm = f"CPU {vcpu}/KVM"
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
