"""The sleeper hash of one guest: who waits for which token, and the wakes that came first.

Theory of operation (semantics 2.3, from "KVM: Handle async PF in a guest.").  An entry is a
sleeping task, or a dummy that a wake left because its wait had not come yet.  Wait and wake both
take out what they find and otherwise put something in, so a token never has more than one entry:

    entry     wait(token)                     wake(token)                  wake_all on entry.cpu
    absent    sleeper inserted, task sleeps   dummy inserted, if memory    -
    sleeper   taken for a dummy: its task     removed, its task wakes      removed, its task wakes
              is lost, this one returns
    dummy     removed and freed, returns      removed, memory leaks        removed, memory leaks

The kernel has 256 buckets and inserts at the head.  A dict by token in order of insertion holds
the same: a bucket, head to tail, is its entries from the newest to the oldest.  Buckets show only
in the order in which wake_all walks, so they are computed there; empty tables cost nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Generic, Literal, NamedTuple, TypeVar

from mypy_extensions import mypyc_attr

from pagewake.events.ids import Token
from pagewake.kvm.abi import BROADCAST_TOKEN
from pagewake.kvm.gfn_hash import OLD_MULTIPLIER, hash_32
from pagewake.simtime.state import Saved

TaskT = TypeVar("TaskT", bound="int | str")

HASH_BITS: Final = 8


@mypyc_attr(allow_interpreted_subclasses=True)
class Entry(Saved, Generic[TaskT]):
    """A node of the table; `cpu` is where it was made, `task` None marks a dummy."""

    __slots__ = ("cpu", "halted", "task", "token")

    def __init__(self, token: Token, cpu: int, task: TaskT | None, halted: bool) -> None:
        self.token = token
        self.cpu = cpu
        self.task = task
        self.halted = halted


class WaitResult(NamedTuple):
    """Of task_wait: it `slept`, or returned at once because it `consumed` an entry.

    `victim`: the task whose entry it took for a dummy and freed.
    """

    slept: bool
    consumed: Literal["dummy", "sleeper"] | None = None
    victim: int | str | None = None


@mypyc_attr(acyclic=True)
class WakeResult:
    """Of one attempt of task_wake; `task`, `cpu` and `halted` are those of the woken entry."""

    __slots__ = ("cpu", "halted", "kind", "task")

    def __init__(
        self,
        kind: Literal["woke", "inserted-dummy", "unlinked-dummy"],
        task: int | str | None = None,
        cpu: int = -1,
        halted: bool = False,
    ) -> None:
        self.kind = kind
        self.task = task
        self.cpu = cpu
        self.halted = halted


class WakeAllResult(NamedTuple):
    """(task, token) of those woken and tokens of the dummies unlinked, in the order it happened."""

    woke: list[tuple[int | str, Token]]
    dropped: list[Token]


SLEPT: Final = WaitResult(True)
RETURNED: Final = WaitResult(False, "dummy")
INSERTED_DUMMY: Final = WakeResult("inserted-dummy")
UNLINKED_DUMMY: Final = WakeResult("unlinked-dummy")


@mypyc_attr(allow_interpreted_subclasses=True)
class Sleepers(Saved, Generic[TaskT]):
    """See the module.  `leaked` counts dummies unlinked and never freed."""

    __slots__ = ("_entries", "_lost", "_multiplier", "leaked")

    def __init__(self, multiplier: int = OLD_MULTIPLIER) -> None:
        self._multiplier = multiplier
        self._entries: dict[Token, Entry[TaskT]] = {}
        self._lost: dict[TaskT, int] = {}
        self.leaked = 0

    # ------------------------------------------------------------------ the three operations

    def task_wait(self, task: TaskT, cpu: int, token: Token, halted: bool = False) -> WaitResult:
        """NOT_PRESENT for `task` on `cpu`; `halted` is kept for the wake (semantics 2.4)."""
        entry = self._entries.pop(token, None)
        if entry is None:
            self._entries[token] = Entry(token, cpu, task, halted)
            return SLEPT
        if entry.task is None:
            return RETURNED
        self._lost[entry.task] = token
        return WaitResult(False, "sleeper", entry.task)

    def try_wake(
        self, cpu: int, token: Token, can_allocate: Callable[[], bool]
    ) -> WakeResult | None:
        """One attempt of task_wake on `cpu`; None: it needed memory and got none, so try again.

        `can_allocate` is called only if a dummy is needed.  The broadcast token is `wake_all`'s.
        """
        assert token != BROADCAST_TOKEN, "the broadcast token is for wake_all"
        entry = self._entries.get(token)
        if entry is None:
            if not can_allocate():
                return None
            self._entries[token] = Entry(token, cpu, None, False)
            return INSERTED_DUMMY
        del self._entries[token]
        if entry.task is None:
            self.leaked += 1
            return UNLINKED_DUMMY
        return WakeResult("woke", entry.task, entry.cpu, entry.halted)

    def wake_all(self, cpu: int, everywhere: bool = False) -> WakeAllResult:
        """Take out every entry made on `cpu`, or on any (gap G7 closed); dummies leak."""
        result = WakeAllResult([], [])
        if not self._entries:
            return result
        for entry in self._in_order():
            if entry.cpu != cpu and not everywhere:
                continue
            del self._entries[entry.token]
            if entry.task is None:
                result.dropped.append(entry.token)
            else:
                result.woke.append((entry.task, entry.token))
        self.leaked += len(result.dropped)
        return result

    # ------------------------------------------------------------------ for readers

    def find(self, token: Token) -> Entry[TaskT] | None:
        """The entry for a token."""
        return self._entries.get(token)

    def bucket(self, token: Token) -> int:
        """0 to 255."""
        return hash_32(token, HASH_BITS, self._multiplier)

    def table(self) -> list[tuple[int, list[tuple[int, int, TaskT | None]]]]:
        """Non-empty buckets in ascending order, each with (token, cpu, task) from head to tail."""
        buckets: dict[int, list[tuple[int, int, TaskT | None]]] = {}
        for entry in self._in_order():
            chain = buckets.setdefault(self.bucket(entry.token), [])
            chain.append((entry.token, entry.cpu, entry.task))
        return list(buckets.items())

    @property
    def dummies(self) -> int:
        """Dummies in the table."""
        return sum(1 for entry in self._entries.values() if entry.task is None)

    @property
    def asleep(self) -> list[TaskT]:
        """Tasks whose wait has not returned: those in the table, then those lost."""
        linked = [entry.task for entry in self._entries.values() if entry.task is not None]
        return [*linked, *self._lost]

    @property
    def lost(self) -> dict[TaskT, int]:
        """Tasks asleep whose entry is gone, each with the token it waits for."""
        return dict(self._lost)

    def _in_order(self) -> list[Entry[TaskT]]:
        """All entries as wake_all walks them: bucket by bucket, the newest first."""
        newest_first = list(reversed(self._entries.values()))
        newest_first.sort(key=lambda entry: self.bucket(entry.token))
        return newest_first
