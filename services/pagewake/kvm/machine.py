"""One VM as a deterministic machine: it executes its steps, and takes what the host sends.

A VM executes in the order (at_ns, rank, vcpu, insertion): control first, then what comes from the
host, then its own steps.  Everything it emits or consumes takes its next running number and enters
its digest (design, "Time").  What a vcpu thread decides at once is decided in `loop.py`; what takes
the device's time goes to the host.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
from mypy_extensions import mypyc_attr

from pagewake.errors import InternalError
from pagewake.events import types as ev
from pagewake.events.ids import Gfn, Token
from pagewake.kvm import interventions
from pagewake.kvm.agenda import RANK_CONTROL, RANK_HOST, RANK_OWN
from pagewake.kvm.config import VmConfig
from pagewake.kvm.host_cpus import HostCpus
from pagewake.kvm.host_threads import VcpuOnHost, Work, Worker
from pagewake.kvm.host_work import Emulator, Kswapd
from pagewake.kvm.loop import Vcpu
from pagewake.kvm.page_table import IN_FLIGHT
from pagewake.kvm.ports import OP_DELIVER, OP_HOST_WORK, OP_JOINED, OP_WAIT, WAIT
from pagewake.kvm.thread import VcpuThread
from pagewake.kvm.vm import InFlight, Reclaiming, Vm


@mypyc_attr(allow_interpreted_subclasses=True)
class Machine(Vm):
    """See the module."""

    __slots__ = ("emulator", "kswapd", "on_host")

    def __init__(self, config: VmConfig) -> None:
        super().__init__(config)
        self.vcpus = [Vcpu(self, index) for index in range(config.vcpus)]
        self.on_host: list[VcpuOnHost] = []
        self.kswapd: Kswapd | None = None
        self.emulator: Emulator | None = None

    def share(self, cpus: HostCpus, kswapd: Kswapd | None) -> None:
        """From time 0 on all that is done for it is done on these CPUs alone."""
        self.cpus = cpus
        self.kswapd = kswapd
        self.on_host = [VcpuOnHost(vcpu) for vcpu in self.vcpus]
        if self.config.emulator is not None:
            self.emulator = Emulator(self, self.config.emulator)

    def deliver(self, event: ev.ToShard) -> None:
        """Something from the host or a control event, in the order in which the host sent it."""
        if isinstance(event, ev.PageReady):  # nearly all
            rank, vcpu = RANK_HOST, event.vcpu
        else:
            rank = RANK_CONTROL if isinstance(event, ev.Control) else RANK_HOST
            vcpu = getattr(event, "vcpu", -1)
        self.agenda.push(event.at_ns, rank, vcpu, 0, OP_DELIVER, event)

    def run(self, until_ns: int) -> None:
        """Execute everything before `until_ns`.

        A vcpu's next step is executed at once when nothing else of this VM can come before it;
        the order is the same as through the agenda.
        """
        self.until = until_ns
        agenda = self.agenda
        vcpus = self.vcpus
        while agenda.next_ns < until_ns:
            at_ns, index, gen, op, arg = agenda.pop()
            if op is OP_DELIVER:
                self._consume(arg)
                continue
            if self.frozen_ns is not None:
                continue
            vcpu = vcpus[index]
            if gen >= 0 and gen != vcpu.gen:
                continue
            at_ns, op = vcpu.execute(op, at_ns, arg)
            while op is not OP_WAIT:
                if at_ns >= self.until or agenda.next_ns <= at_ns:
                    agenda.push(at_ns, RANK_OWN, index, vcpu.gen, op, None)
                    break
                at_ns, op = vcpu.execute(op, at_ns, None)
        self.rest()

    def turn(self, until_ns: int) -> None:
        """Execute the first step alone, where threads share the CPUs of their host.

        A vcpu thread's own step waits for a CPU, and so does the end of a worker's page-in; what
        comes to a vcpu whatever it does comes as ever.
        """
        cpus = self.cpus
        assert cpus is not None, f"{self.name}: its threads do not share CPUs"
        self.until = until_ns
        at_ns, index, gen, op, arg = self.agenda.pop()
        if op is OP_DELIVER:
            self._consume(arg)
        elif op is OP_HOST_WORK and self.frozen_ns is None:
            arg[0].step(at_ns, cpus, arg[1])
        elif self.frozen_ns is None:
            vcpu = self.vcpus[index]
            if gen >= 0:
                due = gen == vcpu.gen and self.on_host[index].runs(at_ns, cpus, op, arg)
            else:
                due = op is not OP_JOINED or arg[1] is None or self._worker_runs(at_ns, vcpu, arg)
            step = vcpu.execute(op, at_ns, arg) if due else WAIT
            if step[1] is not OP_WAIT:
                self.agenda.push(step[0], RANK_OWN, index, vcpu.gen, step[1], None)
        for each in self.on_host:  # who waits in vain is not called by one who leaves
            if each.waits:
                each.settle(at_ns, cpus)
        for each in self.on_host:
            if each.on_cpu:
                each.settle(at_ns, cpus)
        if self.frozen_ns is not None:
            self._leave_host(at_ns, cpus)

    def forget_steps(self, until_ns: int) -> None:
        """A frozen VM answers the host, and does nothing more of its own accord."""
        self.agenda.forget_own(until_ns)

    # ------------------------------------------------------------------ what comes from the host

    def _consume(self, event: ev.ToShard) -> None:
        if self.frozen_ns is None:
            numbered = msgspec.structs.replace(event, n=self.n)
            self.n += 1
            self.consumed.append(numbered)
            self.digest.add(numbered)
        elif isinstance(event, ev.Control):
            return
        if not isinstance(event, ev.PageReady):
            CONSUMERS.get(type(event), interventions.apply)(self, event)
        elif (flight := self.in_flight.pop(event.gfn, None)) is not None:  # nearly always
            self._page_in_done(event.at_ns, event.gfn, flight, event.area)
        elif self.handler is not None and event.gfn in self.handler.fetching:
            self.handler.read(event.at_ns, event.gfn)
        else:
            raise InternalError(f"vm {self.name}: PageReady for gfn {event.gfn} not in flight")

    def take_pages_pushed(self, event: ev.PagesPushed) -> None:
        """Pages came without being asked for; somebody may have asked for one meanwhile."""
        for gfn in map(Gfn, event.gfns):
            flight = self.in_flight.pop(gfn, None)
            if flight is None:
                self.room -= 1
                self.pages.state[gfn] = IN_FLIGHT
                self.pages.arrive(gfn)
            else:
                self._page_in_done(event.at_ns, gfn, flight)

    def _page_in_done(self, at_ns: int, gfn: Gfn, flight: InFlight, area: int = 0) -> None:
        """A page is in: its waiters go on, those behind the first one hop later."""
        table = self.pages
        table.arrive(gfn)
        if flight.fresh or (self.areas is not None and self.areas.leaves_dirty(area)):
            table.dirty[gfn] = 1
        if self.frozen_ns is not None:
            return
        for _ in flight.waiters:
            table.hold(gfn)
        hop = self.costs.worker_hop_ns
        for vcpu, token in flight.waiters:
            if (vcpu, token) != flight.first:
                arg = (gfn, token, self.epoch)
                self.joining += 1
                self.push(at_ns + hop, vcpu, -1, OP_JOINED, arg)
            elif token is not None and self.cpus is not None:
                self._end_work(at_ns, vcpu, gfn, token)
            else:
                self.vcpus[vcpu].page_in_done(at_ns, gfn, token)

    def _end_work(self, at_ns: int, vcpu: int, gfn: Gfn, token: Token) -> None:
        """A worker has its page, and needs a CPU to say so."""
        thread = self.vcpus[vcpu]
        if self._worker_runs(at_ns, thread, (gfn, token, self.epoch)):
            thread.page_in_done(at_ns, gfn, token)
        else:
            self.joining += 1

    def _worker_runs(self, at_ns: int, vcpu: VcpuThread, work: Work) -> bool:
        """Whether it has a CPU to complete the work at once; one that has not run yet will then."""
        assert self.cpus is not None
        if work[1] in vcpu.looks:
            vcpu.looks[work[1]] = work
            return False
        return Worker(vcpu, work).runs(at_ns, self.cpus)

    def take_frames_granted(self, event: ev.FramesGranted) -> None:
        """More frames for first touches."""
        self.stock += event.frames
        self.room -= event.frames

    def take_host_short(self, event: ev.HostShort) -> None:
        """The host crosses a watermark, or has frames for those who reclaim there."""
        self.host_is_short(event.at_ns, event.short, event.frames)

    def take_reclaim(self, event: Reclaiming) -> None:
        """A step of reclaim: at once, or by kswapd when it has had its CPU time.

        Where its pages lie in swap is as the host says it, whoever gets there first.
        """
        if isinstance(event, ev.PageDropped) and self.areas is not None:
            self.areas.put(event.gfns, event.area)
        if not self._left_to_kswapd(event):
            self.reclaim(event.at_ns, event)

    def _left_to_kswapd(self, event: Reclaiming) -> bool:
        kswapd, cpus = self.kswapd, self.cpus
        if kswapd is None or cpus is None or self.frozen_ns is not None:
            return False
        if (self.short or self.reclaiming) and not kswapd.has(self):
            return False  # a vcpu thread reclaims
        return kswapd.takes(event.at_ns, cpus, self, event)

    def _leave_host(self, at_ns: int, cpus: HostCpus) -> None:
        """A VM that is over answers what kswapd had to do for it, behind all that it said."""
        if self.emulator is not None:
            self.emulator.stop(at_ns, cpus)
        if self.kswapd is not None and self.kswapd.has(self):
            for event in self.kswapd.leave_out(at_ns, cpus, self):
                self.deliver(msgspec.structs.replace(event, at_ns=at_ns + 1))

    def reclaim(self, at_ns: int, event: Reclaiming) -> None:
        if isinstance(event, ev.AgePages):
            self._age(at_ns, event.gfns)
        elif isinstance(event, ev.PageUnmapped):
            self._unmap(at_ns, event.gfns)
        else:
            self._drop(at_ns, event.gfns)

    def _age(self, at_ns: int, gfns: list[int]) -> None:
        """The host asks for accessed bits."""
        self._sync(at_ns)
        if self.huge is not None:
            self.huge.gather(gfns)
        accessed, dirty = self.pages.harvest(gfns)
        self.tell(ev.PagesAged, at_ns, accessed, dirty)

    def _unmap(self, at_ns: int, gfns: list[int]) -> None:
        """First step of eviction."""
        self._sync(at_ns)
        if self.huge is not None:
            self.huge.split(gfns)
        dropped, dirty, refused = self.pages.unmap(gfns)
        self.tell(ev.PagesEvicted, at_ns, dropped, dirty, refused)
        self.give_room(at_ns, len(dropped))
        for waiting in self.short:  # what they have taken out is being written: they sleep
            self.vcpus[waiting.vcpu].works = False
        if self.read_ahead is not None:
            self.read_ahead.store(dirty)
        if self.frozen_ns is None and (dropped or dirty):
            self.guest.unmapped(dropped + dirty)
            for vcpu in self.vcpus:
                vcpu.replan(at_ns)

    def _drop(self, at_ns: int, gfns: list[int]) -> None:
        """Second step, after write-back."""
        dropped, refused = self.pages.drop(gfns)
        self.tell(ev.PagesEvicted, at_ns, dropped, [], refused)
        self.give_room(at_ns, len(dropped))

    def take_pages_moved(self, event: ev.PagesMoved) -> None:
        """zswap wrote pages to their slots."""
        assert self.areas is not None
        self.areas.put(event.gfns, event.area)

    def _sync(self, at_ns: int) -> None:
        if self.frozen_ns is None:
            for vcpu in self.vcpus:
                vcpu.sync(at_ns)


CONSUMERS: Final[Mapping[type[ev.ToShard], Callable[[Machine, Any], None]]] = {
    ev.PagesPushed: Machine.take_pages_pushed,
    ev.FramesGranted: Machine.take_frames_granted,
    ev.HostShort: Machine.take_host_short,
    ev.AgePages: Machine.take_reclaim,
    ev.PageUnmapped: Machine.take_reclaim,
    ev.PageDropped: Machine.take_reclaim,
    ev.PagesMoved: Machine.take_pages_moved,
}
