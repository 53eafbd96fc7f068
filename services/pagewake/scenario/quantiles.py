"""A table of quantiles: which share of all values lies at or below which duration.

quantiles = [[0, "80us"], [0.5, "1200us"], [0.99, "20ms"], [1, "300ms"]]

It rises from share 0, the shortest, to share 1, the longest. Shares are kept in whole parts of
1,000,000,000, so that nothing depends on how a machine rounds.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, TypeAlias, TypeVar

from pagewake.host_memory.media import WHOLE
from pagewake.scenario.keys import BadValueError, Duration, Number, Reader, show

T = TypeVar("T")

Rows: TypeAlias = tuple[tuple[int, int], ...]
"""(share in parts of `WHOLE`, nanoseconds), both rising."""

MOST_ROWS = 1024
"""More than any measurement needs; a bound on what every draw looks through."""
_EXAMPLE = '[[0, "80us"], [0.5, "1200us"], [1, "3ms"]]'
_SHARE = Number(0.0, 1.0)
_TIME = Duration(1)


class Quantiles:
    """Reads and writes such a table."""

    textual = False

    def read(self, raw: object) -> Rows:
        if not isinstance(raw, list) or not 2 <= len(raw) <= MOST_ROWS:
            raise BadValueError(
                f"{show(raw)} is no table of 2 to {MOST_ROWS:,} quantiles; write {_EXAMPLE}"
            )
        rows = tuple(_row(each, index) for index, each in enumerate(raw))
        _check_ends(rows)
        for index, ((share, time_ns), (next_share, next_ns)) in enumerate(pairwise(rows), 1):
            if next_share <= share:
                raise BadValueError(
                    f"the share {_float(next_share)} does not rise above the {_float(share)} "
                    "before it",
                    (index,),
                )
            if next_ns < time_ns:
                raise BadValueError(
                    f"{show(_TIME.write(next_ns))} is shorter than the "
                    f"{show(_TIME.write(time_ns))} before it: times rise with their shares",
                    (index,),
                )
        return rows

    def write(self, value: Rows) -> object:
        return [[_float(share), _TIME.write(time_ns)] for share, time_ns in value]


def _row(raw: object, index: int) -> tuple[int, int]:
    if not isinstance(raw, list) or len(raw) != 2:
        raise BadValueError(
            f'{show(raw)} is no quantile; write [share, duration], for example [0.5, "1200us"]',
            (index,),
        )
    return round(_cell(_SHARE, raw, index, 0) * WHOLE), _cell(_TIME, raw, index, 1)


def _cell(reader: Reader[T], raw: list[Any], index: int, place: int) -> T:
    try:
        return reader.read(raw[place])
    except BadValueError as error:
        raise BadValueError(str(error), (index, place)) from None


def _check_ends(rows: Rows) -> None:
    for index, wanted, what in ((0, 0, "shortest"), (-1, WHOLE, "longest")):
        share = rows[index][0]
        if share != wanted:
            raise BadValueError(
                f"the {what} time has the share {_float(share)}; it must be {_float(wanted):g}, "
                "so that every request has a time",
                (index % len(rows),),
            )


def _float(share: int) -> float:
    """The share as a number of a file, which reads back to the same."""
    return share / WHOLE
