"""Mistakes that a person makes, and the answer that leads on."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.cli.support import Outcome, invoke, small_scenario

MIGRATION = """
[[event]]
at = "1ms"
do = "migrate"
vm = "{vm}"
pause = "1ms"
"""
Capsys = pytest.CaptureFixture[str]


def run(capsys: Capsys, directory: Path, *arguments: str) -> Outcome:
    return invoke(capsys, "run", small_scenario(directory, "10ms"), *arguments)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("vm.vm.limit=4MiB", "vm is a list; say which one by its number: vm.0.limit"),
        ("vm.guest.limit=4MiB", "by its number: vm.0.limit"),
        ("vm.limit=4MiB", "by its number: vm.0.limit"),
        ("vm.0.task.faulter.touch=5us", "by its number: vm.0.task.1.touch"),
        ("vm.0.task.touch=5us", "by its number: vm.0.task.0.touch"),
        ("host.medium=NVMe", 'did you mean "nvme"?'),
        ("kernel.apf=PV", 'did you mean "pv"?'),
        ("vm.0.limit=4mib", 'write "4MiB"'),
        ("scenario.duration=3MS", 'write "3ms"'),
    ],
)
def test_a_setting_is_put_right(given: str, said: str, tmp_path: Path, capsys: Capsys) -> None:
    outcome = run(capsys, tmp_path, "--set", given)
    assert outcome.code == 2
    assert f'--set "{given}": ' in outcome.err
    assert said in outcome.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["--seed", "5", "--set", "scenario.seed=6"],
            '--seed 5: scenario.seed is given by --set "scenario.seed=6" too: give it once',
        ),
        (
            ["--set", "host.medium=nvme", "--set", "host.medium = zram"],
            'host.medium is given by --set "host.medium=nvme" too: give it once',
        ),
    ],
)
def test_a_value_is_given_once(
    arguments: list[str], said: str, tmp_path: Path, capsys: Capsys
) -> None:
    outcome = run(capsys, tmp_path, *arguments)
    assert outcome.code == 2
    assert said in outcome.err


def test_a_key_below_another_may_follow_it(tmp_path: Path, capsys: Capsys) -> None:
    sets = ["--set", "host.medium=nvme", "--set", "host.medium.latency=300us"]
    assert run(capsys, tmp_path, *sets).code == 0


def with_migration(directory: Path, vm: str) -> str:
    path = Path(small_scenario(directory, "10ms"))
    text = path.read_text("utf-8").replace("vcpus = 2", "vcpus = 2\ncount = 4")
    path.write_text(text + MIGRATION.format(vm=vm), "utf-8")
    return str(path)


def test_the_name_of_a_table_of_vms_stands_for_several(tmp_path: Path, capsys: Capsys) -> None:
    outcome = invoke(capsys, "run", with_migration(tmp_path, "vm"))
    assert outcome.code == 2
    assert 'there is no VM "vm": write vm-0 .. vm-3' in outcome.err


def test_one_size_is_a_size(capsys: Capsys) -> None:
    outcome = invoke(capsys, "load", "--embedded", "--vcpus", "2", "--duration", "0.1s")
    assert "load, embedded: 1 size, 0.1 s each" in outcome.out
