"""`python -m docs.validation [DIR]`: measure, keep, and make the page anew.

DIR, or PAGEWAKE_RECORDINGS: where the recordings are; without it their kept facts stay.
`--only NAME`: of one case alone.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from docs.build import write_page
from docs.validation import measure
from docs.validation.cases import BY_NAME, CASES

PAGE = "explanation/validation.md"
ABOUT_RECORDED = "Facts of recordings, by `python -m docs.validation DIR`; times in nanoseconds."
ABOUT_SIMULATED = "Facts of runs, by `make validation`; times in nanoseconds."


def main(arguments: list[str]) -> None:
    """Measure recordings, where they are, and run everything else."""
    parser = argparse.ArgumentParser(prog="python -m docs.validation")
    parser.add_argument("directory", nargs="?", default=os.environ.get("PAGEWAKE_RECORDINGS"))
    parser.add_argument("--only", choices=[*BY_NAME, "natapov-2010"])
    given = parser.parse_args(arguments)
    wanted = [case for case in CASES if given.only in (None, case.name)]
    if given.directory:
        tables = measure.stored(measure.RECORDED)
        for case in wanted:
            sys.stderr.write(f"{case.recording}\n")
            tables[case.name] = measure.recorded(case, Path(given.directory))
        measure.store(measure.RECORDED, tables, ABOUT_RECORDED)
    tables = measure.stored(measure.SIMULATED)
    for case in wanted:
        if case.simulated:
            sys.stderr.write(f"{case.name} runs\n")
            tables[case.name] = measure.simulated(case)
            measure.store(measure.SIMULATED, tables, ABOUT_SIMULATED)
    if given.only in (None, "natapov-2010"):
        tables["natapov-2010"] = measure.benchmark()
        measure.store(measure.SIMULATED, tables, ABOUT_SIMULATED)
    write_page(PAGE)


if __name__ == "__main__":
    main(sys.argv[1:])
