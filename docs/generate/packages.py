"""explanation/packages.md: what imports what, and what each file is about."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from pathlib import Path

import grimp

import pagewake
from docs.generate.markdown import code, head, table

ROOT = Path(pagewake.__file__).parent
ABOUT = """
Imports point inward: a package uses those below it and never one above, which `make lint` checks
(the layers stand in `pyproject.toml`). An arrow in the picture is an import; one that follows from
two others is left out, the tables name them all. Begin to read with `events`, then `kvm` for the
rules, `participants` for what a run is made of, `engine` for the shortest way to run it.
"""

Uses = Mapping[str, frozenset[str]]
"""Package to the packages that it imports."""


def page() -> str:
    """The whole page."""
    uses = imports()
    order = _from_above(uses)
    parts = [head("Map of the code", "the imports and docstrings of `services/pagewake/`", ABOUT)]
    parts.append(_picture(uses, order))
    for package in order:
        parts.append(f"## {package}\n\n{_first_line(ROOT / package / '__init__.py')}\n")
        below = ", ".join(code(other) for other in order if other in uses[package])
        parts.append(f"Imports {below}.\n" if below else "Imports no other package.\n")
        files = sorted((ROOT / package).rglob("*.py"))
        rows = [
            (code(path.relative_to(ROOT / package).as_posix()), _first_line(path))
            for path in files
            if path.name != "__init__.py"
        ]
        parts.append(table(["file", "is about"], rows))
    return "\n".join(parts)


def imports() -> Uses:
    """Between the packages right below `pagewake`."""
    graph = grimp.build_graph("pagewake")
    packages = [path.parent.name for path in ROOT.glob("*/__init__.py")]
    found: dict[str, set[str]] = {package: set() for package in packages}
    for module in graph.modules:
        mine = _package(module)
        for imported in graph.find_modules_directly_imported_by(module):
            theirs = _package(imported)
            if mine in found and theirs in found and mine != theirs:
                found[mine].add(theirs)
    return {package: frozenset(below) for package, below in found.items()}


def _package(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def _from_above(uses: Uses) -> list[str]:
    """Who imports most, directly or not, comes first; ties by name."""
    reach = {package: _reached(uses, package) for package in uses}
    return sorted(uses, key=lambda package: (-len(reach[package]), package))


def _reached(uses: Uses, package: str) -> frozenset[str]:
    reached: set[str] = set()
    for below in uses[package]:
        reached |= {below, *_reached(uses, below)}
    return frozenset(reached)


def _picture(uses: Uses, order: list[str]) -> str:
    lines = ["```mermaid", "flowchart TD"]
    for package in order:
        further = {deep for below in uses[package] for deep in _reached(uses, below)}
        near = [other for other in order if other in uses[package] - further]
        lines += [f"    {package} --> {other}" for other in near]
    return "\n".join([*lines, "```", ""])


def _first_line(path: Path) -> str:
    text = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
    return " ".join(text.split("\n\n")[0].split())
