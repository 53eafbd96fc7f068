"""What one run came to: the object that `run --json` prints (design, "Command line").

`counter.py` makes it of a run's events.
"""

from __future__ import annotations

from typing import Any

import msgspec

from pagewake.events.journal import JournalMode
from pagewake.observe.expectations import Expectation
from pagewake.observe.latency import Latency
from pagewake.observe.progress import Share, TaskProgress
from pagewake.participants.at_start import media_of, swapped_pages
from pagewake.participants.swap_places import area_names
from pagewake.scenario.model import Expect, Scenario


class Work(msgspec.Struct, frozen=True):
    """Counter increments of work tasks; `per_task` is keyed `vm/task-i`."""

    total: int
    per_task: dict[str, int]


class Waits(msgspec.Struct, frozen=True):
    """How many calls of task_wait ended in which way."""

    slept: int
    early_ready: int
    halted: int


class Dummies(msgspec.Struct, frozen=True):
    """inserted = consumed + leaked + left; leaked: unlinked and never freed."""

    inserted: int
    consumed: int
    leaked: int
    left: int


class WaitTimes(msgspec.Struct, frozen=True):
    """How long woken tasks had slept, in simulated seconds, by nearest rank."""

    p50: float
    p90: float
    p99: float
    max: float


class Panic(msgspec.Struct, frozen=True):
    """When a guest's kernel panicked, in simulated time, and why."""

    at_ns: int
    why: str


class SwapFacts(msgspec.Struct, frozen=True):
    """Pages in swap at time 0, and how many thousandths of a page lie in a frame; 0: elsewhere.

    None: some lie in memory and some do not.  `areas`: names of the swap areas by number, from 1
    on, if there are several.
    """

    pages: int
    ratio_milli: int | None
    areas: tuple[str, ...] = ()


def swap_facts(scenario: Scenario) -> SwapFacts | None:
    """Of all hosts; the medium is the last one that the scenario changes to.

    None where pages also come from elsewhere, and page-ins do not say which do.
    """
    if any(vm.page_source != "swap" for vm in scenario.vms):
        return None
    areas = area_names(scenario)
    ratio_milli = None if areas else media_of(scenario)[-1].ratio_milli
    return SwapFacts(swapped_pages(scenario), ratio_milli, areas)


class RunFacts(msgspec.Struct, frozen=True):
    """What only the runner knows of a run: no event says it."""

    scenario: str
    seed: int
    profile: str
    apf: str
    sim_ns: int
    wall_s: float
    windows: int
    digest: str
    shards: int
    version: str
    swap: SwapFacts | None = None
    expects: tuple[Expect, ...] = ()
    jobs: int | None = None
    journal: JournalMode = "full"


class RunResult(msgspec.Struct, frozen=True, kw_only=True):
    """The contract's keys in the contract's order, then ours.

    What is null, from `touches` on, is not in the log that was read.  `jobs` is null for what was
    not simulated by this command.  `journal`: how much of it is kept, in a log or on a cluster.
    """

    scenario: str
    seed: int
    profile: str
    apf: str
    sim_ns: int
    wall_s: float
    windows: int
    events: int
    digest: str
    not_present: dict[str, int]
    first_touches: int
    page_ins: int
    evictions: int
    waits: Waits
    wakes: dict[str, int]
    dummies: Dummies
    halts: dict[str, int]
    double_faults: int
    exits: dict[str, int]
    work: Work
    wait_sim_seconds: WaitTimes | None
    unresolved: int

    unresolved_tasks: list[str]
    sleepers: int
    cpu: dict[str, int]
    by_event: dict[str, int]
    latency: dict[str, Latency]
    expected: list[Expectation]
    panics: dict[str, Panic]
    touches: int | None
    requests: int | None
    silent: dict[str, int] | None
    progress: dict[str, TaskProgress] | None
    per_group: dict[str, Share] | None
    per_vm: dict[str, Share] | None
    in_swap: int | None
    in_swap_bytes: int | None
    page_ins_from: dict[str, int]
    read_ahead: int
    pushed: int
    huge_touches: int
    host_cpu: dict[str, int]
    shards: int
    version: str
    jobs: int | None
    journal: JournalMode = "full"

    @property
    def speed(self) -> float:
        """Simulated seconds per wall second."""
        return self.sim_ns / 1e9 / self.wall_s if self.wall_s > 0 else 0.0


IN_JOURNAL = (
    "waits", "wakes", "halts", "exits", "wait_sim_seconds", "latency", "panics", "progress"
)  # fmt: skip
"""Keys of a result that say nothing where the run kept no journal, beside what is of groups."""


def without_journal(result: RunResult) -> dict[str, Any]:
    """A result as it is printed that was counted without a journal: null, not zero, for unknown."""
    printed: dict[str, Any] = msgspec.to_builtins(result)
    return {**printed, **dict.fromkeys(IN_JOURNAL)}
