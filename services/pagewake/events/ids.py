"""Numbers that are not to be mixed up; at run time they are plain ints.

The VM, its running number and the vcpu of an event have no type of their own: `VcpuThread.note` and
`Vm.tell` fill them in.
"""

from __future__ import annotations

from typing import NewType

Gfn = NewType("Gfn", int)
"""A guest frame, in L1's memory."""

Token = NewType("Token", int)
"""What L0 calls a page-in of one vcpu by, and the guest its wait (semantics 1.3)."""
