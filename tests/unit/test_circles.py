"""Files that import each other, directly or in a circle, are one unit however many they are.

Imports for types alone count: they say what a file has to know to be read.
"""

from __future__ import annotations

import grimp
import pytest

CIRCLES = {
    # a guest kernel's functions recurse like this: handlers schedule, scheduling stops a cpu
    "guest_kernel": {
        "apf_handler",
        "hotplug",
        "kernel",
        "new_kernel",
        "nmi",
        "script",
        "serving",
        "vcpu",
    },
    # a thread knows its VM, a VM has threads and perhaps a handler, which tells them
    "kvm": {"thread", "userfault", "vm"},
}
"""Package to the files of its one circle."""


def reachable(imports: dict[str, set[str]], start: str) -> set[str]:
    """What a module imports, directly or not."""
    found: set[str] = set()
    todo = [start]
    while todo:
        new = imports[todo.pop()] - found
        found |= new
        todo += new
    return found


def circles(imports: dict[str, set[str]]) -> set[frozenset[str]]:
    """Sets of modules each of which imports all others, directly or not."""
    reach = {module: reachable(imports, module) for module in imports}
    return {
        frozenset(other for other in reach[module] if module in reach[other])
        for module in imports
        if module in reach[module]
    }


@pytest.fixture(scope="module")
def imports() -> dict[str, set[str]]:
    graph = grimp.build_graph("pagewake")
    return {
        module: set(graph.find_modules_directly_imported_by(module)) for module in graph.modules
    }


def test_a_circle_is_found_by_way_of_others_and_what_only_leads_to_it_is_not_in_it() -> None:
    found = circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}, "e": set()})
    assert found == {frozenset("abc")}


def test_no_files_form_a_circle_but_the_known_ones(imports: dict[str, set[str]]) -> None:
    known = {
        frozenset(f"pagewake.{package}.{name}" for name in names)
        for package, names in CIRCLES.items()
    }
    assert circles(imports) == known
