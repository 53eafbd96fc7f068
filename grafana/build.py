"""Writes dashboards/*.json and import/*.json: `python -m grafana.build [DIRECTORY]`.

Those in `dashboards` are provisioned from files.  Those in `import` are the same for a Grafana that
somebody imports them into by hand: it asks which data source `__inputs` is to stand for.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from grafana_foundation_sdk.builders.dashboard import Dashboard
from grafana_foundation_sdk.cog.encoder import JSONEncoder

from grafana.cluster import cluster
from grafana.memory import memory
from grafana.nested import nested
from grafana.overview import overview
from grafana.protocol import protocol

DIRECTORY = Path(__file__).parent
GRAFANA_MIN = "12.0.0"
"""The oldest that the dashboards are meant for."""
INPUT = "DS_PROMETHEUS"
PAGES: dict[str, Callable[[], Dashboard]] = {
    "overview": overview,
    "protocol": protocol,
    "nested": nested,
    "memory": memory,
    "cluster": cluster,
}


def built() -> dict[str, str]:
    """The text of every file, by its path."""
    models = {name: _model(make()) for name, make in PAGES.items()}
    return {f"dashboards/{name}.json": _text(model) for name, model in models.items()} | {
        f"import/{name}.json": _text(_to_import(model)) for name, model in models.items()
    }


def _model(made: Dashboard) -> dict[str, Any]:
    built = made.build()
    for number, panel in enumerate(built.panels or [], start=1):
        panel.id_val = number
    model: dict[str, Any] = json.loads(json.dumps(built, cls=JSONEncoder))
    return model


def _to_import(model: Mapping[str, Any]) -> dict[str, Any]:
    """The same with what it needs and what is asked for; whoever imports it may edit it."""
    source, *others = model["templating"]["list"]
    asked = {"selected": True, "text": f"${{{INPUT}}}", "value": f"${{{INPUT}}}"}
    plugin = {"id": "prometheus", "name": "Prometheus"}
    kinds = sorted({panel["type"] for panel in model["panels"]} - {"row"})
    return {
        **model,
        "editable": True,
        "templating": {"list": [source | {"current": asked}, *others]},
        "__inputs": [
            {
                "name": INPUT,
                "label": "Prometheus",
                "description": "The one that scrapes the services",
                "type": "datasource",
                "pluginId": plugin["id"],
                "pluginName": plugin["name"],
            }
        ],
        "__requires": [
            {"type": "grafana", "id": "grafana", "name": "Grafana", "version": GRAFANA_MIN},
            {"type": "datasource", **plugin, "version": "1.0.0"},
            *({"type": "panel", "id": kind, "name": kind, "version": ""} for kind in kinds),
        ],
    }


def _text(model: Mapping[str, Any]) -> str:
    return json.dumps(model, indent=2, sort_keys=True) + "\n"


def main(directory: Path = DIRECTORY) -> None:
    """Write all, and remove what is no longer built."""
    texts = {directory / path: text for path, text in built().items()}
    for folder in {path.parent for path in texts}:
        folder.mkdir(exist_ok=True)
        for stale in set(folder.glob("*.json")) - texts.keys():
            stale.unlink()
    for path, text in texts.items():
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(*[Path(argument) for argument in sys.argv[1:2]])
