"""The embedded engine against the same per-fault model in SimPy; target: 5 times faster.

The SimPy model is what its manual suggests: a process per vcpu, a `Resource` for the device, an
`Event` to wake an idle vcpu.  It has the same tasks, page distributions, costs, service times and
separate instants of a fault (exit, completion check, requests, entry, trap, context switch; the
same for READY), second-chance replacement by accessed bits, write-back in clusters.  It numbers
the same events per fault, as the same structs, into the same running digest.

It leaves out: commits, their codec and hashes, windows and lookahead; the exchange with the host
that aging and eviction take (its manager reaches into the page table); joins, double faults, the
gfn hash, the sleeper hash; interrupts, virtual runtimes, balancing, CPU accounting; all kernel
generations but one.  So the comparison is generous to SimPy.

The rows differ in how many touches hit between two faults.  With few, both do nothing but fault,
event by event in Python, and what pagewake does beyond SimPy's model is what it loses.  A hit
costs SimPy a draw and a look-up in Python, pagewake a share of a block.
"""

from __future__ import annotations

import random
import time
from bisect import bisect
from collections import deque
from collections.abc import Callable, Generator
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

import simpy

from pagewake.events import types as ev
from pagewake.events.digest import RunningDigest
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
page_cluster = "off"
[[vm]]
name = "vm"
count = {vms}
vcpus = 4
memory = "{pages_kib}KiB"
limit = "{limit_kib}KiB"
[[vm.task]]
name = "faulter"
count = 8
pattern = "{pattern}"
working_set = "{pages_kib}KiB"
access = "write"
populated = true
touch = "{touch}ns"
"""


class Case(NamedTuple):
    """Pages of the region and of the limit, ns of a touch, ms simulated; theta 0: uniform.

    `resident`: pages that the SimPy model keeps in memory, chosen so that both models have about
    as many touches per fault; pagewake keeps some frames free.
    """

    pages: int
    limit: int
    touch_ns: int
    millis: int
    resident: int
    theta: float = 0.0


CASES = (
    Case(3_072, 2_048, 1_000, 20, 1_536),
    Case(65_536, 65_416, 100, 40, 65_310),
    Case(262_144, 262_080, 100, 60, 261_971),
    Case(65_536, 32_768, 100, 60, 32_608, 1.5),
    Case(65_536, 32_768, 100, 100, 32_608, 1.8),
    Case(65_536, 32_768, 100, 150, 32_608, 2.0),
)
WARM = 0.3
HEAD: list[object] = [
    "pattern",
    "touches/fault",
    "in SimPy",
    "SimPy faults",
    "faults/s",
    "pagewake faults",
    "faults/s",
    "ratio",
]


def picker(case: Case, draws: random.Random) -> Callable[[], int]:
    """Draws a page."""
    draw, pages = draws.random, case.pages
    if not case.theta:
        return lambda: int(draw() * pages)
    shares = list(accumulate(rank**-case.theta for rank in range(1, pages + 1)))
    order, total = draws.sample(range(pages), pages), shares[-1]
    return lambda: order[bisect(shares, draw() * total)]


class Vm:
    """Memory of one VM in the SimPy model: resident pages in order of arrival."""

    def __init__(self, env: simpy.Environment, name: str, case: Case) -> None:
        self.env = env
        self.name = name
        self.random = random.Random(name)
        self.pick = picker(case, self.random)
        self.mapped = bytearray(case.pages)
        self.framed = bytearray(case.pages)
        self.accessed = bytearray(case.pages)
        self.order: deque[int] = deque(self.random.sample(range(case.pages), case.resident))
        for page in self.order:
            self.mapped[page] = self.framed[page] = 1
        self.digest = RunningDigest()
        self.n = 0
        self.dirty = 0

    def log(self, kind: type[Any], *fields: object) -> None:
        """Record one protocol event."""
        self.n += 1
        self.digest.add(kind(self.env.now, self.name, self.n, *fields))

    def give_frame(self, page: int) -> None:
        """Unless it has one, that of the first page that gets no second chance."""
        if self.framed[page]:
            return
        self.framed[page] = 1
        accessed, order = self.accessed, self.order
        victim = order.popleft()
        while accessed[victim]:
            accessed[victim] = 0
            order.append(victim)
            victim = order.popleft()
        self.mapped[victim] = self.framed[victim] = 0
        order.append(page)
        self.dirty += 1


class Vcpu:
    """One vcpu thread with the tasks of its CPU."""

    def __init__(self, vm: Vm, index: int, device: simpy.Resource, touch_ns: int) -> None:
        self.vm = vm
        self.index = index
        self.device = device
        self.touch_ns = touch_ns
        self.tasks = deque([f"faulter-{index}", f"faulter-{index + VCPUS}"])
        self.touches = 0
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
        vm.give_frame(page)
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
        mapped, accessed, pick = vm.mapped, vm.accessed, vm.pick
        hits = 0
        page = pick()
        while mapped[page]:
            accessed[page] = 1
            hits += 1
            page = pick()
        self.touches += hits
        if hits:
            yield env.timeout(hits * self.touch_ns)
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


class Figures(NamedTuple):
    """Of one run: faults per second of CPU, faults, touches per fault."""

    rate: float
    faults: int
    touches: float


def simpy_run(case: Case) -> Figures:
    """Timed, like pagewake, after the first part of simulated time."""
    env = simpy.Environment()
    device = simpy.Resource(env, capacity=64)
    vms = [Vm(env, f"vm-{i}", case) for i in range(VMS)]
    vcpus = [Vcpu(vm, index, device, case.touch_ns) for vm in vms for index in range(VCPUS)]
    env.run(until=case.millis * WARM * 1e6)
    warm = sum(vcpu.token // 4096 for vcpu in vcpus)
    started = time.process_time()
    env.run(until=case.millis * 1e6)
    cpu_s = time.process_time() - started
    faults = sum(vcpu.token // 4096 for vcpu in vcpus)
    touches = sum(vcpu.touches for vcpu in vcpus)
    return Figures((faults - warm) / cpu_s, faults - warm, touches / max(faults, 1))


def pagewake_run(case: Case) -> Figures:
    """The same scenario."""
    text = SCENARIO.format(
        vms=VMS,
        pages_kib=case.pages * 4,
        limit_kib=case.limit * 4,
        pattern="zipf" if case.theta else "random",
        touch=case.touch_ns,
        duration=f"{case.millis}ms",
    )
    if case.theta:
        text += f"theta = {case.theta}\n"
    run = timed_run(loads(text, "bench.toml", Path()), WARM)
    return Figures(run.faults / run.cpu_s, run.faults, run.task_ns_per_fault / case.touch_ns)


def main() -> None:
    small = quick()
    rows: list[list[object]] = [HEAD]
    for case in CASES:
        timed = case._replace(millis=2) if small else case
        ours, theirs = pagewake_run(timed), simpy_run(timed)
        rows.append(
            [
                f"zipf {case.theta}" if case.theta else "uniform",
                f"{ours.touches:,.1f}",
                f"{theirs.touches:,.1f}",
                theirs.faults,
                f"{theirs.rate:,.0f}",
                ours.faults,
                f"{ours.rate:,.0f}",
                f"{ours.rate / theirs.rate:.2f}",
            ]
        )
    table(rows)


if __name__ == "__main__":
    main()
