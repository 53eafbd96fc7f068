"""Measures recordings and runs, and keeps what comes of it.

A recording is not part of the repository: its facts are, with its SHA-256, in `recorded.toml`.
A run goes the way of a recording: it is written as ftrace text, imported and checked.
"""

from __future__ import annotations

import hashlib
import shutil
import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from docs.validation.cases import Case
from docs.validation.causes import causes
from docs.validation.costs import costs
from docs.validation.facts import READ_NS, Measured, Value, values
from docs.validation.walker import write_traces
from pagewake.cli.benchmark import PREDICTION, summarize
from pagewake.engine.run import run_scenario
from pagewake.observe.published import BENCHMARK
from pagewake.recorded.check import check_recording
from pagewake.recorded.export import write_ftrace
from pagewake.recorded.figures import Figures
from pagewake.recorded.importing import import_files
from pagewake.recorded.log import RecordingReader
from pagewake.recorded.stitch import SYNC_FAULT_NS
from pagewake.recorded.summary import counted
from pagewake.scenario.loading import load

HERE: Final = Path(__file__).parent
RECORDED: Final = HERE / "recorded.toml"
SIMULATED: Final = HERE / "simulated.toml"
BENCHMARK_SEED: Final = 1
BENCHMARK_LENGTH: Final = "10s"

Table = dict[str, Any]


def measure(files: Iterable[str], profile: str | None = None) -> dict[str, Value]:
    """All facts of ftrace text."""
    with TemporaryDirectory() as directory:
        reader = _read(files, Path(directory) / "imported", profile)
        breaches = Counter(breach.rule for breach in check_recording(reader).breaches)
        reads = _read(files, Path(directory) / "reads", profile, READ_NS)
        return values(Measured(_figures(reader), breaches, _figures(reads)))


def _read(
    files: Iterable[str], directory: Path, profile: str | None, sync_fault_ns: int = SYNC_FAULT_NS
) -> RecordingReader:
    import_files(list(files), directory, profile, sync_fault_ns=sync_fault_ns)
    return RecordingReader(directory)


def _figures(reader: RecordingReader) -> Figures:
    return counted(reader).figures(reader.recording.length_ns)


def recorded(case: Case, directory: Path) -> Table:
    """The facts of a recording, and which one it is."""
    path = directory / case.recording
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    found = causes(path) | costs(path)
    return {"file": path.name, "sha256": sha256, **measure([str(path)]), **found}


def simulated(case: Case) -> Table:
    """The facts of a run."""
    with TemporaryDirectory() as name:
        directory = Path(name)
        write_traces(directory)
        scenario = shutil.copy(HERE / f"{case.name}.toml", directory)
        run_scenario(load(str(scenario)), log_dir=directory / "log")
        trace = directory / "trace.txt"
        written = write_ftrace(directory / "log", trace, None, None)
        return measure([str(trace)], written.kernel)


def benchmark() -> Table:
    """Work of each mode of 2010 relative to master; nothing is fitted."""
    by_mode = {
        row.apf: [
            run_scenario(
                load(
                    PREDICTION,
                    [f"kernel.apf={row.apf}", f"scenario.duration={BENCHMARK_LENGTH}"],
                    BENCHMARK_SEED,
                )
            )
        ]
        for row in BENCHMARK
    }
    modes = summarize(by_mode, 0.0, as_described=False).modes
    return {mode.name: round(mode.ratio.value, 4) for mode in modes}


def stored(path: Path) -> dict[str, Table]:
    """What is kept, by recording."""
    return tomllib.loads(path.read_text("utf-8")) if path.exists() else {}


def as_kept(table: Table) -> Table:
    """It as it comes back: without what is not there, and numbers as they are written."""
    lines = [f"{key} = {_toml(value)}" for key, value in table.items() if value is not None]
    return tomllib.loads("\n".join(lines))


def store(path: Path, tables: Mapping[str, Table], about: str) -> None:
    """Keep it; a fact that is not there is left out."""
    lines = [f"# {about}"]
    for name, table in tables.items():
        lines += ["", f'["{name}"]']
        lines += [f"{key} = {_toml(value)}" for key, value in table.items() if value is not None]
    path.write_text("\n".join(lines) + "\n", "utf-8")


def _toml(value: str | float) -> str:
    if isinstance(value, str):
        return f'"{value}"'
    return str(value) if isinstance(value, int) else f"{value:.6g}"
