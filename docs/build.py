"""Writes the pages that come from the code and takes the outputs that pages show: `make docs`.

With `--generated` it stops after those from the code.  An output that a page shows is taken anew
only where what happens now does not match it, so wildcards stay; `git diff` says what changed.
Blocks that need a cluster are left alone: the test of their page prints what they should say.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from docs.console import PAGES, Console, Page
from docs.generate import (
    cli,
    errata,
    events,
    glossary,
    metrics,
    packages,
    plan,
    profiles,
    result,
    rights,
    scenario,
    states,
    validation,
)
from docs.wrap import rewrapped

DIRECTORY = Path(__file__).parent
GENERATED: Mapping[str, Callable[[], str]] = {
    "explanation/packages.md": packages.page,
    "explanation/validation.md": validation.page,
    "explanation/vcpu-states.md": states.page,
    "reference/cli.md": cli.page,
    "reference/events.md": events.page,
    "reference/glossary.md": glossary.page,
    "reference/kafka-rights.md": rights.page,
    "reference/metrics.md": metrics.page,
    "reference/plan.md": plan.page,
    "reference/profiles.md": profiles.page,
    "reference/result.md": result.page,
    "reference/scenario.md": scenario.page,
}


def generated() -> dict[str, str]:
    """The text of every page that comes from the code, by its path below docs/."""
    pages = {name: make() for name, make in GENERATED.items()} | errata.pages()
    return {name: rewrapped(text) for name, text in pages.items()}


def write_page(name: str) -> None:
    """Write one page that comes from the code, by its path below docs/."""
    _write(DIRECTORY / name, rewrapped(GENERATED[name]()))


def retake(page: Page) -> str:
    """A page with the outputs of now."""
    with tempfile.TemporaryDirectory() as directory:
        return page.with_outputs(Console(Path(directory)).execute(page))


def main(arguments: Sequence[str]) -> None:
    """Write what differs."""
    for name, text in (generated() | errata.drawings()).items():
        _write(DIRECTORY / name, text)
    for path in PAGES if "--generated" not in arguments else ():
        _write(path, retake(Page.read(path)))


def _write(path: Path, text: str) -> None:
    if not path.exists() or path.read_text("utf-8") != text:
        path.write_text(text, "utf-8")
        sys.stderr.write(f"{path.relative_to(DIRECTORY.parent)} written\n")


if __name__ == "__main__":
    main(sys.argv[1:])
