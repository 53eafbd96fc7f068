"""However a run is cut into windows and its VMs over shards, it is the same run."""

from __future__ import annotations

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from pagewake.engine.embedded import EmbeddedOutcome
from pagewake.events.codec import APF_GUEST, APF_NESTED
from pagewake.events.types import Event
from pagewake.simtime.window import Cut
from tests.support.domains import FakeHost, FakeShard, FakeVm, run_domains

DURATION_NS = 4_000


class Case:
    """A host and its VMs, drawn by hypothesis, that can be built any number of times."""

    def __init__(
        self,
        seed: int,
        lookahead_ns: int,
        misses: list[int | None],
        agings: list[int],
        tick_ns: int,
    ) -> None:
        self.seed, self.lookahead_ns, self.misses = seed, lookahead_ns, misses
        self.agings, self.tick_ns = agings, tick_ns
        self.names = [f"vm-{index}" for index in range(len(misses))]

    def __repr__(self) -> str:
        return (
            f"Case({self.seed}, {self.lookahead_ns}, {self.misses}, {self.agings}, {self.tick_ns})"
        )

    def run(self, shard_of: list[int], cut: Cut | None) -> tuple[EmbeddedOutcome, Told]:
        host = FakeHost(self.seed, self.lookahead_ns, self.names, self.agings)
        parts: dict[int, list[FakeVm]] = {}
        for name, misses, shard in zip(self.names, self.misses, shard_of, strict=True):
            parts.setdefault(shard, []).append(FakeVm(self.seed, name, misses, self.tick_ns))
        shards = [
            ((APF_GUEST, APF_NESTED)[shard % 2], FakeShard(vms))
            for shard, vms in sorted(parts.items(), key=lambda part: part[0] % 2)
        ]
        seen: list[Event] = []
        outcome = run_domains([(host, shards)], DURATION_NS, observer=seen.extend, cut=cut)
        order = sorted(seen, key=lambda event: (event.vm, event.n))
        return outcome, Told(host, order)


class Told:
    """What of a run may depend neither on windows nor on shards."""

    def __init__(self, host: FakeHost, order: list[Event]) -> None:
        self.heard = host.heard
        self.served = host.served
        self.order = order


@st.composite
def cases(draw: st.DrawFn) -> Case:
    return Case(
        draw(st.integers(0, 1000)),
        draw(st.sampled_from([1, 7, 60, 400])),
        draw(st.lists(st.none() | st.integers(1, 6), min_size=1, max_size=6)),
        draw(st.lists(st.integers(0, DURATION_NS + 10), max_size=4)),
        draw(st.sampled_from([0, 90, 1000])),
    )


def random_cut(seed: int) -> Cut:
    """Mostly a good piece of what is proposed, now and then almost nothing."""
    draw = Random(seed)

    def cut(window: int, proposed_ns: int) -> int:
        if draw.random() < 0.2:
            return 0
        return proposed_ns - draw.randrange(1 + min(proposed_ns, 300))

    return cut


@settings(max_examples=60, deadline=None)
@given(cases(), st.lists(st.integers(0, 4), min_size=6, max_size=6), st.integers(0, 1 << 32))
def test_cuts_and_shards_leave_no_trace(case: Case, shard_of: list[int], seed: int) -> None:
    whole, told = case.run([0] * len(case.names), None)
    parts, told_in_parts = case.run(shard_of[: len(case.names)], random_cut(seed))
    assert parts.windows >= whole.windows
    assert (parts.digest, parts.sim_ns) == (whole.digest, whole.sim_ns)
    assert told_in_parts.order == told.order
    assert told_in_parts.heard == told.heard
    assert told_in_parts.served == told.served


@settings(max_examples=30, deadline=None)
@given(cases())
def test_a_run_is_a_function_of_its_seed(case: Case) -> None:
    shard_of = [0] * len(case.names)
    assert case.run(shard_of, None)[0] == case.run(shard_of, None)[0]


@settings(max_examples=30, deadline=None)
@given(cases(), st.data())
def test_every_vm_can_be_counted_through(case: Case, data: st.DataObject) -> None:
    shard_of = [data.draw(st.integers(0, 2)) for _ in case.names]
    _, told = case.run(shard_of, None)
    for name in case.names:
        numbers = [event.n for event in told.order if event.vm == name]
        assert numbers == list(range(1, len(numbers) + 1))
    assert all(event.at_ns < DURATION_NS for event in told.order)
