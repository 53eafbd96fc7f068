"""Writes docs/reference and takes the outputs that pages show: `python -m docs.build`, `make docs`.

The reference comes from the code.  An output that a page shows is taken anew only where what
happens now does not match it, so wildcards stay; `git diff` says what changed.  Blocks that need a
cluster are left alone: the test of their page prints what they should say.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from docs.console import PAGES, Console, Page
from docs.generate import cli, events, metrics, scenario

DIRECTORY = Path(__file__).parent
REFERENCE: Mapping[str, Callable[[], str]] = {
    "cli.md": cli.page,
    "events.md": events.page,
    "metrics.md": metrics.page,
    "scenario.md": scenario.page,
}


def reference() -> dict[str, str]:
    """The text of every page of the reference, by its path below docs/."""
    return {f"reference/{name}": make() for name, make in REFERENCE.items()}


def retake(page: Page) -> str:
    """A page with the outputs of now."""
    with tempfile.TemporaryDirectory() as directory:
        return page.with_outputs(Console(Path(directory)).execute(page))


def main() -> None:
    """Write what differs."""
    for name, text in reference().items():
        _write(DIRECTORY / name, text)
    for path in PAGES:
        _write(path, retake(Page.read(path)))


def _write(path: Path, text: str) -> None:
    if not path.exists() or path.read_text("utf-8") != text:
        path.write_text(text, "utf-8")
        sys.stderr.write(f"{path.relative_to(DIRECTORY)} written\n")


if __name__ == "__main__":
    main()
