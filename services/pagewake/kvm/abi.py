"""What host and guest write for each other: reasons, tokens (semantics 1.2, 1.3, 3.10)."""

from __future__ import annotations

from typing import Final

from pagewake.events.ids import Token

REASON_NOT_PRESENT: Final = 1
REASON_READY: Final = 2
U32: Final = 0xFFFFFFFF
"""Reasons, tokens and hashed gfns are words of 32 bits."""
BROADCAST_TOKEN: Final = Token(U32)
"""Wake everybody: ~0, which no vcpu's token is before its ids have run out."""
