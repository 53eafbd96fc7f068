"""A dashboard as a whole: its variables, its links to the others, what is marked in its panels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DashboardLinkType,
    VariableOption,
    VariableRefresh,
    VariableSort,
)

from grafana.panels import INSTANCE, RUN, SOURCE, Panel

TITLES = {
    "overview": "Overview",
    "protocol": "Protocol",
    "nested": "Nested routing",
    "memory": "Host memory",
    "cluster": "Cluster",
}


def uid(name: str) -> str:
    """Of the dashboard with this name."""
    return f"pagewake-{name}"


def page(name: str, tells: str, panels: Iterable[Panel | str]) -> dashboard.Dashboard:
    """A dashboard; a word among the panels opens a row."""
    made = (
        dashboard.Dashboard(f"pagewake: {TITLES[name]}")
        .uid(uid(name))
        .description(tells)
        .tags(["pagewake"])
        .readonly()
        .timezone("browser")
        .time("now-15m", "now")
        .refresh("5s")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .with_variable(_data_source())
        .with_variable(_variable("run", "Run", "pagewake_sim_time_seconds"))
        .with_variable(_variable("group", "VM group", "pagewake_group_vms"))
        .with_variable(_variable("instance", "Instance", "pagewake_owned_partitions"))
    )
    for other in TITLES:
        if other != name:
            made.link(_link(other))
    for annotation in _annotations():
        made.annotation(annotation)
    for panel in panels:
        if isinstance(panel, str):
            made.with_row(dashboard.Row(panel))
        else:
            made.with_panel(panel)
    return made


def _data_source() -> dashboard.DatasourceVariable:
    """Which Prometheus all panels ask; at first the one that is Grafana's default."""
    return (
        dashboard.DatasourceVariable("datasource")
        .label("Data source")
        .type("prometheus")
        .current(VariableOption(selected=True, text="default", value="default"))
    )


def _variable(name: str, label: str, metric: str) -> dashboard.QueryVariable:
    """All values of a label; every one of them is chosen at first."""
    return (
        dashboard.QueryVariable(name)
        .label(label)
        .datasource(SOURCE)
        .query(f"label_values({metric}, {name})")
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(".*")
        .current(VariableOption(selected=True, text=["All"], value=["$__all"]))
    )


def _link(name: str) -> dashboard.DashboardLink:
    return (
        dashboard.DashboardLink(TITLES[name])
        .type(DashboardLinkType.LINK)
        .icon("dashboard")
        .url(f"/d/{uid(name)}")
        .include_vars(True)
        .keep_time(True)
    )


def _annotations() -> Iterator[dashboard.AnnotationQuery]:
    """What happened to runs and to the cluster; a mark is as wide as its query is true.

    A counter that was above zero when it was first seen has no change, so it is asked for as well.
    """
    takeovers = f"pagewake_recoveries_total{{{INSTANCE}}}"
    for name, color, expr in (
        (
            "Interventions",
            "orange",
            f"sum by (run, do) (changes(pagewake_interventions_total{{{RUN}}}[30s])) > 0",
        ),
        ("Paused", "yellow", f"max by (run) (pagewake_run_paused{{{RUN}}}) == 1"),
        (
            "Ends",
            "green",
            f"max by (run) (changes(pagewake_run_ended{{{RUN}}}[30s])) > 0",
        ),
        (
            "Takeovers",
            "blue",
            f"changes({takeovers}[30s]) > 0 or ({takeovers} unless {takeovers} offset 30s) > 0",
        ),
        ("Replays", "purple", f"max by (run, source) (pagewake_replaying{{{RUN}}}) == 1"),
        ("Alerts", "red", 'ALERTS{alertname=~"Pagewake.*", alertstate="firing"}'),
    ):
        yield (
            dashboard.AnnotationQuery()
            .name(name)
            .datasource(SOURCE)
            .enable(True)
            .icon_color(color)
            .expr(expr)
        )
