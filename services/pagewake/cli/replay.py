"""`pagewake replay`: the log's scenario executed again, and the two digests compared."""

from __future__ import annotations

from pathlib import Path

import msgspec

from pagewake import __version__
from pagewake.bus.log_reader import LogReader
from pagewake.bus.log_sums import RUN_NAME
from pagewake.cli.loading import load
from pagewake.cli.options import JobsOption, JsonOption, LogArgument
from pagewake.cli.output import print_json, print_line
from pagewake.cli.parallel import run_all
from pagewake.cli.versions import tell_version
from pagewake.engine.recorded import recorded_of
from pagewake.engine.run import RunOrder
from pagewake.errors import CheckFailedError, DataError
from pagewake.scenario.model import Scenario


class ReplayResult(msgspec.Struct, frozen=True):
    """The result of a replay, as `--json` prints it."""

    ok: bool
    recorded: str
    replayed: str
    recorded_version: str
    version: str


def replay(log: LogArgument, jobs: JobsOption = None, as_json: JsonOption = False) -> None:
    """Execute a log's scenario again and compare digests; exit 1 if they differ."""
    tell_version(log)
    recorded = recorded_digest(log)
    scenario = recorded_scenario(log)
    order = RunOrder(scenario, recorded=recorded_of(log, scenario))
    (result,) = run_all([order], jobs)
    replayed = result.digest
    version = scenario.about.version
    outcome = ReplayResult(recorded == replayed, recorded, replayed, version, __version__)
    if as_json:
        print_json(outcome)
    else:
        print_line(f"recorded {recorded}")
        print_line(f"replayed {replayed}")
    if not outcome.ok:
        raise CheckFailedError(f"{log}: the replay's digest differs{_versions(outcome)}")


def recorded_digest(log: Path) -> str:
    """The digest that the run left; DataError when parts of the log are missing or edited."""
    reader = LogReader(log)
    if reader.faults:
        raise DataError(f"{log / str(reader.faults[0])}")
    assert reader.sums is not None
    return reader.sums.digest


def recorded_scenario(log: Path) -> Scenario:
    """The scenario as it was executed."""
    return load(str(log / RUN_NAME))


def _versions(outcome: ReplayResult) -> str:
    if outcome.recorded_version in ("", outcome.version):
        return ""
    return f" (written by pagewake {outcome.recorded_version}, replayed by {outcome.version})"
