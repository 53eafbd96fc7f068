"""Which invariants a recording lets one check, by the kinds of lines that it has."""

from __future__ import annotations

from typing import NamedTuple

from pagewake.recorded import names
from pagewake.recorded.log import Check
from pagewake.recorded.sight import Sight


class _Needs(NamedTuple):
    """What an invariant needs lines of, and what goes without them."""

    check: str
    lines: tuple[str, ...]
    lost: str


_NEEDS = (
    _Needs("token", (names.NOT_PRESENT,), "tokens cannot be checked"),
    _Needs("I1", (names.NOT_PRESENT, names.READY), "what is outstanding is not known"),
    _Needs("I2", (names.NOT_PRESENT, names.READY), "what is outstanding is not known"),
    _Needs("I3", (names.INJECTED,), "what was injected is not known"),
    _Needs("I4", (names.INJECTED, names.EXIT), "the mode of the guest at an injection is unknown"),
    _Needs("I5", (names.COMPLETED, names.READY), "the order of completions is not known"),
    _Needs("I6", (names.INJECTED, names.ACCEPT_IRQ), "what the guest was told is not known"),
    _Needs("I7", (names.ENTRY,), "when a halt ends is not known"),
    _Needs("ack", (names.MSR, names.ACCEPT_IRQ), "ACKs cannot be checked"),
)
_GUEST = (
    Check("sleepers", False, "what guests do is not in a recording of the host"),
    Check("page-in", False, "answers of the host's memory are not in a recording"),
)


def checks_of(sight: Sight) -> list[Check]:
    """Every invariant, possible or not, and why."""
    found = []
    for check, lines, lost in _NEEDS:
        missing = [name for name in lines if not sight.lines[name]]
        why = f"no {', no '.join(missing)} lines: {lost}" if missing else ""
        found.append(Check(check, not missing, why))
    return [*found, *_GUEST]
