"""What a start loads, and what `--help` says of commands that it does not load."""

from __future__ import annotations

import subprocess
import sys

import pytest

from pagewake import __version__
from pagewake.cli.app import COMMANDS, app, command_of
from pagewake.simtime.state import CORE
from tests.unit.cli.support import SERVICES

LATE = (
    "aiokafka", "aiomqtt", "hdrh", "jinja2", "matplotlib", "numpy", "prometheus_client",
    "pydantic", "pydantic_settings", "rich", "pagewake.engine", "pagewake.scenario",
)  # fmt: skip
"""Libraries and packages that no help text needs."""
CLUSTER = ("aiokafka", "aiomqtt", "prometheus_client", "pydantic_settings", "matplotlib")
"""What only services and the commands that speak to them need."""
LOAD = ("load", "--embedded", "--jobs", "1", "--vcpus", "1", "--duration", "100ms")


def loaded(*arguments: str) -> set[str]:
    """Modules that are loaded when `pagewake ARGUMENTS` ends."""
    script = (
        "import sys\n"
        "from pagewake.cli.main import main\n"
        f"sys.argv = ['pagewake', *{arguments!r}]\n"
        "main()\n"
        "sys.stderr.write('\\n'.join(sys.modules))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={"PYTHONPATH": str(SERVICES)},
        capture_output=True,
        check=True,
        text=True,
    )
    return set(done.stderr.splitlines())


@pytest.mark.parametrize("arguments", [("--help",), ("--version",), ()])
def test_help_loads_no_library_of_the_commands(arguments: tuple[str, ...]) -> None:
    assert not loaded(*arguments) & set(LATE)


@pytest.mark.parametrize("arguments", [("run", "-h"), ("scenarios",), ("verify", "nosuch"), LOAD])
def test_commands_of_one_process_load_nothing_of_the_cluster(arguments: tuple[str, ...]) -> None:
    assert not loaded(*arguments) & set(CLUSTER)


@pytest.mark.parametrize(("asked", "threads"), [({}, 1), ({"OPENBLAS_NUM_THREADS": "2"}, 2)])
def test_numpy_starts_threads_only_where_asked_to(asked: dict[str, str], threads: int) -> None:
    script = (
        "import os, sys\n"
        "from pagewake.cli.main import main\n"
        "sys.argv = ['pagewake', '--version']\n"
        "main()\n"
        "import numpy\n"
        "print(len(os.listdir('/proc/self/task')))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={"PYTHONPATH": str(SERVICES)} | asked,
        capture_output=True,
        check=True,
        text=True,
    )
    assert int(done.stdout.split()[-1]) <= threads


@pytest.mark.parametrize("name", COMMANDS)
def test_the_line_of_a_command_is_the_first_of_its_help(name: str) -> None:
    assert command_of(name).help.split("\n\n")[0] == COMMANDS[name][1]


def test_the_version_says_which_core_runs(capsys: pytest.CaptureFixture[str]) -> None:
    app(["--version"], standalone_mode=False)
    assert capsys.readouterr().out == f"pagewake {__version__} ({CORE})\n"
