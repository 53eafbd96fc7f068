"""reference/metrics.md: every series of a service, from the registry that it serves."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase

from docs.generate.markdown import code, head, table
from pagewake.cluster.clock import SystemClock
from pagewake.cluster.metrics import PREFIX, RunMetrics
from pagewake.cluster.process_metrics import ProcessMetrics
from pagewake.cluster.shard_metrics import COUNTS, LEVELS, SPREADS
from pagewake.events.types import Event
from pagewake.recorded.live import LiveRecording
from pagewake.recorded.live_metrics import RecordingMetrics

ABOUT = """
What a service serves under `/metrics`. Durations in simulated time end in `_sim_seconds`
(`pagewake_sim_time_seconds` is a point of it). Metrics of a run carry `run`, and `source`: the part
of it, a simulated host or a shard. They are exported by the owner of the part, once it has caught
up with the log, so no counter goes back. Rules and alerts over them: `deploy/prometheus/rules/`.

Beside these there are the usual `process_*` series of the process.
"""


RECORDED = """\
What `pagewake watch` serves: of a run's series those that a recording can say, with
`source="recording"`, times as they were and `medium="recorded"`, and these. Those of guests are
there once a recording has lines of a guest.
"""


class Series(NamedTuple):
    """One metric, as Prometheus sees it."""

    name: str
    kind: str
    labels: Sequence[str]
    text: str


def page() -> str:
    """The whole page."""
    runs = [each for each in series() if "run" in each.labels]
    recorded = recordings({each.name for each in runs})
    rest = [each for each in series() if "run" not in each.labels]
    values = [
        (code(f"{PREFIX}{metric.name}_total"), code(label), _values(closed))
        for metric in COUNTS
        for label, closed in metric.labels.items()
    ]
    moves = [
        (code(f"{PREFIX}{metric.name}{ending}"), _events(metric.moved_by) or "every window")
        for table, ending in ((COUNTS, "_total"), (LEVELS, ""), (SPREADS, ""))
        for metric in table
    ]
    return "\n".join(
        [
            head("Metrics", "`cluster/{shard_metrics,metrics,process_metrics}.py`", ABOUT),
            "## Of runs\n",
            _table(runs),
            "## Of recordings\n",
            RECORDED,
            _table(recorded),
            "## Of the process\n",
            _table(rest),
            "## Label values\n",
            "A metric whose labels are all closed has all its series from the start, at 0.\n",
            table(["metric", "label", "values"], values),
            "## What moves them\n",
            "The [events](events.md) of a shard that may move it.\n",
            table(["metric", "events"], moves),
        ]
    )


def _values(names: Sequence[str] | None) -> str:
    return "open" if names is None else ", ".join(code(name) for name in names)


def _events(kinds: Iterable[type[Event]]) -> str:
    names = [kind.__name__ for kind in kinds]
    return ", ".join(f"[{name}](events.md#{name.lower()})" for name in names)


def _table(listed: Sequence[Series]) -> str:
    rows = [
        (code(each.name), each.kind, ", ".join(code(label) for label in each.labels), each.text)
        for each in listed
    ]
    return table(["metric", "kind", "labels", "is"], rows)


def series() -> list[Series]:
    """All of them, by name."""
    return sorted(_registered(ProcessMetrics(list, float, list, SystemClock()).registry))


def recordings(known: Container[str]) -> list[Series]:
    """Those of followed recordings alone, by name."""
    live = LiveRecording("-", None, (), lambda _: None)
    families = [_series(each, each._labelnames) for each in RecordingMetrics(live, "").collect()]  # type: ignore[attr-defined] # noqa: SLF001
    return sorted(each for each in families if each.name not in known)


def _registered(registry: CollectorRegistry) -> Iterator[Series]:
    for collector in list(registry._collector_to_names):  # noqa: SLF001 - has no public way
        if isinstance(collector, RunMetrics):
            for family in collector.collect():
                yield _series(family, family._labelnames)  # type: ignore[attr-defined] # noqa: SLF001
        elif isinstance(collector, MetricWrapperBase):
            for family in collector.describe():
                yield _series(family, collector._labelnames)  # noqa: SLF001


def _series(family: Any, labels: Sequence[str]) -> Series:  # noqa: ANN401
    ending = "_total" if family.type == "counter" else ""
    return Series(family.name + ending, family.type, tuple(labels), family.documentation)
