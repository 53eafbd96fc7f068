"""A load test as one HTML file that needs nothing but itself: curves over the vcpus, and the table.

The look is that of the reports.  matplotlib and Jinja are loaded here, so import this module when a
page is wanted, not before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from pagewake.load.measured import LoadResult, Measurement
from pagewake.load.regression import in_words
from pagewake.load.words import HEADINGS, cells, remarks
from pagewake.observe.report.html import environment, json_block
from pagewake.observe.report.svg import PLACEHOLDERS as COLOUR
from pagewake.observe.report.svg import Chart, blank, chart, panel, tip
from pagewake.observe.report.words import duration

# Chosen: four charts fit a screen, and labels such as "1,024" of neighbouring points stay apart.
CHART_HEIGHT_PX = 210
LABEL_PX = 44

Points = Sequence[tuple[int, float]]


class Curve(NamedTuple):
    """One line of a chart: what it is called, its colour, and its points by vcpus."""

    label: str
    colour: str
    points: Points


class Panel(NamedTuple):
    """A chart with its heading, the curves for its legend, and a sentence about it."""

    heading: str
    about: str
    curves: Sequence[Curve]
    picture: Chart


def page_of(result: LoadResult) -> str:
    """The page; any number of sizes, none included."""
    templates = environment(Path(__file__).with_name("templates"))
    return templates.get_template("load.html").render(
        result=result,
        headings=HEADINGS,
        rows=[cells(size) for size in result.sizes],
        remarks=remarks(result),
        regressions=[in_words(found) for found in result.regressions],
        charts=list(_charts(result)) if result.sizes else [],
        json=json_block(result),
    )


def _charts(result: LoadResult) -> Iterator[Panel]:
    sizes = result.sizes
    knee = result.knee_vcpus if result.knee_reached else None
    rates = [Curve("faults/s", "task-1", _by(sizes, _rate))]
    about = "Faults a second of wall time" + ("; the knee is dashed." if knee else ".")
    yield Panel("Throughput", about, rates, _curves("throughput", rates, _plain, knee))
    times = _percentiles(sizes)
    about = "From a window's opening to its last close."
    yield Panel("Latency of a window", about, times, _curves("latency", times, duration, knee))
    costs = _costs(sizes)
    if costs:
        about = "Seconds of CPU per million faults, by process; flat where a fault costs the same."
        yield Panel("CPU", about, costs, _curves("cpu", costs, _plain, knee))
    memory = [(at, size / 1024) for at, size in _by(sizes, _memory)]
    if memory:
        about = "Resident memory of all processes per vcpu, with a logarithmic axis."
        curves = [Curve("KiB per vcpu", "task-1", memory)]
        picture = _curves("memory", curves, _plain, knee, logarithmic=True)
        yield Panel("Memory", about, curves, picture)


def _memory(size: Measurement) -> float | None:
    return size.memory_bytes_per_vcpu


def _rate(size: Measurement) -> float:
    return size.faults_per_s


def _by(sizes: Sequence[Measurement], of: Callable[[Measurement], float | None]) -> Points:
    return [(size.vcpus, value) for size in sizes if (value := of(size)) is not None]


def _percentiles(sizes: Sequence[Measurement]) -> list[Curve]:
    return [
        Curve("p50", "task-1", _by(sizes, lambda size: size.window.p50_s)),
        Curve("p99", "task-2", _by(sizes, lambda size: size.window.p99_s)),
        Curve("p99.9", "task-3", _by(sizes, lambda size: size.window.p999_s)),
    ]


def _costs(sizes: Sequence[Measurement]) -> list[Curve]:
    names = sorted({cost.service for size in sizes for cost in size.services})
    colours = [name for name in COLOUR if name.startswith("task-")]
    return [
        Curve(name, colours[index % len(colours)], _by(sizes, lambda size: _cost(size, name)))  # noqa: B023
        for index, name in enumerate(names)
    ]


def _cost(size: Measurement, service: str) -> float | None:
    found = [cost.cpu_s_per_million_faults for cost in size.services if cost.service == service]
    return found[0] if found else None


def _plain(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:.3g}"


def _curves(
    name: str,
    curves: Sequence[Curve],
    told: Callable[[float], str],
    knee: int | None,
    *,
    logarithmic: bool = False,
) -> Chart:
    """Lines over a logarithmic axis of vcpus."""
    vcpus = sorted({vcpus for curve in curves for vcpus, _ in curve.points})

    def draw(width: int) -> Figure:
        figure = blank(width, CHART_HEIGHT_PX)
        axes = panel(figure, 52, 8, 16, 44)
        axes.set_xlabel("vcpus, a logarithmic axis", loc="left")
        axes.set_xscale("log")
        axes.set_xlim(vcpus[0] / 1.15, vcpus[-1] * 1.15)
        for curve in curves:
            colour = COLOUR[curve.colour]
            axes.plot(
                [at for at, _ in curve.points], [value for _, value in curve.points],
                color=colour, linewidth=1.8, marker="o", markersize=4,
            )  # fmt: skip
            for at, value in curve.points:
                about = f"{curve.label} at {at:,} vcpus: {told(value)}"
                axes.plot([at], [value], "o", color=colour, markersize=7, gid=tip(about))
        if knee is not None:
            axes.axvline(knee, color=COLOUR["ink"], linewidth=1, linestyle=(0, (4, 3)))
        _axes(axes, vcpus, width, told, logarithmic)
        return figure

    return chart(name, f"{name} over vcpus", draw)


def _axes(
    axes: Axes, vcpus: Sequence[int], width: int, told: Callable[[float], str], logarithmic: bool
) -> None:
    room = max(2, width // (2 * LABEL_PX))
    step = -(-len(vcpus) // room)
    axes.xaxis.set_major_locator(FixedLocator(list(vcpus[::-1][::step])))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    if logarithmic:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(FixedLocator(_round_steps(axes)))
        axes.yaxis.set_minor_locator(NullLocator())
    else:
        axes.set_ylim(0, axes.get_ylim()[1] * 1.05)
        axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: told(value)))
    axes.grid(axis="y")
    axes.set_axisbelow(True)
    axes.spines["left"].set_visible(False)


def _round_steps(axes: Axes) -> list[float]:
    """1, 2, 5 of the decades between the ends of the axis; its ends where it has less than two."""
    low, high = axes.get_ylim()
    low, high = low / 1.5, high * 1.5
    axes.set_ylim(low, high)
    steps = [step * 10.0**power for power in range(-6, 9) for step in (1, 2, 5)]
    inside = [step for step in steps if low <= step <= high]
    return inside if len(inside) > 1 else [low * 1.1, high / 1.1]
