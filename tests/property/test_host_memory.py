"""Whatever VMs touch and when: limits hold, every request is answered, no page is lost.

The host checks its own lookahead and charges by assertions that stay on; what is asserted here is
what it cannot see by itself, and that cutting a run into windows otherwise changes nothing.
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from random import Random
from typing import TypeVar

from hypothesis import given, settings
from hypothesis import strategies as st

from pagewake.events.types import PageReady, ToHost, ToShard, WindowOpened
from pagewake.host_memory.config import VmMemory
from pagewake.host_memory.frames import compressed
from pagewake.host_memory.manager import HostMemory
from pagewake.host_memory.media import MEDIA, Medium, uniform_medium
from pagewake.simtime.ports import NEVER_NS
from pagewake.simtime.window import Answers
from tests.unit.host_memory.driver import US, FakeShard, Touch, host_with, memory, run

S = TypeVar("S", bound=FakeShard)

PAGES = 96
"""Of each VM."""
MEDIA_TRIED: list[Medium] = [
    uniform_medium(100 * US, 60 * US, 2, transfer_ns_per_page=1_000),
    uniform_medium(20 * US, 10 * US, 8),
    MEDIA["hdd-2010"],
    MEDIA["zram"],
]


class Case:
    """A host and its VMs, drawn by hypothesis, that can be built any number of times."""

    def __init__(self, medium: Medium, spare: int | None, workers: int, vms: list[VmCase]) -> None:
        self.medium, self.spare, self.workers, self.vms = medium, spare, workers, vms

    def __repr__(self) -> str:
        return f"Case({self.medium.name}, {self.spare}, {self.workers}, {self.vms})"

    def build(self, kind: type[S]) -> tuple[HostMemory, list[S]]:
        shapes = [(f"vm-{i}", *vm) for i, vm in enumerate(self.vms)]
        memories: list[VmMemory] = []
        shards: list[S] = []
        held = out = 0
        for name, limit, populated, stock_eighths, touches in shapes:
            stock = limit * stock_eighths // 8
            resident = min(populated, limit - stock)
            held += stock + resident
            out += populated - resident
            vm = memory(
                name, pages=PAGES, limit=limit, populated=populated, resident=resident, stock=stock
            )
            memories.append(vm)
            shards.append(kind(vm, touches, synchronous=self.medium.synchronous))
        ratio_milli = self.medium.ratio_milli
        if ratio_milli:  # room for all that may come to lie there: else a VM may wait for ever
            held += compressed(max(out, PAGES * len(shapes)), ratio_milli)
        total = None if self.spare is None else held + self.spare
        return host_with(
            *memories, medium=self.medium, total=total, workers=self.workers, writeback=4
        ), shards


VmCase = tuple[int, int, int, list[Touch]]


def touches() -> st.SearchStrategy[list[Touch]]:
    """Up to 120 touches within 20 ms, over few pages or many."""
    one = st.tuples(st.integers(0, 20_000), st.integers(0, 95), st.booleans())
    return st.lists(one, max_size=120).map(lambda ts: [(at * US, g, w) for at, g, w in ts])


@st.composite
def cases(draw: st.DrawFn) -> Case:
    vms = draw(
        st.lists(
            st.tuples(
                st.sampled_from([1, 2, 5, 16, 40, 80]),
                st.integers(0, 96),
                st.integers(0, 4),
                touches(),
            ),
            min_size=1,
            max_size=3,
        )
    )
    spare = draw(st.none() | st.integers(1, 20))
    return Case(draw(st.sampled_from(MEDIA_TRIED)), spare, draw(st.integers(0, 2)), vms)


def seen_by(shards: list[FakeShard]) -> list[list[ToShard]]:
    return [shard.log for shard in shards]


def sums(host: HostMemory) -> tuple[object, ...]:
    counts = host._counts
    return host.summary(), counts.page_in_ns_log2, counts.page_in_ns_total


@settings(max_examples=150, deadline=None)
@given(cases())
def test_every_request_is_answered_once_and_no_page_is_lost(case: Case) -> None:
    host, shards = case.build(FakeShard)
    run(host, shards)
    swapped = 0
    for account, shard in zip(host._accounts, shards, strict=True):
        assert not account.waiting
        assert not shard.asked
        assert shard.answers == shard.requests
        in_memory = account.pages.count + host._frames.leaving[account.index]
        assert in_memory + len(shard.unreported) == shard.in_memory()
        assert account.stock == shard.stock + len(shard.unreported)
        assert host._frames.charges[account.index] == in_memory + account.stock
        assert host._frames.charges[account.index] <= host._frames.limits[account.index]
        assert sum(account.pages.place) == account.pages.count
        swapped += sum(state == "absent" for state in shard.state.values())
    assert host._frames.stored == swapped
    assert host._frames.total + host._frames.pool <= host._frames.memory_pages


@settings(max_examples=80, deadline=None)
@given(cases(), st.integers(0, 1 << 30))
def test_cutting_into_other_windows_and_batches_changes_nothing(case: Case, seed: int) -> None:
    whole, whole_shards = case.build(FakeShard)
    run(whole, whole_shards)
    draw = Random(seed)
    cut, cut_shards = case.build(FakeShard)
    run(cut, cut_shards, cut=lambda now, until: draw.randint(now + 1, until), batches=3)
    assert seen_by(cut_shards) == seen_by(whole_shards)
    assert sums(cut) == sums(whole)


@settings(max_examples=40, deadline=None)
@given(cases(), st.integers(1, 30))
def test_a_host_restored_from_its_pickle_goes_on_as_if_nothing_had_happened(
    case: Case, windows: int
) -> None:
    host, shards = case.build(FakeShard)
    run(host, shards)
    other, other_shards = case.build(FakeShard)
    try:
        run(other, other_shards, most_windows=windows)
    except AssertionError:
        other = pickle.loads(pickle.dumps(other))
        run(other, other_shards)
    assert seen_by(other_shards) == seen_by(shards)
    assert sums(other) == sums(host)


class Promised:
    """Checks every answer of a host against what it said when the window was opened.

    A window lasts until the first instant at which something in it may be answered.
    """

    def __init__(self, host: HostMemory) -> None:
        self.host = host
        self.lookahead_ns, self.take, self.next_ns = host.lookahead_ns, host.take, host.next_ns
        self.stop_ns = 0

    def handle(self, events: Sequence[ToHost]) -> None:
        host, outbox = self.host, self.host._outbox
        for event in events:
            if event.at_ns >= self.stop_ns:
                opened = WindowOpened(0, NEVER_NS, False, host.lookahead_ns, *host.calm())
                self.answers, self.stop_ns = Answers(opened), NEVER_NS
            self.stop_ns = min(self.stop_ns, self.answers.soonest_ns([event]))
            before = outbox._inserted
            host.handle([event])
            put = [at_ns for at_ns, _, inserted, *_ in outbox._pending if inserted > before]
            assert min(put, default=NEVER_NS) >= self.stop_ns


@settings(max_examples=150, deadline=None)
@given(cases())
def test_no_answer_comes_before_the_end_of_its_window(case: Case) -> None:
    host, shards = case.build(FakeShard)
    run(Promised(host), shards)  # type: ignore[arg-type]


class TimedShard(FakeShard):
    """Checks how long a read takes."""

    shortest = 0

    def receive(self, event: ToShard) -> None:
        if isinstance(event, PageReady) and event.read:
            assert event.at_ns - self.asked[event.gfn] >= self.shortest
        super().receive(event)


@settings(max_examples=80, deadline=None)
@given(cases())
def test_a_read_takes_at_least_the_shortest_service_of_the_medium(case: Case) -> None:
    host, shards = case.build(TimedShard)
    for shard in shards:
        shard.shortest = case.medium.min_service_ns or case.medium.cost_ns
    run(host, shards)
