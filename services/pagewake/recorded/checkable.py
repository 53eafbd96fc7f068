"""Which invariants a recording lets one check, by the kinds of lines that it has.

Without some lines an invariant is not checked at all, or what is checked of it is less; without
others its checker would take for wrong what it only does not see, so that it is not heard.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final, NamedTuple

from pagewake.recorded import names
from pagewake.recorded.log import Check
from pagewake.recorded.sight import Sight


class _Needs(NamedTuple):
    """What an invariant needs lines of, of each kind one; and what goes without them.

    `misleads`: what goes without these it would call wrong.
    """

    check: str
    kinds: tuple[tuple[str, ...], ...]
    lost: str
    misleads: tuple[tuple[str, ...], ...] = ()


_READY = (names.READY,)
_IN_AND_OUT = (names.EXIT, names.ENTRY)
"""What a vcpu did in one pass is told apart from the next by one of them."""
_OUTSTANDING = ((names.NOT_PRESENT,), _READY)
_NEEDS = (
    _Needs("token", ((names.NOT_PRESENT,),), "tokens cannot be checked"),
    _Needs("I1", _OUTSTANDING, "what is outstanding is not known", (_READY,)),
    _Needs("I2", _OUTSTANDING, "what is outstanding is not known", (_READY,)),
    _Needs("I3", ((names.INJECTED,),), "what was injected is not known"),
    _Needs(
        "I4",
        ((names.INJECTED,), (names.EXIT, names.PAGE_FAULT), _IN_AND_OUT),
        "the mode of the guest at an injection is not known",
        (_IN_AND_OUT,),
    ),
    _Needs("I5", ((names.COMPLETED,), _READY), "the order of completions is not known"),
    _Needs("I6", ((names.INJECTED,), (names.ACCEPT_IRQ,)), "what the guest was told is not known"),
    _Needs("I7", (_IN_AND_OUT,), "when a halt ends is not known", (_IN_AND_OUT,)),
    _Needs(
        "ack",
        ((names.MSR,), (names.ACCEPT_IRQ,), _IN_AND_OUT),
        "ACKs cannot be checked",
        ((names.MSR,), _IN_AND_OUT),
    ),
)
_SLEEPERS = _Needs(
    "sleepers",
    ((names.APF_WAIT,), (names.APF_WAKE,), (names.APF_WAIT_RETURN, names.SWITCH)),
    "the table of sleepers is known in part",
    ((names.APF_WAIT,), (names.APF_WAKE,)),
)
_WAKE = _Needs(
    "wake",
    ((names.APF_WAIT,), (names.APF_WAKE,), (names.INJECTED,), _READY),
    "what the guest was told is not known",
    ((names.INJECTED,), _READY),
)
INVARIANTS: Final = tuple(needs.check for needs in (*_NEEDS, _SLEEPERS, _WAKE))
"""What a recording may break."""
_NO_GUEST = Check("sleepers", False, "what guests do is not in a recording of the host")
_NO_HOST = "what the host does is not in a recording of a guest"
_NOWHERE = (Check("page-in", False, "answers of the host's memory are not in a recording"),)
_NO_ACKS = Check("ack", False, "READY is an exception in this kernel: there are no ACKs")


def checks_of(sight: Sight, *, ready_by_interrupt: bool = True) -> list[Check]:
    """Every invariant, possible or not, and why."""
    if names.only_a_guest(sight.lines):
        unseen = [Check(needs.check, False, _NO_HOST, heard=False) for needs in _NEEDS]
        return [*unseen, _check(_SLEEPERS, sight), *_NOWHERE]
    found = [
        _NO_ACKS if needs.check == "ack" and not ready_by_interrupt else _check(needs, sight)
        for needs in _NEEDS
    ]
    has_guest = any(sight.lines[name] for name in (names.APF_WAIT, names.APF_WAKE))
    guest = (_check(_SLEEPERS, sight), _check(_WAKE, sight)) if has_guest else (_NO_GUEST,)
    return [*found, *guest, *_NOWHERE]


def unheard(checks: Iterable[Check]) -> frozenset[str]:
    """Invariants whose checkers would be misled."""
    return frozenset(check.name for check in checks if not check.heard)


def _check(needs: _Needs, sight: Sight) -> Check:
    kinds = needs.kinds
    if not sight.signs & {"interrupt", "msr int", "msr ack"} and "exception" in sight.signs:
        kinds = tuple(kind for kind in kinds if kind != (names.ACCEPT_IRQ,))
    missing = _missing(kinds, sight)
    why = f"no {', no '.join(missing)} lines: {needs.lost}" if missing else ""
    return Check(needs.check, not missing, why, not _missing(needs.misleads, sight))


def _missing(kinds: Collection[tuple[str, ...]], sight: Sight) -> list[str]:
    """Kinds of which there is no line."""
    return [" or ".join(kind) for kind in kinds if not any(sight.lines[one] for one in kind)]
