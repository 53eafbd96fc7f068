"""A search that is interrupted or killed goes on where it was kept, and ends as any other."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pagewake.explore.gallery import load_small
from pagewake.explore.search import Plan, Search
from tests.support.processes import until

KEEPING = """
import sys
from pagewake.cli.main import main
from pagewake.explore import search
search.KEEP_EVERY_S = 0.0
search.KEEP_COSTS = 1
if __name__ == "__main__":
    sys.exit(main())
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_search_goes_on_after(number: signal.Signals, tmp_path: Path) -> None:
    program, kept = tmp_path / "keeping.py", tmp_path / "kept"
    program.write_text(KEEPING, "utf-8")
    began = subprocess.Popen(
        [sys.executable, program, "explore", "moved-thread", "--jobs", "2", "--resume", kept],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    until(lambda: kept.exists() and kept.stat().st_size > 300_000, "much of it is kept", 120)
    began.send_signal(number)
    _, said = began.communicate(timeout=60)  # ends with the last process that has the pipe
    if number == signal.SIGINT:
        assert began.returncode == 130
        assert "goes on from there" in said
    plan = Plan(load_small("moved-thread"))
    whole, resumed = Search(plan).breadth_first(), Search(plan)
    resumed.load(kept)
    assert 100 < len(resumed.space.parents) < whole.states
    explored = resumed.breadth_first()
    assert explored.found.keys() == whole.found.keys()
    for figure in ("states", "transitions", "depth", "at_rest", "reached"):
        assert getattr(explored, figure) == getattr(whole, figure)
