"""Kinds of replacement in whole runs: what a scan does to pages that are in use."""

from __future__ import annotations

from pathlib import Path

import pytest

from pagewake.engine.run import run_scenario
from pagewake.host_memory.replacement import REPLACEMENTS
from pagewake.observe.result import RunResult
from pagewake.scenario.loading import load, loads
from pagewake.verify.verify import verify_log

SCANNED = """
[scenario]
name = "scanned"
duration = "250ms"
[host]
medium = "nvme"
replacement = "{kind}"
[[vm]]
name = "vm"
vcpus = 2
memory = "16MiB"
limit = "2MiB"
[[vm.task]]
name = "hot"
pattern = "random"
working_set = "1MiB"
populated = true
touch = "10us"
[[vm.task]]
name = "scan"
pattern = "sequential"
working_set = "8MiB"
populated = true
touch = "2us"
"""


def page_ins(tmp_path: Path, kind: str) -> int:
    text = SCANNED.format(kind=kind)
    log = tmp_path / kind
    result: RunResult = run_scenario(loads(text, "scanned.toml", Path()), log_dir=log)
    assert verify_log(log).problems == []
    return result.page_ins


def test_two_lists_keep_what_is_in_use_from_a_scan(tmp_path: Path) -> None:
    kinds = "second-chance", "two-lists-2.6.28", "two-lists"
    by_kind = {kind: page_ins(tmp_path, kind) for kind in kinds}
    assert by_kind["two-lists"] < 0.9 * by_kind["second-chance"]
    assert by_kind["two-lists"] < 0.9 * by_kind["two-lists-2.6.28"]


@pytest.mark.parametrize(("profile", "kind"), [("5.4", "two-lists-2.6.28"), ("6.12", "two-lists")])
def test_that_of_the_kernel_is_the_one_of_its_profile(profile: str, kind: str) -> None:
    def digest(kind: str) -> str:
        return run_scenario(
            loads(SCANNED.format(kind=kind), sets=[f"kernel.profile={profile}"])
        ).digest

    assert digest("kernel") == digest(kind)


@pytest.mark.slow
@pytest.mark.parametrize("kind", REPLACEMENTS)
@pytest.mark.parametrize(
    ("name", "duration"),
    [("overcommit", "scenario.duration=300ms"), ("web", "scenario.duration=150ms")],
)
def test_built_in_scenarios_hold_the_invariants(
    tmp_path: Path, kind: str, name: str, duration: str
) -> None:
    changes = [duration, f"host.replacement={kind}"]
    result = run_scenario(load(name, changes), log_dir=tmp_path / "log")
    assert result.evictions > 100
    assert verify_log(tmp_path / "log").problems == []
