"""The ways to walk agree with one another, and say where they stopped."""

from __future__ import annotations

from pathlib import Path

import pytest

from pagewake.errors import ConfigError, DataError
from pagewake.explore import search, space
from pagewake.explore.expand import Walker
from pagewake.explore.gallery import load_small
from pagewake.explore.search import Bounds, Explored, Plan, Search
from pagewake.explore.workers import Workers
from pagewake.simtime.randomness import Draws

SETS = ["kernel.profile=5.10"]


def plan(name: str = "one-vcpu", *sets: str, **kwargs: object) -> Plan:
    return Plan(load_small(name, sets or SETS), **kwargs)  # type: ignore[arg-type]


def figures(explored: Explored) -> tuple[object, ...]:
    found = {name: each.path for name, each in explored.found.items()}
    return explored.states, explored.transitions, explored.at_rest, found, explored.reached


def test_breadth_first_is_the_same_in_two_processes() -> None:
    large = plan("migrate", "kernel.profile=6.12")
    alone = Search(large).breadth_first()
    with Workers(large, 2) as workers:
        together = Search(large, None, workers).breadth_first()
    assert figures(alone) == figures(together)


def test_depth_first_finds_the_same_states() -> None:
    first, second = Search(plan()).breadth_first(), Search(plan()).depth_first()
    assert (first.states, first.at_rest) == (second.states, second.at_rest)
    assert first.found.keys() == second.found.keys()
    assert len(first.found["asleep"].path) <= len(second.found["asleep"].path)


def test_depth_first_stops_at_its_bound() -> None:
    shallow = Search(plan(bounds=Bounds(depth=10))).depth_first()
    assert shallow.depth == 10
    assert shallow.stopped == "depth"
    assert not shallow.complete


def test_random_orders_find_it_and_are_those_of_their_seed() -> None:
    first, again = (Search(plan()).at_random(200, 3) for _ in range(2))
    other = Search(plan()).at_random(200, 4)
    assert figures(first) == figures(again)
    assert "asleep" in first.found
    assert first.reached != other.reached
    assert not first.complete


def test_random_orders_find_it_where_the_space_is_large() -> None:
    """The lost READY of token 0 (D35), among two vcpus with four tasks."""
    more = [
        *SETS, "vm.0.vcpus=2", "vm.0.task.0.count=2", "vm.0.task.1.count=2",
        'vm.0.task.1.script=["touch 0", "touch 1", "touch 2"]',
    ]  # fmt: skip
    large = plan("one-vcpu", *more, first_only=True)
    assert "asleep" in Search(large).at_random(200, 1).found


@pytest.mark.parametrize(
    ("bounds", "why"),
    [
        (Bounds(states=300), "states"),
        (Bounds(depth=5), "depth"),
        (Bounds(memory_bytes=1), "memory"),
    ],
)
def test_a_bound_that_was_hit_is_said(bounds: Bounds, why: str) -> None:
    stopped = Search(plan(bounds=bounds)).breadth_first()
    assert stopped.stopped == why
    assert not stopped.complete
    assert stopped.states < Search(plan()).breadth_first().states


def test_the_first_violation_ends_it_where_wanted() -> None:
    stopped = Search(plan("migrate", "kernel.profile=6.12", first_only=True)).breadth_first()
    assert stopped.stopped == "first violation"


def test_it_goes_on_where_it_stopped(tmp_path: Path) -> None:
    whole = Search(plan()).breadth_first()
    begun = Search(plan(bounds=Bounds(states=400)))
    begun.breadth_first()
    begun.save(tmp_path / "kept")
    resumed = Search(plan())
    resumed.load(tmp_path / "kept")
    assert figures(resumed.breadth_first()) == figures(whole)


def test_it_goes_on_with_nothing_else(tmp_path: Path) -> None:
    begun = Search(plan(bounds=Bounds(states=50)))
    begun.breadth_first()
    begun.save(tmp_path / "kept")
    with pytest.raises(DataError, match="another scenario"):
        Search(plan("smi")).load(tmp_path / "kept")
    (tmp_path / "kept").write_bytes(b"torn")
    with pytest.raises(DataError, match="no exploration"):
        Search(plan()).load(tmp_path / "kept")


@pytest.mark.parametrize(
    ("name", "profile"),
    [
        ("one-vcpu", "5.10"), ("one-vcpu", "3.10"), ("two-tasks", "6.12"), ("smi", "6.12"),
        ("offline", "6.12"), ("nested-guest", "6.12"), ("hypervisor-in-hypervisor", "6.12"),
    ],
)  # fmt: skip
def test_the_reduction_finds_the_same_outcomes_in_fewer_states(name: str, profile: str) -> None:
    scenario = load_small(name, [f"kernel.profile={profile}"])
    less, all_ = (Search(Plan(scenario, reduce=each)) for each in (True, False))
    first, second = less.breadth_first(), all_.breadth_first()
    assert first.found.keys() == second.found.keys()
    assert first.at_rest == second.at_rest
    assert first.states + (name == "offline") <= second.states


def test_the_start_of_cpus_is_explored_where_wanted() -> None:
    started = Search(plan("offline", "kernel.profile=6.12")).breadth_first()
    wanted = Search(plan("offline", "kernel.profile=6.12", "explore.boot=true"))
    assert wanted.breadth_first().states > started.states


@pytest.mark.parametrize(
    ("text", "breaks"),
    [
        ("finally TaskSlept == TaskWoken", True),
        ("finally DoubleFault <= 9", False),
        ("always TaskSlept <= 1", True),
        ("always TrapTaken.handler=page_fault == 0", False),
    ],
)
def test_expressions_over_events(text: str, breaks: bool) -> None:
    found = Search(plan(properties=[text])).breadth_first().found
    assert (text in found) == breaks


def test_what_has_to_be_reached_is_counted() -> None:
    text, at_first = "sometimes TaskWoken >= 2", "sometimes TaskSlept == 0"
    found = Search(plan(properties=[text, at_first])).breadth_first()
    assert found.reached[text] > 0
    assert found.reached[at_first] > 0
    assert not {text, at_first} & found.found.keys()


def test_what_is_reached_in_no_order_is_a_violation_if_all_were_tried() -> None:
    never = "sometimes TaskWoken >= 9"
    found = Search(plan(properties=[never])).breadth_first()
    assert found.reached[never] == 0
    assert found.found[never].broken.what == "is reached in no order"
    some = Search(plan(properties=[never], bounds=Bounds(states=300))).breadth_first()
    assert some.reached[never] == 0
    assert never not in some.found


def test_what_goes_on_for_ever_is_told_up_to_where_it_begins_anew() -> None:
    large = plan("offline", "kernel.profile=6.12")
    restless = Search(large).breadth_first().found["restless"]
    assert "vcpu 1 goes on for ever" in restless.broken.what
    assert "the slot of vcpu 1 holds token 0x1001" in restless.broken.what
    walker = Walker(large.scenario)
    seen: set[bytes] = set()
    for choice in restless.path:
        seen.add(walker.copy())
        assert walker.step(choice) is None
    assert walker.copy() in seen


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("TaskSlept == 1", "write always, finally or sometimes"),
        ("always TaskSlpt == 1", "TaskSlept"),
        ("always TaskSlept.tsk=one-0 == 1", "has no field tsk"),
    ],
)
def test_an_expression_that_is_none_is_refused(text: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        Walker(load_small("one-vcpu"), [text])


def test_a_walk_goes_on_from_any_point_as_if_it_had_not_stopped(tmp_path: Path) -> None:
    """Also in two processes: all figures are those of a walk that was never interrupted."""
    large = plan("migrate", "kernel.profile=6.12")
    whole = Search(large).breadth_first()
    kept = tmp_path / "kept"
    states = 1
    with Workers(large, 2) as workers:
        for expander in (workers, None, workers):
            part = Search(large._replace(bounds=Bounds(states=states + 500)), None, expander)
            if kept.exists():
                part.load(kept)
            explored = part.breadth_first()
            assert explored.stopped == "states"
            assert explored.states > states
            states = explored.states
            part.save(kept)
        last = Search(large, None, workers)
        last.load(kept)
        resumed = last.breadth_first()
    assert figures(resumed) == figures(whole)
    assert resumed.depth == whole.depth
    last.save(kept)
    again = Search(large)
    again.load(kept)
    assert figures(again.breadth_first()) == figures(whole)


def test_a_walk_keeps_itself_now_and_then_and_as_a_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was kept in the midst of a walk is enough to end as it did; no half of it is left."""
    monkeypatch.setattr(search, "KEEP_EVERY_S", 0.0)
    monkeypatch.setattr(search, "KEEP_COSTS", 0)
    kept = tmp_path / "kept"
    texts: list[bytes] = []

    class Watched(Search):
        def save(self, path: Path) -> None:
            super().save(path)
            texts.append(path.read_bytes())

    whole = Watched(plan()).breadth_first(kept)
    assert len(texts) > 3
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
    for text in (texts[0], texts[len(texts) // 2], texts[-1]):
        kept.write_bytes(text)
        resumed = Search(plan())
        resumed.load(kept)
        assert figures(resumed.breadth_first()) == figures(whole)


def test_copies_that_wait_are_packed_where_they_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    loose = Search(plan()).breadth_first()
    monkeypatch.setattr(space, "UNPACKED_MAX", 10)
    queue = space.Queue()
    for state in range(200):
        queue.append(state, bytes([state]))
    assert [type(chunk.copies) for chunk in queue] == [list, bytes, bytes, bytes, bytes]
    assert [chunk.states for chunk in queue] == [1, 64, 64, 64, 7]
    assert figures(Search(plan()).breadth_first()) == figures(loose)


def test_keys_are_numbered_as_they_came() -> None:
    draws = Draws(1, "keys")
    keys = [draws.u64(number) for number in range(20_000)]
    seen = space.Seen()
    assert [seen.number_of(key) for key in [*keys, *keys]] == [*range(20_000), *range(20_000)]
    assert list(seen.keys) == keys


def test_the_memory_of_all_processes_is_bounded() -> None:
    large = plan("migrate", "kernel.profile=6.12")
    with Workers(large, 2) as workers:
        Search(large, None, workers).breadth_first()
        assert workers.memory_bytes > search.peak_bytes()


def test_an_interrupt_stops_between_two_states() -> None:
    walk = Search(plan())
    walk.interrupted = True
    stopped = walk.breadth_first()
    assert stopped.stopped == "interrupt"
    walk = Search(plan())
    walk.interrupted = True
    assert walk.at_random(10, 1).depth > 0


@pytest.mark.parametrize("profile", ["3.10", "4.9", "6.1", "6.12"])
@pytest.mark.parametrize("page_cluster", [0, 3])
def test_read_ahead_is_explored(profile: str, page_cluster: int) -> None:
    """The whole space, as without it: who joins a page on its way is no less sure to be woken."""
    sets = f"kernel.profile={profile}", f"host.page_cluster={page_cluster}"
    explored = Search(plan("two-tasks", *sets)).breadth_first()
    alone = Search(plan("two-tasks", sets[0])).breadth_first()
    assert explored.complete
    assert explored.found.keys() == alone.found.keys()
    assert explored.states != alone.states or not page_cluster
