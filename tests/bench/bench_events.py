"""Protocol events per second of the embedded engine on one core; target 200,000.

Every event is built, numbered, digested and counted; commits pass the codec.  Runs of three window
sizes alternate, because what a window costs is shared by the events in it.
"""

from __future__ import annotations

from tests.bench.common import quick, table, thrash, timed_run

TARGET = 200_000


def main() -> None:
    small = quick()
    rows: list[list[object]] = [
        ["VMs", "events", "events/window", "us/event", "events/s", "of target"]
    ]
    for vms, duration in ((1, "60ms"), (16, "20ms"), (64, "10ms")):
        scenario = thrash(vms, "2ms" if small else duration, touch="5us")
        runs = [timed_run(scenario) for _ in range(1 if small else 3)]
        best = min(runs, key=lambda run: run.wall_s)
        rate = best.events / best.wall_s
        rows.append(
            [
                vms,
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
