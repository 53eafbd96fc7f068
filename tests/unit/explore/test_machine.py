"""A small machine: its choices, its copies, what it refuses."""

from __future__ import annotations

import marshal

import pytest

from pagewake.engine.run import run_scenario
from pagewake.errors import ConfigError, InternalError
from pagewake.explore import state
from pagewake.explore.expand import Walker, choice_at, code_of
from pagewake.explore.gallery import load_small, names
from pagewake.explore.machine import KINDS, Choice, SmallMachine, choice_of, untimed
from pagewake.explore.search import Plan, Search
from pagewake.scenario.loading import load, loads
from pagewake.simtime.randomness import Draws


@pytest.mark.parametrize("name", names())
def test_a_copy_is_the_state_whatever_came_between(name: str) -> None:
    """Along a random path: filled from its copy a machine does what the other one did."""
    walker = Walker(load_small(name))
    draws = Draws(1, name)
    for number in range(60):
        copy = walker.copy()
        choices = walker.machine.choices()
        if not choices:
            break
        after: list[bytes] = []
        for choice in choices:
            for _ in range(2):
                walker.fill(marshal.loads(copy))  # noqa: S302 - of this test
                assert walker.copy() == copy
                assert walker.machine.choices() == choices
                walker.step(choice)
                after.append(walker.copy())
                walker.at_rest()  # to look at a state leaves nothing behind
            assert after[-1] == after[-2]
        walker.fill(marshal.loads(after[2 * draws.below(number, len(choices))]))  # noqa: S302 - of this test


def test_an_attribute_that_is_not_listed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = state.KEPT["Task"]
    monkeypatch.setitem(state.KEPT, "Task", kept._replace(plain=kept.plain[1:]))
    with pytest.raises(InternalError, match="Task has cpl"):
        SmallMachine(load_small("one-vcpu"))


@pytest.mark.parametrize(
    ("name", "why"),
    [("overcommit", "one VM"), ("natapov-2010", "touch"), ("web", "one VM|serves requests")],
)
def test_a_machine_that_is_not_small_is_refused(name: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        SmallMachine(load(name))


def test_what_user_space_brings_is_refused() -> None:
    for key in ('swap=[{medium="zram",size="1MiB"}]', "zswap={}"):
        with pytest.raises(ConfigError, match=f"leave out host.{key.partition('=')[0]}"):
            SmallMachine(load_small("one-vcpu", [f"host.{key}"]))
    with pytest.raises(ConfigError, match="userfault"):
        SmallMachine(load_small("one-vcpu", ["vm.0.userfault={}"]))


def test_huge_pages_are_refused() -> None:
    with pytest.raises(ConfigError, match="huge_pages"):
        SmallMachine(load_small("one-vcpu", ["host.huge_pages=true"]))


def test_a_limit_under_which_pages_would_be_evicted_is_refused() -> None:
    with pytest.raises(ConfigError, match="larger limit"):
        SmallMachine(load_small("one-vcpu", ["vm.0.limit=8KiB"]))


UNTIMED = """
[scenario]
name = "long"
duration = "10s"
[host]
medium = "nvme"
page_cluster = "off"
[[vm]]
name = "vm"
vcpus = 1
memory = "1MiB"
[[vm.task]]
name = "last"
pattern = "script"
populated = true
resident = "0B"
script = ["at 5s run 3s", "sleep 1s", "touch 0"]
[[vm.task]]
name = "late"
pattern = "work"
start = "2s"
finish_after = "2s"
[[vm.task]]
name = "endless"
pattern = "sequential"
working_set = "16KiB"
populated = true
resident = "0B"
[explore]
properties = ["sometimes TaskFinished == 2", "sometimes PageNotPresent == 5"]
[explore.budget]
tick = 0
preempt = 1
"""


def test_long_times_hold_nothing_back_and_cost_nothing() -> None:
    """Nor does a task that touches for ever: it is followed until all of its pages are there."""
    scenario = loads(UNTIMED)
    found = Search(Plan(scenario, scenario.explore.properties)).breadth_first()  # type: ignore[union-attr]
    assert found.complete
    assert not {*scenario.explore.properties} & found.found.keys()  # type: ignore[union-attr]
    assert untimed(scenario).vms[0].tasks[2].touch_ns >= 1_000_000


def test_choices_are_written_and_numbered() -> None:
    for kind in KINDS:
        choice = Choice(kind, 5)
        assert choice_of(str(choice)) == choice
        assert choice_at(code_of(choice)) == choice


@pytest.mark.parametrize("text", ["vcpu", "vcpu x", "page", "", "sleep 1"])
def test_what_is_no_choice_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="is no choice"):
        choice_of(text)


def test_a_choice_that_cannot_be_made_is_refused() -> None:
    scenario = load_small("one-vcpu", ['explore.choices=["vcpu 0", "page 5"]'])
    with pytest.raises(ConfigError, match='choice 1 is "page 5"'):
        run_scenario(scenario)


@pytest.mark.parametrize(
    "kind", ["tick", "preempt", "exit", "irq", "nmi", "alloc", "host_alloc", "write", "gup"]
)
def test_what_has_a_budget_happens_within_it(kind: str) -> None:
    def states(number: int) -> int:
        profile = "3.10" if kind == "alloc" else "5.10"  # in which a dummy is made
        sets = {"explore.budget.tick": 0, f"explore.budget.{kind}": number}
        given = [f"kernel.profile={profile}", *(f"{key}={value}" for key, value in sets.items())]
        return Search(Plan(load_small("one-vcpu", given))).breadth_first().states

    assert states(0) < states(1)


def test_a_thread_is_moved_within_its_budget() -> None:
    def moved(number: int) -> int:
        sets = [
            "vm.0.vcpus=2",
            "vm.0.task.0.count=3",
            "vm.0.task.0.script=['run 1us', 'touch 0']",
            "explore.budget.tick=0",
            f"explore.budget.balance={number}",
        ]
        search = Search(Plan(load_small("two-tasks", sets)))
        search.plan = search.plan._replace(bounds=search.plan.bounds._replace(states=3000))
        return search.breadth_first().reached["TaskMoved"]

    assert moved(0) < moved(1)


def test_tasks_that_are_alike_change_places_unseen() -> None:
    def states(*sets: str) -> int:
        return Search(Plan(load_small("one-vcpu", sets))).breadth_first().states

    two = 'vm.0.task.1.script=["touch 0", "touch 1"]'
    alike = states("vm.0.task.0.count=3", 'vm.0.task.0.script=["touch 0", "touch 1"]', two)
    held = states(
        "vm.0.task.0.count=3", 'vm.0.task.0.script=["touch 0", "touch 1", "sleep 1us"]', two
    )
    assert alike < held


def test_rsm_follows_an_smi_before_anything_of_the_guest() -> None:
    """What faults in between would be withdrawn without anybody who waits for it any more."""
    walker = Walker(load_small("smi", ["kernel.profile=6.12"]))
    walker.boot()
    smi = Choice("event", 0)
    assert smi in walker.machine.choices()
    walker.step(smi)
    assert "paging" not in {choice.kind for choice in walker.machine.choices()}
    assert walker.machine.vm.vcpus[0].unpaged_until_ns == 0


HIBERNATE = 'explore.event=[{do="new-kernel",vm="vm-0",how="hibernate"}]'


def test_no_hibernation_while_a_task_waits_for_a_page() -> None:
    """The freezer waits for it; once it is awake, there is one."""
    plan = Plan(load_small("two-tasks", ["kernel.profile=6.12", HIBERNATE]))
    walker = Walker(plan.scenario)
    told = asleep = 0
    for _ in range(40):
        choices = walker.machine.choices()
        if walker.machine.kernel.slept_at:
            asleep += 1
            assert Choice("event", 0) not in choices
        else:
            told += Choice("event", 0) in choices
        first = [choice for choice in choices if choice.kind in ("vcpu", "page")]
        if not first:
            break
        walker.step(first[0])
    assert asleep
    assert told
