"""A log of another version: every command that reads one says whose it is, and what it lacks."""

from __future__ import annotations

from pathlib import Path

import pytest

from pagewake import __version__
from tests.unit.cli.support import invoke, small_scenario

OLD = Path(__file__).parents[2] / "compat" / "0.1.0" / "row-02-kernel-fault"


@pytest.mark.parametrize("command", ["verify", "replay", "trace", "report"])
def test_whoever_reads_a_log_of_another_version_says_so(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = ["-o", str(tmp_path / "out")] if command in ("trace", "report") else []
    outcome = invoke(capsys, command, str(OLD), *output)
    assert outcome.code == 0
    told = f"the log was written by pagewake 0.1.0, this is {__version__}"
    assert f"{told}; it does not say how far its tasks came\n" in outcome.err
    log = str(tmp_path / "log")
    assert invoke(capsys, "run", small_scenario(tmp_path, "1ms"), "--log", log).code == 0
    assert "written by" not in invoke(capsys, command, log, *output).err
