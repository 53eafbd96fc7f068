"""Figures as words: what a page says of a number. A unit is never parted from its figure."""

from __future__ import annotations

_USES = {
    "blackout": "blacked out for a page",
    "halted": "halted for a page",
    "idle": "idle",
    "interrupt": "interrupts",
    "exit": "exits to the host",
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
    if 0 < at_ns < 100_000:
        return f"{at_ns / 1e3:.3f}".rstrip("0").rstrip(".") + f"{GLUE}µs"
    return f"{at_ns / 1e9:.9f}".rstrip("0").rstrip(".") + f"{GLUE}s"


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
