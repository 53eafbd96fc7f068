"""What the checkers need to know of a run: its kernels' rules, and the host's lookahead.

A kernel profile is a set of switches; most checkers hold under all of them. What a switch changes
in what is legal stands here, by the switch's own name (`kvm.profile`).
"""

from __future__ import annotations

from dataclasses import dataclass

from pagewake.kvm.profile import Switches


@dataclass(frozen=True, slots=True)
class Rules:
    """The profile, as far as legality depends on it."""

    lookahead_ns: int = 0
    clear_waits: bool = False
    pg_resets_hash: bool = True
    pending_blocks_apf: bool = True
    kernel_mode_sends: bool = True
    ready_by_interrupt: bool = False
    token_nonzero: bool = False
    online_zeroes_slot: bool = False
    acks_in_log: bool = True
    wake_all_everywhere: bool = False
    guest_reads_reason: bool = True
    partial: bool = False
    joined: bool = False
    user_apf: str = "none"
    user_apf_room: int = 0


def rules_of(
    host: Switches,
    guest: Switches | None = None,
    lookahead_ns: int = 0,
    apf: str = "pv",
    *,
    acks_in_log: bool = True,
    clears_wait: bool = True,
    partial: bool = False,
    joined: bool = False,
) -> Rules:
    """Rules of a run whose host follows `host` and whose guests follow `guest` (as the host).

    `partial`: the events are a recording's, which begins while the guest runs, and does not show
    all of what the host does and little of the guest.  `joined`: its guest recorded its waits too.

    A guest without PV support never enables its area, so it always reads reason 0, whatever an MSR
    write of somebody else made the host write there.
    """
    guest = host if guest is None else guest
    return Rules(
        lookahead_ns=lookahead_ns,
        clear_waits=host.clear_waits and clears_wait and not partial,
        pg_resets_hash=host.pg_resets_hash,
        pending_blocks_apf=host.pending_blocks_apf,
        kernel_mode_sends=host.host_kernel_rule != "halt",
        ready_by_interrupt=host.ready_by_interrupt,
        token_nonzero=host.token_nonzero,
        online_zeroes_slot=guest.online_zeroes_slot,
        acks_in_log=acks_in_log,
        wake_all_everywhere=not guest.gap_g7,
        guest_reads_reason=apf == "pv",
        partial=partial,
        joined=joined,
        user_apf=host.user_apf,
        user_apf_room=host.user_apf_room,
    )
