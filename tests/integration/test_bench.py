"""Every benchmark works and prints its table; its figures are for `make bench`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.processes import needs_kafka

ROOT = Path(__file__).parents[2]
KAFKA = [pytest.mark.broker, needs_kafka]
MARKS = {
    "bench_pingpong": KAFKA,
    "bench_recovery": KAFKA,
    "bench_model": KAFKA,
    # Forty seconds each, for tables of what other tests run.
    "bench_cluster": [*KAFKA, pytest.mark.soak],
    "bench_plan": [*KAFKA, pytest.mark.soak],
}
SCRIPTS = [
    pytest.param(name, marks=MARKS.get(name, []))
    for path in sorted((ROOT / "tests" / "bench").glob("bench_*.py"))
    if (name := path.stem) != "bench_streams"
]


@pytest.mark.parametrize("name", SCRIPTS)
def test_benchmark_prints_a_table_of_figures(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", f"tests.bench.{name}", "--quick"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        check=False,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) >= 2
    assert any(character.isdigit() for character in lines[-1])
