"""What `make compiled` needs of the source, seen without compiling it.

A native class of mypyc pickles only if it, or a base of it, says so (`simtime/state.py`), and is
constructed by Python code only if it allows subclasses there.  Structs, and dataclasses with slots,
lose what their decorators add, so they stand in modules that are left as they are.
"""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HOOK = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["hatch"]["build"][
    "targets"
]["wheel"]["hooks"]["mypyc"]
DATACLASS = re.compile("@dataclass.*")
ALLOWS = "allow_interpreted_subclasses=True"
NOT_SAVED = {
    "Answers": "lives for one window",
    "FaultContext": "lives for one exit",
    "ResultCounter": "is no part of a participant",
    "RunningDigest": "is below it; pickles in its own way, and is made without arguments",
    "WakeResult": "lives for one wake",
}
"""Classes with attributes that need not derive from it, and why."""


def compiled() -> Iterator[Path]:
    """The files that mypyc gets."""
    for included in HOOK["include"]:
        place = ROOT / included.removeprefix("/")
        for path in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
            name = f"/{path.relative_to(ROOT)}"
            if not any(fnmatch(name, what) or path.name == what for what in HOOK["exclude"]):
                yield path


FILES = list(compiled())
CLASSES = {
    node.name: node
    for path in FILES
    for node in ast.walk(ast.parse(path.read_text("utf-8")))
    if isinstance(node, ast.ClassDef)
}


def bases(node: ast.ClassDef) -> list[str]:
    return [ast.unparse(base).split("[")[0] for base in node.bases]


def is_saved(name: str) -> bool:
    return name == "Saved" or (
        name in CLASSES and any(is_saved(base) for base in bases(CLASSES[name]))
    )


def has_state(node: ast.ClassDef) -> bool:
    own = {part.name for part in node.body if isinstance(part, ast.FunctionDef)}
    return "__init__" in own and not any("Error" in base for base in bases(node))


def test_all_that_is_named_is_there() -> None:
    assert len(FILES) > 50
    assert all(path.is_file() for path in FILES)
    for what in HOOK["exclude"]:
        assert not what.startswith("/") or (ROOT / what.removeprefix("/")).is_file(), what


@pytest.mark.parametrize("name", [name for name, node in CLASSES.items() if has_state(node)])
def test_a_class_with_state_is_saved_or_says_why_not(name: str) -> None:
    assert is_saved(name) != (name in NOT_SAVED)


@pytest.mark.parametrize("name", [name for name in CLASSES if is_saved(name) and name != "Saved"])
def test_a_saved_class_can_be_made_by_python_code(name: str) -> None:
    assert any(ALLOWS in ast.unparse(one) for one in CLASSES[name].decorator_list)


@pytest.mark.parametrize("path", FILES, ids=lambda path: "/".join(path.parts[-2:]))
def test_no_struct_and_no_dataclass_with_slots_is_compiled(path: Path) -> None:
    text = path.read_text("utf-8")
    assert "(msgspec.Struct" not in text
    assert all(decorator == "@dataclass(frozen=True)" for decorator in DATACLASS.findall(text))
