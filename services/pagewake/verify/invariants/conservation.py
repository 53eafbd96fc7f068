"""I6: no not-present is lost without a trace, and no dummy either (semantics 2.3, 4.8, 4.9).

    injected = dropped + misrouted + not yet taken + returned early
             + woken by token, broadcast, offline + asleep + lost
    dummies inserted = consumed + leaked + left

Every injected token is followed from the exception slot to its end. *Misrouted*: it landed in L2,
where nobody knows tokens, or was routed to a nested hypervisor. *Returned early*: its wait found a
dummy, or a sleeper that it took for one. *Lost*: its sleeper was freed by a second wait, its
reason was stolen by another trap, written elsewhere or over, or its vcpu was reset under it; or it
made L2 exit to a kernel that latches no reason: one without PV support, or whose host writes to
another area than the vcpu's. A wait that no injected token explains needs an orphaned or stolen
reason, or a stale latch (gap G3), before it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from pagewake.events.types import (
    DummyConsumed,
    DummyInserted,
    DummyUnlinked,
    Event,
    ExceptionDropped,
    ExceptionInjected,
    ExceptionQueued,
    ExitRouted,
    KernelReplaced,
    MsrWritten,
    NestedVmexit,
    PageNotPresent,
    ReasonLatched,
    SleeperFreed,
    TaskKilled,
    TaskSlept,
    TaskWoken,
    TrapTaken,
    VcpuReset,
)
from pagewake.guest_kernel.apf_area import area_gpa
from pagewake.kvm.msr import decode_enable
from pagewake.verify.invariants.base import (
    MSR_ASYNC_PF_EN,
    Checker,
    Handler,
    Reporter,
    token_name,
)
from pagewake.verify.invariants.rules import Rules

# As in `base`: of the interface, not of the system under test.
REASON_NOT_PRESENT = 1
U32 = 0xFFFFFFFF


class NotPresentLedger(Checker):
    """Keeps account of where every injected not-present of one VM is."""

    name = "I6"

    def __init__(self, rules: Rules, reporter: Reporter) -> None:
        super().__init__(rules, reporter)
        self.counts: Counter[str] = Counter()
        self._reads_reason = rules.guest_reads_reason
        self._announced: Counter[int] = Counter()
        self._queued: Counter[int] = Counter()
        self._delivered: dict[int, int] = {}
        self._elsewhere: set[int] = set()
        self._latched: Counter[int] = Counter()
        self._taken: Counter[int] = Counter()
        self._asleep: dict[int, bool] = {}
        self._unexplained_waits = 0

    def handlers(self) -> Mapping[type[Event], Handler]:
        if self.rules.partial:
            return self._host_half()
        return self._host_half() | {
            TrapTaken: self._trap,
            MsrWritten: self._msr_written,
            NestedVmexit: self._exit,
            ReasonLatched: self._latch,
            ExitRouted: self._route,
            TaskKilled: self._kill,
            TaskSlept: self._sleep,
            DummyConsumed: self._early,
            SleeperFreed: self._freed,
            TaskWoken: self._wake,
            VcpuReset: self._reset,
            KernelReplaced: self._replaced,
            DummyInserted: self._dummy_inserted,
            DummyUnlinked: self._dummy_unlinked,
        }

    def _host_half(self) -> dict[type[Event], Handler]:
        """What a recording of the host shows: a queued exception was announced, and leaves once."""
        return {
            PageNotPresent: self._announce,
            ExceptionQueued: self._queue,
            ExceptionDropped: self._drop,
            ExceptionInjected: self._inject,
        }

    # ------------------------------------------------------------------ into the guest

    def _announce(self, event: PageNotPresent) -> None:
        if event.delivery == "injected" and event.token is not None:
            self.counts["injected"] += 1
            self._announced[event.token] += 1

    def _queue(self, event: ExceptionQueued) -> None:
        if event.kind != "not_present":
            return
        if not _take(self._announced, event.token):
            self.fail(event, f"{token_name(event.token)} queued, but no fault announced it")
            self.counts["injected"] += 1
        self._queued[event.token] += 1

    def _drop(self, event: ExceptionDropped) -> None:
        if event.kind == "not_present" and self._leave(event, self._queued, event.token, "dropped"):
            self.counts["dropped"] += 1

    def _inject(self, event: ExceptionInjected) -> None:
        if event.kind != "not_present":
            return
        if self._leave(event, self._queued, event.token, "injected"):
            before = None if self.rules.partial else self._delivered.get(event.vcpu)
            if before is not None:
                self.fail(event, f"no trap took {token_name(before)}, injected before")
                self.counts["lost"] += 1
            self._delivered[event.vcpu] = event.token

    def _trap(self, event: TrapTaken) -> None:
        token = event.cr2 & U32
        delivered = self._delivered.get(event.vcpu)
        if event.handler == "wait":
            if delivered == token:
                del self._delivered[event.vcpu]
                self._taken[token] += 1
            elif _take(self._latched, token):
                self._taken[token] += 1
            else:
                self._unexplained_waits += 1
        elif delivered == token and event.level == 1:
            del self._delivered[event.vcpu]
            self.counts["lost"] += 1

    def _msr_written(self, event: MsrWritten) -> None:
        if event.msr == MSR_ASYNC_PF_EN and event.stored:
            own = {area_gpa(event.vcpu, place) for place in (0, 1)}
            elsewhere = event.value & 1 and decode_enable(event.value).gpa not in own
            (self._elsewhere.add if elsewhere else self._elsewhere.discard)(event.vcpu)

    def _exit(self, event: NestedVmexit) -> None:
        reads = self._reads_reason and event.vcpu not in self._elsewhere
        if not reads and self._delivered.get(event.vcpu) == event.info2:
            del self._delivered[event.vcpu]
            self.counts["lost"] += 1

    def _latch(self, event: ReasonLatched) -> None:
        if event.apf_reason != REASON_NOT_PRESENT:
            return
        if self._delivered.get(event.vcpu) == event.token:
            del self._delivered[event.vcpu]
        elif not _take(self._queued, event.token):
            return
        self._latched[event.token] += 1

    # ------------------------------------------------------------------ what became of it

    def _route(self, event: ExitRouted) -> None:
        if event.route != "done" or event.apf_reason != REASON_NOT_PRESENT or event.level == 0:
            return
        if _take(self._latched, event.info2 & U32):
            self.counts["misrouted"] += 1

    def _kill(self, event: TaskKilled) -> None:
        landed = [vcpu for vcpu, token in self._delivered.items() if token == event.token]
        if landed:
            del self._delivered[landed[0]]
            self.counts["misrouted"] += 1
        elif _take(self._latched, event.token):
            self.counts["misrouted"] += 1

    def _wait(self, event: TaskSlept | DummyConsumed | SleeperFreed) -> bool:
        """Whether an injected token explains this wait; complains if nothing does."""
        if _take(self._taken, event.token):
            return True
        if self._unexplained_waits:
            self._unexplained_waits -= 1
            self.counts["bogus_waits"] += 1
        else:
            self.fail(event, f"waited for {token_name(event.token)}, which no trap brought")
        return False

    def _sleep(self, event: TaskSlept) -> None:
        self._asleep[event.token] = self._wait(event)

    def _early(self, event: DummyConsumed) -> None:
        self.counts["dummies_consumed"] += 1
        if self._wait(event):
            self.counts["returned_early"] += 1

    def _freed(self, event: SleeperFreed) -> None:
        if self._wait(event):
            self.counts["returned_early"] += 1
        if self._asleep.pop(event.token, False):
            self.counts["lost"] += 1

    def _wake(self, event: TaskWoken) -> None:
        if self._asleep.pop(event.token, False):
            self.counts[f"woken_{event.how}"] += 1

    def _reset(self, event: VcpuReset) -> None:
        if self._delivered.pop(event.vcpu, None) is not None:
            self.counts["lost"] += 1

    def _replaced(self, _: KernelReplaced) -> None:
        self.counts["lost"] += len(self._delivered)
        self._delivered.clear()

    # ------------------------------------------------------------------ dummies

    def _dummy_inserted(self, _: DummyInserted) -> None:
        self.counts["dummies_inserted"] += 1

    def _dummy_unlinked(self, _: DummyUnlinked) -> None:
        self.counts["dummies_leaked"] += 1

    # ------------------------------------------------------------------ the balance

    def _leave(self, event: Event, state: Counter[int], token: int, what: str) -> bool:
        if _take(state, token):
            return True
        self.fail(event, f"{token_name(token)} was {what}, but was not queued")
        return False

    def finish(self, last: Event) -> None:
        counts = self.counts
        if self.rules.partial:
            return
        counts["not_yet_taken"] = (
            self._queued.total()
            + len(self._delivered)
            + self._latched.total()
            + self._taken.total()
        )
        counts["asleep"] = sum(self._asleep.values())
        ended = counts["dummies_consumed"] + counts["dummies_leaked"]
        counts["dummies_left"] = counts["dummies_inserted"] - ended
        ends = sum(counts[end] for end in NOT_PRESENT_ENDS)
        if counts["injected"] != ends:
            shown = ", ".join(f"{end} {counts[end]}" for end in NOT_PRESENT_ENDS)
            self.fail(last, f"{counts['injected']} not-present injected, {ends} found: {shown}")
        if counts["dummies_left"] < 0:
            self.fail(last, f"{-counts['dummies_left']} more dummies ended than were inserted")


NOT_PRESENT_ENDS = (
    "dropped",
    "misrouted",
    "not_yet_taken",
    "returned_early",
    "woken_token",
    "woken_broadcast",
    "woken_offline",
    "asleep",
    "lost",
)


def _take(tokens: Counter[int], token: int) -> bool:
    left = tokens[token]
    if left > 1:
        tokens[token] = left - 1
    elif left:
        del tokens[token]
    return bool(left)
