"""What the domain may not do: look at a clock, draw from a global source, depend on hash order,
wait, log, or count.

The packages below decide what happens in a run. A digest must depend on scenario and seed alone, so
none of this is left to reviewers; the import contracts see imports, this file sees uses.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "services" / "pagewake"
DOMAIN = (
    "events", "simtime", "host_memory", "kvm", "guest_kernel", "nested_svm", "participants",
)  # fmt: skip
TOOLS = {PACKAGE / "events" / "schema.py"}  # a generator of files, no part of a run
FILES = sorted(
    path for package in DOMAIN for path in (PACKAGE / package).rglob("*.py") if path not in TOOLS
)

CLOCKS_AND_CHANCE = {
    *(
        "asyncio",
        "datetime",
        "logging",
        "os",
        "platform",
        "queue",
        "random",
        "secrets",
        "selectors",
    ),
    *("socket", "structlog", "subprocess", "threading", "time", "uuid", "prometheus_client"),
}
_GENERATOR = re.compile(r"(np|numpy)\.random\.(?!Philox)\w+")
ORDER_KEPT = {"sorted", "len", "sum", "min", "max", "any", "all", "set", "frozenset", "bool"}
HASH_ORDERED = {"set", "frozenset"}


def _imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        else:
            continue
        for name in names:
            if name.split(".")[0] in CLOCKS_AND_CHANCE or name == "numpy.random":
                yield node.lineno, f"imports {name}"


def _waiting(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.AsyncFunctionDef | ast.Await | ast.AsyncFor | ast.AsyncWith):
            yield node.lineno, "waits"


def _chance(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """`np.random` but for Philox, a keyed counter; and `hash` and `id`, other in every process."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and _GENERATOR.fullmatch(ast.unparse(node)):
            yield node.lineno, "draws from numpy's generators"
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("hash", "id", "print"):
            yield node.lineno, f"calls {ast.unparse(node.func)}()"


def _globals(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Global):
            yield node.lineno, "has state in the module"
    for node in getattr(tree, "body", ()):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            yield node.lineno, f"calls {ast.unparse(node.value.func)} at import"


def _set_iteration(tree: ast.AST) -> Iterator[tuple[int, str]]:
    names = _names_of_sets(tree)
    for node, iterated in _iterations(tree):
        if _is_set(iterated, names):
            yield node.lineno, f"iterates over the set {ast.unparse(iterated)}"


def _names_of_sets(tree: ast.AST) -> set[str]:
    """Variables and attributes that are annotated as sets or start as one."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.AnnAssign) and _says_set(node.annotation):
            names.add(ast.unparse(node.target))
        elif isinstance(node, ast.arg) and node.annotation and _says_set(node.annotation):
            names.add(node.arg)
        elif isinstance(node, ast.Assign) and _is_set(node.value, set()):
            names.update(ast.unparse(target) for target in node.targets)
    return names


def _says_set(annotation: ast.expr) -> bool:
    return ast.unparse(annotation).split("[")[0] in HASH_ORDERED


def _is_set(node: ast.expr, names: set[str]) -> bool:
    if isinstance(node, ast.Set | ast.SetComp):
        return True
    if isinstance(node, ast.Call):
        return ast.unparse(node.func) in HASH_ORDERED
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitAnd | ast.BitOr | ast.Sub):
        return _is_set(node.left, names) or _is_set(node.right, names)
    return ast.unparse(node) in names


def _iterations(tree: ast.AST) -> Iterator[tuple[ast.expr | ast.stmt, ast.expr]]:
    """Everything whose order shows: loops, comprehensions, unpacking, and calls that take a list.

    A comprehension right inside a call such as `sum` or `sorted` hides the order again.
    """
    hidden: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            if name in ORDER_KEPT:
                hidden.update(map(id, node.args))
            elif name in ("list", "tuple", "iter", "enumerate", "zip", "map", "deque", "next"):
                yield from ((node, argument) for argument in node.args)
        elif isinstance(node, ast.For):
            yield node, node.iter
        elif isinstance(node, ast.Starred) and isinstance(node.ctx, ast.Load):
            yield node, node.value
        elif isinstance(node, ast.ListComp | ast.GeneratorExp | ast.DictComp):
            shown = () if id(node) in hidden else node.generators
            yield from ((node, part.iter) for part in shown)


Rule = Callable[[ast.AST], Iterator[tuple[int, str]]]
RULES: dict[str, Rule] = {
    "imports no clock, no chance, no log": _imports,
    "waits for nothing": _waiting,
    "draws only from keyed counters": _chance,
    "keeps no state in modules": _globals,
    "iterates over no set": _set_iteration,
}


def test_there_is_something_to_look_at() -> None:
    assert len(FILES) > 20
    assert all((PACKAGE / package).is_dir() for package in DOMAIN)


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES.keys())
def test_the_domain(rule: Rule) -> None:
    found = [
        f"{path.relative_to(PACKAGE)}:{line}: {what}"
        for path in FILES
        for line, what in rule(ast.parse(path.read_text("utf-8")))
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("rule", "code"),
    [
        (_imports, "import time"),
        (_imports, "from random import random"),
        (_imports, "from numpy.random import default_rng"),
        (_waiting, "async def f(): pass"),
        (_chance, "x = np.random.default_rng()"),
        (_chance, "x = hash('a')"),
        (_globals, "def f():\n    global x"),
        (_globals, "x = []\nx.append(1)"),
        (_set_iteration, "for x in {1, 2}: pass"),
        (_set_iteration, "s: set[int] = make()\nfor x in s: pass"),
        (_set_iteration, "self.s = set()\ny = [x for x in self.s]"),
        (_set_iteration, "s = set()\ny = list(s)"),
        (_set_iteration, "def f(s: frozenset[int]): return [*s]"),
        (_set_iteration, "s = {1}\nfor x in s - other: pass"),
    ],
)
def test_a_rule_finds_what_it_forbids(rule: Rule, code: str) -> None:
    assert list(rule(ast.parse(code)))


@pytest.mark.parametrize(
    "code",
    [
        "s = {1}\nfor x in sorted(s): pass",
        "s = {1}\nt = sum(x for x in s)",
        "s = {1}\nt = 1 in s",
        "d = {}\nfor x in d: pass",
        "for x in [1]: pass",
    ],
)
def test_what_hides_the_order_of_a_set_is_allowed(code: str) -> None:
    assert not list(_set_iteration(ast.parse(code)))
