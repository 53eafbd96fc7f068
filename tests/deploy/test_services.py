"""The script that runs the services on this machine: how many of each, and that it ends them."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "deploy/local/services"
STARTED_S = 30.0
FAKE = """#!/bin/sh
echo "$@"
exec sleep 60
"""


class Services:
    """The script in a directory of its own, with a command that only waits."""

    def __init__(self, root: Path) -> None:
        self.state = root / ".local"
        self._script = root / "deploy/local/services"
        self._script.parent.mkdir(parents=True)
        shutil.copy(SCRIPT, self._script)
        command = root / ".venv/bin/pagewake"
        command.parent.mkdir(parents=True)
        command.write_text(FAKE)
        command.chmod(0o755)

    def run(self, word: str, **numbers: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "LOCAL_DIR": str(self.state), **numbers}
        return subprocess.run(
            [str(self._script), word], env=environment, capture_output=True, text=True, check=False
        )

    def up(self) -> list[str]:
        lines = self.run("status").stdout.splitlines()
        return [line.removesuffix(" up") for line in lines if line.endswith(" up")]


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Services]:
    services = Services(tmp_path)
    yield services
    services.run("down")


def test_starts_one_of_each_and_ends_them(services: Services) -> None:
    assert services.run("up").returncode == 0
    assert services.up() == ["host-1", "guest-1", "nested-1"]
    services.run("down")
    assert services.up() == []
    assert not list(services.state.glob("*.pid"))


def test_starts_what_is_missing_of_as_many_as_asked_for(services: Services) -> None:
    services.run("up", NESTED="0")
    again = services.run("up", GUESTS="3", NESTED="0")
    assert "guest-1 runs already" in again.stderr
    assert sorted(services.up()) == ["guest-1", "guest-2", "guest-3", "host-1"]
    services.run("down")
    assert services.up() == []


def test_says_each_instance_its_service_and_its_name(services: Services) -> None:
    services.run("up", GUESTS="2")
    log = services.state / "guest-2.log"
    until_s = time.monotonic() + STARTED_S
    while not log.read_text() and time.monotonic() < until_s:
        time.sleep(0.05)
    assert log.read_text() == "serve guest --instance local-guest-2\n"


def test_starts_nothing_for_a_number_that_is_none(services: Services) -> None:
    assert services.run("up", GUESTS="two").returncode != 0
    assert not list(services.state.glob("*.pid"))
