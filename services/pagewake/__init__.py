"""KVM's asynchronous page fault protocol as a deterministic, event-sourced simulation."""

from __future__ import annotations

__version__ = "0.2.0"
