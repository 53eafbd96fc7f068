"""Edits of a recording that no kernel logs: each takes lines and a place, gives new lines."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from random import Random
from typing import NamedTuple, TypeAlias

from pagewake.recorded.check import Breach, RecordedChecks, rules_for
from pagewake.recorded.checkable import checks_of, unheard
from pagewake.recorded.lines import LineReader
from pagewake.recorded.placed import Found
from pagewake.recorded.stitch import WANTED, Stitcher

Lines: TypeAlias = list[str]
BROADCAST = 0xFFFFFFFF
_TOKEN = re.compile(r"token 0x([0-9a-f]+) gva 0x([0-9a-f]+)")
_TIME = re.compile(r"\d+\.\d+(?=: )")


def breaches_of(lines: Sequence[str], profile: str = "6.1") -> list[Breach]:
    """What is wrong with these lines."""
    stitcher = Stitcher()
    found: list[Found] = []
    for item in LineReader("edited.txt", WANTED).feed("\n".join([*lines, ""])):
        found += stitcher.feed(item)
    found += stitcher.finish()
    checks = RecordedChecks(rules_for(profile), unheard(checks_of(stitcher.sight)))
    checks.take(found)
    return checks.finish()


def _of(line: str) -> tuple[int, int]:
    """Token and gva."""
    found = _TOKEN.search(line)
    assert found is not None, line
    return int(found[1], 16), int(found[2], 16)


def _thread(line: str) -> str:
    return line[: line.index(" [")].strip()


def _with_token(line: str, token: int) -> str:
    return re.sub(r"token 0x[0-9a-f]+", f"token {token:#x}", line)


def removed(lines: Lines, at: int, _: Random) -> Lines:
    return lines[:at] + lines[at + 1 :]


def doubled(lines: Lines, at: int, _: Random) -> Lines:
    return [*lines[: at + 1], lines[at], *lines[at + 1 :]]


def before_its_start(lines: Lines, at: int, _: Random) -> Lines | None:
    """A READY stands before its NOT_PRESENT, with a time that fits there."""
    token, _gva = _of(lines[at])
    start = next((i for i in range(at) if f"not_present: token {token:#x} " in lines[i]), None)
    if start is None:
        return None
    start -= "try_async" in lines[start - 1]
    time = _TIME.search(lines[start])
    assert time is not None
    moved = _TIME.sub(time[0], lines[at], count=1)
    return [*lines[:start], moved, *lines[start:at], *lines[at + 1 :]]


def to_another_vcpu(lines: Lines, at: int, random: Random) -> Lines | None:
    """By its token, or by its thread."""
    token, _ = _of(lines[at])
    if token == BROADCAST:
        return None
    if random.random() < 0.5:
        return [*lines[:at], _with_token(lines[at], token ^ 1), *lines[at + 1 :]]
    own = _thread(lines[at])
    others = {_thread(one) for one in lines if "/KVM-" in one and " kvm_entry" in one} - {own}
    if not others:
        return None
    return [*lines[:at], lines[at].replace(own, min(others), 1), *lines[at + 1 :]]


def with_a_stale_token(lines: Lines, at: int, _: Random) -> Lines | None:
    """That of the READY before it on this vcpu."""
    token, _gva = _of(lines[at])
    for i in reversed(range(at)):
        if "pf_ready" in lines[i] and _thread(lines[i]) == _thread(lines[at]):
            before, _gva = _of(lines[i])
            if BROADCAST in {before, token}:
                return None
            return [*lines[:at], _with_token(lines[at], before), *lines[at + 1 :]]
    return None


def second_start(lines: Lines, at: int, _: Random) -> Lines:
    """Of the same gfn, with the next token."""
    token, _gva = _of(lines[at])
    again = _with_token(lines[at], token + 0x1000)
    tried = [lines[at - 1]] if "try_async" in lines[at - 1] else []
    return [*lines[: at + 1], *tried, again, *lines[at + 1 :]]


def sixty_five(lines: Lines, at: int, _: Random) -> Lines:
    """65 more are started, none of which is ready."""
    token, gva = _of(lines[at])
    head = lines[at][: lines[at].index("kvm_async")]
    more = []
    for k in range(1, 66):
        other = gva + (0x100000 + k << 12)
        more += [
            f"{head}kvm_try_async_get_page: gva = {other:#x}, gfn = {other >> 12:#x}",
            f"{head}kvm_async_pf_not_present: token {token + (k << 12):#x} gva {other:#x}",
        ]
    return [*lines[: at + 1], *more, *lines[at + 1 :]]


def in_kernel_mode(lines: Lines, at: int, _: Random) -> Lines | None:
    """A fault of the kernel is told; or one that is told was the kernel's."""
    thread = _thread(lines[at])
    left = next(
        (i for i in reversed(range(at)) if "kvm_exit" in lines[i] and _thread(lines[i]) == thread),
        None,
    )
    if left is None:
        return None
    if "rip 0xffffffff" in lines[left]:
        head = lines[at][: lines[at].index("kvm_async")]
        return [*lines[: at + 1], f"{head}kvm_inj_exception: #PF (0x0)", *lines[at + 1 :]]
    kernel = re.sub(r"rip 0x[0-9a-f]+", "rip 0xffffffff81001234", lines[left])
    if not any("kvm_inj_exception: #PF (0x0)" in one for one in lines[at : at + 40]):
        return None
    return [*lines[:left], kernel, *lines[left + 1 :]]


def ids_with_a_gap(lines: Lines, at: int, _: Random) -> Lines:
    """From here on all ids of this vcpu are one higher."""
    token, _gva = _of(lines[at])

    def shifted(line: str) -> str:
        if "kvm_async_pf_not_present" not in line and "kvm_async_pf_ready" not in line:
            return line
        one, _gva = _of(line)
        later = one != BROADCAST and one & 0xFFF == token & 0xFFF and one >= token
        return _with_token(line, one + 0x1000) if later else line

    return lines[:at] + [shifted(line) for line in lines[at:]]


class Edit(NamedTuple):
    """An edit, the lines that it is made at, and the rules that it breaks."""

    make: Callable[[Lines, int, Random], Lines | None]
    at: str
    rules: frozenset[str]


READY, START = "kvm_async_pf_ready: ", "kvm_async_pf_not_present: "
EDITS = {
    "a ready removed": Edit(removed, READY, frozenset(("I5", "I6", "ack"))),
    "a ready doubled": Edit(doubled, READY, frozenset(("I1",))),
    "a ready before its start": Edit(before_its_start, READY, frozenset(("I1",))),
    "a ready of another vcpu": Edit(to_another_vcpu, READY, frozenset(("token", "I1"))),
    "a ready with a stale token": Edit(with_a_stale_token, READY, frozenset(("I1",))),
    "an ACK removed": Edit(removed, "msr_write 4b564d07", frozenset(("ack",))),
    "a second start": Edit(second_start, START, frozenset(("I2",))),
    "a 65th outstanding": Edit(sixty_five, START, frozenset(("I1",))),
    "told in kernel mode": Edit(in_kernel_mode, START, frozenset(("I4",))),
    "ids with a gap": Edit(ids_with_a_gap, START, frozenset(("token",))),
}


def tried(
    lines: Lines, edit: Edit, sample: int, seed: int
) -> tuple[list[int], list[tuple[int, set[str]]]]:
    """Places at which the edit was made, drawn by the seed; those where it was missed, and why."""
    random = Random(seed)
    places = [i for i, line in enumerate(lines) if edit.at in line]
    made, missed = [], []
    for at in sorted(random.sample(places, min(sample, len(places)))):
        edited = edit.make(lines, at, random)
        if edited is None:
            continue
        made.append(at)
        rules = {one.rule for one in breaches_of(edited)}
        if not rules & edit.rules:
            missed.append((at, rules))
    return made, missed
