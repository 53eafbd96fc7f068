"""explanation/vcpu-states.md: where a vcpu thread is and how it gets from there, from the table."""

from __future__ import annotations

from collections.abc import Iterator

from docs.generate.markdown import code, head, table
from pagewake.kvm.modes import ABOUT, CHANGES, TRANSITIONS, Change, Mode

INTRODUCTION = """
A vcpu thread of L0 is in one of these modes. An arrow is a change that can happen; whatever is not
in the picture is refused when a run tries it. Three facts of the protocol can be read off:

- READY wakes a thread that is BLOCKED, and only there: a thread in BLACKOUT waits for its one page.
- A thread in BLACKOUT takes no interrupt. That is what an asynchronous fault avoids.
- A completion that comes in GUEST changes nothing before the next exit; from 5.8 on it causes one.
"""
END: Change = "over"


def page() -> str:
    """The whole page."""
    modes = table(["mode", "the thread"], [(code(mode.name), ABOUT[mode]) for mode in Mode])
    changes = table(
        ["change", "from", "to", "when"],
        [(code(change), *_ways(change), when) for change, when in CHANGES.items()],
    )
    parts = [head("States of a vcpu thread", "`kvm/modes.py`", INTRODUCTION), _picture()]
    return "\n".join([*parts, "## Modes\n", modes, "## Changes\n", changes])


def _picture() -> str:
    """All but the end of the VM, which leads from every mode to OFFLINE."""
    return "\n".join(["```mermaid", "stateDiagram-v2", *_arrows(), "```\n"])


def _arrows() -> Iterator[str]:
    yield f"    [*] --> {Mode.HOST.name}"
    for before, ways in TRANSITIONS.items():
        for change, after in ways.items():
            if change != END:
                yield f"    {before.name} --> {after.name}: {change}"


def _ways(change: Change) -> tuple[str, str]:
    ways = {before: to[change] for before, to in TRANSITIONS.items() if change in to}
    before = "any" if len(ways) == len(Mode) else ", ".join(code(mode.name) for mode in ways)
    return before, ", ".join(code(mode.name) for mode in dict.fromkeys(ways.values()))
