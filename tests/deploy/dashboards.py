"""Dashboards and rules as the tests read them: panels, their queries, recorded names, alerts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import promql_parser
import yaml

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "deploy/prometheus"
DASHBOARDS: dict[str, dict[str, Any]] = {
    path.stem: json.loads(path.read_text(encoding="utf-8"))
    for path in sorted((ROOT / "grafana/dashboards").glob("*.json"))
}


class Asked(NamedTuple):
    """One query: dashboard, panel and letter; whether it is asked for one instant only."""

    where: str
    expr: str
    instant: bool


class Rule(NamedTuple):
    """`labels` and `annotations` only of an alert."""

    name: str
    expr: str
    is_alert: bool
    labels: dict[str, str]
    annotations: dict[str, str]


def chosen(expr: str) -> str:
    """With everything chosen in every variable."""
    for variable in ("$run", "$group", "$instance"):
        expr = expr.replace(variable, ".*")
    return expr


@cache
def queries() -> list[Asked]:
    """Of all panels."""
    return [
        Asked(f"{name}: {panel['title']}: {target['refId']}", chosen(target["expr"]),
              target["instant"])
        for name, dashboard in DASHBOARDS.items()
        for panel in dashboard["panels"]
        for target in panel.get("targets", [])
    ]  # fmt: skip


def marks() -> dict[str, str]:
    """What is marked, and the query for it."""
    return {
        marked["name"]: chosen(marked["expr"])
        for dashboard in DASHBOARDS.values()
        for marked in dashboard["annotations"]["list"]
    }


@cache
def rules() -> list[Rule]:
    """All that Prometheus evaluates."""
    return list(_rules())


def _rules() -> Iterator[Rule]:
    for path in sorted((PROMETHEUS / "rules").glob("*.yml")):
        for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]:
            for rule in group["rules"]:
                name = rule.get("alert") or rule["record"]
                labels, notes = rule.get("labels", {}), rule.get("annotations", {})
                yield Rule(name, rule["expr"], "alert" in rule, labels, notes)


def selectors(expr: str) -> list[promql_parser.VectorSelector]:
    """What a query reads; ValueError for what is no PromQL."""
    found: list[promql_parser.VectorSelector] = []

    def visit(node: promql_parser.Expr) -> bool:
        if isinstance(node, promql_parser.VectorSelector):
            found.append(node)
        return True

    promql_parser.walk(promql_parser.parse(expr), visit)
    return found


def names(expr: str) -> set[str]:
    """Of the series that a query reads."""
    return {str(selector.name) for selector in selectors(expr)}
