"""Where a vcpu thread is, and every way from one place to another.

`TRANSITIONS` is the whole table: a thread goes nowhere else, and `docs/explanation/vcpu-states.md`
is drawn from it.  The two changes that every exit makes, entry and exit, are written where they
happen (`thread.py`, `loop.py`) behind an assert; all others go through `VcpuThread.become`.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Final, Literal


class Mode(IntEnum):
    """Where a vcpu thread is; `ABOUT` says what that means."""

    GUEST = 0
    HOST = 1
    BLACKOUT = 2
    BLOCKED = 3
    WAKING = 4
    OFFLINE = 5
    HLT = 6


# An attribute of an Enum class costs a call in Python 3.11, a name of a module does not.
GUEST: Final = Mode.GUEST
HOST: Final = Mode.HOST
BLACKOUT: Final = Mode.BLACKOUT
BLOCKED: Final = Mode.BLOCKED
WAKING: Final = Mode.WAKING
OFFLINE: Final = Mode.OFFLINE
HLT: Final = Mode.HLT

ABOUT: Final[Mapping[Mode, str]] = {
    Mode.GUEST: "runs the guest",
    Mode.HOST: "handles an exit, or is on its way back into the guest",
    Mode.BLACKOUT: "reads a page itself, or waits for workers to end before it empties its queue: "
    "no instruction, no interrupt so long",
    Mode.BLOCKED: "waits in kvm_vcpu_block(), or polls there: HLT, or halted for a page",
    Mode.WAKING: "is runnable and waits for a CPU of the host",
    Mode.OFFLINE: "does not exist for the guest, or the VM is over",
    Mode.HLT: "is in HLT that does not exit: still in guest mode, for L0 as if it ran",
}

Change = Literal[
    "entry",
    "exit",
    "wait",
    "clear",
    "page",
    "block",
    "event",
    "run",
    "preempt",
    "revive",
    "park",
    "init",
    "over",
    "halt",
]

CHANGES: Final[Mapping[Change, str]] = {
    "entry": "VMRUN: requests are honoured, what is pending is injected",
    "exit": "#VMEXIT, of the guest's own or by a kick",
    "halt": "HLT, in a VM whose HLT does not exit",
    "wait": "a page that cannot be waited for asynchronously: the thread reads it itself",
    "clear": "the queue is to be emptied, and workers run: the thread waits for them",
    "page": "the page, or the last of the workers, that the thread waits for is there",
    "block": "the guest halts, or was halted for a page, and nothing is pending",
    "event": "a completion, an interrupt or an NMI makes the vcpu runnable",
    "run": "the host's scheduler has put the thread on a CPU",
    "preempt": "other threads go first: `host.cpus` are fewer than want to run",
    "revive": "migration or reset: whatever the thread waited for is void",
    "park": "the guest's kernel has taken the CPU down",
    "init": "INIT and SIPI from another CPU",
    "over": "the VM's last task has finished",
}

TRANSITIONS: Final[dict[Mode, dict[Change, Mode]]] = {
    Mode.GUEST: {"exit": Mode.HOST, "halt": Mode.HLT, "over": Mode.OFFLINE},
    Mode.HOST: {
        "entry": Mode.GUEST,
        "wait": Mode.BLACKOUT,
        "clear": Mode.BLACKOUT,
        "block": Mode.BLOCKED,
        "preempt": Mode.WAKING,
        "revive": Mode.HOST,
        "park": Mode.OFFLINE,
        "over": Mode.OFFLINE,
    },
    Mode.BLACKOUT: {"page": Mode.WAKING, "over": Mode.OFFLINE},
    Mode.BLOCKED: {
        "event": Mode.WAKING,
        "clear": Mode.BLACKOUT,
        "revive": Mode.HOST,
        "over": Mode.OFFLINE,
    },
    Mode.WAKING: {
        "run": Mode.HOST,
        "clear": Mode.BLACKOUT,
        "revive": Mode.HOST,
        "over": Mode.OFFLINE,
    },
    Mode.OFFLINE: {"init": Mode.HOST, "over": Mode.OFFLINE},
    Mode.HLT: {"exit": Mode.HOST, "revive": Mode.HOST, "over": Mode.OFFLINE},
}
