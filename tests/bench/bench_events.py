"""Protocol events per second of the embedded engine on one core; target 200,000.

Every event is built, numbered, digested and counted; commits pass the codec; with a log the
journal does too, and all of it is written.  The rows differ in events per window, because what a
window costs is shared by the events in it.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from tests.bench.common import Timed, quick, table, thrash, timed_run

TARGET = 200_000


def measured(vms: int, duration: str, runs: int, logged: bool) -> Timed:
    """The fastest of some runs."""
    scenario = thrash(vms, duration, touch="5us")
    with TemporaryDirectory() as directory:
        logs = [Path(directory) / str(run) if logged else None for run in range(runs)]
        return min(timed_run(scenario, log_dir=log) for log in logs)


def main() -> None:
    small = quick()
    rows: list[list[object]] = [
        ["VMs", "log", "events", "events/window", "us/event", "events/s", "of target"]
    ]
    for vms, duration in ((1, "60ms"), (16, "20ms"), (64, "10ms")):
        for logged in (False, True):
            best = measured(vms, "2ms" if small else duration, 1 if small else 3, logged)
            rate = best.events / best.cpu_s
            rows.append(
                [
                    vms,
                    "yes" if logged else "no",
                    best.events,
                    f"{best.events / best.windows:.0f}",
                    f"{1e6 / rate:.2f}",
                    f"{rate:,.0f}",
                    f"{rate / TARGET:.2f}",
                ]
            )
    table(rows)


if __name__ == "__main__":
    main()
