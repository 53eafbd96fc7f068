"""The sleeper hash against a model that is written the way the kernel is: 256 lists of nodes."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from pagewake.events.ids import Token
from pagewake.guest_kernel.sleepers import Sleepers

CPUS = 3
TOKENS = st.one_of(
    st.integers(0, 40).map(lambda n: n << 12),
    st.sampled_from([1, 16, 0x1001, 0x2002, 0xFFFFFFFE]),
)
Node = tuple[int, int, int | None]


class Buckets:
    """Heads of 256 lists; every operation searches its list from the head."""

    def __init__(self) -> None:
        self.heads: dict[int, list[Node]] = {n: [] for n in range(256)}

    def chain(self, token: int) -> list[Node]:
        return self.heads[(token * 0x9E370001) % (1 << 32) // (1 << 24)]

    def take(self, token: int) -> Node | None:
        chain = self.chain(token)
        for place, node in enumerate(chain):
            if node[0] == token:
                return chain.pop(place)
        return None

    def put(self, node: Node) -> None:
        self.chain(node[0]).insert(0, node)

    def take_all(self, cpu: int | None) -> list[Node]:
        taken = []
        for number, chain in self.heads.items():
            taken += [node for node in chain if cpu in (None, node[1])]
            self.heads[number] = [node for node in chain if cpu not in (None, node[1])]
        return taken


class SleepersMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.sleepers: Sleepers[int] = Sleepers()
        self.model = Buckets()
        self.leaked = 0
        self.lost: list[int] = []
        self.tasks = 0
        self.counts = dict.fromkeys(("made", "used", "slept", "woke"), 0)

    @rule(token=TOKENS, cpu=st.integers(0, CPUS - 1), halted=st.booleans())
    def wait(self, token: int, cpu: int, halted: bool) -> None:
        self.tasks += 1
        done = self.sleepers.task_wait(self.tasks, cpu, Token(token), halted)
        found = self.model.take(token)
        if found is None:
            assert done.slept
            self.model.put((token, cpu, self.tasks))
            self.counts["slept"] += 1
        elif found[2] is None:
            assert (done.slept, done.consumed, done.victim) == (False, "dummy", None)
            self.counts["used"] += 1
        else:
            assert (done.slept, done.consumed, done.victim) == (False, "sleeper", found[2])
            self.lost.append(found[2])

    @rule(token=TOKENS, cpu=st.integers(0, CPUS - 1), memory=st.booleans())
    def wake(self, token: int, cpu: int, memory: bool) -> None:
        done = self.sleepers.try_wake(cpu, Token(token), lambda: memory)
        found = self.model.take(token)
        if found is None and not memory:
            assert done is None
            return
        assert done is not None
        if found is None:
            assert done.kind == "inserted-dummy"
            self.model.put((token, cpu, None))
            self.counts["made"] += 1
        elif found[2] is None:
            assert done.kind == "unlinked-dummy"
            self.leaked += 1
        else:
            assert (done.kind, done.task, done.cpu) == ("woke", found[2], found[1])
            self.counts["woke"] += 1

    @rule(cpu=st.integers(0, CPUS - 1), everywhere=st.booleans())
    def wake_all(self, cpu: int, everywhere: bool) -> None:
        done = self.sleepers.wake_all(cpu, everywhere)
        taken = self.model.take_all(None if everywhere else cpu)
        assert done.woke == [(task, token) for token, _, task in taken if task is not None]
        assert done.dropped == [token for token, _, task in taken if task is None]
        self.leaked += len(done.dropped)
        self.counts["woke"] += len(done.woke)

    @invariant()
    def the_tables_are_equal(self) -> None:
        filled = [(number, chain) for number, chain in self.model.heads.items() if chain]
        assert self.sleepers.table() == filled

    @invariant()
    def dummies_are_conserved(self) -> None:
        assert self.sleepers.leaked == self.leaked
        left = self.sleepers.dummies
        assert self.counts["made"] == self.counts["used"] + self.leaked + left

    @invariant()
    def sleepers_are_conserved(self) -> None:
        assert sorted(self.sleepers.lost) == sorted(self.lost)
        assert self.counts["slept"] == self.counts["woke"] + len(self.sleepers.asleep)


TestSleepers = SleepersMachine.TestCase
TestSleepers.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)


def test_the_model_is_told_apart_from_a_table_that_forgets() -> None:
    """The machine can fail: a wake that is lost shows at once."""
    machine = SleepersMachine()
    machine.wait(0, 0, False)
    machine.sleepers.try_wake(0, Token(0), lambda: True)
    with pytest.raises(AssertionError):
        machine.the_tables_are_equal()
