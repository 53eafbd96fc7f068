"""What a log says of a run beyond its scenario: interventions by command, and where it was stopped.

Commands stand in the log as control events, stamped with the simulated time at which they took
effect.  Those that the scenario does not hold are a person's, and a replay takes them as input
(design, "Commands").  Where a simulated host's last window ends, it ended at the latest.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import NamedTuple

import msgspec

from pagewake.bus.log_reader import LogReader
from pagewake.errors import DataError
from pagewake.events.types import Control, MediumChanged
from pagewake.participants.build import controls_of
from pagewake.scenario.model import Scenario
from pagewake.verify.log_run import LogRun


class Recording(NamedTuple):
    """Per simulated host: a person's interventions in order of time, and the end."""

    controls: list[list[Control]]
    ends_ns: list[int]


def recorded_of(log: Path, scenario: Scenario) -> Recording:
    """Read both from a log directory; DataError or ConfigError as `LogReader` has it."""
    reader = LogReader(log)
    problems = reader.problems()
    if problems:
        raise DataError(f"{log / str(problems[0])}")
    run = LogRun(reader)
    names: list[list[str]] = [[] for _ in range(scenario.host.count)]
    for instance in scenario.instances():
        names[instance.host].append(instance.name)
    controls: list[list[Control]] = []
    ends_ns: list[int] = []
    for host in range(scenario.host.count):
        logged, end_ns = _logged(run, host, min(names[host]))
        controls.append(_beyond(logged, controls_of(scenario, host, names[host])))
        ends_ns.append(end_ns)
    return Recording(controls, ends_ns)


def _logged(run: LogRun, host: int, first_vm: str) -> tuple[list[Control], int]:
    """The control events of a host; a changed medium stands in the log once per VM."""
    found: list[Control] = []
    end_ns = 0
    for window in run.windows(host):
        end_ns = max(end_ns, window.until_ns)
        for placed in window.delivered:
            event = placed.event
            if isinstance(event, MediumChanged):
                if event.vm == first_vm:
                    found.append(msgspec.structs.replace(event, vm=""))
            elif isinstance(event, Control):
                found.append(event)
    return sorted(found, key=lambda control: control.at_ns), end_ns


def _beyond(logged: list[Control], planned: list[Control]) -> list[Control]:
    """The logged ones that the scenario does not account for."""
    known = Counter(msgspec.json.encode(control) for control in planned)
    rest: list[Control] = []
    for control in logged:
        text = msgspec.json.encode(control)
        if known[text]:
            known[text] -= 1
        else:
            rest.append(control)
    return rest
