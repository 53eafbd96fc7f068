"""Where the recordings for tests are."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parents[1] / "recordings"


def recording(name: str) -> Path:
    return FOLDER / name
