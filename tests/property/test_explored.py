"""A run by the clock is one of the orders explored: it ends as one of them does."""

from __future__ import annotations

import marshal

from hypothesis import given, settings
from hypothesis import strategies as st

from pagewake.explore.expand import Copy, Expansion, Walker
from pagewake.explore.properties import Resting, broken_by
from pagewake.explore.search import Bounds, Here, Plan, Search
from pagewake.explore.timed import run_timed
from pagewake.guest_kernel.kernel import GuestKernel
from pagewake.kvm.machine import Machine
from pagewake.scenario.loading import loads

PROFILES = ("2.6.39", "3.10", "4.14", "5.4", "5.10", "6.12")
STEPS = ("touch 0", "touch 1", "kernel", "user", "run 3us", "run 400us")


def text(profile: str, vcpus: int, scripts: list[list[str]], latency_us: int) -> str:
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
[[vm]]
name = "vm"
vcpus = {vcpus}
memory = "1MiB"
{tasks}
[[vm.task]]
name = "last"
pattern = "script"
script = ["sleep 50ms"]
[explore.budget]
tick = 0
"""


class Ending:
    """How a machine ended, timed or not: what its tasks, its table and its vcpus came to."""

    def __init__(self, machine: Resting) -> None:
        vm: Machine = machine.vm
        kernel: GuestKernel = machine.kernel
        self.told = (
            tuple((task.name, task.state) for task in kernel.tasks if task.name != "last-0"),
            tuple(sorted((e[0], e[2]) for _, chain in kernel.sleepers.table() for e in chain)),
            tuple((cpu.area.reason, cpu.area.token) for cpu in kernel.cpus),
            tuple(thread.apf.id for thread in vm.vcpus),
            vm.panicked,
        )


class Endings(Walker):
    """Notes how machines end."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan.scenario)
        self.endings: set[object] = set()

    def expand(self, copy: Copy) -> Expansion:
        found = super().expand(copy)
        if found.at_rest:
            self.fill(marshal.loads(copy))  # noqa: S302 - of this process
            self.endings.add(Ending(self.machine).told)
        return found


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(PROFILES),
    st.integers(1, 2),
    st.lists(st.lists(st.sampled_from(STEPS), min_size=1, max_size=3), min_size=1, max_size=2),
    st.sampled_from([5, 60, 300]),
)
def test_a_timed_run_ends_as_an_explored_one(
    profile: str, vcpus: int, scripts: list[list[str]], latency_us: int
) -> None:
    scenario = loads(text(profile, vcpus, scripts, latency_us))
    plan = Plan(scenario, bounds=Bounds(states=40_000))
    search = Search(plan)
    walker = Endings(plan)
    walker.boot()
    search.expander = Here(walker)
    explored = search.breadth_first()
    if not explored.complete:
        return
    ended = run_timed(scenario)
    broken = broken_by(ended.events)
    if broken is not None:  # there an explored order ends
        assert broken.property in explored.found
    else:
        assert Ending(ended).told in walker.endings
