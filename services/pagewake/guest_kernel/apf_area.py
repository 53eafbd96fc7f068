"""The shared area of one guest CPU: what the host writes, and the guest's own `enabled` word.

Rule: semantics 1.2 (the host writes 4 bytes at offset 0; `enabled` lies behind the 64 bytes it
knows), and for 5.8 semantics 6: the word at 0 holds flags and a second word, at 4, the token of a
ready page; the guest zeroes it and acknowledges, and the host sends the next into a zero slot only.
"""

from __future__ import annotations

from typing import Final

from mypy_extensions import mypyc_attr

from pagewake.events.ids import Token
from pagewake.kvm.ports import AreaPort

PAGE_BYTES: Final = 4096
PLACE_PAGES: Final = 64  # one for each CPU that a VM can have


def area_gpa(cpu: int, place: int = 0) -> int:
    """Where the kernel has the area of a CPU: a page each, behind page 0.

    A kernel that takes over has its areas in the other of two places.
    """
    return (cpu + 1 + place * PLACE_PAGES) * PAGE_BYTES


@mypyc_attr(allow_interpreted_subclasses=True)
class ApfArea(AreaPort):
    """`reason` is the word at 0 (5.8: flags), `token` the word at 4, `enabled` the guest's own."""

    __slots__ = ("enabled",)

    def __init__(self, foreign: bool = False) -> None:
        self.foreign = foreign
        self.reason = 0
        self.token = Token(0)
        self.enabled = 0

    def read_and_reset_reason(self) -> int:
        """The reason, which is 0 afterwards; 0 and no access while this CPU is not enabled."""
        if not self.enabled:
            return 0
        reason = self.reason
        self.reason = 0
        return reason

    def disable(self) -> bool:
        """Of this CPU going down: True if the enable MSR is to be written with 0."""
        was_enabled = bool(self.enabled)
        self.enabled = 0
        return was_enabled
