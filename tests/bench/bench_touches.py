"""Page touches per second of the embedded engine on one core, all hits; target 50 million."""

from __future__ import annotations

from pathlib import Path

from pagewake.engine.run import run_scenario
from pagewake.scenario.loading import loads
from tests.bench.common import quick, table

TARGET = 50e6
TOUCH_NS = 10
SCENARIO = """
[scenario]
name = "touches"
duration = "{duration}"
[kernel]
profile = "posted-v7"
[host]
medium = "hdd-2010"
page_cluster = "off"
[[vm]]
name = "vm"
vcpus = 4
memory = "1GiB"
limit = "1GiB"
[[vm.task]]
name = "toucher"
count = 4
pattern = "{pattern}"
working_set = "512MiB"
access = "write"
populated = true
touch = "10ns"
"""


def main() -> None:
    duration = "20ms" if quick() else "1s"
    rows: list[list[object]] = [["pattern", "touches", "million/s", "of target"]]
    for pattern in ("random", "sequential", "zipf"):
        scenario = loads(SCENARIO.format(duration=duration, pattern=pattern), "bench.toml", Path())
        result = run_scenario(scenario)
        touches = result.cpu["task:toucher"] / TOUCH_NS
        rate = touches / result.wall_s
        rows.append([pattern, f"{touches:,.0f}", f"{rate / 1e6:.0f}", f"{rate / TARGET:.2f}"])
    table(rows)


if __name__ == "__main__":
    main()
