"""What an earlier version left out of the `run.toml` of its logs, as it ran then.

A log spells every value out.  What is absent there is no wish for the default of today: the key was
not known, or meant something else when it was absent.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

RUN_NAME = "run.toml"
"""What a log calls its scenario (`bus.log_sums`)."""
AT_THE_TIME = {"page_cluster": "off"}
"""Keys of `[host]`."""


def fill_in(document: dict[str, Any], label: str) -> None:
    """Into a document of that name, if it is of a log."""
    host = document.get("host")
    if Path(label).name == RUN_NAME and isinstance(host, dict):
        for key, value in AT_THE_TIME.items():
            host.setdefault(key, value)
