"""Files end in a newline, lines in no blank, and nothing large or unmarked comes in unseen."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILE_BYTES_MAX = 512 * 1024
"""The largest is a trace of 380 KiB; what needs more does not belong into the repository."""
GENERATED = (
    "schemas/",
    "docs/reference/",
    "docs/explanation/packages.md",
    "docs/explanation/vcpu-states.md",
    "grafana/dashboards/",
    "grafana/import/",
    "deploy/kubernetes/components/monitoring/rules/",
)

needs_git = pytest.mark.skipif(
    not (ROOT / ".git").exists() or not shutil.which("git"),
    reason="these are rules for a checkout: git clone",
)


def git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, check=True)
    return done.stdout.decode()


def files() -> list[Path]:
    """Tracked, or about to be."""
    listed = git("ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0")
    return [path for name in sorted(set(listed)) if name and (path := ROOT / name).is_file()]


def untidy(content: bytes) -> list[str]:
    """What is wrong with a file; content with NUL is no text."""
    if not content or b"\0" in content:
        return []
    wrong = [] if content.endswith(b"\n") else ["does not end in a newline"]
    wrong += ["ends in an empty line"] if content.endswith(b"\n\n") else []
    wrong += ["has CR LF"] if b"\r\n" in content else []
    for number, line in enumerate(content.split(b"\n"), 1):
        if line.endswith((b" ", b"\t")):
            wrong.append(f"has blanks at the end of line {number}")
    return wrong


@needs_git
def test_files_are_tidy() -> None:
    found = [
        f"{path.relative_to(ROOT)} {what}" for path in files() for what in untidy(path.read_bytes())
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("content", [b"a", b"a\n\n", b"a \n", b"a\t\nb\n", b"a\r\n"])
def test_what_is_untidy_is_found(content: bytes) -> None:
    assert untidy(content)


@pytest.mark.parametrize("content", [b"", b"a\n", b"a\n\nb\n", b"\0 \n a"])
def test_what_is_tidy_is_left_alone(content: bytes) -> None:
    assert not untidy(content)


@needs_git
def test_no_file_is_large() -> None:
    assert [path for path in files() if path.stat().st_size > FILE_BYTES_MAX] == []


@needs_git
def test_what_is_generated_says_so_and_nothing_else_does() -> None:
    names = [path.relative_to(ROOT).as_posix() for path in files()]
    said = git("check-attr", "linguist-generated", "--", *names).splitlines()
    marked = {line.split(": ")[0] for line in said if line.endswith(": set")}
    assert marked == {name for name in names if name.startswith(GENERATED)}
