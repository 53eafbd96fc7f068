"""deploy/kubernetes as kustomize renders it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
KUBERNETES = ROOT / "deploy/kubernetes"
OVERLAYS = ("base", "overlays/external", "overlays/strimzi")
PROGRAM = shutil.which("kubectl", path=str(Path(sys.executable).parent)) or shutil.which("kubectl")


def text(overlay: str, directory: Path = KUBERNETES) -> str:
    """Every object of it, in YAML; AssertionError with what kustomize says against it."""
    assert PROGRAM, "no kubectl"
    command = [PROGRAM, "kustomize", str(directory / overlay)]
    done = subprocess.run(command, capture_output=True, check=False, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


@cache
def rendered(overlay: str) -> list[dict[str, Any]]:
    """Every object of it."""
    return list(yaml.safe_load_all(text(overlay)))
