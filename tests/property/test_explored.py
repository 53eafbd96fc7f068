"""A run by the clock is one of the orders explored: it ends as one of them does."""

from __future__ import annotations

import marshal

from hypothesis import given, settings
from hypothesis import strategies as st

from pagewake.explore.expand import Copy, Expansion, Walker
from pagewake.explore.properties import Resting, Tally, broken_by
from pagewake.explore.search import Bounds, Here, Plan, Search
from pagewake.explore.timed import run_timed
from pagewake.guest_kernel.kernel import GuestKernel
from pagewake.kvm.machine import Machine
from pagewake.scenario.loading import loads
from pagewake.scenario.model import Scenario

PROFILES = ("2.6.39", "3.10", "4.14", "5.4", "5.10", "6.12")
STEPS = ("touch 0", "touch 1", "kernel", "user", "run 3us", "run 400us")


EVENTS = (
    'do = "smi"', 'do = "migrate"', 'do = "vcpu-reset"', 'do = "vcpu-offline"', 'do = "irq"',
    'do = "msr-write"\nmsr = "apf-en"\nvalue = 0', 'do = "area-write-fails"',
    'do = "worker-gup-fails"', 'do = "alloc-fails"\nwhere = "guest"\ncount = 1', 'do = "cr0-pg"',
)  # fmt: skip
OF_A_VM = ("migrate", "worker-gup-fails", "alloc-fails")
COUNTED = [
    f"always {name} <= 200"
    for name in (
        "TaskSlept", "TaskWoken", "TaskMoved", "DummyInserted", "DummyConsumed", "DoubleFault",
        "PageNotPresent", "ExceptionInjected.kind=not_present", "VcpuHalted.why=kernel_mode",
    )
]  # fmt: skip
"""What is compared, beside the end: how often each happened on the way to it."""


def event(what: str, at_us: int) -> str:
    vcpu = "" if any(f'"{name}"' in what for name in OF_A_VM) else "vcpu = 0"
    return f'''
[[event]]
at = "{at_us}us"
{what}
vm = "vm-0"
{vcpu}
'''


def text(
    profile: str, vcpus: int, scripts: list[list[str]], latency_us: int, more: str = ""
) -> str:
    tasks = "".join(
        f"""
[[vm.task]]
name = "task{number}"
pattern = "script"
populated = true
resident = "0B"
script = {[*script, "user"]!r}
"""
        for number, script in enumerate(scripts)
    )
    return f"""
[scenario]
name = "drawn"
duration = "60ms"
[kernel]
profile = "{profile}"
hz = 0
idle_hz = 0
[host]
medium = {{ latency = "{latency_us}us", parallelism = 64 }}
page_cluster = "off"
[[vm]]
name = "vm"
vcpus = {vcpus}
memory = "1MiB"
{tasks}
[[vm.task]]
name = "last"
pattern = "script"
script = ["sleep 50ms"]
{more}
[explore.budget]
tick = 0
"""


class Ending:
    """How a machine ended, timed or not: what its tasks, its table and its vcpus came to."""

    def __init__(self, machine: Resting, numbers: list[int]) -> None:
        vm: Machine = machine.vm
        kernel: GuestKernel = machine.kernel
        self.told = (
            tuple((task.name, task.state) for task in kernel.tasks if task.name != "last-0"),
            tuple(sorted((e[0], e[2]) for _, chain in kernel.sleepers.table() for e in chain)),
            tuple((cpu.area.reason, cpu.area.token) for cpu in kernel.cpus),
            tuple((thread.apf.id, thread.apf.msr_val) for thread in vm.vcpus),
            vm.panicked,
            tuple(numbers),
        )


class Endings(Walker):
    """Notes how machines end."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan.scenario, plan.properties)
        self.endings: set[object] = set()

    def expand(self, copy: Copy) -> Expansion:
        found = super().expand(copy)
        if found.at_rest:
            self.fill(marshal.loads(copy))  # noqa: S302 - of this process
            self.endings.add(Ending(self.machine, self.tally.numbers).told)
        return found


def is_explored(scenario: Scenario) -> bool | None:
    """Whether the run by the clock ends as an order does; None: too many orders to know."""
    plan = Plan(scenario, COUNTED, bounds=Bounds(states=8_000))
    search = Search(plan)
    walker = Endings(plan)
    walker.boot()
    search.expander = Here(walker)
    explored = search.breadth_first()
    if not explored.complete:
        return None
    ended = run_timed(scenario)
    tally = Tally(walker.tally.expressions)
    tally.add(ended.events)
    broken = broken_by(ended.events)
    if broken is not None:  # there an explored order ends
        return broken.property in explored.found
    return Ending(ended, tally.numbers).told in walker.endings


scripts = st.lists(st.lists(st.sampled_from(STEPS), min_size=1, max_size=3), min_size=1, max_size=2)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(PROFILES), st.integers(1, 2), scripts, st.sampled_from([5, 60, 300]))
def test_a_timed_run_ends_as_an_explored_one(
    profile: str, vcpus: int, scripts: list[list[str]], latency_us: int
) -> None:
    assert is_explored(loads(text(profile, vcpus, scripts, latency_us))) is not False


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(PROFILES), st.integers(1, 2), scripts, st.sampled_from([5, 60, 300]),
    st.sampled_from(EVENTS), st.integers(0, 700),
)  # fmt: skip
def test_so_does_one_with_an_event(
    profile: str, vcpus: int, scripts: list[list[str]], latency_us: int, what: str, at_us: int
) -> None:
    drawn = text(profile, vcpus, scripts, latency_us, event(what, at_us))
    assert is_explored(loads(drawn)) is not False
