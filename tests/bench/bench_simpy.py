"""The embedded engine against the same per-fault model in SimPy; target: 5 times faster.

The SimPy model is what its manual suggests: a process per vcpu, a `Resource` for the device, an
`Event` to wake an idle vcpu.  It has the same tasks, page draws, costs, service times and separate
instants of a fault (exit, completion check, requests, entry, trap, context switch; the same for
READY), write-back in clusters, and it records the same protocol events per fault as the same
structs.

It leaves out what would cost it most: digests, commits and their codec, windows, joins and double
faults, interrupts, ticks, accessed bits, aging and the second chance.  So the comparison is
generous to SimPy.  The rows differ in how many touches hit between two misses: SimPy draws them
one by one in Python, pagewake scans them in blocks, and ages and rescans pages the more of them
are in use.
"""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Generator
from pathlib import Path
from typing import Any, NamedTuple

import simpy

from pagewake.engine.run import run_scenario
from pagewake.events import types as ev
from pagewake.scenario.loading import loads
from tests.bench.common import quick, table, timed_run

VMS = 4
VCPUS = 4
EXIT, FAULT, HALF_ENTRY, TRAP, SWITCH, HOP = 500, 2_000, 250, 500, 1_100, 2_400
SCENARIO = """
[scenario]
name = "simpy"
duration = "{duration}"
[kernel]
profile = "posted-v7"
hz = 0
idle_hz = 0
[host]
medium = {{ base = "nvme", parallelism = 64 }}
[[vm]]
name = "vm"
count = {vms}
vcpus = 4
memory = "{pages_kib}KiB"
limit = "{limit_kib}KiB"
[[vm.task]]
name = "faulter"
count = 8
pattern = "random"
working_set = "{pages_kib}KiB"
access = "write"
populated = true
touch = "{touch}ns"
"""


class Vm:
    """Memory of one VM in the SimPy model: resident pages in order of arrival."""

    def __init__(
        self, env: simpy.Environment, name: str, pages: int, resident: int, seed: int
    ) -> None:
        self.env = env
        self.pages = pages
        self.name = name
        self.random = random.Random(seed)
        self.mapped = bytearray(pages)
        self.order: deque[int] = deque(self.random.sample(range(pages), resident))
        for page in self.order:
            self.mapped[page] = 1
        self.events: list[ev.Event] = []
        self.n = 0
        self.dirty = 0

    def log(self, kind: type[Any], *fields: object) -> None:
        """Record one protocol event."""
        self.n += 1
        self.events.append(kind(self.env.now, self.name, self.n, *fields))


class Vcpu:
    """One vcpu thread with the tasks of its CPU."""

    def __init__(self, vm: Vm, index: int, device: simpy.Resource, touch_ns: int) -> None:
        self.vm = vm
        self.index = index
        self.device = device
        self.touch_ns = touch_ns
        self.tasks = deque([f"faulter-{index}", f"faulter-{index + VCPUS}"])
        self.done: deque[tuple[str, int, int]] = deque()
        self.idle: simpy.Event | None = None
        self.token = index
        vm.env.process(self.run())

    def page_in(self, task: str, page: int, token: int) -> Generator[Any, Any, None]:
        """The worker: device, eviction, done list."""
        vm = self.vm
        with self.device.request() as slot:
            yield slot
            yield vm.env.timeout(vm.random.randrange(20_000, 80_000))
        victim = vm.order.popleft()
        vm.mapped[victim] = 0
        vm.order.append(page)
        vm.dirty += 1
        if vm.dirty == 32:
            vm.dirty = 0
            vm.env.process(self.write_back())
        vm.log(ev.PageReady, self.index, page, 0, token)
        vm.log(ev.WorkerCompleted, self.index, page, token)
        self.done.append((task, page, token))
        if self.idle is not None and not self.idle.triggered:
            self.idle.succeed()

    def write_back(self) -> Generator[Any, Any, None]:
        """32 pages in one request."""
        with self.device.request() as slot:
            yield slot
            yield self.vm.env.timeout(self.vm.random.randrange(20_000, 80_000) + 62_000)

    def run(self) -> Generator[Any, Any, None]:
        """Present what is complete, run a task to its miss, or idle."""
        env = self.vm.env
        while True:
            if self.done:
                yield from self.ready(*self.done.popleft())
            elif self.tasks:
                yield from self.run_task(self.tasks.popleft())
            else:
                self.idle = env.event()
                yield self.idle
                self.idle = None
                yield env.timeout(HOP)

    def entry(self) -> Generator[Any, Any, None]:
        """Completion check, requests, entry: three instants."""
        yield self.vm.env.timeout(EXIT)
        yield self.vm.env.timeout(HALF_ENTRY)
        yield self.vm.env.timeout(HALF_ENTRY)

    def ready(self, task: str, page: int, token: int) -> Generator[Any, Any, None]:
        """READY: prefault, inject, trap, wake."""
        vm, env = self.vm, self.vm.env
        vm.mapped[page] = 1
        vm.log(ev.ReasonWritten, self.index, 2, True)
        vm.log(ev.ApfPresented, self.index, "token", token, page, True, True)
        vm.log(ev.ExceptionQueued, self.index, token, "ready", 1, 3, True, True, False)
        yield from self.entry()
        vm.log(ev.ExceptionInjected, self.index, token, "ready", 1)
        yield env.timeout(TRAP)
        vm.log(ev.TrapTaken, self.index, 1, 2, token, "wake", 3, None)
        vm.log(ev.TaskWoken, self.index, task, token, "token", 0)
        self.tasks.append(task)
        yield env.timeout(SWITCH)

    def run_task(self, task: str) -> Generator[Any, Any, None]:
        """Touches up to the next miss, then the fault."""
        vm, env = self.vm, self.vm.env
        mapped, draw, pages = vm.mapped, vm.random.random, vm.pages
        ran = 0
        page = int(draw() * pages)
        while mapped[page]:
            ran += self.touch_ns
            page = int(draw() * pages)
        if ran:
            yield env.timeout(ran)
        token, self.token = self.token, self.token + 4096
        vm.log(ev.ApfStarted, self.index, page, "queued", token)
        vm.log(ev.ReasonWritten, self.index, 1, True)
        vm.log(ev.PageNotPresent, self.index, page, "write", 3, 1, 0, "injected", token)
        vm.log(ev.ExceptionQueued, self.index, token, "not_present", 1, 3, True, True, False)
        env.process(self.page_in(task, page, token))
        yield env.timeout(FAULT)
        yield from self.entry()
        vm.log(ev.ExceptionInjected, self.index, token, "not_present", 1)
        yield env.timeout(TRAP)
        vm.log(ev.TrapTaken, self.index, 1, 1, token, "wait", 3, task)
        vm.log(ev.TaskSlept, self.index, task, token)
        yield env.timeout(SWITCH)


class Case(NamedTuple):
    """Pages of the region and of the limit, CPU time of a touch, simulated time."""

    pages: int
    limit: int
    touch_ns: int
    millis: int


def simpy_run(case: Case, resident: int) -> tuple[float, int]:
    """Faults per wall second and faults; as many pages resident as pagewake had on average."""
    env = simpy.Environment()
    device = simpy.Resource(env, capacity=64)
    vms = [Vm(env, f"vm-{i}", case.pages, resident, i) for i in range(VMS)]
    vcpus = [Vcpu(vm, index, device, case.touch_ns) for vm in vms for index in range(VCPUS)]
    started = time.perf_counter()
    env.run(until=case.millis * 1_000_000)
    faults = sum(vcpu.token // 4096 for vcpu in vcpus)
    return faults / (time.perf_counter() - started), faults


def pagewake_run(case: Case) -> tuple[float, int, int]:
    """Faults per wall second, faults, and touches per fault."""
    text = SCENARIO.format(
        vms=VMS,
        pages_kib=case.pages * 4,
        limit_kib=case.limit * 4,
        touch=case.touch_ns,
        duration=f"{case.millis}ms",
    )
    scenario = loads(text, "bench.toml", Path())
    run = timed_run(scenario, 0.0)
    touches = run_scenario(scenario).cpu["task:faulter"] // case.touch_ns
    return run.faults / run.wall_s, run.faults, touches // max(run.faults, 1)


def main() -> None:
    millis = (2, 2, 2) if quick() else (20, 100, 300)
    rows: list[list[object]] = [
        ["touches/fault", "SimPy faults", "faults/s", "pagewake faults", "faults/s", "ratio"]
    ]
    for case in (
        Case(3_072, 2_048, 1_000, millis[0]),
        Case(65_536, 65_416, 100, millis[1]),
        Case(262_144, 262_080, 100, millis[2]),
    ):
        ours, our_faults, touches = pagewake_run(case)
        resident = case.pages - max(1, case.pages // max(touches, 1))
        theirs, their_faults = simpy_run(case, resident)
        rows.append(
            [
                touches,
                their_faults,
                f"{theirs:,.0f}",
                our_faults,
                f"{ours:,.0f}",
                f"{ours / theirs:.2f}",
            ]
        )
    table(rows)


if __name__ == "__main__":
    main()
