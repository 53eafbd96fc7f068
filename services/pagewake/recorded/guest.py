"""What a guest's own kernel logs of its waits for pages, line by line, as events.

Probes on `kvm_async_pf_task_wait_schedule` (until 5.7 `kvm_async_pf_task_wait`) and
`kvm_async_pf_task_wake` say what goes into the table of sleepers and what comes out of it, so the
table is kept here as that kernel keeps it.  A wake that finds nothing leaves a dummy for a wait
that is yet to come; only at the beginning it may be of a task that slept already: that is known by
the first id that a vcpu's waits have.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from pagewake.errors import DataError
from pagewake.events.types import (
    DummyConsumed,
    DummyInserted,
    DummyUnlinked,
    Event,
    SleeperFreed,
    TaskSlept,
    TaskWoken,
    WakeHow,
)
from pagewake.recorded import names
from pagewake.recorded.lines import Line
from pagewake.recorded.order import VmOrder
from pagewake.recorded.placed import Draft, Finding, Place
from pagewake.recorded.sight import Sight

BROADCAST: Final = 0xFFFFFFFF
IDS: Final = 1 << 20
PASSED_MAX: Final = 8
"""So many tasks that were woken later have gone on: by then the scheduler has had its turn."""
KEPT_MAX: Final = 4096
"""Wakes that are kept until their wait comes: 64 outstanding on each of 64 vcpus."""


class _Wait(NamedTuple):
    """A task in the table."""

    at_ns: int
    place: Place
    cpu: int
    task: str
    thread: int
    token: int


class _Wake(NamedTuple):
    """A wake that found nothing."""

    at_ns: int
    place: Place
    cpu: int


class _Woken:
    """A task that was taken out of the table, and has not gone on yet."""

    __slots__ = ("passed", "place", "wait")

    def __init__(self, wait: _Wait, place: Place) -> None:
        self.wait = wait
        self.place = place
        self.passed = 0


class Guest:
    """The sleepers of a guest that recorded itself."""

    def __init__(self, order: VmOrder, sight: Sight) -> None:
        self.order = order
        self.cpus: set[int] = set()
        self._sight = sight
        self.forget()

    def forget(self) -> None:
        """Lines are lost: who sleeps, and on what, is not known any more."""
        self._asleep: dict[int, _Wait] = {}
        self._dummies: dict[int, _Wake] = {}
        self._early: dict[int, _Wake] = {}
        self._first_id: dict[int, int] = {}
        self._woken: dict[int, _Woken] = {}

    # ------------------------------------------------------------------ lines

    def wait(self, at_ns: int, place: Place, line: Line) -> None:
        token, cpu = _token(line), self._cpu(line)
        self._goes_on(_thread(line))
        function = names.WAITS_IN.search(line.text)
        if function is not None:
            self._sight.signs.add(function[0])
        self._first_id.setdefault(token & 0xFFF, token >> 12)
        task = f"{line.comm}-{line.pid}"
        early = self._early.pop(token, None)
        if early is not None:  # no task slept on it: the wake was of this wait
            self._add(DummyInserted, at_ns, early.place, early.cpu, token)
            self._dummies[token] = early
        if self._dummies.pop(token, None) is not None:
            self._add(DummyConsumed, at_ns, place, cpu, task, token)
            return
        other = self._asleep.pop(token, None)
        if other is not None:
            self._add(SleeperFreed, at_ns, place, cpu, task, token, other.task)
            return
        self._asleep[token] = _Wait(at_ns, place, cpu, task, _thread(line), token)
        self._add(TaskSlept, at_ns, place, cpu, task, token, line.pid == 0)

    def wake(self, at_ns: int, place: Place, line: Line) -> None:
        token, cpu = _token(line), self._cpu(line)
        self._goes_on(_thread(line))  # the interrupted task runs
        if token == BROADCAST:
            self._wake_all(at_ns, place, cpu)
        elif token in self._asleep:
            self._wake(at_ns, place, cpu, self._asleep[token], "token")
        elif self._dummies.pop(token, None) is not None:
            self._add(DummyUnlinked, at_ns, place, cpu, token, "token")
        elif self._is_older(token):
            _keep(self._early, token, _Wake(at_ns, place, cpu))
        else:
            _keep(self._dummies, token, _Wake(at_ns, place, cpu))
            self._add(DummyInserted, at_ns, place, cpu, token)

    def returned(self, at_ns: int, place: Place, line: Line) -> None:
        """A wait is over; where nothing woke it, its CPU went offline, which wakes all of them."""
        thread = _thread(line)
        self._goes_on(thread)
        if self._sight.lines[names.APF_WAKE]:
            for wait in [one for one in self._asleep.values() if one.thread == thread]:
                self._wake(at_ns, place, self._cpu(line), wait, "offline")
                self._goes_on(thread)

    def switched_in(self, pid: int) -> None:
        self._goes_on(pid)

    def finish(self) -> None:
        """There are no more lines: who was woken and did not go on, while others did?"""
        for woken in self._woken.values():
            if woken.passed >= PASSED_MAX:
                wait = woken.wait
                what = (
                    f"{wait.task} sleeps on token {wait.token:#x}, which was woken at "
                    f"{woken.place.where}, and does not go on, though {woken.passed} tasks that "
                    "were woken later do"
                )
                where = (self._sight.last_ns, self.order.vm, wait.cpu)
                self.order.add(Finding("sleepers", *where, what, *wait.place, wait.token))

    @property
    def asleep(self) -> list[Place]:
        """Where those who sleep now began to."""
        return [one.place for one in self._asleep.values()]

    @property
    def early(self) -> int:
        """Wakes of tasks that slept already as the recording began."""
        return len(self._early)

    # ------------------------------------------------------------------ the table

    def _is_older(self, token: int) -> bool:
        """Whether its wait may have been before the first one that was recorded."""
        first = self._first_id.get(token & 0xFFF)
        return first is None or 0 < (first - (token >> 12)) % IDS < IDS // 2

    def _wake_all(self, at_ns: int, place: Place, cpu: int) -> None:
        """What was put into the table on this CPU."""
        for wait in [one for one in self._asleep.values() if one.cpu == cpu]:
            self._wake(at_ns, place, cpu, wait, "broadcast")
        for token in [each for each, wake in self._dummies.items() if wake.cpu == cpu]:
            del self._dummies[token]
            self._add(DummyUnlinked, at_ns, place, cpu, token, "broadcast")

    def _wake(self, at_ns: int, place: Place, cpu: int, wait: _Wait, how: WakeHow) -> None:
        del self._asleep[wait.token]
        if wait.thread > 0:  # an idle task halts, and is not scheduled
            self._woken[wait.thread] = _Woken(wait, place)
        values = (cpu, wait.task, wait.token, how, at_ns - wait.at_ns)
        self._add(TaskWoken, at_ns, place, *values)

    def _goes_on(self, thread: int) -> None:
        if thread not in self._woken:
            return
        for other, woken in self._woken.items():  # in the order of their wakes
            if other == thread:
                break
            woken.passed += 1
        del self._woken[thread]

    def _cpu(self, line: Line) -> int:
        if line.cpu is None:
            raise DataError(
                f"{line.file}:{line.number}: {line.event} without its CPU, which is the vcpu of"
                " this guest: print it too (perf script -F comm,tid,cpu,time,event,trace)"
            )
        self.cpus.add(line.cpu)
        return line.cpu

    def _add(self, kind: type[Event], at_ns: int, place: Place, *values: Any) -> None:  # noqa: ANN401
        self.order.add(Draft(kind, at_ns, values, place))


def _token(line: Line) -> int:
    found = names.PROBED_TOKEN.search(line.text)
    assert found is not None, "it has its form"
    return int(found[1], 0)


def _keep(wakes: dict[int, _Wake], token: int, wake: _Wake) -> None:
    wakes[token] = wake
    if len(wakes) > KEPT_MAX:
        del wakes[next(iter(wakes))]


def _thread(line: Line) -> int:
    """Each CPU has an idle task of its own, and all of them are thread 0."""
    return line.pid or -1 - (line.cpu or 0)
