"""A vcpu thread of L0 over a guest that does what the test says, at the instants the test says.

The guest enters with what was injected, writes it down, and goes on with its plan: exits at given
instants.  Nothing of `guest_kernel` takes part, so what a test sees is L0's doing alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from pagewake.events import types as ev
from pagewake.events.ids import Gfn, Token
from pagewake.kvm import machine
from pagewake.kvm.config import HostCosts, VmConfig
from pagewake.kvm.page_table import ABSENT
from pagewake.kvm.ports import (
    OP_GUEST,
    WAIT,
    AreaPort,
    FaultContext,
    GuestCpuPort,
    GuestPort,
    Step,
)
from pagewake.kvm.profile import resolve
from pagewake.kvm.thread import VcpuThread
from tests.support.abi import MSR_EN

AnyEvent = TypeVar("AnyEvent", bound=ev.Event)
Exit = Callable[[int], Step]

ENABLE = 0x1001
SEND_ALWAYS = 0x1003
ENTRY_NS = 500
"""From the completion check to entry."""
PASS_NS = 500 + ENTRY_NS
"""A plain exit until the guest runs again."""


class Area(AreaPort):
    """The shared area; a guest under test reads it when it takes an exception."""

    def __init__(self) -> None:
        self.foreign = False
        self.reason = 0
        self.token = Token(0)


class ScriptedGuest(GuestCpuPort):
    """`seen` has what it was entered with, `plan` what it will do."""

    def __init__(self, thread: VcpuThread) -> None:
        self.thread = thread
        self.area = Area()
        self.if_flag = True
        self.cpl = 3
        self.shadow = False
        self.guest_mode = False
        self.depth = 1
        self.apf_vector = 0
        self.root = "process"
        self.plan: list[tuple[int, Exit]] = []
        self.seen: list[tuple[Any, ...]] = []

    @property
    def cr3(self) -> str:
        return self.root

    def area_at(self, gpa: int) -> Area:
        return self.area

    def resume(self, at_ns: int) -> Step:
        self.seen.append((at_ns, "runs"))
        return self._next(at_ns)

    def take_exception(self, at_ns: int, token: int, kind: ev.ApfKind, level: int) -> Step:
        self.seen.append((at_ns, kind, token))
        self.area.reason = 0
        return self._next(at_ns)

    def take_interrupts(self, at_ns: int, irqs: int) -> Step:
        self.seen.append((at_ns, "irq", irqs))
        return self._next(at_ns)

    def take_nmi(self, at_ns: int, faults: bool) -> Step:
        self.seen.append((at_ns, "nmi", faults))
        return self._next(at_ns)

    def _next(self, at_ns: int) -> Step:
        return (max(at_ns, self.plan[0][0]), OP_GUEST) if self.plan else WAIT

    def step(self, at_ns: int) -> Step:
        return self.plan.pop(0)[1](at_ns)

    def stop(self, at_ns: int) -> None:
        pass

    def sync(self, at_ns: int) -> None:
        pass

    def boot(self, at_ns: int) -> Step:
        return WAIT

    def runs_memory_task(self) -> bool:
        return False


class NoKernel(GuestPort):
    """Wants to know of control events only."""

    def __init__(self) -> None:
        self.controls: list[ev.Control] = []

    def mapped(self, gfn: int) -> None:
        pass

    def unmapped(self, gfns: Sequence[int]) -> None:
        pass

    def later(self, vcpu: int, at_ns: int, arg: int) -> None:
        pass

    def control(self, event: ev.Control) -> bool:
        self.controls.append(event)
        return True


class Machine:
    """One VM of `vcpus`, all of its 256 pages in swap, under a profile and some switches."""

    def __init__(
        self,
        profile: str = "2.6.39",
        *,
        vcpus: int = 1,
        stock: int = 8,
        limit: int = 256,
        msr: int | None = ENABLE,
        config: dict[str, Any] | None = None,
        costs: dict[str, int] | None = None,
        **switches: object,
    ) -> None:
        base = VmConfig(
            name="vm",
            seed=1,
            pages=256,
            vcpus=vcpus,
            switches=resolve(profile, switches),
            apf="pv",
            cpuid=frozenset(("async_pf", "async_pf_int")),
            irqchip=True,
            hlt_exits=True,
            protected=False,
            costs=HostCosts(**(costs or {})),
            medium="",
            media={},
            limit_pages=limit,
            read_ahead=None,
            page_cluster=0,
            stock_pages=stock,
            huge_floor=None,
            tick_ns=0,
            idle_tick_ns=0,
            host_tick_ns=0,
            background_exit_ns=0,
            halt_poll_ns=0,
            nested=None,
            userfault=None,
            page_source="swap",
        )
        self.vm = machine.Machine(replace(base, **(config or {})))
        self.vm.pages.state[:] = bytes([ABSENT]) * base.pages
        self.kernel = NoKernel()
        self.vm.guest = self.kernel
        self.guests = [ScriptedGuest(thread) for thread in self.vm.vcpus]
        for thread, guest in zip(self.vm.vcpus, self.guests, strict=True):
            thread.guest = guest
            thread.apf.msr_val = msr or 0
            thread.apf.send_user_only = not (msr or 0) & 2
            thread.power_on()

    @property
    def vcpu(self) -> VcpuThread:
        """The first."""
        return self.vm.vcpus[0]

    @property
    def guest(self) -> ScriptedGuest:
        """The first."""
        return self.guests[0]

    # ------------------------------------------------------------------ what happens

    def exits(self, at_ns: int, vcpu: int = 0) -> None:
        """An exit that only costs time."""
        self.plan(at_ns, self.vm.vcpus[vcpu].exit_plain, vcpu)

    def hlt(self, at_ns: int, vcpu: int = 0) -> None:
        """HLT."""
        self.plan(at_ns, self.vm.vcpus[vcpu].exit_hlt, vcpu)

    def touch(
        self, at_ns: int, gfn: int, vcpu: int = 0, *, write: bool = False, level: int = 1
    ) -> None:
        """A touch of a page that is not mapped."""
        thread, guest = self.vm.vcpus[vcpu], self.guests[vcpu]

        def fault(now_ns: int) -> Step:
            return thread.exit_fault(
                now_ns, FaultContext(Gfn(gfn), write, guest.cpl, level, "task")
            )

        self.plan(at_ns, fault, vcpu)

    def wrmsr(self, at_ns: int, value: int, msr: int = MSR_EN, vcpu: int = 0) -> None:
        """WRMSR by the guest."""
        thread = self.vm.vcpus[vcpu]
        self.plan(at_ns, lambda now_ns: thread.exit_wrmsr(now_ns, msr, value), vcpu)

    def sets(self, at_ns: int, vcpu: int = 0, **flags: bool | int | str | Area) -> None:
        """The guest changes IF, CPL, shadow, CR3, what is in its area, and exits."""
        guest = self.guests[vcpu]

        def change(now_ns: int) -> Step:
            for name, value in flags.items():
                setattr(guest, name, value)
            return guest.thread.exit_plain(now_ns)

        self.plan(at_ns, change, vcpu)

    def plan(self, at_ns: int, what: Exit, vcpu: int = 0) -> None:
        """Add to a guest's plan."""
        self.guests[vcpu].plan.append((at_ns, what))

    def arrives(self, at_ns: int, gfn: int, vcpu: int = 0, token: Token | None = None) -> None:
        """The host has the page."""
        self.deliver(ev.PageReady(at_ns, "vm", 0, vcpu, Gfn(gfn), self.vm.epoch, token))

    def stalls(self, at_ns: int, for_ns: int, vcpu: int = 0) -> None:
        """The host takes the CPU at this vcpu's next handle_exit."""
        self.deliver(ev.VcpuStalled(at_ns, "vm", 0, vcpu, for_ns, "handle-exit"))

    def deliver(self, event: ev.ToShard) -> None:
        """Something from the host, or an intervention."""
        self.vm.deliver(event)

    def run(self, until_ns: int) -> None:
        """Simulate everything before `until_ns`."""
        self.vm.run(until_ns)

    # ------------------------------------------------------------------ what was said

    def of(self, kind: type[AnyEvent]) -> list[AnyEvent]:
        """Events of one type, in the VM's order."""
        events = [*self.vm.journal_out, *self.vm.to_host, *self.vm.consumed]
        found = [event for event in events if isinstance(event, kind)]
        return sorted(found, key=lambda event: event.n)

    def entered(self, vcpu: int = 0) -> list[tuple[Any, ...]]:
        """Every entry but the first, at time 0."""
        return self.guests[vcpu].seen[1:]
