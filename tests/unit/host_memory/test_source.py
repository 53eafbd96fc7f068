"""Pages from elsewhere: in what order they come, what has precedence, and where they go again."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from random import Random

import numpy as np
import pytest
from msgspec.structs import replace

from pagewake.events.types import (
    AgePages,
    PageDropped,
    PageNotPresent,
    PageReady,
    PagesAged,
    PagesEvicted,
    PagesPushed,
    PageUnmapped,
    ToShard,
)
from pagewake.host_memory.config import HostConfig, SourceConfig, VmMemory
from pagewake.host_memory.manager import HostMemory
from pagewake.host_memory.media import Medium, uniform_medium
from pagewake.simtime.ports import UNKNOWN
from tests.unit.host_memory.driver import FIXED, US, drain, host_with, memory, request

LINK = dataclasses.replace(
    uniform_medium(100 * US, 0, 1, transfer_ns_per_page=10 * US), pipelined=True
)
"""Round trip of 100 us, a page each 10 us."""
FAR_NS = 10**9


def source(
    push: Sequence[int] = (),
    *,
    follows: bool = False,
    copies: bool = True,
    medium: Medium = LINK,
    around: int = 1,
) -> SourceConfig:
    return SourceConfig(medium, copies, 2_000, around, np.array(push, np.int64), follows)


def fed_by(of: SourceConfig, *, populated: int = 8, limit: int = 32, pages: int = 64) -> VmMemory:
    """A VM whose first pages are all at its source."""
    return dataclasses.replace(memory(populated=populated, limit=limit, pages=pages), source=of)


def arrivals(host: HostMemory) -> list[tuple[int, int, bool]]:
    """(microseconds, gfn, asked for) of every page that comes, in order."""
    said: list[tuple[int, int, bool]] = []
    for event in drain(host):
        if isinstance(event, PageReady):
            said.append((event.at_ns // US, event.gfn, True))
        elif isinstance(event, PagesPushed):
            said += [(event.at_ns // US, gfn, False) for gfn in event.gfns]
    return said


def sync(at: int, gfn: int) -> PageNotPresent:
    """A fault whose vcpu thread waits itself."""
    return replace(request(at, gfn), token=None, delivery="synchronous", why="off")


# ------------------------------------------------------------------------------ what is asked for


def test_a_page_at_the_source_comes_from_there_and_not_from_swap() -> None:
    host = host_with(fed_by(source()))
    assert host.summary().stored == 0
    host.handle([sync(0, 3)])
    assert arrivals(host) == [(110, 3, True)]
    assert host.swap_queue(0) == 0


def test_a_worker_asks_user_space_one_hop_after_the_fault() -> None:
    host = host_with(fed_by(source()))
    host.handle([request(0, 3)])
    assert arrivals(host) == [(112, 3, True)]


def test_the_read_of_a_file_is_submitted_by_the_fault_itself() -> None:
    host = host_with(fed_by(source(copies=False)))
    host.handle([request(0, 3)])
    assert arrivals(host) == [(110, 3, True)]


def test_what_surrounds_a_page_of_a_file_is_read_with_it() -> None:
    host = host_with(fed_by(source(copies=False, around=4, medium=FIXED), populated=16))
    host.handle([sync(0, 8), sync(1, 0)])
    assert arrivals(host) == [
        (100, 6, False), (100, 7, False), (100, 9, False), (100, 8, True),
        (200, 1, False), (200, 2, False), (200, 3, False), (200, 0, True),
    ]  # fmt: skip


def test_a_window_is_no_larger_than_the_frames_there_are() -> None:
    host = host_with(fed_by(source(copies=False, around=8, medium=FIXED), populated=16, limit=3))
    host.handle([sync(0, 8)])
    assert [gfn for _, gfn, _ in arrivals(host)] == [4, 5, 8]


# --------------------------------------------------------------------------------- what is pushed


def test_pushes_come_in_their_order_as_fast_as_the_link_is() -> None:
    host = host_with(fed_by(source([5, 2, 7])))
    host.go_on(FAR_NS)
    assert arrivals(host) == [(110, 5, False), (120, 2, False), (130, 7, False)]
    assert host.go_on(FAR_NS) is None


def test_no_more_is_pushed_than_was_said() -> None:
    host = host_with(fed_by(source(range(3), follows=True)))
    host.go_on(FAR_NS)
    assert [gfn for _, gfn, _ in arrivals(host)] == [0, 1, 2]


def test_what_is_asked_for_goes_before_what_is_pushed() -> None:
    """At 25 us the link carries page 2, and page 3 has not begun."""
    host = host_with(fed_by(source(range(5))))
    host.handle([sync(25 * US, 7)])
    host.go_on(FAR_NS)
    assert arrivals(host) == [
        (110, 0, False), (120, 1, False), (130, 2, False), (140, 7, True),
        (150, 3, False), (160, 4, False),
    ]  # fmt: skip


def test_a_push_goes_on_behind_the_page_that_was_asked_for_and_round() -> None:
    host = host_with(fed_by(source(range(8), follows=True)))
    host.handle([sync(15 * US, 5)])
    host.go_on(FAR_NS)
    order = [gfn for _, gfn, _ in arrivals(host)]
    assert order == [0, 1, 5, 6, 7, 2, 3, 4]


def test_in_another_order_a_request_moves_nothing_but_itself() -> None:
    host = host_with(fed_by(source(range(8))))
    host.handle([sync(15 * US, 5)])
    host.go_on(FAR_NS)
    assert [gfn for _, gfn, _ in arrivals(host)] == [0, 1, 5, 2, 3, 4, 6, 7]


def test_a_page_on_its_way_is_not_sent_again_and_the_push_is_the_answer() -> None:
    host = host_with(fed_by(source([4])))
    host.handle([sync(50 * US, 4)])
    assert arrivals(host) == [(110, 4, False)]


def test_pushes_leave_a_frame_to_what_is_asked_for_and_wait_until_more_come_free() -> None:
    host = host_with(fed_by(source(range(4)), limit=3))
    assert host.go_on(FAR_NS) is None
    first, wanted, second = drain(host)
    assert wanted == AgePages(110 * US, "vm-0", 0, [0])  # as soon as it is in memory
    assert (first, second) == tuple(
        PagesPushed(at, "vm-0", 0, [gfn]) for at, gfn in ((110 * US, 0), (120 * US, 1))
    )
    host.handle([PagesAged(500 * US, "vm-0", 1, [], [0])])
    host.handle([PagesEvicted(600 * US, "vm-0", 2, [0], [], [])])
    host.go_on(FAR_NS)
    assert arrivals(host) == [(710, 2, False)]


def test_a_host_that_may_push_promises_no_more_than_its_lookahead() -> None:
    assert host_with(fed_by(source())).calm() == UNKNOWN
    assert host_with(memory(populated=8, resident=0)).calm() != UNKNOWN


def test_no_push_takes_effect_sooner_than_a_lookahead_after_its_turn() -> None:
    host = host_with(fed_by(source(range(4))), lag=100 * US)
    turn = host.go_on(0)
    assert turn == 0
    while turn is not None:
        host.go_on(turn + 1)
        (pushed,) = drain(host)
        assert pushed.at_ns >= turn + host.lookahead_ns
        turn = host.go_on(turn + 1)


def test_the_medium_of_a_source_bounds_the_lookahead() -> None:
    config = HostConfig("host-0", 0, 1, FIXED, 900 * US, None, 1, 0, ())
    near = uniform_medium(20 * US, 0, 1)
    assert config.lookahead_ns == 100 * US
    assert dataclasses.replace(config, sources=[near]).lookahead_ns == 20 * US


# -------------------------------------------------------------------------------------- eviction


def evict(host: HostMemory, at: int, gfns: list[int], dirty: list[int]) -> None:
    """Take these out of memory, as reclaim does; `dirty` ones are written first."""
    host._accounts[0].pages.isolate(len(gfns))
    host._frames.leave(0, len(gfns))
    clean = [gfn for gfn in gfns if gfn not in dirty]
    host.handle([PagesEvicted(at, "vm-0", 1, clean, dirty, [])])
    if dirty:
        host.handle([PagesEvicted(at + 1, "vm-0", 2, dirty, [], [])])
    drain(host)


def test_a_clean_page_of_a_file_is_read_from_the_file_again() -> None:
    host = host_with(fed_by(source(copies=False)))
    host.handle([sync(0, 3)])
    evict(host, 500 * US, [3], [])
    assert host.summary().stored == 0
    host.handle([sync(600 * US, 3)])
    assert arrivals(host) == [(710, 3, True)]


def test_a_page_that_was_written_is_in_swap_from_then_on() -> None:
    host = host_with(fed_by(source(copies=False)))
    host.handle([sync(0, 3)])
    evict(host, 500 * US, [3], [3])
    assert host.summary().stored == 1
    host.handle([sync(700 * US, 3)])
    assert arrivals(host) == [(800, 3, True)]
    assert host.summary().stored == 0
    evict(host, 900 * US, [3], [])
    assert host.summary().stored == 1


def test_what_user_space_copied_in_is_nowhere_else() -> None:
    host = host_with(fed_by(source()))
    host.handle([sync(0, 3)])
    evict(host, 500 * US, [3], [3])
    assert host.summary().stored == 1


# ------------------------------------------------------------------------------ any cut, one run


class Guest:
    """Touches pages at given instants; drops the oldest when the host wants frames back."""

    def __init__(self, touches: list[tuple[int, int]], pages: int) -> None:
        self.touches = sorted(touches)
        self.state = dict.fromkeys(range(pages), "absent")
        self.seen: list[tuple[int, int]] = []

    def run(self, until: int, deliveries: list[ToShard]) -> Iterator[object]:
        steps = [(event.at_ns, 0, event) for event in deliveries]
        due = [touch for touch in self.touches if touch[0] < until]
        self.touches = self.touches[len(due) :]
        steps += [(at, 1, gfn) for at, gfn in due]  # type: ignore[misc]
        for at, _, what in sorted(steps, key=lambda step: step[:2]):
            if isinstance(what, int):
                if self.state[what] == "absent":
                    self.state[what] = "flight"
                    yield sync(at, what)
            else:
                yield from self.take(at, what)

    def take(self, at: int, event: ToShard) -> Iterator[object]:
        match event:
            case PageReady(gfn=gfn):
                assert self.state[gfn] == "flight"
                self.come(at, gfn)
            case PagesPushed(gfns=gfns):
                for each in gfns:
                    assert self.state[each] in ("absent", "flight")
                    self.come(at, each)
            case AgePages(gfns=gfns):
                yield PagesAged(at, "vm-0", 1, [], gfns)
            case PageUnmapped(gfns=gfns):
                there = [gfn for gfn in gfns if self.state[gfn] == "here"]
                refused = [gfn for gfn in gfns if gfn not in there]
                yield PagesEvicted(at, "vm-0", 1, [], there, refused)
            case PageDropped(gfns=gfns):
                self.state |= dict.fromkeys(gfns, "absent")
                yield PagesEvicted(at, "vm-0", 1, gfns, [], [])

    def come(self, at: int, gfn: int) -> None:
        self.state[gfn] = "here"
        self.seen.append((at, gfn))


def play(host: HostMemory, guest: Guest, cut: Callable[[int, int], int]) -> list[tuple[int, int]]:
    """The windows of a host that goes on of its own accord, until 20 ms; all that came."""
    now = 0
    while now < 20_000 * US:
        own = host.go_on(now)
        bounds = [at for at in (host.next_ns(), own) if at is not None]
        bounds += [at for at, _ in guest.touches[:1]]
        until = max(now + 1, cut(now, min(bounds, default=FAR_NS) + host.lookahead_ns))
        host.handle(list(guest.run(until, host.take(now, until))))  # type: ignore[arg-type]
        now = until
    return guest.seen


@pytest.mark.parametrize("follows", [False, True])
@pytest.mark.parametrize("limit", [64, 12])
@pytest.mark.parametrize("seed", range(4))
def test_windows_leave_no_trace_and_every_page_comes_once(
    seed: int, limit: int, follows: bool
) -> None:
    draws = Random(seed)
    touches = [(draws.randrange(4_000 * US), draws.randrange(48)) for _ in range(60)]
    runs = []
    for cut in (lambda _, until: until, lambda now, until: draws.randint(now + 1, until)):
        host = host_with(fed_by(source(range(48), follows=follows), populated=48, limit=limit))
        runs.append(play(host, Guest(touches, 64), cut))
    assert runs[0] == runs[1]
    often = Counter(gfn for _, gfn in runs[0])
    assert set(often) == set(range(48))
    if limit == 64:
        assert set(often.values()) == {1}
    gaps = np.diff(sorted(at for at, _ in runs[0]))
    assert limit != 64 or gaps.min() >= 10 * US
