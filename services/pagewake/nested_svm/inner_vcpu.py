"""One vcpu of an L2 guest: what L1's KVM keeps for it, and the tasks that run on it.

It is a thread of L1 (`Task.inner`).  `phase` says what that thread does: `run`, the nested guest
executes; `l1`, L1's KVM is between an exit and its handler, interrupts on, preemptible; `vmrun`, it
is about to enter again.  Tasks of level 3 run inside an L3 guest of which the L2 guest is the
hypervisor; while one is current, L1's own SVM is in guest mode (design, "Nesting").

Time inside is the CPU time this vcpu was given; its scheduler ticks in it.  A tick is an interrupt
of L1's KVM for L2.  While an L3 runs it is an exit to L2, unless neither V_INTR_MASKING of L2 nor
L1's interrupt window (gap G0) hold it back from L3: then L3's kernel gets it, and L2 misses its
tick (semantics 4.7).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

from msgspec.structs import asdict
from mypy_extensions import mypyc_attr

from pagewake.guest_kernel.config import SchedulerConfig
from pagewake.guest_kernel.scheduler import RunQueue
from pagewake.guest_kernel.tasks import InnerVcpuPort, Task
from pagewake.kvm.config import ExitRates
from pagewake.kvm.msr import MSR_KVM_ASYNC_PF_ACK, MSR_KVM_ASYNC_PF_EN, MSR_KVM_ASYNC_PF_INT
from pagewake.kvm.switches import Switches
from pagewake.nested_svm.exit_codes import CPUID, HLT, INTR, IOIO, MSR
from pagewake.nested_svm.hypervisor import Exit, NestedSvm
from pagewake.nested_svm.inner_memory import InnerMemory
from pagewake.simtime.ports import NEVER_NS
from pagewake.simtime.randomness import Draws

Phase = Literal["run", "l1", "vmrun"]

EXIT_CODES = {"hlt": HLT, "msr": MSR, "io": IOIO, "cpuid": CPUID, "intr": INTR}
MSR_PASSED_THROUGH: Final = 0xC0000100
MSR_INTERCEPTED: Final = 0xC0000080
PORT = 0x3F8 << 16
WRITE: Final = 1
"""exit_info_1 of an MSR exit: WRMSR."""


class DueExit(NamedTuple):
    """An exit that the L2 guest takes of its own: the exit and, for MSR, which one."""

    exit: Exit
    rcx: int = 0


@mypyc_attr(allow_interpreted_subclasses=True)
class InnerVcpu(InnerVcpuPort):
    """See the module; `svm` is L1's nested SVM state for this vcpu."""

    __slots__ = (
        "_draws",
        "_exits",
        "_interval_ns",
        "boot",
        "cpu_ns",
        "curr",
        "exit_count",
        "fault_gfn",
        "index",
        "left_ns",
        "memory",
        "next_exit_ns",
        "next_tick_ns",
        "pending",
        "phase",
        "rq",
        "svm",
        "tasks",
        "tick_ns",
        "ticks_reach_l3",
    )

    def __init__(
        self,
        index: int,
        svm: NestedSvm,
        memory: InnerMemory,
        scheduler: SchedulerConfig,
        tick_ns: int,
        draws: Draws,
        exits: ExitRates,
        *,
        ticks_reach_l3: bool = False,
        boot: Sequence[DueExit] = (),
    ) -> None:
        self.index = index
        self.svm = svm
        self.memory = memory
        self.rq = RunQueue(scheduler)
        self.tick_ns = tick_ns or NEVER_NS
        self.ticks_reach_l3 = ticks_reach_l3
        self.boot = list(boot)
        self.tasks: list[Task] = []
        self.curr: Task | None = None
        self.cpu_ns = 0
        self.next_tick_ns = self.tick_ns
        self.phase: Phase = "vmrun"
        self.left_ns = 0
        self.pending = DueExit(Exit(0))
        self.fault_gfn = -1
        self.exit_count = 0
        self._draws = draws
        self._exits = [(name, rate) for name, rate in asdict(exits).items() if rate > 0]
        total = sum(rate for _, rate in self._exits)
        self._interval_ns = 1e9 / total if total else 0.0
        self.next_exit_ns = 0
        self._plan_exit()

    def add(self, task: Task) -> None:
        """A task of this vcpu's guests, runnable as soon as their kernel has started."""
        self.tasks.append(task)
        task.state = "runnable"
        if not self.boot:
            self.rq.enqueue_new(task)

    def current(self) -> Task | None:
        """The task that runs when this vcpu runs; None before the first and after the last."""
        if self.curr is None:
            self.curr = self.rq.pick(self.cpu_ns)
        return self.curr

    def idle_exit(self) -> DueExit:
        """How the vcpu leaves when no task runs: an MSR write of its kernel's start, then HLT."""
        if not self.boot:
            return DueExit(Exit(HLT))
        due = self.boot.pop(0)
        if not self.boot:
            for task in self.tasks:
                self.rq.enqueue_new(task)
        return due

    def remove_current(self) -> None:
        """The current task is finished or killed."""
        self.rq.update(self.cpu_ns)
        self.rq.curr = None
        self.curr = None

    def exit_to_l1(self, due: DueExit, handler_ns: int) -> None:
        """A #VMEXIT: L1's handler has it next, and needs this long."""
        self.pending = due
        self.phase = "l1"
        self.left_ns = handler_ns

    def ran(self, ran_ns: int) -> None:
        """L1's thread consumed CPU: in L1's handler, or in the guest."""
        if self.phase == "l1":
            self.left_ns -= ran_ns
            return
        self.cpu_ns += ran_ns
        task = self.curr
        if task is not None:
            task.cpu_ns += ran_ns
            assert task.stream is not None
            task.stream.advance(ran_ns)

    def plan_ns(self, task: Task, limit_ns: int) -> int:
        """CPU time until something happens inside, at most `limit_ns`."""
        stream = task.stream
        assert stream is not None
        stop_ns = min(limit_ns, self.next_tick_ns - self.cpu_ns, self.next_exit_ns - self.cpu_ns)
        remaining_ns = stream.remaining_ns()
        if remaining_ns is not None and remaining_ns < stop_ns:
            stop_ns = remaining_ns
        return stream.cpu_until_miss(stop_ns)

    def tick(self) -> None:
        """The L2 kernel's scheduler tick."""
        self.next_tick_ns += self.tick_ns
        if self.ticks_reach_l3 and self.svm.guest_mode:
            return
        self.rq.update(self.cpu_ns)
        if self.rq.tick_preempts(self.cpu_ns):
            self.rq.put_back()
            self.curr = self.rq.pick(self.cpu_ns)

    # ------------------------------------------------------------------ exits of its own

    def _plan_exit(self) -> None:
        if not self._exits:
            self.next_exit_ns = NEVER_NS
            return
        wait = self._draws.exponential(2 * self.exit_count) * self._interval_ns
        self.next_exit_ns = self.cpu_ns + 1 + int(min(wait, NEVER_NS))

    def take_exit(self) -> DueExit:
        """The exit that is due now, by rate; every other MSR access is intercepted."""
        number = self.exit_count
        pick = self._draws.unit(2 * number + 1) * sum(rate for _, rate in self._exits)
        name = self._exits[-1][0]
        for candidate, rate in self._exits:
            if pick < rate:
                name = candidate
                break
            pick -= rate
        self.exit_count += 1
        self._plan_exit()
        return due_exit(name, number)

    def unmapped(self, inner_gfns: Sequence[int]) -> None:
        """Streams must forget what they foresaw of these pages."""
        for task in self.tasks:
            if task.stream is not None:
                task.stream.unmapped(inner_gfns)


def enable_apf(l2: Switches, l1_int: bool) -> list[DueExit]:
    """The MSR writes with which L2's kernel enables APF on a vcpu, each an exit to L1.

    Since 5.9: the vector, the enable MSR, and the ACK of the broadcast that answers it; such a
    kernel does nothing under an L1 that does not show that it sends READY by interrupt
    (`l1_int`; semantics 2.1, 3.10).
    """
    if not l2.guest_takes_interrupt:
        msrs: tuple[int, ...] = (MSR_KVM_ASYNC_PF_EN,)
    elif l1_int:
        msrs = (MSR_KVM_ASYNC_PF_INT, MSR_KVM_ASYNC_PF_EN, MSR_KVM_ASYNC_PF_ACK)
    else:
        msrs = ()
    return [DueExit(Exit(MSR, WRITE), msr) for msr in msrs]


def due_exit(name: str, number: int) -> DueExit:
    """The `number`-th exit of a vcpu, of the given kind."""
    code = EXIT_CODES[name]
    if name == "msr":
        rcx = MSR_INTERCEPTED if number & 1 else MSR_PASSED_THROUGH
        return DueExit(Exit(code, number >> 1 & 1), rcx)
    return DueExit(Exit(code, PORT if name == "io" else 0))
