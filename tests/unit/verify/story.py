"""Hand-made runs for the tests of `verify`: a VM's story, and a log that tells it.

`Story` numbers the events as a VM would. `page_fault_story` is one asynchronous page fault from the
fault to the wake, after the MSR was enabled and its broadcast was taken. `write_log` makes a log
directory of a story through the codec, as a run does.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from pagewake.bus.log_dir import LogWriter
from pagewake.bus.port import Outbox
from pagewake.events import types as ev
from pagewake.events.codec import APF_GUEST, FAULTS, JOURNAL_TOPIC, Record
from pagewake.events.digest import RunningDigest, combine_hosts, combine_vms
from pagewake.verify.invariants import Rules, Violation
from tests.support.abi import BROADCAST, MSR_EN
from tests.support.invariants import check_events

VM = "vm-0"
LOOKAHEAD_NS = 200_000
DURATION_NS = 10_000_000

SCENARIO = """
[scenario]
name = "hand-made"
seed = 1
duration = "10ms"

[kernel]
profile = "2.6.39"

[host]
medium = { latency = "500us" }
page_cluster = "off"
reclaim_lag = "200us"

[[vm]]
name = "vm"
vcpus = 2
memory = "1MiB"
limit = "1MiB"

[[vm.task]]
name = "worker"
pattern = "work"
"""

Kind = TypeVar("Kind", bound=ev.Event)


class Story:
    """One VM's events in order; `at_ns` is the instant of the next one."""

    def __init__(self) -> None:
        self.events: list[ev.Event] = []
        self.at_ns = 0

    def add(self, kind: type[Kind], /, **fields: object) -> Kind:
        """The next event, now."""
        event = kind(at_ns=self.at_ns, vm=VM, n=len(self.events) + 1, **fields)
        self.events.append(event)
        return event

    def wait(self, ns: int) -> None:
        """Let time pass."""
        self.at_ns += ns

    # ------------------------------------------------------------------ what belongs together

    def enable(self, vcpu: int = 0, value: int = 0x1001) -> None:
        """The MSR is written, and its broadcast reaches the guest."""
        self.add(
            ev.MsrWritten, vcpu=vcpu, msr=MSR_EN, value=value, ok=True, stored=True, by="guest"
        )
        self.add(ev.BroadcastQueued, vcpu=vcpu)
        self.present(vcpu, BROADCAST, None)
        self.trap(vcpu, 2, BROADCAST, "wake", "broadcast")

    def fault(self, vcpu: int, token: int, gfn: int, joined: bool = False) -> None:
        """A fault whose token is injected; nobody took it yet."""
        self.add(ev.ApfStarted, vcpu=vcpu, gfn=gfn, outcome="queued", token=token)
        self.add(ev.ReasonWritten, vcpu=vcpu, reason=1, ok=True)
        self.tell(vcpu, gfn, "injected", token, joined=joined)
        self.queue(vcpu, token, "not_present")

    def tell(self, vcpu: int, gfn: int, delivery: str, token: int | None, **more: object) -> None:
        """What the host learns of a fault."""
        fields: dict[str, Any] = {"access": "read", "cpl": 3, "level": 1, "epoch": 0}
        fields |= {"vcpu": vcpu, "gfn": gfn, "delivery": delivery, "token": token} | more
        self.add(ev.PageNotPresent, **fields)

    def queue(self, vcpu: int, token: int, kind: str, **changes: object) -> None:
        """An exception is queued, legally unless `changes` say otherwise."""
        fields: dict[str, Any] = {"level": 1, "cpl": 3, "if_flag": True, "gif": True}
        fields |= {"shadow": False, "vcpu": vcpu, "token": token, "kind": kind} | changes
        self.add(ev.ExceptionQueued, **fields)

    def trap(self, vcpu: int, reason: int, token: int, handler: str, kind: str) -> None:
        """The queued exception is injected and its handler reads the reason."""
        self.wait(500)
        self.add(ev.ExceptionInjected, vcpu=vcpu, token=token, kind=kind, level=1)
        self.wait(500)
        self.add(ev.TrapTaken, vcpu=vcpu, level=1, reason=reason, cr2=token, handler=handler, cpl=3)

    def sleep(self, vcpu: int, token: int, task: str = "task-0") -> None:
        """The task that took the not-present sleeps on it."""
        self.trap(vcpu, 1, token, "wait", "not_present")
        self.add(ev.TaskSlept, vcpu=vcpu, task=task, token=token)

    def complete(self, vcpu: int, token: int, gfn: int) -> None:
        """The host's answer, and the worker's end."""
        self.add(ev.PageReady, vcpu=vcpu, gfn=gfn, epoch=0, token=token)
        self.add(ev.WorkerCompleted, vcpu=vcpu, gfn=gfn, token=token)

    def present(self, vcpu: int, token: int, gfn: int | None) -> None:
        """The completion leaves `done` and READY is queued."""
        kind = "ready" if gfn is not None else "broadcast"
        delivery = "token" if gfn is not None else "broadcast"
        self.add(ev.ReasonWritten, vcpu=vcpu, reason=2, ok=True)
        self.add(
            ev.ApfPresented,
            vcpu=vcpu,
            delivery=delivery,
            token=token,
            gfn=gfn,
            reason_written=True,
        )
        self.queue(vcpu, token, kind)

    def wake(self, vcpu: int, token: int, task: str = "task-0") -> None:
        """READY arrives and wakes the task."""
        self.trap(vcpu, 2, token, "wake", "ready")
        slept = self.last(ev.TaskSlept)
        self.add(
            ev.TaskWoken,
            vcpu=vcpu,
            task=task,
            token=token,
            how="token",
            waited_ns=self.at_ns - slept.at_ns,
        )

    def last(self, kind: type[Kind]) -> Kind:
        """The latest event of a kind."""
        return next(event for event in reversed(self.events) if isinstance(event, kind))

    # ------------------------------------------------------------------ falsifying

    def change(self, kind: type[ev.Event], which: int = -1, /, **changes: object) -> ev.Event:
        """Falsify the `which`-th event of a kind; returns what it is now."""
        at = self._at(kind, which)
        self.events[at] = msgspec.structs.replace(self.events[at], **changes)
        return self.events[at]

    def remove(self, kind: type[ev.Event], which: int = -1) -> None:
        """Take an event out and number the others as if it had never been."""
        del self.events[self._at(kind, which)]
        self.events = [
            msgspec.structs.replace(event, n=n) for n, event in enumerate(self.events, 1)
        ]

    def _at(self, kind: type[ev.Event], which: int) -> int:
        return [at for at, event in enumerate(self.events) if type(event) is kind][which]


def page_fault_story() -> Story:
    """Enabled, one fault of task-0 on gfn 0x10 of vcpu 0, woken by token."""
    story = Story()
    story.wait(1_000)
    story.enable()
    story.wait(1_000_000)
    story.fault(0, 0x0, 0x10)
    story.sleep(0, 0x0)
    story.wait(600_000)
    story.complete(0, 0x0, 0x10)
    story.wait(1_000)
    story.present(0, 0x0, 0x10)
    story.wake(0, 0x0)
    return story


def outstanding(count: int) -> Story:
    """A vcpu without the MSR, halted for each of `count` outstanding faults in turn."""
    story = Story()
    for index in range(count):
        story.add(ev.ApfStarted, vcpu=0, gfn=index, outcome="queued", token=index << 12)
        story.tell(0, index, "halted", index << 12)
    return story


def two_completions() -> Story:
    """`page_fault_story`, then two more faults whose workers are done."""
    story = page_fault_story()
    for token, gfn, task in ((0x1000, 0x11, "task-1"), (0x2000, 0x12, "task-2")):
        story.wait(1_000)
        story.fault(0, token, gfn)
        story.sleep(0, token, task)
    story.wait(600_000)
    story.complete(0, 0x1000, 0x11)
    story.complete(0, 0x2000, 0x12)
    return story


def violations(story: Story, **rules: object) -> list[Violation]:
    """What the checkers say of a story."""
    in_force: dict[str, Any] = {"lookahead_ns": LOOKAHEAD_NS} | rules
    return check_events({VM: story.events}, Rules(**in_force))


def named(story: Story, invariant: str, **rules: object) -> list[int]:
    """Numbers of the events that break an invariant."""
    return [found.n for found in violations(story, **rules) if found.invariant == invariant]


def digest_of(events: Iterable[ev.Event]) -> str:
    """The run digest of one VM's events."""
    digest = RunningDigest()
    for event in events:
        digest.add(event)
    return combine_hosts([combine_vms({VM: digest.hexdigest()})])


def write_log(
    directory: Path,
    story: Story,
    *,
    edges_ns: tuple[int, ...] = (1_200_000, 1_604_200, DURATION_NS),
    digest: str | None = None,
    part_of: Iterable[ev.Event] | None = None,
    postponed: ev.Event | None = None,
    next_ns: int | None = None,
) -> Path:
    """A log of the story in windows that end at `edges_ns`; `part_of`: what is in it, if not all.

    `digest` None is the right one for the story. `postponed` stands in the last window, wherever
    it belongs. `next_ns` is what every window closes with.
    """
    told = list(story.events if part_of is None else part_of)
    run_digest = digest_of(story.events) if digest is None else digest
    with LogWriter(directory, SCENARIO) as log:
        outboxes = {
            FAULTS: Outbox("hand", "guest-0", FAULTS, 0, "test"),
            APF_GUEST: Outbox("hand", "host-0", APF_GUEST, 0, "test"),
            JOURNAL_TOPIC: Outbox("hand", "guest-0", JOURNAL_TOPIC, 0, "test"),
        }
        for topic in outboxes:
            log.declare(topic, 0)
        from_ns = 0
        for window, until_ns in enumerate(edges_ns):
            inside = [
                event
                for event in told
                if (until_ns if event is postponed else from_ns) <= event.at_ns < until_ns
                or (event is postponed and until_ns == DURATION_NS)
            ]
            for topic, records in _commits(inside, window, until_ns, next_ns).items():
                if records:
                    for encoded in outboxes[topic].encode(window, records):
                        log.append(topic, 0, encoded)
            from_ns = until_ns
        host = RunningDigest()
        for event in story.events:
            host.add(event)
        log.finish(run_digest, [combine_vms({VM: host.hexdigest()})], ["test"])
    return directory


def _commits(
    inside: list[ev.Event], window: int, until_ns: int, next_ns: int | None
) -> dict[str, list[Record]]:
    handed = [
        msgspec.structs.replace(event, n=0) for event in inside if isinstance(event, ev.ToShard)
    ]
    opened = ev.WindowOpened(window, until_ns, until_ns == DURATION_NS)
    return {
        APF_GUEST: [opened, *handed],
        FAULTS: [
            *(event for event in inside if isinstance(event, ev.ToHost)),
            ev.WindowClosed(window, next_ns),
        ],
        JOURNAL_TOPIC: [event for event in inside if isinstance(event, ev.Journal)],
    }
