"""Sums up a run's events to its result.

`ResultCounter` is a projection: it is fed a run's domain events, in any order between VMs, and sums
up.  What is accounting and no event (touches and work done, CPU time by kind, who still sleeps,
first touches not reported yet) comes from the shards' summaries at the end.  The same counter
serves every runtime, so equal logs give equal results.
"""

from __future__ import annotations

from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, get_args

from mypy_extensions import mypyc_attr

from pagewake.events.types import (
    EVENTS,
    DoubleFault,
    DummyConsumed,
    DummyInserted,
    DummyUnlinked,
    Event,
    ExitRouted,
    GuestPanicked,
    PageNotPresent,
    PageReady,
    PageRequested,
    PagesEvicted,
    PagesPushed,
    PageTouched,
    RequestDone,
    Route,
    ShardEnded,
    ShardSummary,
    TaskFinished,
    TaskKilled,
    TaskSlept,
    TaskWoken,
    VcpuHalted,
    WakeHow,
)
from pagewake.host_memory.frames import compressed
from pagewake.observe.expectations import expectations
from pagewake.observe.latency import Latencies, Latency
from pagewake.observe.progress import Endings, Share, parts_of, sum_of
from pagewake.observe.result import Dummies, Panic, RunFacts, RunResult, Waits, WaitTimes, Work
from pagewake.scenario.model import group_of
from pagewake.scenario.units import PAGE_BYTES
from pagewake.simtime.state import Saved


@mypyc_attr(allow_interpreted_subclasses=True)
class Tally(Saved):
    """How many events of a kind there were, and what else is counted of each of them."""

    __slots__ = ("events", "handler")

    def __init__(self, handler: Callable[[Any], None] | None) -> None:
        self.events = 0
        self.handler = handler


class ResultCounter:
    """Sums up a run's events; `finish` makes the result of them."""

    def __init__(self) -> None:
        self._vms: defaultdict[str, Share] = defaultdict(Share)
        self._endings = Endings({}, {})
        self._read_from: Counter[int] = Counter()
        self._wakes: dict[str, int] = dict.fromkeys(get_args(WakeHow), 0)
        self._panics: dict[str, Panic] = {}
        self._waited_ns = array("q")
        self._halts: dict[str, int] = {}
        self._latencies: dict[tuple[str, str], Latencies] = {}
        self._latencies_of: dict[str, Latencies] = {}
        self._exits: dict[str, int] = dict.fromkeys(get_args(Route), 0)
        # The values take the type they are filed under; mypy cannot say so of a dict.
        self._handlers: dict[type[Event], Callable[[Any], None]] = {
            PageNotPresent: self._on_not_present,
            PageRequested: self._on_requested,
            PageTouched: self._on_touched,
            PageReady: self._on_ready,
            PagesPushed: self._on_pushed,
            PagesEvicted: self._on_evicted,
            TaskFinished: self._on_finished,
            TaskKilled: self._on_killed,
            DummyConsumed: self._on_early_ready,
            TaskSlept: self._on_slept,
            TaskWoken: self._on_woken,
            VcpuHalted: self._on_halted,
            ExitRouted: self._on_routed,
            RequestDone: self._on_request,
            GuestPanicked: self._on_panicked,
        }
        self._seen = {kind: Tally(self._handlers.get(kind)) for kind in EVENTS}

    def feed(self, events: Sequence[Event]) -> None:
        """Take in domain events, emitted or consumed, each once and numbered (`n` > 0)."""
        seen = self._seen
        for event in events:
            tally = seen[type(event)]
            tally.events += 1
            handler = tally.handler
            if handler is not None:
                handler(event)

    def feed_consumed(self, ended: ShardEnded) -> None:
        """Count events that a shard took in, from what it said of them at its end."""
        for kind, tally in self._seen.items():
            tally.events += ended.consumed.get(kind.__name__, 0)
        for vm, pages in ended.vm_read.items():
            self._vms[vm].page_ins += pages
        for vm, pages in ended.vm_pushed.items():
            self._vms[vm].pushed += pages
        for area, pages in ended.read_from.items():
            self._read_from[area] += pages
        unplaced = ended.read - sum(ended.vm_read.values())
        if unplaced:  # version 0.1.0 did not say of which VMs
            self._vms[""].page_ins += unplaced

    def merge(self, other: ResultCounter) -> None:
        """Count in what another counted of other VMs."""
        for kind, tally in other._seen.items():
            self._seen[kind].events += tally.events
        for vm, share in other._vms.items():
            self._vms[vm].add(share)
        self._endings.finished_ns.update(other._endings.finished_ns)
        self._endings.killed_ns.update(other._endings.killed_ns)
        self._panics.update(other._panics)
        self._waited_ns.extend(other._waited_ns)
        for why, halts in other._halts.items():
            self._halts[why] = self._halts.get(why, 0) + halts
        for how, wakes in other._wakes.items():
            self._wakes[how] += wakes
        for route, exits in other._exits.items():
            self._exits[route] += exits
        self._read_from.update(other._read_from)
        for name, latencies in other._latencies_of.items():
            self._latencies_of.setdefault(name, Latencies()).merge(latencies)

    @property
    def events(self) -> int:
        """How many events were fed so far."""
        return sum(tally.events for tally in self._seen.values())

    @property
    def faults(self) -> int:
        """Page requests and joins so far, as in `not_present`."""
        return sum(sum(share.not_present.values()) for share in self._vms.values())

    def finish(
        self, facts: RunFacts, closing: Sequence[ShardSummary], *, saw_journal: bool = True
    ) -> RunResult:
        """The result, from the events fed and the shards' closing summaries.

        What a journal alone says is null, or zero (`IN_JOURNAL`), if none was seen.
        """
        work = _summed(summary.work for summary in closing)
        unresolved = sorted(task for summary in closing for task in summary.unresolved)
        total = sum_of(self._vms.values())
        parts = parts_of(self._vms, self._endings, closing)
        whole = None if parts is None else sum_of(parts.per_group.values())
        swap = facts.swap
        in_swap = None if swap is None else swap.pages + total.evictions - total.page_ins
        latency = self._latency(facts.sim_ns, closing) if saw_journal else {}
        kept = parts if saw_journal else None
        return RunResult(
            scenario=facts.scenario,
            seed=facts.seed,
            profile=facts.profile,
            apf=facts.apf,
            sim_ns=facts.sim_ns,
            wall_s=facts.wall_s,
            windows=facts.windows,
            events=self.events,
            digest=facts.digest,
            not_present=total.not_present,
            first_touches=total.first_touches
            + sum(summary.unreported_touches for summary in closing),
            page_ins=total.page_ins,
            read_ahead=total.read_ahead,
            pushed=total.pushed,
            huge_touches=total.huge_touches,
            evictions=total.evictions,
            waits=Waits(**total.waits),
            wakes=dict(self._wakes),
            dummies=self._dummies(),
            halts=dict(sorted(self._halts.items())),
            double_faults=self._seen[DoubleFault].events,
            exits=dict(self._exits),
            work=Work(sum(work.values()), work),
            wait_sim_seconds=_wait_times(self._waited_ns),
            unresolved=len(unresolved),
            unresolved_tasks=unresolved,
            sleepers=sum(summary.sleepers for summary in closing),
            cpu=_summed(summary.cpu for summary in closing),
            host_cpu=_summed(summary.host_cpu for summary in closing),
            by_event={
                kind.__name__: tally.events
                for kind, tally in sorted(self._seen.items(), key=_by_name)
                if tally.events
            },
            latency=latency,
            expected=list(expectations(facts.expects, latency)),
            panics=dict(sorted(self._panics.items())),
            touches=None if whole is None else whole.touches,
            requests=None if whole is None else whole.requests,
            silent=None if whole is None else whole.silent,
            progress=None if kept is None else kept.progress,
            per_group=None if kept is None else kept.per_group,
            per_vm=None if kept is None else kept.per_vm,
            in_swap=in_swap,
            in_swap_bytes=None if swap is None else _swap_bytes(in_swap or 0, swap.ratio_milli),
            page_ins_from={} if swap is None else self._page_ins_from(swap.areas),
            shards=facts.shards,
            version=facts.version,
            jobs=facts.jobs,
            journal=facts.journal,
        )

    def _latency(self, sim_ns: int, closing: Sequence[ShardSummary]) -> dict[str, Latency]:
        """By `group/task`, in order of name; a group that answered nothing is there too."""
        unfinished: Counter[str] = Counter()
        for queue, count in _summed(summary.unanswered for summary in closing).items():
            vm, task = queue.split("/")
            unfinished[f"{group_of(vm)}/{task}"] += count
        return {
            name: self._latencies_of.get(name, Latencies()).latency(sim_ns, unfinished[name])
            for name in sorted({*unfinished, *self._latencies_of})
        }

    def _page_ins_from(self, areas: Sequence[str]) -> dict[str, int]:
        """Page-ins by swap area."""
        return {name: self._read_from[number] for number, name in enumerate(areas, 1)}

    def _dummies(self) -> Dummies:
        inserted = self._seen[DummyInserted].events
        consumed = self._seen[DummyConsumed].events
        leaked = self._seen[DummyUnlinked].events
        return Dummies(inserted, consumed, leaked, inserted - consumed - leaked)

    def _on_not_present(self, event: PageNotPresent) -> None:
        share = self._vms[event.vm]
        if event.first_touch:
            share.first_touches += 1
            return
        share.not_present[event.delivery] += 1
        if event.served:
            share.page_ins += 1
            if event.area:
                self._read_from[event.area] += 1
        if event.ahead:
            share.read_ahead += sum(map(len, event.ahead)) - 1

    def _on_requested(self, event: PageRequested) -> None:
        beside = sum(gfn != event.gfn for gfns in event.ahead for gfn in gfns)
        self._vms[event.vm].read_ahead += beside
        if event.served:
            self._vms[event.vm].page_ins += 1

    def _on_touched(self, event: PageTouched) -> None:
        share = self._vms[event.vm]
        share.first_touches += len(event.gfns)
        share.huge_touches += event.huge

    def _on_ready(self, event: PageReady) -> None:
        if event.read:
            self._vms[event.vm].page_ins += 1
            if event.area:
                self._read_from[event.area] += 1

    def _on_pushed(self, event: PagesPushed) -> None:
        self._vms[event.vm].pushed += len(event.gfns)

    def _on_evicted(self, event: PagesEvicted) -> None:
        self._vms[event.vm].evictions += len(event.dropped)

    def _on_finished(self, event: TaskFinished) -> None:
        self._endings.finished_ns[f"{event.vm}/{event.task}"] = event.at_ns

    def _on_killed(self, event: TaskKilled) -> None:
        self._endings.killed_ns[f"{event.vm}/{event.task}"] = event.at_ns

    def _on_panicked(self, event: GuestPanicked) -> None:
        self._panics[event.vm] = Panic(event.at_ns, event.why)

    def _on_slept(self, event: TaskSlept) -> None:
        self._vms[event.vm].waits["halted" if event.halted else "slept"] += 1

    def _on_early_ready(self, event: DummyConsumed) -> None:
        self._vms[event.vm].waits["early_ready"] += 1

    def _on_woken(self, event: TaskWoken) -> None:
        self._wakes[event.how] += 1
        self._waited_ns.append(event.waited_ns)

    def _on_halted(self, event: VcpuHalted) -> None:
        why = event.why
        self._halts[why] = self._halts.get(why, 0) + 1

    def _on_request(self, event: RequestDone) -> None:
        task = event.vm, event.task
        latencies = self._latencies.get(task)
        if latencies is None:
            name = f"{group_of(event.vm)}/{group_of(event.task)}"
            latencies = self._latencies_of.setdefault(name, Latencies())
            self._latencies[task] = latencies
        latencies.add(event.at_ns - event.arrived_ns)

    def _on_routed(self, event: ExitRouted) -> None:
        self._exits[event.route] += 1


def _by_name(item: tuple[type[Event], Tally]) -> str:
    return item[0].__name__


def _summed(tables: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for table in tables:
        total.update(table)
    return dict(sorted(total.items()))


def _wait_times(waited_ns: array[int]) -> WaitTimes | None:
    if not waited_ns:
        return None
    ordered = sorted(waited_ns)

    def at(percent: int) -> float:
        return ordered[-(-len(ordered) * percent // 100) - 1] / 1e9

    return WaitTimes(at(50), at(90), at(99), ordered[-1] / 1e9)


def _swap_bytes(pages: int, ratio_milli: int | None) -> int | None:
    """Memory of the hosts that pages in swap take: none where the medium is no memory."""
    if ratio_milli is None:
        return None
    return compressed(pages, ratio_milli) * PAGE_BYTES if ratio_milli else 0
