"""What the README promises is there.  Its commands are executed with those of docs/: tests/docs."""

from __future__ import annotations

import re
from pathlib import Path

from pagewake.cli.app import COMMANDS, command_of

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
MAKEFILE = (ROOT / "Makefile").read_text("utf-8")
README_BYTES_MAX = 8192
"""What is longer belongs into docs/."""


def test_every_command_is_in_the_table() -> None:
    listed = set(re.findall(r"^\| `pagewake ([\w-]+)", README, re.MULTILINE))
    assert listed == set(COMMANDS)


def test_every_command_of_a_group_is_in_the_table() -> None:
    for name in COMMANDS:
        if inner := getattr(command_of(name), "commands", None):
            words = "\\|".join(inner)
            assert f"| `pagewake {name} {words}` |" in README


def test_what_make_run_prints_is_what_is_shown() -> None:
    recipe = re.search(r"^run:.*\n\t@\$\(BIN\)/(.*)$", MAKEFILE, re.MULTILINE)
    assert recipe is not None
    assert f"\n$ {recipe[1]}\n" in README


def test_every_make_target_that_is_described_exists_and_is_no_file() -> None:
    described = set(re.findall(r"make ([a-z-]+)", README + MAKEFILE))
    phony = re.search(r"^\.PHONY: ((?:.*\\\n)*.*)$", MAKEFILE, re.MULTILINE)
    assert phony is not None
    targets = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))
    assert described <= targets
    assert targets == set(phony[1].replace("\\\n", " ").split())


def test_it_is_short() -> None:
    assert len(README.encode()) <= README_BYTES_MAX
