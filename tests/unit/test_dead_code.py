"""Everything that is defined is used by something else than a test, or has a reason to stand."""

from __future__ import annotations

import tomllib
from keyword import iskeyword
from pathlib import Path

import grimp
import pytest

from pagewake.cli.app import COMMANDS
from tests.support.dead_code import (
    dead_modules,
    dead_names,
    imported_modules,
    started_modules,
    unexplained,
)

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "services" / "pagewake"
GENERATORS = (ROOT / "docs", ROOT / "grafana", ROOT / "deploy")

COMMAND = "typer calls it"
CALLED_BY_KAFKA = "aiokafka calls it, as ConsumerRebalanceListener has it"
KAFKA_REQUEST = "aiokafka reads it, as its protocol.api has it"
RAW_READER = "io.BufferedReader calls it, as io.RawIOBase has it"
PYDANTIC = "pydantic reads it"
TELLS_PEOPLE = "a key of the vector format that tells people about a row"
RECORDED = "a field that goes into the log"
IN_JSON = "a field of the result as JSON"
BY_NAME = "inner_vcpu.py reads all rates together, as a dict"
SHOWN = "library.py reads the key from the document, without building a scenario"

BUDGET = "machine.py reads all budgets, by the names of what they are for"
SECRET_FILE = "read by the name of its secret"
ALLOWED = {
    "bus.kafka_logs:API_KEY": KAFKA_REQUEST,
    "bus.kafka_logs:API_VERSION": KAFKA_REQUEST,
    "bus.kafka_logs:FLEXIBLE_VERSION": KAFKA_REQUEST,
    "bus.kafka_logs:RESPONSE_TYPE": KAFKA_REQUEST,
    "bus.kafka_logs:SCHEMA": KAFKA_REQUEST,
    "bus.zstd_frames:readable": RAW_READER,
    "bus.zstd_frames:readinto": RAW_READER,
    "cli.app:_options": COMMAND,
    "cli.app:short_help": "typer prints it in the list of commands",
    "cli.cluster:delete_run": COMMAND,
    "cli.cluster:list_runs": COMMAND,
    "cli.cluster:stop_run": COMMAND,
    "cli.cluster:watch_run": COMMAND,
    "cli.explore:reduced": IN_JSON,
    "cli.explore:states_per_s": IN_JSON,
    "cli.explore:violations": IN_JSON,
    "cluster.membership:on_partitions_assigned": CALLED_BY_KAFKA,
    "cluster.membership:on_partitions_revoked": CALLED_BY_KAFKA,
    "cli.import_:violations": IN_JSON,
    "cluster.settings:_addresses": PYDANTIC,
    "cluster.settings:_part_of_a_topic": PYDANTIC,
    "cluster.settings:_secrets_of_files": PYDANTIC,
    "cluster.settings:kafka_key_password_file": SECRET_FILE,
    "cluster.settings:kafka_password_file": SECRET_FILE,
    "cluster.settings:model_config": PYDANTIC,
    "cluster.settings:mqtt_password_file": SECRET_FILE,
    "conformance.vectors:code_name": TELLS_PEOPLE,
    "conformance.vectors:setting": TELLS_PEOPLE,
    "errata.trial:digest_after": IN_JSON,
    "errata.trial:digest_before": IN_JSON,
    "errata.trial:shown_after": IN_JSON,
    "errata.trial:shown_before": IN_JSON,
    "events.types:reason_written": RECORDED,
    "kvm.config:hlt": BY_NAME,
    "kvm.config:intr": BY_NAME,
    "kvm.switches:alloc_before_lock": "allocation takes no time here, as its description says",
    "load.measured:max_s": IN_JSON,
    "participants.snapshots:dispatch_table": "the pickler looks into it",
    "scenario.model:alloc": BUDGET,
    "scenario.model:host_alloc": BUDGET,
    "recorded.figures:p10_ns": IN_JSON,
    **dict.fromkeys(
        [f"recorded.summary:{name}" for name in ("asynchronous_share", "sentence")],
        IN_JSON,
    ),
    "scenario.model:shows": SHOWN,
}


def test_every_name_is_used() -> None:
    commands = {
        f"cli.{module}:{name.replace('-', '_')}{'_' * iskeyword(name)}"
        for name, (module, _) in COMMANDS.items()
    }
    wrong = unexplained(set(dead_names(PACKAGE, GENERATORS)) - commands, ALLOWED)
    assert not wrong, "\n".join(wrong)


def test_every_module_is_imported() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    entries = started_modules((ROOT / "Makefile").read_text(), project["scripts"].values())
    entries |= imported_modules(GENERATORS) | {"pagewake.__main__"}
    entries |= {f"pagewake.cli.{module}" for module, _ in COMMANDS.values()}
    assert dead_modules(grimp.build_graph("pagewake"), entries) == []


# ------------------------------------------------------------------------- the checker itself


def package(folder: Path, text: str) -> Path:
    made = folder / "made"
    made.mkdir()
    (made / "one.py").write_text(text)
    return made


@pytest.mark.parametrize(
    ("text", "dead"),
    [
        ("def f(): pass\n", ["one:f"]),
        ("def f(): pass\nf()\n", []),
        ("LIMIT = 3\n", ["one:LIMIT"]),
        ("class A: pass\n", ["one:A"]),
        ("class A:\n    def m(self): pass\nA()\n", ["one:m"]),
        ("class A:\n    field: int = 0\nA()\n", ["one:field"]),
        ("class A:\n    def __init__(self):\n        self.x = 1\nA()\n", ["one:x"]),
        ("class A:\n    def __init__(self):\n        self.x = 1\nprint(A().x)\n", []),
        ("def f(): pass\n__all__ = ['f']\n", ["one:f"]),
        ("def f(): pass\nf()\n__all__ = ['f']\n", []),
        ("class A:\n    @property\n    def p(self): return 1\nA()\n", ["one:p"]),
    ],
)
def test_a_name_that_is_never_used_is_found(text: str, dead: list[str], tmp_path: Path) -> None:
    assert dead_names(package(tmp_path, text)) == dead


def test_a_use_elsewhere_or_in_a_template_is_a_use(tmp_path: Path) -> None:
    made = package(tmp_path, "A = 1\nB = 2\nC = 3\n")
    (made / "page.html").write_text("<p>C {{ run.B }}</p>{% if\nD %}{% endif %}")
    users = tmp_path / "users"
    users.mkdir()
    (users / "user.py").write_text("from made.one import A\nprint(A)\nUNUSED = 1\n")
    assert dead_names(made, [users]) == ["one:C"]


def test_what_is_dead_needs_a_reason_and_a_reason_needs_something_dead() -> None:
    assert unexplained(["a:f"], {"a:f": "because"}) == []
    assert unexplained(["a:f"], {}) == ["a:f: nothing uses it: use it or delete it"]
    (told,) = unexplained([], {"a:f": "because"})
    assert told.startswith("a:f: not dead")


def test_a_module_is_alive_if_an_entry_reaches_it() -> None:
    graph = grimp.ImportGraph()
    for module in ("p", "p.main", "p.used", "p.deeper", "p.tool", "p.dead", "p.deader"):
        graph.add_module(module)
    for importer, imported in [("main", "used"), ("used", "deeper"), ("dead", "deader")]:
        graph.add_import(importer=f"p.{importer}", imported=f"p.{imported}")
    assert dead_modules(graph, ["p.main", "p.tool"]) == ["p.dead", "p.deader"]


def test_entries_are_found_where_they_are_named(tmp_path: Path) -> None:
    makefile = "schemas:\n\t@python -m pagewake.cluster.schema schemas\n\t@python -m pytest\n"
    assert started_modules(makefile, ["pagewake.cli.main:main"]) == {
        "pagewake.cluster.schema",
        "pagewake.cli.main",
    }
    (tmp_path / "a.py").write_text("import json\nfrom pagewake.kvm import modes\n")
    assert imported_modules([tmp_path]) == {"pagewake.kvm", "pagewake.kvm.modes"}
