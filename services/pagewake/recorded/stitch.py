"""The lines of a recording as events, one VM after another in its order.

`Stitcher` is fed line by line and gives what is certain by then; what it keeps is bounded by what
can be outstanding.  It judges nothing that events show: their checkers do (`verify.invariants`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import TypeAlias

from pagewake.errors import DataError
from pagewake.observe.report.words import counted
from pagewake.recorded import names
from pagewake.recorded.guest import Guest
from pagewake.recorded.joining import several
from pagewake.recorded.lines import Item, Line, Lost, Unreadable
from pagewake.recorded.page_ins import PageIns
from pagewake.recorded.placed import Found, Place, Span
from pagewake.recorded.sight import Sight
from pagewake.recorded.threads import Threads
from pagewake.recorded.vcpu import Vcpu
from pagewake.recorded.vm import Vm

SYNC_FAULT_NS = 300_000
"""A fault that the vcpu thread resolves itself is told of from here on: it needed a device."""
OnVcpu: TypeAlias = Callable[[Vcpu, int, Place, str], None]

ON_VCPU: dict[str, OnVcpu] = {
    names.EXIT: Vcpu.exit,
    names.ENTRY: Vcpu.entry,
    names.PAGE_FAULT: Vcpu.page_fault,
    names.TRY_ASYNC: Vcpu.try_async,
    names.REPEATED_FAULT: Vcpu.repeated_fault,
    names.DOUBLEFAULT: Vcpu.repeated_fault,
    names.NOT_PRESENT: Vcpu.not_present,
    names.READY: Vcpu.ready,
    names.INJECTED: Vcpu.injected,
    names.MSR: Vcpu.msr,
    names.NESTED_RUN: Vcpu.nested_run,
    names.NESTED_ENTER: Vcpu.nested_run,
    names.NESTED_EXIT_INJECTED: Vcpu.nested_exit,
}
"""What the thread of a vcpu logs of it."""
IN_GUEST: dict[str, Callable[[Guest, int, Place, Line], None]] = {
    names.APF_WAIT: Guest.wait,
    names.APF_WAIT_RETURN: Guest.returned,
    names.APF_WAKE: Guest.wake,
}
"""What a guest logs that records itself."""

ELSEWHERE = (
    names.COMPLETED,
    names.ACCEPT_IRQ,
    names.SWITCH,
    *names.RECLAIM_BEGIN,
    *names.RECLAIM_END,
)
WANTED = {event: names.FORMS.get(event) for event in (*ON_VCPU, *IN_GUEST, *ELSEWHERE)}
"""The events whose lines are read, and the form of their texts where it matters."""
WANTED_OF_GUEST = {event: names.FORMS.get(event) for event in (*IN_GUEST, names.SWITCH)}
WANTED_OF_HOST = {event: form for event, form in WANTED.items() if event not in IN_GUEST}
"""Of recordings that are joined: a guest may have guests of its own, and a host be a guest."""


class Stitcher:
    """Takes lines in the order of their time."""

    def __init__(
        self,
        groups: Sequence[Sequence[int]] = (),
        sync_fault_ns: int = SYNC_FAULT_NS,
        guests: Collection[str] = (),
    ) -> None:
        """`groups`: the vcpu threads of each VM, where lines do not say whose they are.

        `guests`: files that the one VM recorded of itself, beside those of its host (`joining`).
        """
        self.sight = Sight(sync_fault_ns)
        self.threads = Threads(groups)
        self.vms: list[Vm[Vcpu]] = []
        self.guest: Guest | None = None
        self._guests = guests
        if guests:
            self.vms.append(Vm("vm-0"))
            self.guest = Guest(self.vms[0].order, self.sight)
        self._vcpus: dict[int, Vcpu] = {}
        self._none: set[tuple[int, str]] = set()
        self._page_ins: PageIns[Vcpu] = PageIns()
        self._unknown_ns = -1
        self._elsewhere: dict[str, Callable[[int, Place, Line], Vm[Vcpu] | None]] = {
            names.COMPLETED: self._completed,
            names.ACCEPT_IRQ: self._irq_accepted,
            names.SWITCH: self._switched,
            **dict.fromkeys(IN_GUEST, self._in_guest),
            **dict.fromkeys(names.RECLAIM_BEGIN, self._reclaims),
            **dict.fromkeys(names.RECLAIM_END, self._reclaimed),
        }

    def feed(self, item: Item) -> list[Found]:
        """What is certain now that this line is known."""
        found: list[Found] = []
        if not isinstance(item, Line):
            self._lost(item, found)
            return found
        sight = self.sight
        at_ns = sight.at_ns(item)
        place = sight.last = Place(item.file, item.number)
        if at_ns is None:
            if self._unknown_ns != sight.last_ns:  # else it has just been said
                self._unknown("clock", "the clock went back", sight.last_ns, place, found)
            at_ns = sight.last_ns
        event = item.event
        if event not in sight.samples:
            sight.samples[event] = item.text
        sight.lines[event] += 1
        handle = ON_VCPU.get(event)
        if handle is None:
            vm = self._elsewhere[event](at_ns, place, item)
        else:
            vcpu = self._vcpus.get(item.pid) or self._learn(item)
            if vcpu is None:
                return found
            if self.threads.any_retired:
                self.threads.check(item.pid, place.where)
            handle(vcpu, at_ns, place, item.text)
            vm = vcpu.vm
        if vm is not None:
            vm.order.leave(found)
        return found

    def finish(self) -> list[Found]:
        """There are no more lines."""
        found: list[Found] = []
        if self.guest is not None:
            self.guest.finish()
        for vm in self.vms:
            open_ = [apf for vcpu in vm.vcpus.values() for apf in vcpu.started.values()]
            for vcpu in vm.vcpus.values():
                vcpu.finish(self.sight.last_ns)
            vm.order.leave(found)
            if open_:
                first = min(apf.place for apf in open_)
                are = counted(len(open_), "page-in is", "page-ins are")
                what = f"{are} outstanding in {vm.name} as it ends"
                found.append(self._span("end", self.sight.last_ns, what, first))
        if self.guest is not None:
            found += self._of_guest(self.guest)
        adopted = self.sight.counts["outstanding at the beginning"]
        if adopted:
            were = counted(adopted, "page-in was", "page-ins were")
            what = f"{were} outstanding as it began, whose READY came later"
            found.append(self._span("begin", 0, what, self.sight.first))
        return found

    def _of_guest(self, guest: Guest) -> list[Found]:
        found: list[Found] = []
        if guest.asleep:
            are = counted(len(guest.asleep), "task is", "tasks are")
            what = f"{are} asleep for a page as it ends"
            found.append(self._span("end", self.sight.last_ns, what, min(guest.asleep)))
        if guest.early:
            were = counted(guest.early, "task was", "tasks were")
            what = f"{were} asleep as it began, whose wake came later"
            found.append(self._span("begin", 0, what, self.sight.first))
        return found

    # ------------------------------------------------------------------ threads

    @property
    def pids(self) -> list[dict[int, int]]:
        """Per VM, the thread of each vcpu; 0 where a guest recorded itself and does not know it."""
        if self.guest is None or self._guests:
            return self.threads.pids
        return [dict.fromkeys(self.guest.cpus, 0)]

    def _learn(self, line: Line) -> Vcpu | None:
        key = (line.pid, line.event)
        if key in self._none:
            return None
        said = names.said_vcpu(line.event, line.text)
        name = self.threads.learn(line.pid, line.tgid, line.comm, said)
        if name is None:
            self._none.add(key)
            return None
        if self.guest is not None and not self._guests:
            raise _two_sides(line)
        if self._guests and name.vm:
            raise several(line)
        if name.vm == len(self.vms):
            self.vms.append(Vm(f"vm-{name.vm}"))
        vm = self.vms[name.vm]
        vcpu = Vcpu(vm, name.vcpu, self.sight, self._page_ins)
        vm.vcpus[name.vcpu] = self._vcpus[line.pid] = vcpu
        return vcpu

    # ------------------------------------------------------------------ lines of any thread

    def _in_guest(self, at_ns: int, place: Place, line: Line) -> Vm[Vcpu]:
        guest = self.guest
        if guest is None:
            if self.vms:
                raise _two_sides(line)
            self.vms.append(Vm("vm-0"))
            guest = self.guest = Guest(self.vms[0].order, self.sight)
        IN_GUEST[line.event](guest, at_ns, place, line)
        return self.vms[0]

    def _completed(self, at_ns: int, place: Place, line: Line) -> Vm[Vcpu] | None:
        found = names.GVA_ADDRESS.search(line.text)
        if found is None:
            return None
        running = self._page_ins.complete(int(found[1], 16))
        if running is None:
            return None
        running.vcpu.completed(at_ns, place, running.apf)
        return running.vcpu.vm

    def _irq_accepted(self, at_ns: int, place: Place, line: Line) -> Vm[Vcpu] | None:
        found = names.IRQ.search(line.text)
        vcpu = self._vcpus.get(line.pid)
        if found is None or vcpu is None:
            return None
        target = vcpu.vm.vcpus.get(int(found[1], 16))
        if target is not None:
            target.irq_arrived()
        vcpu.irq_accepted(at_ns, place, int(found[2]))
        return vcpu.vm

    def _switched(self, at_ns: int, place: Place, line: Line) -> None:
        _, _, text = line.text.rpartition(" next_pid=")
        pid = text.split(" ", 1)[0]
        if self.guest is not None and (not self._guests or line.file in self._guests):
            if pid.isdecimal():
                self.guest.switched_in(int(pid))
            return
        out = self._vcpus.get(line.pid)
        if out is not None:
            out.switched_out(at_ns)
        into = self._vcpus.get(int(pid)) if pid.isdecimal() else None
        if into is not None:
            into.switched_in(at_ns)
        if into is not None or out is not None:
            self.sight.signs.add("switch")

    def _reclaims(self, at_ns: int, place: Place, line: Line) -> None:
        vcpu = self._vcpus.get(line.pid)
        if vcpu is not None:
            vcpu.reclaims(at_ns)

    def _reclaimed(self, at_ns: int, place: Place, line: Line) -> None:
        vcpu = self._vcpus.get(line.pid)
        if vcpu is not None:
            vcpu.reclaimed(at_ns)

    # ------------------------------------------------------------------ what is not known

    def _lost(self, item: Lost | Unreadable, found: list[Found]) -> None:
        place = Place(item.file, item.number)
        if isinstance(item, Unreadable):
            self._unknown("unreadable", item.what, self.sight.last_ns, place, found)
            return
        many = "events" if item.events is None else f"{item.events} events"
        where = "" if item.cpu is None else f" of CPU {item.cpu}"
        self._unknown("lost", f"{many}{where} are lost", self.sight.last_ns, place, found)

    def _unknown(self, why: str, what: str, at_ns: int, place: Place, found: list[Found]) -> None:
        """All vcpus begin anew: what was outstanding may have ended unseen."""
        self._unknown_ns = at_ns
        for vm in self.vms:
            for vcpu in vm.vcpus.values():
                vcpu.forget()
            vm.order.leave(found)
        self._page_ins = PageIns()
        if self.guest is not None:
            self.guest.forget()
        for pid, vcpu in self._vcpus.items():
            fresh = Vcpu(vcpu.vm, vcpu.number, self.sight, self._page_ins)
            vcpu.vm.vcpus[vcpu.number] = self._vcpus[pid] = fresh
        found.append(self._span(why, at_ns, what, place))

    def _span(self, why: str, at_ns: int, what: str, place: Place) -> Span:
        return Span(why, at_ns, self.sight.last_ns, what, *place)  # type: ignore[arg-type]


def _two_sides(line: Line) -> DataError:
    return DataError(
        f"{line.file}:{line.number}: {line.event} among lines of the other side: what a guest"
        " recorded of itself has another clock than what its host did; give them as files, one of"
        " each side"
    )
