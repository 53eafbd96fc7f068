"""Small scenarios of one VM, written in a test, and what their run says."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pagewake.engine.embedded import run_embedded
from pagewake.events.types import Event
from pagewake.guest_kernel.kernel import GuestKernel
from pagewake.participants.build import build
from pagewake.participants.plan import RunPlan
from pagewake.scenario.loading import loads
from tests.support.invariants import check_run
from tests.support.runs import AnyEvent

PAGE_IN_NS = 300_000
ALONE = 'page_cluster = "off"'
"""Each page is read alone, so that what happens is of the page that was touched."""


class SmallRun:
    """Events of the VM in order of `n`, and its kernel as the run left it."""

    def __init__(self, events: list[Event], kernel: GuestKernel) -> None:
        self.events = events
        self.kernel = kernel

    def of(self, kind: type[AnyEvent]) -> list[AnyEvent]:
        """The events of one type, in order."""
        return [event for event in self.events if isinstance(event, kind)]


def script(name: str, *steps: str, vcpu: int | None = None, count: int = 1, more: str = "") -> str:
    """A script task with its own pages, all in swap."""
    lines = [
        "[[vm.task]]",
        f'name = "{name}"',
        f"count = {count}",
        'pattern = "script"',
        'working_set = "64KiB"',
        "populated = true",
        'resident = "0B"',
        "" if vcpu is None else f"vcpu = {vcpu}",
        more,
        f"script = [{', '.join(chr(34) + step + chr(34) for step in steps)}]",
    ]
    return "\n".join(lines)


def work(name: str = "other", count: int = 1, more: str = "") -> str:
    """A task that only computes."""
    return f'[[vm.task]]\nname = "{name}"\ncount = {count}\npattern = "work"\n{more}'


def event(at: str, do: str, *keys: str) -> str:
    """An intervention on the VM; keys as TOML."""
    return "\n".join(["[[event]]", f'at = "{at}"', f'do = "{do}"', 'vm = "vm-0"', *keys])


def run_small(
    *tasks_and_events: str,
    vcpus: int = 1,
    profile: str = "2.6.39",
    overrides: str = "",
    kernel: Sequence[str] = (),
    scheduler: Sequence[str] = ('wakeup_granularity = "0ns"',),
    host: Sequence[str] = (),
    vm: str = "",
    duration: str = "10ms",
) -> SmallRun:
    """Run it; every page-in takes 300 us, alone.  The invariants are checked on the way."""
    text = "\n".join(
        [
            f'[scenario]\nname = "small"\nduration = "{duration}"',
            f'[kernel]\nprofile = "{profile}"\noverrides = {{ {overrides} }}',
            *kernel,
            "[kernel.scheduler]",
            *scheduler,
            '[host]\nmedium = { latency = "300us", parallelism = 64 }',
            *(host if any("page_cluster" in line for line in host) else (ALONE, *host)),
            f'[[vm]]\nname = "vm"\nvcpus = {vcpus}\nmemory = "16MiB"\nlimit = "8MiB"',
            vm,
            *tasks_and_events,
        ]
    )
    scenario = loads(text, "small.toml", Path())
    plan = RunPlan.of("small", scenario, shards=1)
    parts = build(plan)
    events: list[Event] = []
    run_embedded(plan, parts, observer=events.extend)
    events.sort(key=lambda found: found.n)
    assert check_run(scenario, events) == []
    return SmallRun(events, parts[0].shards[0].kernels[0])
