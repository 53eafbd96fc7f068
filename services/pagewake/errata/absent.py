"""Defects that are in the list of numbers and not in the gallery."""

from __future__ import annotations

ABSENT: tuple[tuple[int, str, str, str], ...] = (
    (1, "c7d28c24042f", "look-ups that run past empty slots", "no run deletes an absent frame"),
    (4, "64f638c7c44f", "a race of broadcasts", "locks are not modelled"),
    (5, "c9b263d2be9c", "a trace without its page", "it is the text of a trace alone"),
    (9, "d4c90b0043bd", "a missing inline", "it is of the build alone"),
    (10, "2ae9d293b14d", "does not assemble with binutils 2.21", "it is of the build alone"),
    (12, "c5e015d4949a, 9b132fbe5419", "RCU in an idle CPU", "RCU is not modelled"),
    (
        13,
        "859f8450d8db",
        "an idle task that sleeps",
        "idle_cpu() is not modelled",
    ),
    (14, "62c49cc976af", "mmdrop in interrupt context", "references to an mm are not modelled"),
    (16, "28b441e24088", "cancelled items leak", "references are not modelled"),
    (17, "41c22f626254", "GUP on an mm that has exited", "references are not modelled"),
    (20, "22583f0d9c85", "destruction deadlocks", "a run ends without destruction; see D68"),
    (26, "b862789aa518", "schedules inside RCU", "RCU is not modelled"),
    (29, "a0d14b8909de", "tracing spoils CR2", "entry code takes no faults; D31 is near"),
    (37, "0a31df682323", "the wrong bit for ACK", "CPUID is not enforced"),
    (39, "0547758a6de3", "allocates under a raw lock", "allocation takes no time"),
    (41, "3d75b8aa5c29", "a worker outlives its module", "a run ends without destruction; see D68"),
    (44, "68c35f89d016", "a kick missed in theory", "CPUs see each other's writes at once"),
    (45, "b9595d1ddef8", "CPL of a protected guest", "it was halted before as well"),
    (46, "ccb2280ec2f9", "a private word in the shared area", "nobody else sees it"),
)
"""Numbers that are no entries: commits, what it is, and why there is nothing to run."""
