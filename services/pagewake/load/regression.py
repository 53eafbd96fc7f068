"""A load test held against a saved one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec

from pagewake.errors import ConfigError, DataError
from pagewake.events.journal import JournalMode
from pagewake.load.measured import LoadResult, Measurement, Regression
from pagewake.observe.report.words import counted

FILE_BYTES_MAX = 16 << 20
"""A result has a few kilobytes per size; what is larger is some other file."""
LATENCY_STEP_S = 0.002
"""Timestamps of records are whole milliseconds: two of them may differ by this without meaning."""


class Figure(NamedTuple):
    """A figure that is compared; `worse` is 1 if more is worse, -1 if less is.

    Differences up to `step` mean nothing.
    """

    name: str
    of: Callable[[Measurement], float | None]
    worse: int
    step: float = 0.0


FIGURES = (
    Figure("faults_per_s", lambda size: size.faults_per_s, -1),
    Figure("window.p99_s", lambda size: size.window.p99_s, 1, LATENCY_STEP_S),
    Figure("cpu_s_per_million_faults", lambda size: size.cpu_s_per_million_faults, 1),
    Figure("memory_bytes_per_vcpu", lambda size: size.memory_bytes_per_vcpu, 1),
    Figure("kafka_bytes_per_fault", lambda size: size.kafka_bytes_per_fault, 1),
)


def read_baseline(path: Path) -> LoadResult:
    """Read what `load --json` wrote before."""
    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            raise DataError(f"{path}: more than {FILE_BYTES_MAX} bytes are no result of load")
        text = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"--baseline {path}: cannot be read: {error.strerror}") from None
    try:
        return msgspec.json.decode(text, type=LoadResult)
    except msgspec.DecodeError as error:
        raise DataError(f"{path}: not a result of pagewake load --json: {error}") from None


def check_comparable(
    baseline: LoadResult,
    mode: str,
    jobs: Mapping[int, int | None],
    journal: JournalMode = "full",
) -> None:
    """ConfigError if there is nothing in it to compare with; `jobs` are the processes by size."""
    if baseline.journal != journal:
        raise ConfigError(
            f"--baseline was measured with --journal {baseline.journal}, this is {journal}"
        )
    if baseline.mode != mode:
        raise ConfigError(f"--baseline was measured {baseline.mode}, this is {mode}")
    known = {size.vcpus for size in baseline.sizes}
    if not known & jobs.keys():
        shown = ",".join(map(str, sorted(known))) or "none"
        raise ConfigError(f"--baseline has none of these sizes; it has --vcpus {shown}")
    for size in baseline.sizes:
        before, now = (size.jobs or 1), (jobs.get(size.vcpus, size.jobs) or 1)
        if before != now:
            raise ConfigError(
                f"--baseline was measured in {counted(before, 'process', 'processes')} at"
                f" {size.vcpus:,} vcpus, this would be in {now}: give --jobs {before}"
            )


def regressions(baseline: LoadResult, now: LoadResult, allowed: float) -> list[Regression]:
    """Figures of sizes in both that are worse by more than `allowed`, a share."""
    before = {size.vcpus: size for size in baseline.sizes}
    found: list[Regression] = []
    for size in now.sizes:
        if size.vcpus not in before:
            continue
        for figure in FIGURES:
            found += _compared(figure, before[size.vcpus], size, allowed)
    return found


def _compared(
    figure: Figure, before: Measurement, now: Measurement, allowed: float
) -> list[Regression]:
    was, is_now = figure.of(before), figure.of(now)
    if not was or is_now is None:
        return []
    worse_by = figure.worse * (is_now - was) / was
    if worse_by <= allowed or abs(is_now - was) <= figure.step:
        return []
    return [Regression(now.vcpus, figure.name, was, is_now, worse_by)]


def in_words(found: Regression) -> str:
    return (
        f"{found.vcpus:,} vcpus: {found.figure} {found.before:.4g} → {found.now:.4g}"
        f" ({100 * found.worse_by:.0f} % worse)"
    )
