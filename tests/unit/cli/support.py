"""Runs the command line as a person would, in this process or in one of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import IO, NamedTuple

import pytest

from pagewake.cli.app import call
from pagewake.cli.guard import guarded

SERVICES = Path(__file__).parents[3] / "services"

SMALL = """
[scenario]
name = "small"
description = "one VM, a worker and a faulter"
duration = "{duration}"

[kernel]
profile = "posted-v7"

[host]
medium = "hdd-2010"
page_cluster = "off"

[[vm]]
name = "vm"
vcpus = 2
memory = "16MiB"
limit = "4MiB"

[[vm.task]]
name = "worker"
pattern = "work"

[[vm.task]]
name = "faulter"
pattern = "random"
working_set = "8MiB"
access = "write"
populated = true
"""


class Outcome(NamedTuple):
    """What a command left: exit code, stdout, stderr."""

    code: int
    out: str
    err: str


def small_scenario(directory: Path, duration: str = "100ms") -> str:
    """A scenario file that runs in a moment."""
    path = directory / "small.toml"
    path.write_text(SMALL.format(duration=duration), encoding="utf-8")
    return str(path)


def invoke(capsys: pytest.CaptureFixture[str], *arguments: str) -> Outcome:
    """`pagewake ARGUMENTS`, in this process."""
    capsys.readouterr()
    code = guarded(lambda: call(list(arguments)))
    out, err = capsys.readouterr()
    return Outcome(code, out, err)


def start(*arguments: str, stdout: int | IO[str] = subprocess.PIPE) -> subprocess.Popen[str]:
    """`pagewake ARGUMENTS`, in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "pagewake", *arguments],
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(SERVICES)},
        start_new_session=True,
    )
