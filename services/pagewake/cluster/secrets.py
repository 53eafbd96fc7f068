"""Secrets of settings: from the environment, or from files that it names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pagewake.errors import ConfigError

FROM_FILE = "_file"
"""What the name of a setting ends in that says where its value stands."""


def with_files(values: Mapping[str, Any], secrets: Iterable[str]) -> dict[str, Any]:
    """The values, with each secret that stands in a file; ConfigError names what is wrong.

    Neither here nor in any message stands what was read.
    """
    found = dict(values)
    for name in secrets:
        path = found.get(name + FROM_FILE)
        if path is None:
            continue
        variable = f"PAGEWAKE_{name.upper()}"
        if found.get(name) is not None:
            raise ConfigError(f"{variable} and {variable}_FILE are both set: give one of them")
        found[name] = _read(f"{variable}_FILE", Path(path))
    return found


def _read(variable: str, path: Path) -> str:
    """The content of a file without the end of its last line, which editors add."""
    try:
        text = path.read_text("utf-8")
    except OSError as error:
        raise ConfigError(f"{variable}={path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{variable}={path}: not a text in UTF-8") from None
    secret = text.removesuffix("\n").removesuffix("\r")
    if not secret:
        raise ConfigError(f"{variable}={path}: there is nothing in it")
    return secret
