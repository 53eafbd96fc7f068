"""The checked-in dashboards: what the code builds, and only of metrics that there are."""

from __future__ import annotations

import json
import re
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from grafana.build import built, main
from grafana.limits import AT
from grafana.page import TITLES, uid
from prometheus_client.metrics_core import Metric

from pagewake.cluster.process_metrics import ProcessMetrics
from pagewake.recorded.live import LiveRecording
from pagewake.recorded.live_metrics import RecordingMetrics
from tests.deploy.dashboards import (
    DASHBOARDS,
    PROMETHEUS,
    ROOT,
    marks,
    names,
    queries,
    rules,
)
from tests.support.clock import FakeClock

GRAFANA = ROOT / "grafana"
README = " ".join((GRAFANA / "README.md").read_text(encoding="utf-8").split())
IMPORTS = {name: GRAFANA / f"import/{name}.json" for name in DASHBOARDS}
OF_PROMETHEUS = {"up", "ALERTS"}
SUFFIXES = {
    "counter": ("_total", "_created"),
    "histogram": ("_bucket", "_sum", "_count", "_created"),
    "gauge": ("",),
}
PANELS = {"timeseries", "stat", "heatmap", "table", "bargauge", "text", "row"}
WIDTH = 24


def collected() -> list[Metric]:
    """Every family that a service exports."""
    return [*ProcessMetrics(list, float, list, FakeClock()).registry.collect(), *recorded()]


def recorded() -> list[Metric]:
    """Every family that a followed recording exports."""
    live = LiveRecording("-", None, (), lambda _: None)
    return list(RecordingMetrics(live, "host").collect())


@cache
def exported() -> frozenset[str]:
    """Names of all series that a service may export."""
    return frozenset(one.name + suffix for one in collected() for suffix in SUFFIXES[one.type])


@cache
def known() -> frozenset[str]:
    """Names of all series that a query may read."""
    return exported() | OF_PROMETHEUS | {rule.name for rule in rules() if not rule.is_alert}


def panels() -> list[tuple[str, dict[str, Any]]]:
    """Of all dashboards, with the dashboard's name."""
    return [(name, panel) for name, board in DASHBOARDS.items() for panel in board["panels"]]


def provisioned(kind: str) -> dict[str, Any]:
    """The one entry of a provisioning file."""
    (path,) = (GRAFANA / "provisioning" / kind).glob("*.yaml")
    (entry,) = yaml.safe_load(path.read_text(encoding="utf-8"))[
        "providers" if kind == "dashboards" else kind
    ]
    assert isinstance(entry, dict)
    return entry


def test_the_checked_in_files_are_what_the_code_builds() -> None:
    there = {
        f"{path.parent.name}/{path.name}": path.read_text(encoding="utf-8")
        for folder in ("dashboards", "import")
        for path in GRAFANA.glob(f"{folder}/*")
    }
    assert there == built(), "run: make dashboards"


def test_a_dashboard_that_is_no_longer_built_is_removed(tmp_path: Path) -> None:
    (tmp_path / "import").mkdir()
    (tmp_path / "import/old.json").write_text("{}", encoding="utf-8")
    main(tmp_path)
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.glob("*/*")} == set(built())


@pytest.mark.parametrize("asked", queries(), ids=lambda asked: asked.where)
def test_a_query_reads_what_there_is(asked: Any) -> None:
    assert names(asked.expr) - known() == set()


@pytest.mark.parametrize("name", marks())
def test_a_mark_is_of_something_that_there_is(name: str) -> None:
    assert names(marks()[name]) - known() == set()


def test_no_query_has_a_variable_that_the_dashboards_have_not() -> None:
    for board in DASHBOARDS.values():
        variables = {variable["name"] for variable in board["templating"]["list"]}
        asked = [target["expr"] for panel in board["panels"] for target in panel.get("targets", [])]
        asked += [mark["expr"] for mark in board["annotations"]["list"]]
        assert set(re.findall(r"\$(\w+)", "".join(asked))) <= variables


def test_variables_list_the_values_of_metrics_that_there_are() -> None:
    for board in DASHBOARDS.values():
        for variable in board["templating"]["list"][1:]:
            found = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["query"])
            assert found is not None
            assert found[1] in exported()
            assert found[2] == variable["name"]


def test_every_metric_is_in_a_dashboard() -> None:
    recorded = {rule.name: names(rule.expr) for rule in rules() if not rule.is_alert}
    read = set[str]().union(*(names(asked.expr) for asked in queries()))
    while more := set[str]().union(*(recorded.get(name, set()) for name in read)) - read:
        read |= more
    families = [one for one in collected() if one.name.startswith("pagewake_")]
    shown = {
        family.name: any(family.name + suffix in read for suffix in SUFFIXES[family.type])
        for family in families
    }
    assert [name for name, is_shown in shown.items() if not is_shown] == [
        "pagewake_replaying",  # a mark in all panels
    ], "a panel in grafana/*.py, or a line here with the reason"


def test_every_recorded_series_is_read_by_a_panel_an_alert_or_another() -> None:
    readers = [asked.expr for asked in queries()] + [rule.expr for rule in rules()]
    read = set[str]().union(*(names(expr) for expr in readers))
    assert {rule.name for rule in rules() if not rule.is_alert} - read == set()


def test_uids_are_the_names_and_no_two_are_the_same() -> None:
    assert {board["uid"]: board["title"] for board in DASHBOARDS.values()} == {
        uid(name): f"pagewake: {title}" for name, title in TITLES.items()
    }


def test_links_lead_to_dashboards() -> None:
    uids = {board["uid"] for board in DASHBOARDS.values()}
    for board in DASHBOARDS.values():
        linked = [link["url"] for link in board["links"]]
        for panel in board["panels"]:
            if panel["type"] == "text":
                linked += re.findall(r"\]\((/d/[^)?]*)", panel["options"]["content"])
        assert {url.removeprefix("/d/") for url in linked} == uids - {board["uid"]}


@pytest.mark.parametrize("name", DASHBOARDS)
class TestPanels:
    """Of one dashboard."""

    def test_each_says_what_it_shows_and_in_which_unit(self, name: str) -> None:
        for panel in DASHBOARDS[name]["panels"]:
            assert panel["type"] in PANELS
            if panel["type"] not in {"row", "text"}:
                assert panel["description"], panel["title"]
                assert '"unit"' in str(panel).replace("'", '"'), panel["title"]

    def test_each_has_a_number_and_a_title_of_its_own(self, name: str) -> None:
        there = DASHBOARDS[name]["panels"]
        assert [panel["id"] for panel in there] == list(range(1, len(there) + 1))
        titled = Counter(panel["title"] for panel in there if panel["type"] == "timeseries")
        assert max(titled.values()) == 1

    def test_none_lies_on_another_or_reaches_out(self, name: str) -> None:
        taken: set[tuple[int, int]] = set()
        for panel in DASHBOARDS[name]["panels"]:
            place = panel["gridPos"]
            x, y = place.get("x", 0), place.get("y", 0)
            assert x + place["w"] <= WIDTH
            cells = {(x + i, y + j) for i in range(place["w"]) for j in range(place["h"])}
            assert not cells & taken, panel["title"]
            taken |= cells


def asked_of(board: dict[str, Any]) -> list[Any]:
    """The data source of every panel, query, mark and variable of a dashboard."""
    shown = [panel for panel in board["panels"] if panel["type"] not in {"row", "text"}]
    askers = [*shown, *board["annotations"]["list"], *board["templating"]["list"][1:]]
    askers += [target for panel in shown for target in panel["targets"]]
    return [asker["datasource"] for asker in askers]


@pytest.mark.parametrize("name", DASHBOARDS)
class TestDataSource:
    """Of one dashboard: whichever is chosen, in any Grafana."""

    def test_it_is_chosen_first(self, name: str) -> None:
        chooser, *_ = DASHBOARDS[name]["templating"]["list"]
        assert (chooser["type"], chooser["name"]) == ("datasource", "datasource")

    def test_it_is_one_of_the_kind_that_is_provisioned_and_the_default_at_first(
        self, name: str
    ) -> None:
        chooser, *_ = DASHBOARDS[name]["templating"]["list"]
        source = provisioned("datasources")
        assert chooser["query"] == source["type"]
        assert (chooser["current"]["value"], source["isDefault"]) == ("default", True)

    def test_everything_asks_the_chosen_one(self, name: str) -> None:
        asked = asked_of(DASHBOARDS[name])
        assert len(asked) > 20
        assert asked == [{"type": "prometheus", "uid": "${datasource}"}] * len(asked)

    def test_links_keep_it(self, name: str) -> None:
        assert all(link["includeVars"] for link in DASHBOARDS[name]["links"])
        written = str(
            [panel.get("options", {}).get("content") for panel in DASHBOARDS[name]["panels"]]
        )
        assert written.count("(/d/") == written.count("${datasource:queryparam}")


@pytest.mark.parametrize("name", DASHBOARDS)
class TestImport:
    """The file for an import by hand."""

    def test_all_that_is_asked_for_is_used_and_the_other_way_round(self, name: str) -> None:
        text = IMPORTS[name].read_text(encoding="utf-8")
        asked = [one["name"] for one in json.loads(text)["__inputs"]]
        assert set(re.findall(r"\$\{(DS_\w+)\}", text)) == set(asked)

    def test_the_answer_is_what_the_variable_holds(self, name: str) -> None:
        board = imported(name, "of-this-place")
        chooser, *_ = board["templating"]["list"]
        assert chooser["current"]["value"] == "of-this-place"

    def test_nothing_else_differs_from_what_is_provisioned(self, name: str) -> None:
        board, same = imported(name, "default"), DASHBOARDS[name]
        assert board | {"editable": False} == same

    def test_it_says_which_panels_and_which_grafana_it_needs(self, name: str) -> None:
        needs = json.loads(IMPORTS[name].read_text(encoding="utf-8"))["__requires"]
        panels = {panel["type"] for panel in DASHBOARDS[name]["panels"]} - {"row"}
        assert {one["id"] for one in needs if one["type"] == "panel"} == panels
        (grafana,) = [one for one in needs if one["type"] == "grafana"]
        assert f"that of Grafana {grafana['version'].split('.')[0]}." in README


def imported(name: str, source: str) -> dict[str, Any]:
    """As Grafana takes it in: answers put into the text, what was for the import left out."""
    text = IMPORTS[name].read_text(encoding="utf-8").replace("${DS_PROMETHEUS}", source)
    return {key: value for key, value in json.loads(text).items() if not key.startswith("__")}


def test_what_the_readme_says_of_the_schema_is_so() -> None:
    (said,) = re.findall(r"`schemaVersion` (\d+)", README)
    assert {board["schemaVersion"] for board in DASHBOARDS.values()} == {int(said)}


def test_a_uid_is_one_that_grafana_takes_and_nobody_else_has() -> None:
    for board in DASHBOARDS.values():
        assert re.fullmatch(r"pagewake-[a-z]{1,31}", board["uid"])  # 40 characters at most


@pytest.mark.parametrize("alert", AT)
def test_colours_change_where_alerts_fire(alert: str) -> None:
    (rule,) = [rule for rule in rules() if rule.name == alert]
    numbers = re.findall(r"(?:>=|>|==) (\d+)\b", rule.expr)
    assert numbers[:1] == [str(AT[alert])]


def test_grafana_reads_the_dashboards_where_compose_mounts_them() -> None:
    compose = yaml.safe_load((ROOT / "deploy/compose.yaml").read_text(encoding="utf-8"))
    mounts = dict(
        volume.split(":")[:2]
        for volume in compose["services"]["grafana"]["volumes"]
        if volume.startswith(".")
    )
    assert mounts == {
        "../grafana/dashboards": provisioned("dashboards")["options"]["path"],
        "../grafana/provisioning": "/etc/grafana/provisioning",
    }


def test_prometheus_reads_the_rules_where_compose_mounts_them() -> None:
    config = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text(encoding="utf-8"))
    assert config["rule_files"] == ["rules/*.yml"]
    compose = yaml.safe_load((ROOT / "deploy/compose.yaml").read_text(encoding="utf-8"))
    assert "./prometheus:/etc/prometheus:ro" in compose["services"]["prometheus"]["volumes"]


def test_a_recorded_host_is_shown_as_a_run_is() -> None:
    """It can be chosen, no query asks for another source, and what it has is on a panel."""
    there = {one.name + suffix for one in recorded() for suffix in SUFFIXES[one.type]}
    chosen = [
        variable["query"]
        for board in DASHBOARDS.values()
        for variable in board["templating"]["list"]
        if variable["name"] == "run"
    ]
    assert set(chosen) == {"label_values(pagewake_sim_time_seconds, run)"}
    assert "pagewake_sim_time_seconds" in there
    assert not [asked.where for asked in queries() if re.search(r"source=~?\"", asked.expr)]
