"""Writes dashboards/*.json: `python -m grafana.build [DIRECTORY]`, or `make dashboards`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

from grafana_foundation_sdk.builders.dashboard import Dashboard
from grafana_foundation_sdk.cog.encoder import JSONEncoder

from grafana.cluster import cluster
from grafana.memory import memory
from grafana.nested import nested
from grafana.overview import overview
from grafana.protocol import protocol

DIRECTORY = Path(__file__).parent / "dashboards"
PAGES: dict[str, Callable[[], Dashboard]] = {
    "overview": overview,
    "protocol": protocol,
    "nested": nested,
    "memory": memory,
    "cluster": cluster,
}


def built() -> dict[str, str]:
    """The text of every file, by its name."""
    return {f"{name}.json": _text(make()) for name, make in PAGES.items()}


def _text(made: Dashboard) -> str:
    model = made.build()
    for number, panel in enumerate(model.panels or [], start=1):
        panel.id_val = number
    return json.dumps(model, cls=JSONEncoder, indent=2, sort_keys=True) + "\n"


def main(directory: Path = DIRECTORY) -> None:
    """Write all, and remove what is no longer built."""
    texts = built()
    directory.mkdir(exist_ok=True)
    for stale in set(directory.glob("*.json")) - {directory / name for name in texts}:
        stale.unlink()
    for name, text in texts.items():
        (directory / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(*[Path(argument) for argument in sys.argv[1:2]])
