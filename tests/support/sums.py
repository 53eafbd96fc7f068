"""A run's result, added up a second time from the lines of its log.

Nothing of `observe.result` is used: the JSON is read as it is, what a VM took in is decided by when
it ended, and how long tasks slept by the instants of their sleeping and waking.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

JsonEvent = dict[str, Any]
NO_EVENTS = ("WindowOpened", "WindowClosed", "ShardEnded")


class LogSums(NamedTuple):
    """The lines of a log, sorted out.

    `events` are the domain events, `endings` what the shards said last, `windows` how far each host
    was taken by each of its windows, `ended_ns` when VMs ended before their host.
    """

    events: list[JsonEvent]
    endings: list[JsonEvent]
    windows: dict[str, dict[int, int]]
    ended_ns: dict[str, int]

    def of(self, kind: str) -> list[JsonEvent]:
        """All events of a kind."""
        return [event for event in self.events if event["event"] == kind]

    def counted(self, kind: str, key: str) -> Counter[str]:
        """How many of a kind there are, by a field."""
        return Counter(event[key] for event in self.of(kind))

    def by_vm(self, kind: str, number: Callable[[JsonEvent], int] = lambda _: 1) -> Counter[str]:
        """How many of a kind each VM has, or what a number in them adds up to."""
        total: Counter[str] = Counter()
        for event in self.of(kind):
            total[event["vm"]] += number(event)
        return total

    def summary(self, key: str) -> Counter[str]:
        """What the shards account for, by name."""
        total: Counter[str] = Counter()
        for ending in self.endings:
            total.update(ending["summary"][key])
        return total


def read_sums(log: Path, tasks: Mapping[str, int]) -> LogSums:
    """Read a log directory; `tasks` is how many each VM has."""
    lines = list(_lines(log))
    emitted = [
        event
        for topic, _, events in lines
        if not topic.startswith("apf")
        for event in events
        if event["event"] not in NO_EVENTS
    ]
    ended_ns = _ended_ns([event for event in emitted if event["n"]], tasks)
    taken = []
    windows: dict[str, dict[int, int]] = defaultdict(dict)
    for topic, source, events in lines:
        if topic.startswith("apf"):
            opened, *delivered = events
            windows[source][opened["window"]] = opened["until_ns"]
            taken += [
                event
                for event in delivered
                if event["vm"] and event["at_ns"] <= ended_ns.get(event["vm"], event["at_ns"])
            ]
    return LogSums(
        [event for event in emitted if event["n"]] + taken,
        [each for _, _, events in lines for each in events if each["event"] == "ShardEnded"],
        windows,
        ended_ns,
    )


def _lines(log: Path) -> Iterator[tuple[str, str, list[JsonEvent]]]:
    for file in sorted(log.glob("*.jsonl")):
        for line in file.read_text("utf-8").splitlines():
            commit = json.loads(line)
            yield file.name.rpartition("-")[0], commit["source"], commit["events"]


def _ended_ns(emitted: list[JsonEvent], tasks: Mapping[str, int]) -> dict[str, int]:
    """A VM ends when the last of its tasks has finished or was killed."""
    over = defaultdict(list)
    for event in emitted:
        if event["event"] in ("TaskFinished", "TaskKilled"):
            over[event["vm"]].append(event["at_ns"])
    return {vm: max(at_ns) for vm, at_ns in over.items() if len(at_ns) == tasks[vm]}


def slept_ns(sums: LogSums) -> tuple[list[int], int]:
    """How long each that was woken had slept, in order of length, and how many sleep at the end."""
    since: dict[tuple[str, str], int] = {}
    found = []
    for event in sorted(sums.events, key=lambda event: (event["vm"], event["n"])):
        if event["event"] == "TaskSlept":
            assert (event["vm"], event["task"]) not in since, f"sleeps already: {event}"
            since[event["vm"], event["task"]] = event["at_ns"]
        elif event["event"] == "TaskWoken":
            found.append(event["at_ns"] - since.pop((event["vm"], event["task"])))
        elif event["event"] == "SleeperFreed":
            del since[event["vm"], event["victim"]]
    return sorted(found), len(since)


def ends_ns(sums: LogSums, host_of: Mapping[str, str]) -> dict[str, int]:
    """Where each VM was over: with its last task, or with the last window of its host."""
    return {
        vm: min(sums.ended_ns.get(vm, 1 << 63), max(sums.windows[host].values()))
        for vm, host in host_of.items()
    }
