"""The window protocol: how a simulated host and its shards advance together (design, "Time").

A window is a half-open span of simulated time.  The sequencer opens it and hands each shard all
that takes effect inside it; each shard simulates up to its edge and closes it, saying when the
host may next hear of something.  What the host answers never takes effect earlier than its cause
plus the lookahead, so with nothing to happen before `bound` the next window may reach to
`bound + lookahead`, and a shorter one gives the same run.

`Sequencer` and `Follower` are the two ends.  Both are plain data and know no bus: what they take
and return is what stands in the commits.

With one shard nobody else has to meet its edge, so the shard goes on by itself for as long as it
tells the host nothing, as the host would have it go on: all that the host will ever do by then is
handed out beforehand.  It closes `lookahead` after the first event that it tells (design,
"Windows").

A simulated host ends at `duration`, exclusive, or at the freeze of its last VM.  The last window
says so (`last`); when only the closes told that the end is reached, one more window of no width
follows to carry the word, so that a log ends with it either way.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import Final, Generic, TypeAlias, TypeVar

from mypy_extensions import mypyc_attr

from pagewake.errors import InternalError
from pagewake.events.types import PageNotPresent, ToHost, ToShard, WindowClosed, WindowOpened
from pagewake.simtime.ports import NEVER_NS, HostDomain, ShardDomain, ShardOutput
from pagewake.simtime.state import Saved

Cut: TypeAlias = Callable[[int, int], int]
Host = TypeVar("Host", bound=HostDomain)
Shard = TypeVar("Shard", bound=ShardDomain)
HOST_ORDER = attrgetter("at_ns", "vm", "n")
INSTANT = attrgetter("at_ns")
REACH_LOOKAHEADS: Final = 100
REACH_NS: Final = 20_000_000
"""How far behind the first possible cause an open-ended window reaches: so many lookaheads, at most
so long.  Chosen: as far as busy guests seldom get without a word to the host, and near enough for a
person's command, which takes effect at its edge; on a fast medium, of which a host simulates less
in a second, as many windows later as on a slow one."""


@mypyc_attr(allow_interpreted_subclasses=True)
class Sequencer(Saved, Generic[Host]):
    """One simulated host's side: `names` are its shards, `shard_of` maps each VM to one."""

    __slots__ = (
        "host", "duration_ns", "cut", "shard_of", "names", "window", "from_ns", "until_ns",
        "next_ns", "frozen_ns", "pending", "awaited", "end_ns", "last", "stopping", "own_ns",
    )  # fmt: skip

    def __init__(
        self,
        host: Host,
        names: Sequence[str],
        shard_of: Mapping[str, str],
        duration_ns: int,
        cut: Cut | None = None,
    ) -> None:
        assert names, "a simulated host needs a shard"
        assert duration_ns > 0, duration_ns
        assert host.lookahead_ns > 0, host.lookahead_ns
        self.host = host
        self.duration_ns = duration_ns
        self.cut = cut
        self.shard_of = dict(shard_of)
        self.names = list(names)
        self.window = -1
        self.from_ns = 0
        self.until_ns = 0
        self.next_ns: dict[str, int | None] = dict.fromkeys(self.names, 0)
        self.frozen_ns: dict[str, int] = {}
        self.pending: list[ToHost] = []
        self.awaited: set[str] = set()
        self.end_ns: int | None = None
        self.last = False
        self.stopping = False
        self.own_ns: int | None = None

    @property
    def ended(self) -> bool:
        """The last window is closed; `end_ns` is where the simulated host ended."""
        return self.last and not self.awaited

    @property
    def lookahead_ns(self) -> int:
        """Of a window with an open end; 0 where shards need a common edge, or the host goes on."""
        return self.host.lookahead_ns if len(self.names) == 1 and self.own_ns is None else 0

    def open(self) -> dict[str, list[ToShard | WindowOpened]]:
        """Open the next window: per shard its `WindowOpened` and then its deliveries."""
        assert not self.awaited, f"window {self.window} is still open for {sorted(self.awaited)}"
        assert not self.last, "the last window is closed"
        self.window += 1
        self.from_ns = self.until_ns
        self.awaited.update(self.names)
        if self.end_ns is not None:
            self.last = True
            return self._hand_out([])
        self.own_ns = self.host.go_on(self.from_ns)
        self.until_ns = self._until()
        self.last = self.until_ns == self.duration_ns and not self.lookahead_ns
        deliveries = self.host.take(self.from_ns, self.until_ns)
        if deliveries:
            self._check(deliveries[0].at_ns, deliveries[-1].at_ns, "a delivery")
        return self._hand_out(deliveries)

    def _until(self) -> int:
        bound = self.bound_ns()
        if bound is None:
            proposed = self.duration_ns
        else:
            reach_ns = self.host.lookahead_ns
            if self.lookahead_ns:
                reach_ns = max(reach_ns, min(REACH_LOOKAHEADS * reach_ns, REACH_NS))
            proposed = min(bound + reach_ns, self.duration_ns)
        if proposed <= self.until_ns:
            raise InternalError(
                f"window {self.window} cannot reach beyond {self.until_ns} ns: the host names "
                f"{self.host.next_ns()}, the shards {self.next_ns}"
            )
        if self.cut is not None:
            return max(self.until_ns + 1, min(proposed, self.cut(self.window, proposed)))
        return proposed

    def stop(self) -> None:
        """End where this window closes, if nothing else ends the host before.

        Not at its edge, which may be far: an open end reaches for many windows.
        """
        self.stopping = True

    def bound_ns(self) -> int | None:
        """The earliest instant at which anything can happen that the host answers."""
        bound = self.host.next_ns()
        for instant in (self.own_ns, *self.next_ns.values()):
            if instant is not None and (bound is None or instant < bound):
                bound = instant
        return bound

    def _hand_out(self, deliveries: list[ToShard]) -> dict[str, list[ToShard | WindowOpened]]:
        names = self.names
        lookahead_ns = 0 if self.last else self.lookahead_ns
        if lookahead_ns:
            opened = WindowOpened(
                self.window, self.until_ns, False, lookahead_ns, *self.host.calm()
            )
        else:
            opened = WindowOpened(self.window, self.until_ns, self.last)
        if len(names) == 1:
            return {names[0]: [opened, *deliveries]}
        handed: dict[str, list[ToShard | WindowOpened]] = {name: [opened] for name in names}
        shard_of = self.shard_of
        for delivery in deliveries:
            handed[shard_of[delivery.vm] if delivery.vm else names[0]].append(delivery)
        return handed

    def close(self, name: str, events: Sequence[ToHost | WindowClosed]) -> bool:
        """Take one shard's events and its `WindowClosed`; True once all shards have closed."""
        if name not in self.awaited:
            raise InternalError(f"{name} closes window {self.window}, which it does not have open")
        *reported, closed = events
        if not isinstance(closed, WindowClosed) or closed.window != self.window:
            raise InternalError(f"{name} ends window {self.window} with {closed}")
        self.awaited.discard(name)
        if closed.until_ns is not None:
            self._close_at(closed.until_ns)
        self.next_ns[name] = closed.next_ns
        if closed.frozen_ns is not None:
            self.frozen_ns[name] = closed.frozen_ns
        self.pending += reported  # type: ignore[arg-type]
        if self.awaited:
            return False
        if self.stopping:
            self.duration_ns = min(self.duration_ns, self.until_ns)
        self._close_all()
        return True

    def _close_at(self, at_ns: int) -> None:
        if not self.lookahead_ns or not self.from_ns < at_ns <= self.until_ns:
            raise InternalError(
                f"window {self.window} ({self.from_ns} to {self.until_ns} ns) cannot close at "
                f"{at_ns} ns"
            )
        self.until_ns = at_ns

    def _close_all(self) -> None:
        events = self.pending
        if events:
            self.pending = []
            if len(self.names) > 1:  # each of them is in order
                events.sort(key=HOST_ORDER)
            self._check(events[0].at_ns, events[-1].at_ns, "an event for the host")
        if self.end_ns is None and len(self.frozen_ns) == len(self.names):
            self.end_ns = max(self.frozen_ns.values())
            events = [event for event in events if event.at_ns <= self.end_ns]
        elif self.until_ns == self.duration_ns and self.end_ns is None:
            self.end_ns = self.duration_ns
        if events:
            self.host.handle(events)
            self._check_lookahead()

    def _check_lookahead(self) -> None:
        """Every window reaches to lookahead after the first possible cause, so nothing is late."""
        following = self.host.next_ns()
        if following is not None and following < self.until_ns:
            raise InternalError(
                f"the host answers at {following} ns what happened in window {self.window} "
                f"({self.from_ns} to {self.until_ns} ns): sooner than its lookahead, or a shard "
                f"closed the window before with too late a bound"
            )

    def _check(self, first_ns: int, last_ns: int, what: str) -> None:
        if first_ns < self.from_ns or last_ns >= self.until_ns:
            raise InternalError(
                f"{what} at {first_ns} or {last_ns} ns is outside of window {self.window} "
                f"({self.from_ns} to {self.until_ns} ns)"
            )


class Answers:
    """How soon the host can answer what it is told in one open-ended window."""

    __slots__ = ("opened", "reads")

    def __init__(self, opened: WindowOpened) -> None:
        self.opened = opened
        self.reads = opened.reads

    def soonest_ns(self, events: Sequence[ToHost]) -> int:
        """The first instant at which an answer to any of these may take effect."""
        opened = self.opened
        soonest_ns = NEVER_NS
        for event in events:
            if isinstance(event, PageNotPresent) and not (event.served or event.first_touch):
                if event.joined:
                    continue
                if self.reads:
                    self.reads -= 1
                    read_ns = max(opened.reads_ns, event.at_ns + opened.read_ns)
                    soonest_ns = min(soonest_ns, read_ns)
                    continue
            return min(soonest_ns, event.at_ns + opened.lookahead_ns)  # later ones: later
        return soonest_ns


@mypyc_attr(allow_interpreted_subclasses=True)
class Follower(Saved, Generic[Shard]):
    """The shard's end of the protocol: applies what a window hands it, and closes the window.

    `ahead` was handed out and lies behind what is simulated, in order of time.
    """

    __slots__ = ("name", "shard", "window", "from_ns", "until_ns", "last", "ahead")

    def __init__(self, name: str, shard: Shard) -> None:
        self.name = name
        self.shard = shard
        self.window = -1
        self.from_ns = 0
        self.until_ns = 0
        self.last = False
        self.ahead: deque[ToShard] = deque()

    def apply(
        self, events: Sequence[ToShard | WindowOpened]
    ) -> tuple[list[ToHost | WindowClosed], ShardOutput]:
        """Simulate one window: what goes to `faults`, and all that the shard did."""
        opened, *rest = events
        if not isinstance(opened, WindowOpened):
            raise InternalError(f"{self.name}: a window begins with {opened}")
        self._open(opened)
        deliveries: list[ToShard] = rest  # type: ignore[assignment]
        if deliveries:
            self._check(deliveries[0].at_ns, deliveries[-1].at_ns, "a delivery")
            self._put_ahead([delivery for delivery in deliveries if delivery.vm])
        edge_ns = self.until_ns
        if opened.lookahead_ns:
            output = self._go_on(opened)
        elif edge_ns > self.from_ns:
            output = self.shard.advance(edge_ns, self._due(edge_ns))
        else:
            output = ShardOutput()
        to_host = output.to_host
        if to_host:
            self._check(to_host[0].at_ns, to_host[-1].at_ns, "an event for the host")
        closed_ns = self.until_ns if self.until_ns < edge_ns else None
        frozen_ns = self.shard.frozen_ns()
        return [*to_host, WindowClosed(self.window, self._bound_ns(), frozen_ns, closed_ns)], output

    def _bound_ns(self) -> int | None:
        """The earliest event for the host, with what is ahead in account; not in the past."""
        bound: int | None = self.shard.next_ns()
        if self.ahead and (bound is None or self.ahead[0].at_ns < bound):
            bound = self.ahead[0].at_ns
        return bound if bound is None else max(bound, self.until_ns)

    def _put_ahead(self, deliveries: list[ToShard]) -> None:
        if self.ahead:
            self.ahead = deque(sorted([*self.ahead, *deliveries], key=INSTANT))
        else:
            self.ahead.extend(deliveries)

    def _due(self, edge_ns: int) -> list[ToShard]:
        """What is ahead up to an instant, which is there now."""
        ahead = self.ahead
        due: list[ToShard] = []
        while ahead and ahead[0].at_ns < edge_ns:
            due.append(ahead.popleft())
        return due

    def _go_on(self, opened: WindowOpened) -> ShardOutput:
        """Simulate as the host would have it, until it may answer what it was told."""
        shard = self.shard
        whole: ShardOutput | None = None
        answers = Answers(opened)
        stop_ns, self.until_ns = self.until_ns, self.from_ns
        while self.until_ns < stop_ns:
            bound = self._bound_ns()
            if whole is not None and whole.to_host and (bound is None or bound >= stop_ns):
                break  # nothing more for the host before it may answer
            edge_ns = stop_ns if bound is None else min(stop_ns, bound + opened.lookahead_ns)
            output = shard.advance(edge_ns, self._due(edge_ns))
            self.until_ns = edge_ns
            if output.to_host:
                stop_ns = min(stop_ns, answers.soonest_ns(output.to_host))
            whole = output if whole is None else whole.joined(output)
            if shard.frozen_ns() is not None:
                break
        assert whole is not None
        return whole

    def _open(self, opened: WindowOpened) -> None:
        if opened.window != self.window + 1 or self.last:
            raise InternalError(f"{self.name}: window {opened.window} follows {self.window}")
        if opened.until_ns < self.until_ns + (not opened.last):
            raise InternalError(
                f"{self.name}: window {opened.window} ends at {opened.until_ns} ns, the one before "
                f"at {self.until_ns} ns"
            )
        self.window = opened.window
        self.last = opened.last
        self.from_ns = self.until_ns
        self.until_ns = opened.until_ns

    def _check(self, first_ns: int, last_ns: int, what: str) -> None:
        if first_ns < self.from_ns or last_ns >= self.until_ns:
            raise InternalError(
                f"{self.name}: {what} at {first_ns} or {last_ns} ns is outside of window "
                f"{self.window} ({self.from_ns} to {self.until_ns} ns)"
            )
