"""The participants of a run as pure functions of their partition: records in, records out.

A `HostParticipant` is one simulated host: its memory and the sequencer of its windows; it reads its
partition of `faults`.  A `ShardParticipant` is some of its VMs; it reads its partition of `apf.*`.
They are the objects of the embedded runtime.  Neither knows a broker, a clock or another process:
whoever holds one feeds it the records of its partition in order, each at least once, and sends
what comes out.  `state` and `restore` are what a snapshot holds.

What a participant is given may be anything.  A record that is no commit of this run, or of none
that it expects here, is rejected: counted, never applied.  A commit that cannot follow what stands
before it raises BrokenLogError, and the run stops (design, "Delivery").
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar, Literal, NamedTuple, Protocol, TypeAlias

import msgspec

from pagewake.bus.port import AppliedCommit, BrokenLogError, Inbox, Outbox
from pagewake.errors import DataError, InternalError
from pagewake.events.codec import FAULTS, JOURNAL_TOPIC, Encoded, Record, decode_commit, name_of
from pagewake.events.journal import KEPT
from pagewake.events.types import Event, ToHost, WindowClosed
from pagewake.guest_kernel.kernel import GuestKernel
from pagewake.guest_kernel.shard import Shard
from pagewake.host_memory.manager import HostMemory
from pagewake.participants.closing import ConsumedCounts, shard_ended
from pagewake.participants.commands import (
    Answer,
    BadCommandError,
    CommandRecord,
    Order,
    decode_command,
    host_of,
    is_command,
    read_order,
)
from pagewake.participants.plan import RunPlan
from pagewake.simtime.ports import ShardOutput
from pagewake.simtime.window import Cut, Follower, Sequencer

ORDERS_REMEMBERED = 4096
"""Ids of commands answered before: one that is sent again gets its answer, not a second effect.
Chosen: nobody sends so many commands between a command and its repetition."""


class Out(msgspec.Struct, frozen=True, gc=False):
    """A record to be appended; `topic` without the run's prefix."""

    topic: str
    partition: int
    encoded: Encoded

    @property
    def record(self) -> bytes:
        """What is appended."""
        return self.encoded.record


class Rejected(NamedTuple):
    """A record that was not applied: `why` is malformed or foreign, `what` the words for it."""

    why: str
    what: str


class Step(msgspec.Struct, frozen=True):
    """What a participant made of one record: records to append, events to observe, an answer."""

    outs: list[Out]
    events: list[Event]
    answer: Answer | None = None
    rejected: Rejected | None = None


NOTHING = Step([], [])
SavedState: TypeAlias = dict[str, Any]
LapKind: TypeAlias = Literal["codec", "simulation"]
Lap: TypeAlias = Callable[[LapKind], None]


class Participant(Protocol):
    """One simulated host, or one shard.

    What only one of them has is neutral in the other: a shard waits for nobody and is never paused,
    a host has no kernels, a shard no memory manager.
    """

    opens_windows: ClassVar[bool]  # a host's windows are opened by it and closed by shards

    plan: RunPlan
    source: str
    topic: str
    partition: int
    inbox: Inbox
    lap: Lap | None  # told what has just been done, for whoever holds a clock

    @property
    def window(self) -> int: ...

    @property
    def at_ns(self) -> int: ...

    @property
    def ended(self) -> bool: ...

    @property
    def end_ns(self) -> int | None: ...

    @property
    def awaited(self) -> Sequence[str]: ...

    @property
    def paused(self) -> bool: ...

    @property
    def speed(self) -> float: ...

    @property
    def kernels(self) -> Sequence[GuestKernel]: ...

    @property
    def memory(self) -> HostMemory | None: ...

    def start(self) -> list[Out]: ...

    def accept(self, record: bytes | None) -> Step: ...

    def journal(self) -> list[Out]: ...

    def seqs(self) -> dict[str, int]: ...

    def state(self) -> SavedState: ...

    def restore(self, state: SavedState) -> None: ...


def _read(
    record: bytes | None, inbox: Inbox, sources: frozenset[str]
) -> AppliedCommit | Rejected | None:
    """The commit that a record completes; None if it completes none."""
    try:
        commit = decode_commit(b"" if record is None else record)
    except DataError as error:
        return Rejected("malformed", str(error))
    if commit.run != inbox.run or commit.source not in sources:
        return Rejected("foreign", f"{name_of(commit)} of run {commit.run!r} is not expected here")
    if not 0 <= commit.part < commit.parts or commit.seq < 0:
        return Rejected("malformed", f"{name_of(commit)} is no part of a commit")
    try:
        return inbox.take(commit)
    except BrokenLogError:
        raise
    except DataError as error:
        return Rejected("malformed", str(error))


def _outs(outbox: Outbox, window: int, events: Sequence[Record]) -> list[Out]:
    topic, partition = outbox.topic, outbox.partition
    return [Out(topic, partition, encoded) for encoded in outbox.encode(window, events)]


def _seqs(outboxes: Iterable[Outbox]) -> dict[str, int]:
    return {f"{outbox.topic}-{outbox.partition}": outbox.seq for outbox in outboxes}


class _Saved:
    """What a snapshot holds of a participant: everything that changes, as one object graph."""

    saved: ClassVar[tuple[str, ...]]  # names of attributes

    def state(self) -> SavedState:
        return {name: getattr(self, name) for name in self.saved}

    def restore(self, state: SavedState) -> None:
        for name in self.saved:
            setattr(self, name, state[name])


class HostParticipant(_Saved):
    """One simulated host of a run, at time 0."""

    opens_windows: ClassVar[bool] = True
    saved = ("inbox", "sequencer", "_outboxes", "_seen", "_stop", "paused", "speed")
    kernels: tuple[GuestKernel, ...] = ()

    def __init__(
        self,
        plan: RunPlan,
        index: int,
        host: HostMemory,
        *,
        duration_ns: int | None = None,
        cut: Cut | None = None,
    ) -> None:
        """It ends at `duration_ns` at the latest (the scenario's); `cut` shortens windows."""
        place = plan.topology.hosts[index]
        self.plan = plan
        self.index = index
        self.source = place.source
        self.topic = FAULTS
        self.partition = index
        self.inbox = Inbox(FAULTS, index, plan.run)
        self.lap: Lap | None = None
        self.sequencer: Sequencer[HostMemory] = Sequencer(
            host,
            [shard.source for shard in place.shards],
            place.shard_of,
            plan.scenario.duration_ns if duration_ns is None else duration_ns,
            cut,
        )
        self._outboxes = {
            shard.source: Outbox(plan.run, place.source, shard.topic, shard.partition, plan.code)
            for shard in place.shards
        }
        self._sources = frozenset(self._outboxes)
        self._seen: dict[str, Answer] = {}
        self._stop: str | None = None  # the command that ends the host with this window
        self.paused = False
        self.speed = 0.0

    @property
    def window(self) -> int:
        """The window that is open, or the last one."""
        return self.sequencer.window

    @property
    def at_ns(self) -> int:
        """Simulated time that all shards have completed."""
        return self.sequencer.from_ns if self.sequencer.awaited else self.sequencer.until_ns

    @property
    def ended(self) -> bool:
        """Whether the last window is closed."""
        return self.sequencer.ended

    @property
    def end_ns(self) -> int | None:
        """The instant at which the simulated host ended; None before."""
        return self.sequencer.end_ns if self.ended else None

    @property
    def awaited(self) -> list[str]:
        """The shards that have the window open, by source."""
        return sorted(self.sequencer.awaited)

    @property
    def memory(self) -> HostMemory:
        """Its memory manager."""
        return self.sequencer.host

    def start(self) -> list[Out]:
        """Open the first window."""
        return self._open()

    def accept(self, record: bytes | None) -> Step:
        """Take the next record of the partition: a shard's commit, or a command."""
        if record is not None and is_command(record):
            return self._command(record)
        read = _read(record, self.inbox, self._sources)
        if self.lap is not None:
            self.lap("codec")
        if read is None:
            return NOTHING
        if isinstance(read, Rejected):
            return Step([], [], None, read)
        closed = self.sequencer.close(read.source, read.events)  # type: ignore[arg-type]
        if self.lap is not None:
            self.lap("simulation")
        return self._next() if closed else NOTHING

    def journal(self) -> list[Out]:
        """Nothing: shards have one."""
        return []

    def _next(self) -> Step:
        """After a window: another one if there is any, and where a stop has ended the host."""
        outs = [] if self.sequencer.ended else self._open()
        if self._stop is None:
            return Step(outs, []) if outs else NOTHING
        answer = Answer(self._stop, ok=True, at_ns=self.sequencer.end_ns)
        self._stop = None
        self._remember(answer)
        return Step(outs, [], answer)

    def _open(self) -> list[Out]:
        handed = self.sequencer.open()
        if self.lap is not None:
            self.lap("simulation")
        outs: list[Out] = []
        for source, events in handed.items():
            outs += _outs(self._outboxes[source], self.sequencer.window, events)
        if self.lap is not None:
            self.lap("codec")
        return outs

    # ------------------------------------------------------------------ commands

    def _command(self, record: bytes) -> Step:
        try:
            command = decode_command(record)
        except DataError as error:
            return Step([], [], None, Rejected("malformed", str(error)))
        if command.run != self.plan.run:
            what = f"command {command.id!r} is of run {command.run!r}"
            return Step([], [], None, Rejected("foreign", what))
        return Step([], [], self._answer(command))

    def _answer(self, command: CommandRecord) -> Answer | None:
        """None for a stop whose window is open: only its close says where the host ends."""
        known = self._seen.get(command.id)
        if known is not None or command.id == self._stop:
            return known
        answer = self._take(command)
        if answer is not None:
            self._remember(answer)
        return answer

    def _remember(self, answer: Answer) -> None:
        assert answer.id is not None
        if len(self._seen) >= ORDERS_REMEMBERED:
            del self._seen[next(iter(self._seen))]
        self._seen[answer.id] = answer

    def _take(self, command: CommandRecord) -> Answer | None:
        scenario = self.plan.scenario
        try:
            order = read_order(scenario, command.id, command.command)
            if host_of(scenario, order) not in (None, self.index):
                raise BadCommandError(f"not for {self.source}")
            if self._ends_before(order):
                raise BadCommandError(f"the run ends at {self.sequencer.until_ns} ns or before")
        except BadCommandError as error:
            return Answer(command.id, ok=False, error=str(error))
        at_ns = self.sequencer.until_ns
        match order.do:
            case "pause" | "resume":
                self.paused = order.do == "pause"
            case "pace":
                self.speed = order.speed
            case "stop":
                self.paused = False
                self.sequencer.stop()
                self._stop = command.id
                return None
            case _:
                assert order.control is not None
                control = msgspec.structs.replace(order.control, at_ns=at_ns)
                self.sequencer.host.intervene(control)
        return Answer(command.id, ok=True, at_ns=at_ns)

    def _ends_before(self, order: Order) -> bool:
        """Is there no window left in which it could take effect?"""
        sequencer = self.sequencer
        if sequencer.last or (order.control is None and order.do != "stop"):
            return sequencer.last
        return sequencer.stopping or sequencer.until_ns >= sequencer.duration_ns

    # ------------------------------------------------------------------ snapshots

    def seqs(self) -> dict[str, int]:
        """How many commits were made so far, by partition."""
        return _seqs(self._outboxes.values())


class ShardParticipant(_Saved):
    """Some VMs of one simulated host of a run, at time 0; `number` counts as journals do."""

    opens_windows: ClassVar[bool] = False
    saved = ("inbox", "follower", "_faults", "_journal", "_consumed")
    end_ns = None
    awaited: tuple[str, ...] = ()
    paused = False
    speed = 0.0
    memory = None

    def __init__(self, plan: RunPlan, number: int, shard: Shard) -> None:
        place = plan.topology.shards[number]
        self.plan = plan
        self.source = place.source
        self.topic = place.topic
        self.partition = place.partition
        self.inbox = Inbox(place.topic, place.partition, plan.run)
        self.lap: Lap | None = None
        self.follower: Follower[Shard] = Follower(place.source, shard)
        self._sources = frozenset([f"host-{place.host}"])
        self._faults = Outbox(plan.run, place.source, FAULTS, place.host, plan.code)
        self._journal = Outbox(plan.run, place.source, JOURNAL_TOPIC, place.journal, plan.code)
        self._consumed = ConsumedCounts()
        self._unwritten: ShardOutput | None = None

    @property
    def kernels(self) -> Sequence[GuestKernel]:
        """The kernels of its VMs, in name order."""
        return self.follower.shard.kernels

    @property
    def window(self) -> int:
        """The last window simulated."""
        return self.follower.window

    @property
    def at_ns(self) -> int:
        """The simulated time reached."""
        return self.follower.until_ns

    @property
    def ended(self) -> bool:
        """Whether the last window is simulated."""
        return self.follower.last

    def start(self) -> list[Out]:
        """Nothing: a shard only answers."""
        return []

    def accept(self, record: bytes | None) -> Step:
        """Take the next record of the partition; simulates a window when it is complete."""
        assert self._unwritten is None, "the window before has its journal to be made"
        read = _read(record, self.inbox, self._sources)
        if self.lap is not None:
            self.lap("codec")
        if read is None:
            return NOTHING
        if isinstance(read, Rejected):
            return Step([], [], None, read)
        reported, output = self._simulate(read)
        if self.lap is not None:
            self.lap("simulation")
        outs = _outs(self._faults, self.follower.window, reported)
        self._unwritten = output
        if self.follower.last:  # it is there when the run has ended
            outs = self.journal() + outs
        if self.lap is not None:
            self.lap("codec")
        return Step(outs, domain_events(output))

    def _simulate(self, opened: AppliedCommit) -> tuple[list[ToHost | WindowClosed], ShardOutput]:
        try:
            return self.follower.apply(opened.events)  # type: ignore[arg-type]
        except InternalError as error:
            if opened.code == self.plan.code:
                raise
            raise BrokenLogError(
                f"{self.topic}-{self.partition}: commit {opened.seq} of {opened.source} by version "
                f"{opened.code} does not fit what version {self.plan.code} simulated: {error}"
            ) from error

    def journal(self) -> list[Out]:
        """What the window has for the journal: once, before the next record.

        Nobody waits for it, so it is made when the close of the window is on its way.  Who dies in
        between leaves it to the next owner, who makes the same of the same window.
        """
        output, self._unwritten = self._unwritten, None
        if output is None:
            return []
        window, kept = self.follower.window, KEPT.get(self.plan.journal)
        self._consumed.add(output.consumed)
        records: list[Record] = [*output.journal]
        if kept is not None:
            self._consumed.add([event for event in output.journal if type(event) not in kept])
            records = [event for event in output.journal if type(event) in kept]
        if self.follower.last:
            records += shard_ended(window, self.follower.shard, self._consumed)
        return _outs(self._journal, window, records) if records else []

    def state(self) -> SavedState:
        """Only between two windows, with the journal of the last one made."""
        assert self._unwritten is None, "the window's journal is not made yet"
        return super().state()

    def seqs(self) -> dict[str, int]:
        """How many commits were made so far, by partition."""
        return _seqs([self._journal, self._faults])


def domain_events(output: ShardOutput) -> list[Event]:
    """The domain events of a window: without what a frozen VM still answered (`n == 0`)."""
    events: list[Event] = [event for event in output.to_host if event.n]
    events += output.journal
    events += output.consumed
    return events
