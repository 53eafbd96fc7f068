"""What is valid and hardly meant is said, and what is meant is left in peace."""

from __future__ import annotations

from pathlib import Path

import pytest

from pagewake.engine.run import run_scenario
from pagewake.scenario.hints import hints
from pagewake.scenario.library import builtin_names, builtin_path
from pagewake.scenario.loading import load, loads
from tests.unit.cli.support import invoke

SCENARIO = """
[scenario]
name = "hinted"
duration = "20ms"
[kernel]
profile = "6.x"
[host]
medium = "nvme"
[[vm]]
name = "vm"
vcpus = 1
memory = "1MiB"
limit = "64KiB"
[[vm.task]]
name = "program"
pattern = "trace"
trace = "program.csv"
[[vm.task]]
name = "worker"
pattern = "work"
finish_after = "20ms"
kernel_every = "1ms"
kernel_for = "1us"
[[event]]
at = "5ms"
do = "migrate"
vm = "vm-0"
pause = "15ms"
[[event]]
at = "5ms"
do = "vcpu-stall"
vm = "vm-0"
vcpu = 0
for = "1ms"
"""
PROGRAM = "icount,page,kind,count\n1,a,L,1\n1,b,L,1\n1,a,S,1\n1,b,L,1\n1,c,L,1\n2,d,L,1\n2,a,L,1\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "program.csv").write_text(PROGRAM)
    return tmp_path


def test_a_scenario_that_is_meant_has_no_hint(folder: Path) -> None:
    assert not list(hints(loads(SCENARIO, base=folder)))


@pytest.mark.parametrize("name", builtin_names())
def test_no_built_in_scenario_has_a_hint(name: str) -> None:
    assert not list(hints(load(str(builtin_path(name)))))


HINTS = {
    "vm.0.limit=2MiB": 'vm.0.limit = "2MiB" is above vm.0.memory = "1MiB"',
    "vm.0.limit=8KiB": "vm.0.task.0.trace has an instruction that touches 3 pages",
    "vm.0.limit=12KiB": "",
    "host.workers=2": "host.workers = 2 limits nothing",
    "vm.0.task.1.finish_after=21ms": "vm.0.task.1.finish_after is beyond the end of the run",
    "vm.0.task.1.kernel_every=20ms": "vm.0.task.1.kernel_every is beyond the end of the run",
    "event.0.pause=16ms": 'event.0.pause = "16ms" lasts beyond the end of the run, 20ms',
    "event.1.for=10s": 'event.1.for = "10s" lasts beyond the end of the run, 20ms',
}


@pytest.mark.parametrize("setting", HINTS)
def test_what_is_hardly_meant_is_said_with_its_key(folder: Path, setting: str) -> None:
    said = list(hints(loads(SCENARIO, base=folder, sets=[setting])))
    assert len(said) == bool(HINTS[setting])
    assert HINTS[setting] in "".join(said)


def test_a_task_that_a_hint_calls_stuck_is_stuck(folder: Path) -> None:
    def touches(limit: str) -> int:
        result = run_scenario(loads(SCENARIO, base=folder, sets=[f"vm.0.limit={limit}"]))
        assert result.progress is not None
        return result.progress["vm-0/program-0"].touches or 0

    assert touches("8KiB") == 0
    assert touches("12KiB") > 0


def test_hints_go_to_stderr_once(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "hinted.toml").write_text(SCENARIO)
    path = str(folder / "hinted.toml")
    ran = invoke(capsys, "run", path, "--set", "vm.0.limit=2MiB")
    assert ran.code == 0
    assert ran.err.count("pagewake: hint: vm.0.limit") == 1
    assert "hint:" not in ran.out
    grid = invoke(
        capsys, "compare", path, "--set", "vm.0.limit=2MiB", "--axis", "kernel.apf=off,pv"
    )
    assert grid.err.count("pagewake: hint: vm.0.limit") == 1


FRESH = """
[scenario]
name = "fresh"
duration = "1ms"
[host]
medium = "nvme"
huge_pages = {huge}
[[vm]]
name = "vm"
vcpus = 2
memory = "64MiB"
limit = "{limit}"
{userfault}
[[vm.task]]
name = "walk"
pattern = "sequential"
working_set = "4MiB"
populated = {populated}
"""


@pytest.mark.parametrize(
    ("limit", "userfault", "populated", "huge", "said"),
    [
        ("39MiB", "", "false", "true", 'takes 640 frames; make limit at least "40MiB"'),
        ("39MiB", "", "true", "true", ""),
        ("39MiB", "", "false", "false", ""),
        ("40MiB", "", "false", "true", ""),
        ("40MiB", "userfault = {}", "true", "true", "does nothing for vm.0"),
        ("40MiB", 'page_source = "file"', "true", "true", "does nothing for vm.0"),
    ],
)
def test_huge_pages_that_cannot_be(
    limit: str, userfault: str, populated: str, huge: str, said: str
) -> None:
    text = FRESH.format(limit=limit, userfault=userfault, populated=populated, huge=huge)
    told = list(hints(loads(text)))
    assert len(told) == bool(said)
    assert said in "".join(told)


@pytest.mark.parametrize(("limit", "huge"), [("39MiB", False), ("40MiB", True)])
def test_the_limit_of_that_hint_is_the_least(limit: str, huge: bool) -> None:
    text = FRESH.format(limit=limit, userfault="", populated="false", huge="true")
    assert (run_scenario(loads(text)).huge_touches > 0) == huge
