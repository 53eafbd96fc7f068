"""What dashboards are made of: panels with their queries, limits and units.

Panels read the series that deploy/prometheus/rules/recording.yml records.  A rate of something
simulated is shown per simulated second: that is what the guests see, however fast the simulation
is, and it is empty while simulated time stands still.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, TypeAlias

from grafana_foundation_sdk.builders import (
    bargauge,
    common,
    dashboard,
    heatmap,
    stat,
    table,
    text,
    timeseries,
)
from grafana_foundation_sdk.builders.prometheus import Dataquery
from grafana_foundation_sdk.models import common as enums
from grafana_foundation_sdk.models.dashboard import (
    DataSourceRef,
    DataTransformerConfig,
    DynamicConfigValue,
    FieldColorModeId,
    Threshold,
    ThresholdsMode,
)
from grafana_foundation_sdk.models.heatmap import HeatmapColorMode, HeatmapColorScale
from grafana_foundation_sdk.models.prometheus import PromQueryFormat
from grafana_foundation_sdk.models.text import TextMode

SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
"""Whichever Prometheus is chosen at the top of the dashboard."""
RUN = 'run=~"$run"'
GROUP = 'group=~"$group"'
INSTANCE = 'instance=~"$instance"'
HEIGHT = 8
PAGE_BYTES = 4096

PER_SIM_S = "si:/sim s"
PER_S = "si:/s"

Panel: TypeAlias = (
    timeseries.Panel | stat.Panel | heatmap.Panel | table.Panel | bargauge.Panel | text.Panel
)


class Query(NamedTuple):
    """PromQL, and the name of a series in the legend."""

    expr: str
    legend: str = "{{run}}"


class Limit(NamedTuple):
    """From `value` on it is `color`."""

    value: float
    color: str


def per_simulated_second(series: str) -> str:
    """A recorded rate of runs, per simulated instead of wall second."""
    speed = f"run:pagewake_sim_speed:ratio1m{{{RUN}}}"
    return f"{series}{{{RUN}}} / on (run) group_left () ({speed} > 0)"


# ------------------------------------------------------------------------------------ panels


def lines(
    title: str,
    tells: str,
    unit: str,
    *queries: Query,
    stacked: bool = False,
    limits: Sequence[Limit] = (),
    span: int = 12,
) -> timeseries.Panel:
    """Over time; `limits` are drawn as lines."""
    panel = (
        timeseries.Panel()
        .title(title)
        .description(tells)
        .datasource(SOURCE)
        .unit(unit)
        .min(0)
        .span(span)
        .height(HEIGHT)
        .color_scheme(_colors())
        .fill_opacity(20 if stacked else 8)
        .show_points(enums.VisibilityMode.NEVER)
        .legend(common.VizLegendOptions().display_mode(enums.LegendDisplayMode.TABLE)
                .placement(enums.LegendPlacement.BOTTOM).show_legend(True)
                .calcs(["lastNotNull", "max"]))
        .tooltip(common.VizTooltipOptions().mode(enums.TooltipDisplayMode.MULTI)
                 .sort(enums.SortOrder.DESCENDING))
    )  # fmt: skip
    if stacked:
        panel.stacking(common.StackingConfig().mode(enums.StackingMode.NORMAL))
    if limits:
        panel.thresholds(_thresholds(limits))
        panel.thresholds_style(
            common.GraphThresholdsStyleConfig().mode(enums.GraphThresholdsStyleMode.LINE)
        )
    return panel.targets(_targets(queries))


def number(
    title: str,
    tells: str,
    unit: str,
    query: Query,
    *,
    limits: Sequence[Limit] = (),
    span: int = 4,
) -> stat.Panel:
    """The newest value, coloured by `limits`."""
    return (
        stat.Panel()
        .title(title)
        .description(tells)
        .datasource(SOURCE)
        .unit(unit)
        .span(span)
        .height(4)
        .graph_mode(enums.BigValueGraphMode.AREA)
        .color_mode(enums.BigValueColorMode.VALUE)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .thresholds(_thresholds(limits))
        .targets(_targets([query]))
    )


def heat(title: str, tells: str, bucket_rate: str, *, span: int = 12) -> heatmap.Panel:
    """How many a second fell into each bucket (seconds), of a recorded rate of buckets."""
    query = Dataquery().expr(f"sum by (le) ({bucket_rate}{{{RUN}}})").legend_format("{{le}}")
    return (
        heatmap.Panel()
        .title(title)
        .description(tells)
        .datasource(SOURCE)
        .span(span)
        .height(HEIGHT)
        .calculate(False)
        .y_axis(heatmap.YAxisConfig().unit("s"))
        .cell_values(heatmap.CellValues().unit(PER_S))
        .color(heatmap.HeatmapColorOptions().mode(HeatmapColorMode.SCHEME).scheme("Oranges")
               .scale(HeatmapColorScale.EXPONENTIAL).exponent(0.5).steps(64).fill("dark-orange"))
        .with_target(query.format(PromQueryFormat.HEATMAP).range().ref_id("A").datasource(SOURCE))
    )  # fmt: skip


def listing(
    title: str, tells: str, keys: Sequence[str], columns: dict[str, tuple[str, str]]
) -> table.Panel:
    """A row for each value of the labels `keys`; a column is a name, its query and its unit.

    Queries lose all other labels, names of metrics among them: rows are put together by equality.
    """
    letters = [chr(ord("A") + at) for at in range(len(columns))]
    renamed = {f"Value #{letter}": name for letter, name in zip(letters, columns, strict=True)}
    if len(letters) == 1:
        renamed["Value"] = next(iter(columns))
    order = {key: at for at, key in enumerate([*keys, *renamed])}
    panel = (
        table.Panel()
        .title(title)
        .description(tells)
        .datasource(SOURCE)
        .span(24)
        .height(HEIGHT)
        .with_transformation(DataTransformerConfig(id_val="merge", options={}))
        .with_transformation(DataTransformerConfig(id_val="organize", options={
            "excludeByName": {"Time": True}, "renameByName": renamed, "indexByName": order,
        }))
    )  # fmt: skip
    for name, (_, unit) in columns.items():
        panel.override_by_name(name, [DynamicConfigValue("unit", unit)])
    return panel.targets(
        [
            _query(Query(f"sum by ({', '.join(keys)}) ({expr})"), letter)
            .format(PromQueryFormat.TABLE)
            .instant()
            for letter, (expr, _) in zip(letters, columns.values(), strict=True)
        ]
    )


def bars(title: str, tells: str, unit: str, query: Query, *, span: int = 12) -> bargauge.Panel:
    """The newest values side by side."""
    return (
        bargauge.Panel()
        .title(title)
        .description(tells)
        .datasource(SOURCE)
        .unit(unit)
        .min(0)
        .span(span)
        .height(HEIGHT)
        .orientation(enums.VizOrientation.HORIZONTAL)
        .display_mode(enums.BarGaugeDisplayMode.BASIC)
        .color_scheme(_colors())
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .thresholds(_thresholds(()))
        .with_target(_query(query, "A").instant())
    )


def words(content: str, *, span: int = 24, height: int = 4) -> text.Panel:
    """Markdown."""
    return (
        text.Panel().mode(TextMode.MARKDOWN).content(content).span(span).height(height)
        .transparent(True)
    )  # fmt: skip


def _query(query: Query, letter: str) -> Dataquery:
    asked = Dataquery().expr(query.expr).legend_format(query.legend)
    return asked.ref_id(letter).datasource(SOURCE)


def _targets(queries: Iterable[Query]) -> list[Any]:
    return [_query(query, chr(ord("A") + at)).range() for at, query in enumerate(queries)]


def _colors() -> dashboard.FieldColor:
    return dashboard.FieldColor().mode(FieldColorModeId.PALETTE_CLASSIC)


def _thresholds(limits: Iterable[Limit]) -> dashboard.ThresholdsConfig:
    steps = [Threshold(value=None, color="text"), *[Threshold(*limit) for limit in limits]]
    return dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps)
