"""The console blocks of the pages, executed.

A page is Markdown.  Two kinds of fenced blocks do something, in the order of the page and in one
directory, which has `recordings` (tests/recordings) at its beginning and nothing else:

- `toml title=FILE` or `text title=FILE`: the file is written;
- `console`: each line that begins with `$ ` is a command, and what follows it is its output, stdout
  and stderr together as on a terminal.

With `cluster` the block needs services on Kafka, and is left out where there are none; `run=NAME`
says which name of a run stands for one that is new each time.  With `needs=PROGRAM` it is left out
where there is no such program.  `make` is only asked what it would do, and says nothing.  A command
that fails is followed by `echo $?`.

An output is what was printed, to the letter, but for four rules.  A line `...` stands for any
lines.  What a run took of wall time is anything: `in 48 ms (4.1 x real time)`, and `in 15.4 s` at
the end of a line.  The directory in which it happens is called `/path/to`.
What says how far a long command is (`3 of 9 runs done after 41 s`) is left out.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = [
    README,
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "docs" / "how-to").glob("*.md")),
    *sorted((ROOT / "docs" / "explanation").glob("*.md")),
]
"""Pages that people write, and whose commands are executed."""
MARKDOWN = [
    *PAGES,
    *sorted(set(ROOT.glob("*.md")) - set(PAGES)),
    *sorted((ROOT / "docs" / "decisions").glob("*.md")),
    *(ROOT / name for name in ("deploy/README.md", "grafana/README.md", "tests/compat/README.md")),
]
"""All pages that people write."""
RECORDINGS = ROOT / "tests" / "recordings"
"""What pages call `recordings`."""
LIMIT_S = 600.0
ANY = "..."
HERE = "/path/to"
WALL = re.compile(r"\bin \d[\d.,]* (?:s|ms|us)(?: \([\d.,e-]+ x real time\)|$)")
PROGRESS = re.compile(r"pagewake: \d+ of \d+ runs done after .*")
FENCE = "```"


class Block(NamedTuple):
    """A fenced block; `at` is the number of its first line inside, from 0."""

    info: str
    at: int
    lines: list[str]

    @property
    def kind(self) -> str:
        """The first word of the info string."""
        return self.info.split(" ")[0]

    def option(self, name: str) -> str:
        """What stands behind `name=` in the info string; empty if nothing does."""
        found = re.search(rf" {name}=(\S+)", self.info)
        return found[1] if found else ""

    @property
    def cluster(self) -> bool:
        """Whether it needs services."""
        return "cluster" in self.info.split(" ")[1:]

    @property
    def possible(self) -> bool:
        """Whether the program that it needs is there."""
        return not self.option("needs") or shutil.which(self.option("needs")) is not None


class Step(NamedTuple):
    """One command; its output stands from `at`, `expected` lines of it."""

    command: str
    at: int
    expected: list[str]


class Outcome(NamedTuple):
    """What a command did."""

    step: Step
    printed: list[str]
    code: int

    @property
    def right(self) -> bool:
        """Whether the page says so."""
        return matches(self.step.expected, self.printed)


class Page(NamedTuple):
    """A page, by lines."""

    path: Path
    lines: list[str]

    @classmethod
    def read(cls, path: Path) -> Page:
        """From its file."""
        return cls(path, path.read_text("utf-8").splitlines())

    def blocks(self) -> Iterator[Block]:
        """The fenced blocks in order; a fence that is never closed is an AssertionError."""
        opened: int | None = None
        for number, line in enumerate(self.lines):
            if not line.startswith(FENCE):
                continue
            if opened is None:
                opened = number
            else:
                info = self.lines[opened].removeprefix(FENCE)
                yield Block(info, opened + 1, self.lines[opened + 1 : number])
                opened = None
        assert opened is None, f"{self.path}:{(opened or 0) + 1}: this block has no end"

    def with_outputs(self, outcomes: Sequence[Outcome]) -> str:
        """Its text with what was printed, where that does not match."""
        lines = list(self.lines)
        for outcome in reversed(outcomes):
            if not outcome.right:
                at = outcome.step.at
                lines[at : at + len(outcome.step.expected)] = outcome.printed
        return "\n".join(lines) + "\n"


def steps(block: Block) -> list[Step]:
    """The commands of a console block."""
    starts = [number for number, line in enumerate(block.lines) if line.startswith("$ ")]
    assert starts[:1] == [0], f"line {block.at + 1}: a console block begins with a command"
    ends = [*starts[1:], len(block.lines)]
    return [
        Step(block.lines[start][2:], block.at + start + 1, block.lines[start + 1 : end])
        for start, end in zip(starts, ends, strict=True)
    ]


def matches(expected: Sequence[str], printed: Sequence[str]) -> bool:
    """Whether an output is what a page shows, by the two rules above."""
    if not expected:
        return not printed
    if expected[0] == ANY:
        return any(matches(expected[1:], printed[at:]) for at in range(len(printed) + 1))
    return (
        bool(printed)
        and _plain(expected[0]) == _plain(printed[0])
        and matches(expected[1:], printed[1:])
    )


def _plain(line: str) -> str:
    return WALL.sub("in WALL TIME", line.rstrip())


class Console:
    """Executes pages in `directory`; `services`: the settings by which a cluster is reached."""

    def __init__(self, directory: Path, services: Mapping[str, str] | None = None) -> None:
        self.work = directory.resolve() / "work"
        self.work.mkdir()
        (self.work / RECORDINGS.name).symlink_to(RECORDINGS)
        self.services = services
        self._shims = directory.resolve() / "shims"
        self._shims.mkdir()
        self._shim("pagewake", f'"{sys.executable}" -m pagewake "$@"')
        make = shutil.which("make") or "make"
        self._shim("make", f'"{make}" --dry-run --directory "{ROOT}" "$@" >/dev/null')

    def _shim(self, name: str, command: str) -> None:
        path = self._shims / name
        path.write_text(f"#!/bin/sh\nexec {command}\n", "utf-8")
        path.chmod(0o755)

    def execute(self, page: Page) -> list[Outcome]:
        """Every block that does something; those that need services only if there are any."""
        outcomes: list[Outcome] = []
        for block in page.blocks():
            if block.option("title"):
                text = "".join(f"{line}\n" for line in block.lines)
                (self.work / block.option("title")).write_text(text, "utf-8")
            elif block.kind == "console" and self._can(block):
                outcomes += self._block(block)
        return outcomes

    def _can(self, block: Block) -> bool:
        return block.possible and (self.services is not None or not block.cluster)

    def _block(self, block: Block) -> Iterator[Outcome]:
        shown, code = block.option("run"), 0
        name = f"docs-{uuid.uuid4().hex[:12]}" if shown else ""
        for step in steps(block):
            command = step.command.replace(shown, name) if shown else step.command
            printed, code = self._run(command, code)
            lines = [line.replace(name, shown) if shown else line for line in printed]
            yield Outcome(step, lines, code)

    def _run(self, command: str, code: int) -> tuple[list[str], int]:
        kept = {name: value for name, value in os.environ.items() if "PAGEWAKE_" not in name}
        done = subprocess.run(  # noqa: S603 - what the pages show
            ["bash", "-c", f"set -o pipefail\n(exit {code})\n{command}"],  # noqa: S607
            cwd=self.work,
            env={
                **kept,
                **(self.services or {}),
                "PATH": f"{self._shims}{os.pathsep}{kept['PATH']}",
                "PYTHONPATH": os.pathsep.join([str(ROOT / "services"), *sys.path]),
                "PYTHONUTF8": "1",
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
            timeout=LIMIT_S,
        )
        printed = done.stdout.decode().replace(str(self.work), HERE).splitlines()
        return [line for line in printed if not PROGRESS.fullmatch(line)], done.returncode
