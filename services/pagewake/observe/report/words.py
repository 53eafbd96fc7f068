"""Figures as words: what a page says of a number. A unit is never parted from its figure."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import floor, log10

_USES = {
    "blackout": "blacked out for a page",
    "halted": "halted for a page",
    "idle": "idle",
    "interrupt": "interrupts",
    "exit": "exits to the host",
    "polling": "polls before it halts",
    "steal": "waits for a CPU of the host",
    "l1": "the hypervisor in L1",
}
GLUE = "\u00a0"
_UNITS_S = (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6), ("ns", 1e-9))


def count(number: int) -> str:
    """A number with its thousands apart: `1,234`."""
    return f"{number:,}"


def counted(number: int, thing: str, things: str = "") -> str:
    """A number with its noun: `1 fault`, `2 faults`."""
    return f"{number:,} {thing if number == 1 else things or f'{thing}s'}"


def percent(part: float, whole: float) -> str:
    """A share; neither what is there nor what is missing is rounded away."""
    if not whole:
        return f"0{GLUE}%"
    share = 100 * part / whole
    if 0 < share < 0.05:
        return f"<0.1{GLUE}%"
    if 99.95 <= share < 100:
        return f">99.9{GLUE}%"
    return f"{share:.1f}".removesuffix(".0") + f"{GLUE}%"


def duration(value_s: float, digits: int = 3) -> str:
    """Seconds in the unit that keeps these digits readable."""
    for unit, scale in _UNITS_S:
        if value_s >= scale * (1 - 1e-9):
            return f"{value_s / scale:.{digits}g}{GLUE}{unit}"
    return f"0{GLUE}s" if value_s <= 0 else f"{value_s * 1e9:.3g}{GLUE}ns"


def instant(at_ns: int) -> str:
    """A point of simulated time, every digit that says something."""
    unit, scale = next((one for one in _UNITS_S if at_ns >= one[1] * 1e9), ("s", 1.0))
    digits = round(log10(scale * 1e9))
    text = f"{at_ns / (scale * 1e9):.{digits}f}"
    return (text.rstrip("0").rstrip(".") if "." in text else text) + f"{GLUE}{unit}"


def on_axis(values_s: Sequence[float]) -> list[str]:
    """Labels of the ticks of an axis of time: one unit for all, and digits that tell them apart."""
    largest = max((abs(value) for value in values_s), default=0.0)
    unit, scale = next((one for one in _UNITS_S if largest >= one[1] * (1 - 1e-9)), _UNITS_S[-1])
    apart = min((b - a for a, b in pairwise(sorted(values_s))), default=largest) / scale
    digits = max(0, -floor(log10(apart) + 1e-9)) if apart > 0 else 0
    digits += 0 if abs(apart * 10**digits - round(apart * 10**digits)) < 1e-6 else 1
    return [f"{value / scale:.{digits}f}{GLUE}{unit}" for value in values_s]


def use(kind: str) -> str:
    """What a kind of vcpu time was used for, in words."""
    task = kind.removeprefix("task:")
    return f"task {task}" if task != kind else _USES.get(kind, kind)


def short(number: int) -> str:
    """A large count in a few characters; small ones are written out."""
    for unit, scale in (("T", 10**12), ("G", 10**9), ("M", 10**6)):
        if number >= scale:
            return f"{number / scale:.4g}{GLUE}{unit}"
    return count(number)
