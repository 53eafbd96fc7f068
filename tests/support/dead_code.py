"""What nothing in the project uses: names by `vulture`, modules by what imports what.

A use by a test is none.  Uses are those in `services/`, its HTML templates, and the generators of
pages and dashboards.  `vulture` knows names, not types: a name is dead if no name like it is used
anywhere, so one that is used somewhere else hides one that is not.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import grimp
from vulture import Vulture

_TEMPLATE_CODE = re.compile(r"\{[{%].*?[%}]\}", re.DOTALL)
_MODULE_RUN = re.compile(r"-m (pagewake[\w.]*)")


def dead_names(package: Path, users: Iterable[Path] = ()) -> list[str]:
    """`module:name` of every definition in a package that neither it nor its users use."""
    scan = Vulture()
    folders = [package, *users]
    scan.scavenge(list(map(str, folders)))
    for template in package.rglob("*.html"):
        for code in _TEMPLATE_CODE.findall(template.read_text()):
            scan.used_names.update(re.findall(r"\w+", code))
    unused = {
        f"{_module(item.filename, package)}:{item.name}"
        for item in scan.get_unused_code()
        if item.filename.resolve().is_relative_to(package.resolve())
    }
    return sorted(unused | _only_exported(package, folders))


def _only_exported(package: Path, folders: Iterable[Path]) -> set[str]:
    """What stands in an `__all__`, which `vulture` takes for a use, and is used nowhere."""
    trees = {
        path: ast.parse(path.read_text()) for folder in folders for path in folder.rglob("*.py")
    }
    used = {name for tree in trees.values() for name in _used(tree)}
    return {
        f"{_module(path, package)}:{name}"
        for path, tree in trees.items()
        if path.is_relative_to(package)
        for name in _exported(tree) - used
    }


def _used(tree: ast.Module) -> Iterable[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield node.attr


def _exported(tree: ast.Module) -> set[str]:
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return set(ast.literal_eval(node.value))
    return set()


def _module(file: Path, package: Path) -> str:
    return ".".join(file.resolve().relative_to(package.resolve()).with_suffix("").parts)


def unexplained(dead: Iterable[str], allowed: Mapping[str, str]) -> list[str]:
    """What is dead without a reason, and what has a reason and is not dead."""
    names = set(dead)
    return sorted(
        [f"{name}: nothing uses it: use it or delete it" for name in names - allowed.keys()]
        + [f"{name}: not dead (any more): take it off the list" for name in allowed.keys() - names]
    )


def started_modules(makefile: str, scripts: Iterable[str]) -> set[str]:
    """Modules that are started by name: by the Makefile, and as commands of the package."""
    return {*_MODULE_RUN.findall(makefile), *(script.split(":")[0] for script in scripts)}


def imported_modules(folders: Iterable[Path], package: str = "pagewake") -> set[str]:
    """Modules of the package that Python files in some folders import."""
    found: set[str] = set()
    for path in (path for folder in folders for path in folder.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                found.add(node.module)
                found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in found if name.split(".")[0] == package}


def dead_modules(graph: grimp.ImportGraph, entries: Iterable[str]) -> list[str]:
    """Modules that no entry imports, directly or through others; packages are not looked at."""
    alive: set[str] = set()
    todo = [entry for entry in entries if entry in graph.modules]
    while todo:
        module = todo.pop()
        if module not in alive:
            alive.add(module)
            todo += graph.find_modules_directly_imported_by(module)
    files = {module for module in graph.modules if not graph.find_children(module)}
    return sorted(files - alive)
