"""Recording rules and alerts: named, explained, and each one has a test for promtool."""

from __future__ import annotations

import re
import shutil
import subprocess
from functools import cache
from typing import Any

import pytest
import yaml

from tests.deploy.dashboards import PROMETHEUS, ROOT, Rule, names, rules
from tests.deploy.test_dashboards import known

RECORDED = [rule for rule in rules() if not rule.is_alert]
ALERTS = [rule for rule in rules() if rule.is_alert]
TESTS = sorted((PROMETHEUS / "tests").glob("*.yml"))
RUNBOOK = (ROOT / "docs/runbook.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", RUNBOOK, re.MULTILINE | re.DOTALL))
OPERATIONS = r"(rate|delta|increase|mean|ratio|p50_|p99_)\d+m|sum|min|max"

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None,
    reason="no promtool: apt-get install --no-install-recommends prometheus",
)


def named(rule: Rule) -> str:
    """For ids of tests."""
    return rule.name


@cache
def cases() -> list[dict[str, Any]]:
    """All promtool test cases."""
    files = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in TESTS]
    return [case for file in files for case in file["tests"]]


def promtool(*arguments: str) -> None:
    """Run it, and fail with what it says."""
    command = ["promtool", *arguments]
    done = subprocess.run(command, capture_output=True, check=False, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("rule", rules(), ids=named)
def test_a_rule_reads_what_there_is(rule: Rule) -> None:
    assert names(rule.expr) - known() == set()


def test_no_two_rules_have_the_same_name() -> None:
    found = [rule.name for rule in rules()]
    assert len(set(found)) == len(found)


@pytest.mark.parametrize("rule", RECORDED, ids=named)
def test_a_recorded_series_says_level_metric_and_operation(rule: Rule) -> None:
    level, metric, operation = rule.name.split(":")
    assert re.fullmatch(OPERATIONS, operation)
    assert any(name.startswith(metric) or metric in name for name in known())
    by = re.findall(r"by \(([\w, ]+)\)", rule.expr)
    if by and level != "cluster":
        assert level == by[0].replace(", ", "_")


@pytest.mark.parametrize("rule", RECORDED, ids=named)
def test_a_recorded_series_is_tested(rule: Rule) -> None:
    tested = [asked["expr"] for case in cases() for asked in case.get("promql_expr_test", [])]
    assert any(rule.name in names(expr) for expr in tested)


@pytest.mark.parametrize("rule", ALERTS, ids=named)
class TestAlert:
    """Each tells a person what it is and where to read on."""

    def test_it_fires_in_a_test_and_is_quiet_in_another(self, rule: Rule) -> None:
        tested = [asked for case in cases() for asked in case.get("alert_rule_test", [])]
        fires = {bool(asked["exp_alerts"]) for asked in tested if asked["alertname"] == rule.name}
        assert fires == {True, False}

    def test_it_has_a_severity_and_its_texts(self, rule: Rule) -> None:
        assert rule.labels["severity"] in {"critical", "warning", "info"}
        assert set(rule.annotations) == {"summary", "description", "runbook_url"}
        assert all(rule.annotations.values())

    def test_its_section_of_the_runbook_is_there(self, rule: Rule) -> None:
        assert rule.annotations["runbook_url"] == f"docs/runbook.md#{rule.name.lower()}"
        section = SECTIONS[rule.name]
        for part in ("**It means.**", "**Look at.**", "**Do.**"):
            assert part in section


def test_the_table_of_the_runbook_has_every_alert_with_its_severity() -> None:
    rows = re.findall(r"^\| \[(\w+)\]\(#(\w+)\) \| (\w+) \|", RUNBOOK, re.MULTILINE)
    assert rows == [
        (rule.name.removeprefix("Pagewake"), rule.name.lower(), rule.labels["severity"])
        for rule in ALERTS
    ]


def test_the_runbook_has_no_section_for_what_is_no_alert() -> None:
    assert [name for name in SECTIONS if name.startswith("Pagewake")] == [
        rule.name for rule in ALERTS
    ]


@needs_promtool
def test_promtool_accepts_the_configuration() -> None:
    promtool("check", "config", str(PROMETHEUS / "prometheus.yml"))
    promtool("check", "rules", *map(str, sorted((PROMETHEUS / "rules").glob("*.yml"))))


@needs_promtool
def test_promtool_finds_that_every_rule_does_what_its_tests_say() -> None:
    promtool("test", "rules", *map(str, TESTS))
