"""Draws the map of `how-to/does-it-pay.md` anew, and writes the words below it: `make map`.

It takes minutes, so no test compares what it wrote; the page's commands are executed as any. What
it runs is the command that the page shows.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec

from docs.generate.errata import colours_of
from docs.wrap import rewrapped
from pagewake.observe.measures import Measure
from pagewake.observe.payoff import Payoff, Spot, region_lines
from pagewake.observe.report.payoff_chart import payoff_chart

PAGE = Path(__file__).parent / "how-to" / "does-it-pay.md"
DRAWING = PAGE.with_suffix(".svg")
COMMAND = """\
pagewake compare payoff --map --jobs 1 --set scenario.duration=100ms
  --set vm.0.memory=2MiB --set vm.0.task.0.working_set=1792KiB
  --axis host.medium=ssd-sata,nvme,hdd-2010,zram --axis overcommit=1.2,1.5,1.8
  --axis kernel.profile=2.6.39,6.1,6.6 --axis vm.0.task.0.access=read,write
  --axis vm.0.task.0.count=2,6 --axis kernel.apf=off,pv --axis scenario.seed=1,2,3"""
BEGIN, END = "<!-- what `make map` wrote -->", "<!-- to here -->"


def main() -> None:
    """Run the grid, draw it, and say what it comes to."""
    words = [sys.executable, "-m", *COMMAND.split(), "--json"]
    ran = subprocess.run(words, check=True, stdout=subprocess.PIPE)  # noqa: S603 - as it stands above
    [pv] = [_payoff(one) for one in msgspec.json.decode(ran.stdout)["maps"]]
    DRAWING.write_text(_standing_alone(str(payoff_chart("map", pv).wide)), "utf-8")
    page = PAGE.read_text("utf-8")
    before, _, rest = page.partition(BEGIN)
    after = rest.partition(END)[2]
    PAGE.write_text(rewrapped(f"{before}{BEGIN}\n\n{_words(pv)}\n\n{END}{after}"), "utf-8")


def _payoff(document: dict[str, Any]) -> Payoff:
    spots = {
        tuple(cell["at"].values()): Spot(cell["ratio"], cell["low"], cell["high"])
        for cell in document["cells"]
    }
    measure = Measure(document["group"], document["what"])
    return Payoff(measure, document["apf"], document["seeds"], document["axes"], spots)


def _words(payoff: Payoff) -> str:
    first, *regions = region_lines(payoff)
    listed = "".join(f"\n- {line.strip()}" for line in regions)
    return f"{payoff.said()} {first}" + (f"\n{listed}" if listed else "")


def _standing_alone(drawn: str) -> str:
    """The picture with its colours, for light pages and dark ones."""
    head = '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
    drawn = drawn.replace("<svg ", head, 1).replace("var(--font)", "sans-serif")
    start = drawn.index(">") + 1
    whole = f"{drawn[:start]}<style>{colours_of(drawn)}</style>{drawn[start:]}"
    return "".join(f"{line.rstrip()}\n" for line in whole.strip().splitlines())


if __name__ == "__main__":
    main()
