"""All invariants over events in memory: those of VMs, or of a run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from pagewake.events.types import Event
from pagewake.scenario.model import Scenario
from pagewake.verify.invariants import Reporter, Rules, Violation, VmChecks, rules_of


def check_events(vms: Mapping[str, Iterable[Event]], rules: Rules) -> list[Violation]:
    """Every violation in the events of these VMs, each VM's numbered and in order of `n`."""
    reporter = Reporter()
    for vm, events in vms.items():
        checks = VmChecks(vm, rules, reporter)
        for event in events:
            checks.feed(event)
        checks.finish()
    return reporter.found


def check_run(scenario: Scenario, events: Iterable[Event]) -> list[Violation]:
    """Every violation in the events of a run, of its kernels' rules."""
    vms: defaultdict[str, list[Event]] = defaultdict(list)
    for event in events:
        vms[event.vm].append(event)
    for told in vms.values():
        told.sort(key=lambda event: event.n)
    kernel = scenario.kernel
    return check_events(vms, rules_of(kernel.switches(0), kernel.switches(1), apf=kernel.guest_apf))
