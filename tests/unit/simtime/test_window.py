"""Both ends of the window protocol, by themselves."""

from __future__ import annotations

import pickle

import pytest
from msgspec.structs import replace

from pagewake.errors import InternalError
from pagewake.events.ids import Gfn, Token
from pagewake.events.types import (
    MediumChanged,
    PageNotPresent,
    PageReady,
    PagesAged,
    ToHost,
    ToShard,
    WindowClosed,
    WindowOpened,
)
from pagewake.simtime.ports import Calm, ShardOutput
from pagewake.simtime.window import REACH_LOOKAHEADS, REACH_NS, Follower, Sequencer
from tests.support.domains import FakeHost, FakeShard, FakeVm

LOOKAHEAD_NS = 100


def miss(at_ns: int, vm: str = "a", n: int = 1) -> PageNotPresent:
    return PageNotPresent(at_ns, vm, n, 0, Gfn(5), "write", 3, 1, 0, "injected", Token(1))


def host_of(*vms: str) -> FakeHost:
    return FakeHost(1, LOOKAHEAD_NS, vms)


def sequencer_of(
    host: FakeHost, shard_of: dict[str, str] | None = None, duration_ns: int = 10_000
) -> Sequencer[FakeHost]:
    shard_of = {"a": "guest-0", "b": "guest-1"} if shard_of is None else shard_of
    return Sequencer(host, sorted(set(shard_of.values())), shard_of, duration_ns)


def alone(host: FakeHost, duration_ns: int = 10_000) -> Sequencer[FakeHost]:
    """With one shard: its windows have an open end."""
    return sequencer_of(host, {"a": "guest-0"}, duration_ns)


def opened(handed: dict[str, list[ToShard | WindowOpened]], name: str = "guest-0") -> WindowOpened:
    first = handed[name][0]
    assert isinstance(first, WindowOpened)
    return first


def close(
    sequencer: Sequencer[FakeHost],
    next_ns: int | None,
    *events: ToHost,
    name: str = "guest-0",
    frozen_ns: int | None = None,
    until_ns: int | None = None,
) -> bool:
    closed = WindowClosed(sequencer.window, next_ns, frozen_ns, until_ns)
    return sequencer.close(name, [*events, closed])


def close_both(
    sequencer: Sequencer[FakeHost],
    next_ns: int | None,
    *events: ToHost,
    frozen_ns: int | None = None,
) -> bool:
    """guest-0 says this, and guest-1 nothing."""
    assert not close(sequencer, None, name="guest-1", frozen_ns=frozen_ns)
    return close(sequencer, next_ns, *events, frozen_ns=frozen_ns)


# ----------------------------------------------------------------------------------- the sequencer


def test_the_first_window_reaches_to_the_lookahead() -> None:
    assert opened(sequencer_of(host_of("a")).open()) == WindowOpened(0, LOOKAHEAD_NS)


def test_a_window_reaches_to_the_lookahead_after_the_first_possible_event() -> None:
    sequencer = sequencer_of(host_of("a"))
    sequencer.open()
    assert close_both(sequencer, 700)
    assert opened(sequencer.open()) == WindowOpened(1, 800)


def test_what_the_host_has_pending_bounds_a_window_too() -> None:
    sequencer = sequencer_of(host_of("a"))
    sequencer.open()
    close_both(sequencer, 700, miss(50))
    ready_ns = sequencer.host.next_ns()
    assert ready_ns is not None
    assert ready_ns < 700
    handed = sequencer.open()
    assert opened(handed).until_ns == ready_ns + LOOKAHEAD_NS
    assert [event.at_ns for event in handed["guest-0"][1:] if isinstance(event, PageReady)] == [
        ready_ns
    ]


def test_when_nothing_can_happen_the_window_reaches_to_the_end() -> None:
    sequencer = sequencer_of(host_of("a"))
    sequencer.open()
    close_both(sequencer, None)
    assert opened(sequencer.open()) == WindowOpened(1, 10_000, last=True)
    close_both(sequencer, None)
    assert sequencer.ended
    assert sequencer.end_ns == 10_000


def test_no_window_reaches_beyond_the_end() -> None:
    sequencer = sequencer_of(host_of("a"), duration_ns=150)
    sequencer.open()
    close_both(sequencer, 100)
    assert opened(sequencer.open()) == WindowOpened(1, 150, last=True)


def test_the_host_ends_at_its_last_freeze_and_says_so_in_a_window_of_no_width() -> None:
    shard_of = {"a": "guest-0", "b": "guest-1"}
    sequencer = sequencer_of(host_of("a", "b"), shard_of)
    sequencer.open()
    close(sequencer, None, name="guest-0", frozen_ns=30)
    close(sequencer, None, name="guest-1", frozen_ns=70)
    assert not sequencer.last
    assert opened(sequencer.open()) == WindowOpened(1, LOOKAHEAD_NS, last=True)
    close(sequencer, None, name="guest-0", frozen_ns=30)
    close(sequencer, None, name="guest-1", frozen_ns=70)
    assert sequencer.ended
    assert sequencer.end_ns == 70


def test_a_freeze_in_the_last_window_ends_the_host_there() -> None:
    sequencer = sequencer_of(host_of("a"), duration_ns=100)
    sequencer.open()
    close_both(sequencer, None, frozen_ns=42)
    assert sequencer.ended
    assert sequencer.end_ns == 42


def test_what_a_frozen_vm_answers_after_the_end_does_not_reach_the_host() -> None:
    sequencer = sequencer_of(host_of("a"))
    sequencer.open()
    close_both(sequencer, None, miss(20), miss(70), miss(71), frozen_ns=70)
    assert [at_ns for at_ns, _, _ in sequencer.host.heard] == [20, 70]


def test_the_host_hears_all_shards_in_order_once_all_have_closed() -> None:
    shard_of = {"a": "guest-0", "b": "guest-1", "c": "guest-0"}
    sequencer = sequencer_of(host_of("a", "b", "c"), shard_of)
    sequencer.open()
    events = [miss(10, "c", 4), miss(30, "a", 1), miss(30, "a", 2)]
    assert not close(sequencer, 900, *events, name="guest-0")
    assert sequencer.host.heard == []
    assert close(sequencer, 900, miss(10, "b", 9), miss(40, "b", 10), name="guest-1")
    assert sequencer.host.heard == [
        (10, "b", 9),
        (10, "c", 4),
        (30, "a", 1),
        (30, "a", 2),
        (40, "b", 10),
    ]


def test_deliveries_go_to_the_shard_of_their_vm_and_those_of_the_host_to_the_first() -> None:
    host = host_of("a", "b")
    host.put(PageReady(20, "b", 0, 0, Gfn(7), 0))
    host.put(MediumChanged(30, "", 0, "nvme"))
    host.put(PageReady(40, "a", 0, 0, Gfn(8), 0))
    handed = sequencer_of(host, {"a": "guest-0", "b": "guest-1"}).open()
    assert [type(event).__name__ for event in handed["guest-0"]] == [
        "WindowOpened",
        "MediumChanged",
        "PageReady",
    ]
    assert [event.vm for event in handed["guest-1"] if isinstance(event, PageReady)] == ["b"]


def test_a_window_can_be_cut_short_but_not_drawn_out() -> None:
    proposals: list[int] = []

    def cut(window: int, proposed: int) -> int:
        proposals.append(proposed)
        return [7, 5, 999_999][window]

    sequencer = sequencer_of(host_of("a"))
    sequencer.cut = cut
    edges = []
    for _ in range(3):
        edges.append(opened(sequencer.open()).until_ns)
        close_both(sequencer, 50)
    assert edges == [7, 8, 150]
    assert proposals == [100, 150, 150]


def test_an_answer_sooner_than_the_lookahead_is_found_out() -> None:
    class Hasty(FakeHost):
        def handle(self, events: object) -> None:
            self.put(PageReady(60, "a", 0, 0, Gfn(7), 0))

    sequencer = sequencer_of(Hasty(1, LOOKAHEAD_NS, ["a"]))
    sequencer.open()
    with pytest.raises(InternalError, match="sooner than its lookahead"):
        close_both(sequencer, 500, miss(50))


@pytest.mark.parametrize("at_ns", [99, 800])
def test_an_event_outside_of_its_window_is_found_out(at_ns: int) -> None:
    sequencer = sequencer_of(host_of("a"))
    sequencer.open()
    close_both(sequencer, 700)
    sequencer.open()
    with pytest.raises(InternalError, match=f"at {at_ns} .* outside of window 1"):
        close_both(sequencer, 900, miss(at_ns))


def test_a_shard_closes_the_open_window_once() -> None:
    sequencer = sequencer_of(host_of("a", "b"), {"a": "guest-0", "b": "guest-1"})
    sequencer.open()
    close(sequencer, None, name="guest-0")
    with pytest.raises(InternalError, match="guest-0 closes window 0"):
        close(sequencer, None, name="guest-0")
    with pytest.raises(InternalError, match="guest-1 ends window 0 with"):
        sequencer.close("guest-1", [WindowClosed(3, None)])


def test_a_bound_in_the_past_is_found_out() -> None:
    sequencer = sequencer_of(host_of("a"))
    sequencer.open()
    close_both(sequencer, 900)
    sequencer.open()
    close_both(sequencer, 10)
    with pytest.raises(InternalError, match="cannot reach beyond 1000 ns"):
        sequencer.open()


# ------------------------------------------------------------------- windows with an open end


def test_a_shard_alone_closes_where_it_may_be_answered() -> None:
    sequencer = alone(host_of("a"))
    assert opened(sequencer.open()) == WindowOpened(0, 10_000, False, LOOKAHEAD_NS, 1, 100, 100)
    close(sequencer, 700, miss(50), until_ns=150)
    assert (sequencer.from_ns, sequencer.until_ns) == (0, 150)
    assert opened(sequencer.open()).until_ns == 10_000
    assert sequencer.from_ns == 150


def test_the_host_hands_out_all_that_it_has_and_what_it_decides_meanwhile_follows() -> None:
    host = host_of("a")
    host.put(later := PageReady(5_000, "a", 0, 0, Gfn(8), 0))
    sequencer = alone(host)
    assert sequencer.open()["guest-0"][1:] == [later]
    close(sequencer, 700, miss(50), until_ns=150)
    (ready,) = sequencer.open()["guest-0"][1:]
    assert isinstance(ready, PageReady)
    assert 150 <= ready.at_ns < later.at_ns


def test_an_open_end_reaches_not_much_beyond_the_first_possible_event() -> None:
    host = host_of("a")
    sequencer = alone(host, 10**12)
    reach_ns = REACH_LOOKAHEADS * LOOKAHEAD_NS
    assert opened(sequencer.open()).until_ns == reach_ns < REACH_NS
    close(sequencer, 10**9)
    assert opened(sequencer.open()).until_ns == 10**9 + reach_ns
    host.lookahead_ns = REACH_NS // 2
    close(sequencer, 2 * 10**9)
    assert opened(sequencer.open()).until_ns == 2 * 10**9 + REACH_NS
    close(sequencer, None)
    assert opened(sequencer.open()).until_ns == 10**12


def test_the_end_comes_in_a_window_of_no_width() -> None:
    sequencer = alone(host_of("a"))
    sequencer.open()
    assert close(sequencer, None)
    assert opened(sequencer.open()) == WindowOpened(1, 10_000, last=True)
    close(sequencer, None)
    assert sequencer.ended
    assert sequencer.end_ns == 10_000


@pytest.mark.parametrize("names", [("a",), ("a", "b")])
def test_a_host_that_is_stopped_ends_at_the_edge_of_its_window(names: tuple[str, ...]) -> None:
    shard_of = {name: f"guest-{index}" for index, name in enumerate(names)}
    sequencer = sequencer_of(host_of(*names), shard_of, 10**12)
    edge_ns = opened(sequencer.open()).until_ns
    sequencer.stop()
    while not sequencer.ended:
        for name in shard_of.values():
            close(sequencer, None, name=name)
        if not sequencer.ended:
            assert opened(sequencer.open()).until_ns == edge_ns
    assert sequencer.end_ns == edge_ns


@pytest.mark.parametrize("until_ns", [0, 10_001])
def test_a_close_outside_of_the_window_is_found_out(until_ns: int) -> None:
    sequencer = alone(host_of("a"))
    sequencer.open()
    with pytest.raises(InternalError, match=f"cannot close at {until_ns} ns"):
        close(sequencer, None, until_ns=until_ns)


def test_a_common_edge_is_not_closed_before() -> None:
    sequencer = sequencer_of(host_of("a"))
    sequencer.open()
    with pytest.raises(InternalError, match="cannot close at 50 ns"):
        close(sequencer, None, until_ns=50)


def request(at_ns: int, **said: bool) -> PageNotPresent:
    return replace(miss(at_ns), **said)


@pytest.mark.parametrize(
    ("events", "closed_ns"),
    [
        ([], 10_000),
        ([miss(50)], 900),
        ([miss(850)], 1_150),
        ([miss(50), miss(60)], 900),
        ([miss(50), miss(60), miss(70)], 170),
        ([request(50, joined=True)], 10_000),
        ([request(50, joined=True), miss(55), miss(60)], 900),
        ([request(50, first_touch=True)], 150),
        ([request(50, served=True)], 150),
        ([miss(50), PagesAged(80, "a", 2, [], [])], 180),
    ],
)
def test_a_shard_closes_before_the_first_answer_that_can_come(
    events: list[ToHost], closed_ns: int
) -> None:
    follower = Follower("guest-0", Vague(*events))
    calm = Calm(reads=2, read_ns=300, reads_ns=900)
    reported, _ = follower.apply([WindowOpened(0, 10_000, False, LOOKAHEAD_NS, *calm)])
    *told, closed = reported
    assert told == [event for event in events if event.at_ns < closed_ns]
    assert isinstance(closed, WindowClosed)
    assert (closed.until_ns or 10_000, follower.until_ns) == (closed_ns, closed_ns)


def test_a_shard_closes_when_it_has_told_all_that_it_can() -> None:
    follower = Follower("guest-0", OnTime(miss(50), miss(900)))
    calm = Calm(reads=2, read_ns=300, reads_ns=900)
    reported, _ = follower.apply([WindowOpened(0, 10_000, False, LOOKAHEAD_NS, *calm)])
    assert reported == [miss(50), WindowClosed(0, 900, None, 150)]


def test_what_lies_behind_the_close_waits_in_order_with_what_comes_next() -> None:
    shard = OnTime(miss(50))
    follower = Follower("guest-0", shard)
    early, late, between = (PageReady(at_ns, "a", 0, 0, Gfn(7), 0) for at_ns in (20, 900, 400))
    follower.apply([WindowOpened(0, 10_000, False, LOOKAHEAD_NS), early, late])
    assert (shard.seen, follower.until_ns) == ([early], 120)
    follower = pickle.loads(pickle.dumps(follower))
    reported, _ = follower.apply([WindowOpened(1, 10_000, False, LOOKAHEAD_NS), between])
    assert follower.shard.seen == [early, between, late]
    assert reported == [WindowClosed(1, None)]


def test_a_bound_counts_what_waits() -> None:
    follower = Follower("guest-0", OnTime(miss(50)))
    late = PageReady(900, "a", 0, 0, Gfn(7), 0)
    reported, _ = follower.apply([WindowOpened(0, 10_000, False, LOOKAHEAD_NS), late])
    assert reported[-1] == WindowClosed(0, 900, None, 150)


def test_a_shard_whose_vms_are_frozen_goes_no_further() -> None:
    shard = FakeShard([FakeVm(1, "a", 1)])
    follower = Follower("guest-0", shard)
    missed, closed = follower.apply([WindowOpened(0, 10**9, False, LOOKAHEAD_NS)])[0]
    assert isinstance(missed, PageNotPresent)
    edge_ns = missed.at_ns + LOOKAHEAD_NS
    assert closed == WindowClosed(0, None, None, edge_ns)
    ready = PageReady(edge_ns, "a", 0, 0, Gfn(1), 0)
    frozen = follower.apply([WindowOpened(1, 10**9, False, LOOKAHEAD_NS), ready])[0]
    assert frozen == [WindowClosed(1, None, ready.at_ns, ready.at_ns + LOOKAHEAD_NS)]


# ------------------------------------------------------------------------------------ the follower


class Scripted(FakeShard):
    """Says what it is told to say."""

    def __init__(self, *to_host: ToHost, next_ns: int | None = None) -> None:
        super().__init__([])
        self.to_host = list(to_host)
        self.promised_ns = next_ns
        self.seen: list[ToShard] = []

    def advance(self, until_ns: int, deliveries: object) -> ShardOutput:
        assert isinstance(deliveries, list)
        self.seen += deliveries
        return ShardOutput(self.to_host)

    def next_ns(self) -> int | None:
        return self.promised_ns

    def frozen_ns(self) -> int | None:
        return None


class OnTime(Scripted):
    """Says everything at its time."""

    def advance(self, until_ns: int, deliveries: object) -> ShardOutput:
        super().advance(until_ns, deliveries)
        said = [event for event in self.to_host if event.at_ns < until_ns]
        self.to_host = self.to_host[len(said) :]
        return ShardOutput(said)

    def next_ns(self) -> int | None:
        return self.to_host[0].at_ns if self.to_host else None


class Vague(OnTime):
    """Never knows when it will say something."""

    def next_ns(self) -> int | None:
        return 0


def test_a_shard_gets_its_deliveries_and_closes_with_its_events() -> None:
    shard = Scripted(miss(50), next_ns=700)
    reported, output = Follower("guest-0", shard).apply(
        [WindowOpened(0, 100), ready := PageReady(20, "a", 0, 0, Gfn(7), 0)]
    )
    assert shard.seen == [ready]
    assert reported == [miss(50), WindowClosed(0, 700)]
    assert output.to_host == [miss(50)]


def test_what_is_meant_for_the_host_itself_does_not_reach_the_shard() -> None:
    shard = Scripted()
    Follower("guest-0", shard).apply([WindowOpened(0, 100), MediumChanged(5, "", 0, "nvme")])
    assert shard.seen == []


def test_a_bound_that_time_has_overtaken_moves_to_the_edge() -> None:
    reported, _ = Follower("guest-0", Scripted(next_ns=30)).apply([WindowOpened(0, 100)])
    assert reported == [WindowClosed(0, 100)]


def test_a_window_of_no_width_moves_nothing() -> None:
    shard = Scripted()
    follower = Follower("guest-0", shard)
    follower.apply([WindowOpened(0, 100)])
    shard.to_host = [miss(100)]
    reported, output = follower.apply([WindowOpened(1, 100, last=True)])
    assert reported == [WindowClosed(1, None)]
    assert output.to_host == []


@pytest.mark.parametrize(
    ("second", "complaint"),
    [
        (WindowOpened(2, 200), "window 2 follows 0"),
        (WindowOpened(0, 200), "window 0 follows 0"),
        (WindowOpened(1, 100), "ends at 100 ns, the one before at 100 ns"),
        (WindowOpened(1, 99, last=True), "ends at 99 ns"),
    ],
)
def test_windows_come_one_after_another(second: WindowOpened, complaint: str) -> None:
    follower = Follower("guest-0", Scripted())
    follower.apply([WindowOpened(0, 100)])
    with pytest.raises(InternalError, match=complaint):
        follower.apply([second])


def test_nothing_follows_the_last_window() -> None:
    follower = Follower("guest-0", Scripted())
    follower.apply([WindowOpened(0, 100, last=True)])
    with pytest.raises(InternalError, match="window 1 follows 0"):
        follower.apply([WindowOpened(1, 200)])


def test_a_shard_that_leaves_its_window_is_found_out() -> None:
    with pytest.raises(InternalError, match="event for the host at 100"):
        Follower("guest-0", Scripted(miss(100))).apply([WindowOpened(0, 100)])
    with pytest.raises(InternalError, match="a delivery at 120"):
        Follower("guest-0", Scripted()).apply(
            [WindowOpened(0, 100), PageReady(120, "a", 0, 0, Gfn(7), 0)]
        )


def test_a_commit_without_an_opened_window_is_refused() -> None:
    with pytest.raises(InternalError, match="a window begins with"):
        Follower("guest-0", Scripted()).apply([PageReady(20, "a", 0, 0, Gfn(7), 0)])


def test_both_ends_survive_pickling_in_the_middle_of_a_run() -> None:
    sequencer = alone(host_of("a"))
    follower = Follower("guest-0", FakeShard([FakeVm(1, "a", 50)]))
    for _ in range(3):
        reported, _ = follower.apply(sequencer.open()["guest-0"])
        sequencer.close("guest-0", reported)
    handed = sequencer.open()["guest-0"]
    again_sequencer, again_follower = pickle.loads(pickle.dumps((sequencer, follower)))
    assert again_follower.apply(handed)[0] == follower.apply(handed)[0]
    assert again_sequencer.until_ns == sequencer.until_ns


def test_a_host_that_is_stopped_does_not_go_on_to_the_edge_of_an_open_end() -> None:
    sequencer = alone(host_of("a"))
    assert opened(sequencer.open()).until_ns == 10_000
    sequencer.stop()
    close(sequencer, 700, until_ns=50)
    assert sequencer.end_ns == 50
    assert opened(sequencer.open()) == WindowOpened(1, 50, last=True)
