"""The sleeper hash: its transition table, the order of wake_all, spinning without memory."""

from __future__ import annotations

import pickle

import pytest

from pagewake.events.ids import Token
from pagewake.guest_kernel.sleepers import Sleepers
from pagewake.kvm.gfn_hash import NEW_MULTIPLIER

TOKEN = 0x1000
OTHER = 0x2000


def memory() -> bool:
    return True


def no_memory() -> bool:
    return False


def unused() -> bool:
    raise AssertionError("nothing is to be allocated here")


def table_with(state: str) -> Sleepers[str]:
    sleepers: Sleepers[str] = Sleepers()
    if state == "sleeping":
        sleepers.task_wait("sleeper", 0, Token(TOKEN))
    if state == "dummy":
        sleepers.try_wake(0, Token(TOKEN), memory)
    return sleepers


def state_of(sleepers: Sleepers[str]) -> str:
    entry = sleepers.find(Token(TOKEN))
    if entry is None:
        return "absent"
    return "dummy" if entry.task is None else f"sleeping {entry.task}"


@pytest.mark.parametrize(
    ("before", "operation", "result", "after", "leaked", "lost"),
    [
        ("absent", "wait", "slept", "sleeping second", 0, {}),
        ("sleeping", "wait", "sleeper", "absent", 0, {"sleeper": TOKEN}),
        ("dummy", "wait", "dummy", "absent", 0, {}),
        ("absent", "wake", "inserted-dummy", "dummy", 0, {}),
        ("sleeping", "wake", "woke", "absent", 0, {}),
        ("dummy", "wake", "unlinked-dummy", "absent", 1, {}),
        ("absent", "wake_all on its cpu", ([], []), "absent", 0, {}),
        ("sleeping", "wake_all on its cpu", ([("sleeper", TOKEN)], []), "absent", 0, {}),
        ("dummy", "wake_all on its cpu", ([], [TOKEN]), "absent", 1, {}),
        ("sleeping", "wake_all on another", ([], []), "sleeping sleeper", 0, {}),
        ("dummy", "wake_all on another", ([], []), "dummy", 0, {}),
    ],
)
def test_transition(
    before: str, operation: str, result: object, after: str, leaked: int, lost: dict[str, int]
) -> None:
    sleepers = table_with(before)
    got: object
    if operation == "wait":
        waited = sleepers.task_wait("second", 0, Token(TOKEN))
        got = "slept" if waited.slept else waited.consumed
    elif operation == "wake":
        woken = sleepers.try_wake(0, Token(TOKEN), memory if before == "absent" else unused)
        assert woken is not None
        got = woken.kind
    else:
        got = tuple(sleepers.wake_all(0 if operation.endswith("its cpu") else 1))
    assert got == result
    assert state_of(sleepers) == after
    assert sleepers.leaked == leaked
    assert sleepers.lost == lost


def test_a_wake_says_whom_it_woke_where_and_how_it_waited() -> None:
    sleepers: Sleepers[str] = Sleepers()
    sleepers.task_wait("t", 3, Token(TOKEN), halted=True)
    woken = sleepers.try_wake(1, Token(TOKEN), unused)
    assert woken is not None
    assert (woken.kind, woken.task, woken.cpu, woken.halted) == ("woke", "t", 3, True)


def test_a_dummy_belongs_to_the_cpu_of_its_wake_not_to_the_token() -> None:
    sleepers: Sleepers[str] = Sleepers()
    sleepers.try_wake(2, Token(TOKEN | 1), memory)
    assert sleepers.wake_all(1).dropped == []
    assert sleepers.wake_all(2).dropped == [TOKEN | 1]


def test_two_waits_for_one_token_lose_the_first_task_for_good() -> None:
    sleepers = table_with("sleeping")
    assert sleepers.task_wait("second", 0, Token(TOKEN)).victim == "sleeper"
    assert sleepers.wake_all(0).woke == []
    assert sleepers.asleep == ["sleeper"]


def test_a_dummy_taken_out_by_wake_all_leaves_the_wait_asleep() -> None:
    sleepers = table_with("dummy")
    sleepers.wake_all(0)
    assert sleepers.task_wait("late", 0, Token(TOKEN)).slept


def test_without_memory_an_attempt_changes_nothing_and_another_cpu_can_end_the_spin() -> None:
    sleepers: Sleepers[str] = Sleepers()
    assert sleepers.try_wake(0, Token(TOKEN), no_memory) is None
    assert sleepers.table() == []
    sleepers.task_wait("t", 1, Token(TOKEN))
    woken = sleepers.try_wake(0, Token(TOKEN), unused)
    assert woken is not None
    assert woken.task == "t"


def test_a_chain_has_the_newest_entry_at_its_head() -> None:
    sleepers: Sleepers[int] = Sleepers()
    for task, number in enumerate((0, 16, 32)):
        sleepers.task_wait(task, 0, Token(number << 12))
    sleepers.task_wait(9, 0, Token(OTHER))
    assert sleepers.table() == [
        (0, [(32 << 12, 0, 2), (16 << 12, 0, 1), (0, 0, 0)]),
        (224, [(OTHER, 0, 9)]),
    ]


def test_wake_all_walks_buckets_upwards_and_chains_from_the_head() -> None:
    sleepers: Sleepers[int] = Sleepers()
    for task, number in enumerate((2, 0, 16)):
        sleepers.task_wait(task, 0, Token(number << 12))
    sleepers.try_wake(0, Token(32 << 12), memory)
    done = sleepers.wake_all(0)
    assert [task for task, _ in done.woke] == [2, 1, 0]
    assert done.dropped == [32 << 12]
    assert sleepers.leaked == 1


def test_wake_all_everywhere_reaches_what_waited_on_other_cpus() -> None:
    sleepers: Sleepers[int] = Sleepers()
    sleepers.task_wait(1, 0, Token(TOKEN))
    sleepers.task_wait(2, 5, Token(OTHER))
    assert [task for task, _ in sleepers.wake_all(3).woke] == []
    assert [task for task, _ in sleepers.wake_all(3, everywhere=True).woke] == [1, 2]


def test_the_multiplier_decides_about_buckets() -> None:
    sleepers: Sleepers[int] = Sleepers(NEW_MULTIPLIER)
    sleepers.task_wait(1, 0, Token(TOKEN))
    assert sleepers.table() == [(136, [(TOKEN, 0, 1)])]


def test_the_broadcast_token_is_not_a_token() -> None:
    with pytest.raises(AssertionError, match="wake_all"):
        Sleepers[int]().try_wake(0, Token(0xFFFFFFFF), memory)


def test_a_table_survives_a_snapshot() -> None:
    sleepers: Sleepers[str] = Sleepers()
    sleepers.task_wait("a", 0, Token(TOKEN))
    sleepers.task_wait("b", 0, Token(TOKEN))
    sleepers.task_wait("c", 1, Token(OTHER), halted=True)
    sleepers.try_wake(0, Token(TOKEN), memory)
    copy: Sleepers[str] = pickle.loads(pickle.dumps(sleepers))
    assert copy.table() == sleepers.table()
    assert copy.lost == sleepers.lost
    assert (copy.dummies, copy.asleep) == (1, ["c", "a"])
