"""Whatever stands in the topic of snapshots: nothing of it runs, and nothing grows unbounded."""

from __future__ import annotations

import codecs
import copyreg
import importlib
import os
import pickle
import pkgutil
import resource
import struct
import sys
from collections import Counter, OrderedDict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from operator import attrgetter
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

import pagewake
from pagewake.errors import DataError
from pagewake.kvm.modes import Mode
from pagewake.participants import snapshots
from pagewake.participants.build import host_participant, shard_participant
from pagewake.participants.plan import RunPlan
from pagewake.scenario.loading import load
from pagewake.simtime.window import Follower

PLAN = RunPlan.of("r", load("row-18-l2-npt"), 1)
REAL = [
    zstandard.ZstdDecompressor().decompress(snapshots.pack(participant.state()))
    for participant in (host_participant(PLAN, 0), shard_participant(PLAN, 0))
]
MEMORY_BYTES = 1 << 30
"""Beyond what this process has; a bomb asks for more, or ends with the process."""
FORBIDDEN = ("os.", "subprocess.", "socket.", "shutil.", "ctypes.", "exec", "compile", "open")
"""Beginnings of what the interpreter reports that no pickle may bring about."""


class Watch:
    """What the interpreter does while a snapshot is looked at; a hook cannot be taken away."""

    on = False
    seen: list[str] = []  # noqa: RUF012

    @classmethod
    def hook(cls, event: str, what: object) -> None:
        """Note what must not happen."""
        if cls.on and event.startswith(FORBIDDEN):
            cls.seen.append(f"{event} {what}")


sys.addaudithook(Watch.hook)
for module in pkgutil.walk_packages(pagewake.__path__, "pagewake."):
    if module.name.startswith(snapshots.PACKAGES):
        importlib.import_module(module.name)  # else a pickle that names it does that, once
for codec in (
    "raw-unicode-escape",
    "raw_unicode_escape",
    "unicode_escape",
    "utf-16",
    "utf-32",
    "latin-1",
):
    codecs.lookup(codec)  # the same for the texts of old pickles, and for arrays of characters


@contextmanager
def watched() -> Iterator[None]:
    """Nothing runs, and memory is bounded."""
    with Path("/proc/self/statm").open() as statm:
        size = int(statm.read().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY_BYTES, hard))
    Watch.seen.clear()
    Watch.on = True
    try:
        yield
    finally:
        Watch.on = False
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    assert Watch.seen == []


def packed(plain: bytes) -> bytes:
    return zstandard.compress(plain)


def refused(plain: bytes) -> str:
    """Why a pickle is no snapshot."""
    with watched(), pytest.raises(DataError) as told:
        snapshots.unpack(packed(plain))
    return str(told.value)


class Calls:
    """Pickles as a call of whatever it is given."""

    def __init__(self, *call: Any) -> None:
        self.call = call

    def __reduce__(self) -> Any:
        return self.call


def text(word: str) -> bytes:
    return pickle.SHORT_BINUNICODE + bytes([len(word)]) + word.encode()


def name(found: type) -> bytes:
    return text(found.__module__) + text(found.__name__) + pickle.STACK_GLOBAL


def state(attribute: str) -> bytes:
    """A state of slots that sets an attribute to 7."""
    slots = pickle.EMPTY_DICT + text(attribute) + pickle.BININT1 + b"\7" + pickle.SETITEM
    return pickle.NONE + slots + pickle.TUPLE2


HEAD = pickle.PROTO + b"\5"


@pytest.mark.parametrize(
    "bad",
    [
        Calls(os.system, ("false",)),
        Calls(eval, ("1",)),
        Calls(exec, ("1",)),
        Calls(getattr, (Follower, "accept")),
        Calls(attrgetter("accept"), (Follower,)),
        Calls(partial, (os.system, "false")),
        Calls(__import__, ("os",)),
        Calls(open, ("/etc/passwd",)),
        Calls(copyreg.constructor, (len,)),
        Calls(range, (1 << 40,)),
        Calls(bytearray, (1 << 40,)),
        Calls(Counter, ("abc",)),
        Calls(OrderedDict, ()),
        Calls(set, ([1],)),
        Calls(np.dtype, ("O",)),
        Calls(np.ndarray, ((1 << 36,),)),
        Calls(Follower, ()),
        Calls(snapshots.array_of, ("|O8", (1,), bytes(8))),
        Calls(snapshots.array_of, ("<i8", (1 << 36,), bytes(8))),
        Calls(deque, ([], -1)),
        [Calls(snapshots._zipf_table, (1 << 31, 0.9, 0))],
    ],
    ids=lambda bad: repr(getattr(bad, "call", bad))[:60],
)
def test_what_is_called_is_on_a_list_and_bounded(bad: object) -> None:
    assert "a snapshot" in refused(pickle.dumps({"inbox": bad}, protocol=5))


@pytest.mark.parametrize("protocol", range(4))
def test_pickles_of_before_are_not_known(protocol: int) -> None:
    assert "opcode" in refused(pickle.dumps({"a": ["x" * 300]}, protocol=protocol))


@pytest.mark.parametrize(
    "plain",
    [
        pytest.param(HEAD + name(Follower) + state("accept") + pickle.BUILD, id="class"),
        pytest.param(HEAD + name(deque) + state("append") + pickle.BUILD, id="library"),
        pytest.param(
            HEAD + name(Mode) + pickle.BININT1 + b"\1" + pickle.TUPLE1 + pickle.REDUCE
            + state("_value_") + pickle.BUILD,
            id="member",
        ),
        pytest.param(
            HEAD + name(Mode) + pickle.BININT1 + b"\1" + pickle.TUPLE1 + pickle.NEWOBJ
            + state("_value_") + pickle.BUILD,
            id="member-made",
        ),
        pytest.param(HEAD + name(Follower) + text("x") + pickle.APPEND, id="append"),
        pytest.param(HEAD + text("os") + text("system") + pickle.STACK_GLOBAL, id="function"),
        pytest.param(HEAD + pickle.INST + b"os\nsystem\n", id="inst"),
        pytest.param(HEAD + pickle.GLOBAL + b"os\nsystem\n", id="global"),
        pytest.param(HEAD + pickle.PERSID + b"1\n", id="persid"),
        pytest.param(HEAD + text("1") + pickle.BINPERSID, id="binpersid"),
        pytest.param(HEAD + pickle.EXT1 + b"\1", id="ext1"),
        pytest.param(HEAD + pickle.EXT4 + b"\1\0\0\0", id="ext4"),
        pytest.param(HEAD + pickle.NEXT_BUFFER, id="buffer"),
        pytest.param(HEAD + pickle.NONE + pickle.LONG_BINPUT + b"\xff" * 4, id="memo"),
        pytest.param(HEAD + pickle.LONG_BINGET + b"\xff" * 4, id="memo-read"),
        pytest.param(HEAD + pickle.BINBYTES8 + struct.pack("<Q", 1 << 62), id="bytes"),
        pytest.param(HEAD + pickle.BYTEARRAY8 + struct.pack("<Q", 1 << 40), id="bytearray"),
        pytest.param(HEAD + pickle.LONG4 + struct.pack("<i", (1 << 31) - 1), id="long"),
        pytest.param(HEAD + pickle.FRAME + struct.pack("<Q", 1 << 62), id="frame"),
        pytest.param(
            HEAD + pickle.EMPTY_DICT + pickle.EMPTY_TUPLE + 1_000_000 * pickle.TUPLE1
            + pickle.NONE + pickle.SETITEM,
            id="deep",
        ),
        pytest.param(HEAD + 10_000 * pickle.MARK, id="marks"),
        pytest.param(HEAD + pickle.TUPLE3, id="empty"),
    ],
)  # fmt: skip
def test_how_it_is_built_is_looked_at_before(plain: bytes) -> None:
    before = dict(vars(Follower)), [member.value for member in Mode]
    assert refused(plain + pickle.STOP)
    assert before == (dict(vars(Follower)), [member.value for member in Mode])


def test_what_was_packed_to_fill_memory_is_not_unpacked() -> None:
    content = zstandard.compress(bytes(1 << 30))
    with watched(), pytest.raises(DataError, match="a snapshot says no size"):
        snapshots.unpack(content)


def survives(plain: bytes) -> None:
    """It is some state, or refused."""
    with watched():
        try:
            state = snapshots.unpack(packed(plain))
        except DataError:
            return
    assert isinstance(state, dict)


@given(st.binary(max_size=4096))
@settings(max_examples=300, deadline=None)
def test_bytes_of_any_kind_run_nothing(plain: bytes) -> None:
    survives(plain)
    survives(HEAD + plain)
    with watched(), pytest.raises(DataError):
        snapshots.unpack(plain)


@given(st.sampled_from(REAL), st.integers(0, 2**32), st.integers(1, 8))
@settings(max_examples=300, deadline=None)
def test_real_snapshots_that_were_altered_run_nothing(
    real: bytes, seed: int, alterations: int
) -> None:
    draws = Random(seed)
    plain = bytearray(real)
    for _ in range(alterations):
        at = draws.randrange(len(plain))
        if draws.random() < 0.5:
            plain[at] = draws.randrange(256)
        else:
            begin = draws.randrange(len(plain))
            plain[at:at] = plain[begin : begin + draws.randrange(64)]
    survives(bytes(plain))
