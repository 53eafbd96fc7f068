"""All invariants over events in memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pagewake.events.types import Event
from pagewake.verify.invariants import Reporter, Rules, Violation, VmChecks


def check_events(vms: Mapping[str, Iterable[Event]], rules: Rules) -> list[Violation]:
    """Every violation in the events of these VMs, each VM's numbered and in order of `n`."""
    reporter = Reporter()
    for vm, events in vms.items():
        checks = VmChecks(vm, rules, reporter)
        for event in events:
            checks.feed(event)
        checks.finish()
    return reporter.found
