"""Looks at a pickle before it is loaded: whether it only builds what a state consists of.

The allow-list of names says what may be built, not how.  A pickle can also alter a class that it
names (BUILD on the class itself), call one with what makes it grow without bound, ask for a memo of
64 GiB in five bytes (LONG_BINPUT), or nest so deeply that hashing runs out of stack.  So its
opcodes are walked through once with a stack of depths in place of objects.  Only opcodes that our
pickles have are known here; a pickle of large buffers has few of them, so this costs little.
"""

from __future__ import annotations

import pickletools
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

from pagewake.errors import DataError

DEPTH_MAX = 64
"""Of tuples within tuples; those of states are some levels deep."""
NOTHING = frozenset({"PROTO", "FRAME"})
TEXTS = frozenset({"SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"})
ATOMS = frozenset(
    {
        *("NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2", "LONG1", "LONG4"),
        *("BINFLOAT", "SHORT_BINBYTES", "BINBYTES", "BINBYTES8", "BYTEARRAY8"),
    }
)
EMPTY = frozenset({"EMPTY_LIST", "EMPTY_DICT", "EMPTY_SET"})
TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
INTO = frozenset({"APPENDS", "SETITEMS", "ADDITEMS"})
ONE_INTO = {"APPEND": 1, "SETITEM": 2}


class Data(NamedTuple):
    """Something built; `grows` if items may be put into it, `state` if it may be given one."""

    depth: int
    grows: bool = False
    state: bool = False


class Named(NamedTuple):
    """What a name stands for: a class, or a function."""

    found: Any


Value: TypeAlias = Data | Named | str
Find: TypeAlias = Callable[[str, str], Any]
May: TypeAlias = Callable[[Any], bool]
ATOM = Data(0)


class Walk:
    """One pickle; `find` resolves a name or refuses it.

    `may_call` knows what may be called, `may_make` of which classes objects may be made.
    """

    def __init__(self, find: Find, may_call: May, may_make: May) -> None:
        self._find = find
        self._may_call = may_call
        self._may_make = may_make
        self._stack: list[Value] = []
        self._marks: list[int] = []
        self._memo: list[Value] = []

    def through(self, plain: bytes) -> None:
        """DataError for what is no pickle of a state."""
        argument: Any
        for opcode, argument, _ in pickletools.genops(plain):
            name = opcode.name
            if name in ATOMS:
                self._stack.append(ATOM)
            elif name == "MEMOIZE":
                self._memo.append(self._stack[-1])
            elif name in ("BINGET", "LONG_BINGET"):
                self._stack.append(self._memo[argument])
            elif name in TEXTS:
                self._stack.append(argument)
            elif name == "MARK":
                self._marks.append(len(self._stack))
            elif name not in NOTHING:
                self._build(name)

    def _build(self, name: str) -> None:
        if name in TUPLES:
            self._stack.append(self._tuple(self._pop(TUPLES[name])))
        elif name in {"TUPLE", "FROZENSET"}:
            self._stack.append(self._tuple(self._to_mark()))
        elif name in EMPTY:
            self._stack.append(Data(1, grows=True))
        elif name in INTO:
            self._grow(self._to_mark())
        elif name in ONE_INTO:
            self._grow(self._pop(ONE_INTO[name]))
        elif name in STEPS:
            STEPS[name](self)
        else:
            raise DataError(f"a snapshot has the opcode {name}, which no pickle of a state has")

    # ------------------------------------------------------------------ values

    def _pop(self, count: int) -> list[Value]:
        if count > len(self._stack) - (self._marks[-1] if self._marks else 0):
            raise DataError("a snapshot takes more from its stack than there is")
        taken = self._stack[len(self._stack) - count :]
        del self._stack[len(self._stack) - count :]
        return taken

    def _to_mark(self) -> list[Value]:
        if not self._marks:
            raise DataError("a snapshot has no beginning of what it ends")
        begin = self._marks.pop()
        taken = self._stack[begin:]
        del self._stack[begin:]
        return taken

    @staticmethod
    def _tuple(items: list[Value]) -> Data:
        depth = 1 + max((item.depth for item in items if isinstance(item, Data)), default=0)
        if depth > DEPTH_MAX:
            raise DataError(f"a snapshot is nested more than {DEPTH_MAX} levels deep")
        return Data(depth)

    def _grow(self, _: list[Value]) -> None:
        into = self._stack[-1]
        if not isinstance(into, Data) or not into.grows:
            raise DataError("a snapshot puts items into what is no container")

    # ------------------------------------------------------------------ steps

    def _name(self) -> None:
        module, name = self._pop(2)
        if not isinstance(module, str) or not isinstance(name, str):
            raise DataError("a snapshot names something by what is no text")
        self._stack.append(Named(self._find(module, name)))

    def _call(self) -> None:
        called, arguments = self._pop(2)
        if not isinstance(called, Named) or not self._may_call(called.found):
            what = called.found if isinstance(called, Named) else "what has no name"
            raise DataError(f"a snapshot calls {what!r}, which no state needs")
        # What is called may give back what others have, too, such as a member of an enumeration.
        self._stack.append(Data(self._tuple([arguments]).depth, grows=called.found is deque))

    def _new(self) -> None:
        kind, arguments = self._pop(2)
        if not isinstance(kind, Named) or not self._may_make(kind.found):
            raise DataError("a snapshot makes an object of what is no class of a state")
        self._stack.append(Data(self._tuple([arguments]).depth, state=True))

    def _state(self) -> None:
        self._pop(1)
        given = self._stack[-1]
        if not isinstance(given, Data) or not given.state:
            raise DataError("a snapshot alters what is no object of its own")

    def _stop(self) -> None:
        self._pop(1)


STEPS: dict[str, Callable[[Walk], None]] = {
    "STACK_GLOBAL": Walk._name,  # noqa: SLF001 - of this class
    "REDUCE": Walk._call,  # noqa: SLF001
    "NEWOBJ": Walk._new,  # noqa: SLF001
    "BUILD": Walk._state,  # noqa: SLF001
    "STOP": Walk._stop,  # noqa: SLF001
}
