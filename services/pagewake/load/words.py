"""A load test in words and cells, for the terminal and for the page."""

from __future__ import annotations

from pagewake.load.measured import LoadResult, Measurement
from pagewake.load.plan import WARM_WINDOWS

FLAT_WITHIN = 0.20
"""Chosen, as `REGRESSION` of `pagewake load`: two runs of one version differ too."""
HEADINGS = (
    *("vcpus", "hosts", "faults/s", "events/s", "per window", "p50", "p99", "p99.9"),
    *("sim/wall", "CPU s/Mfault", "KiB/vcpu", "Kafka B/fault"),
)
NOTHING = "-"


def cells(size: Measurement) -> list[str]:
    """The cells of one size, under `HEADINGS`."""
    memory = size.memory_bytes_per_vcpu
    return [
        f"{size.vcpus:,}",
        f"{size.hosts}",
        f"{size.faults_per_s:,.0f}",
        f"{size.events_per_s:,.0f}",
        f"{size.faults_per_window:.1f}",
        _ms(size.window.p50_s),
        _ms(size.window.p99_s),
        _ms(size.window.p999_s),
        f"{size.simulated_per_wall:.3g}",
        _number(size.cpu_s_per_million_faults),
        _number(None if memory is None else memory / 1024),
        _number(size.kafka_bytes_per_fault),
    ]


def services(result: LoadResult) -> list[str]:
    """The names of all processes that said what they use."""
    return sorted({cost.service for size in result.sizes for cost in size.services})


def cost_cells(size: Measurement, names: list[str]) -> list[str]:
    """CPU per million faults of each process, with its share of one core."""
    costs = {cost.service: cost for cost in size.services}
    row = [f"{size.vcpus:,}"]
    for name in names:
        cost = costs.get(name)
        row.append(
            f"{_number(cost.cpu_s_per_million_faults)} ({100 * cost.cpu_share:.0f} %)"
            if cost is not None
            else NOTHING
        )
    return row


def remarks(result: LoadResult) -> list[str]:
    """The knee, whether a fault costs the same at all sizes, and where figures come from."""
    said = [_knee(result)] if len(result.sizes) > 1 else []
    flat = _flatness(result)
    if flat:
        said.append(flat)
    jobs = max((size.jobs or 1 for size in result.sizes), default=1)
    if jobs > 1:
        said.append(f"Simulated hosts were spread over up to {jobs} processes (--jobs).")
    said.append(
        f"Each size was warmed up for {result.warm_s:g} s and {WARM_WINDOWS} windows of every"
        f" simulated host at least, measured for {result.duration_s:g} s of wall time or longer,"
        f" and stopped. Latencies: {result.latency_source}. CPU and memory are of the whole"
        " processes of pagewake, with what they kept of earlier sizes, and not of the brokers."
    )
    return said


def _knee(result: LoadResult) -> str:
    if not result.knee_reached:
        return f"No knee up to {result.knee_vcpus:,} vcpus: {result.knee_rule}."
    return f"Knee at {result.knee_vcpus:,} vcpus: {result.knee_rule}."


def _flatness(result: LoadResult) -> str:
    costs = [
        (size.vcpus, size.cpu_s_per_million_faults)
        for size in result.sizes
        if size.cpu_s_per_million_faults
    ]
    if len(costs) < 2:
        return ""
    least, most = min(costs, key=lambda each: each[1]), max(costs, key=lambda each: each[1])
    apart = most[1] / least[1] - 1
    verdict = "flat" if apart <= FLAT_WITHIN else "not flat"
    return (
        f"CPU per fault is {verdict} within {100 * FLAT_WITHIN:.0f} %: from {_number(least[1])} s"
        f" per million at {least[0]:,} vcpus to {_number(most[1])} at {most[0]:,},"
        f" {100 * apart:.0f} % apart."
    )


def _ms(value_s: float) -> str:
    return f"{1000 * value_s:.3g} ms" if value_s < 1 else f"{value_s:.3g} s"


def _number(value: float | None) -> str:
    return NOTHING if value is None else f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
