"""The figures that were published with the series, to print beside simulated ones.

Total work of `bm -f 4 -w 4 -t 60`, average of 10 runs, in the cover letter of version 7 (14 October
2010), and single runs of the same set-up in that of version 4 (6 July 2010); semantics 5.4.
Nothing in pagewake reads these figures except to print them.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import hypot, sqrt
from typing import NamedTuple

import msgspec


class Estimate(msgspec.Struct, frozen=True):
    """A value and its standard error (None: not enough runs to tell)."""

    value: float
    error: float | None


class PublishedRow(NamedTuple):
    """One set-up of the published table, and the `kernel.apf` that stands for it."""

    name: str
    apf: str
    work: Estimate


MASTER = PublishedRow("master", "off", Estimate(122789420615, 3818565029))
NONPV = PublishedRow("nonpv", "nonpv", Estimate(138455939001, 773774299))
PV = PublishedRow("pv", "pv", Estimate(234351846135, 10461117116))
BENCHMARK = (MASTER, NONPV, PV)
RATIO_OF_V4 = 258846142585 / 129752639953
"""Work with asynchronous page faults to work without, of version 4."""


def published_ratio(row: PublishedRow) -> Estimate:
    """Work relative to master; the error takes the two rows' runs as independent."""
    ratio = row.work.value / MASTER.work.value
    if row is MASTER:
        return Estimate(1.0, None)
    return Estimate(ratio, ratio * hypot(_relative(row.work), _relative(MASTER.work)))


def _relative(estimate: Estimate) -> float:
    return (estimate.error or 0.0) / estimate.value


def mean_of(values: Sequence[float]) -> Estimate:
    """The mean and its standard error over runs (at least one)."""
    mean = sum(values) / len(values)
    if len(values) < 2:
        return Estimate(mean, None)
    variance = sum((value - mean) ** 2 for value in values) / (len(values) - 1)
    return Estimate(mean, sqrt(variance / len(values)))
