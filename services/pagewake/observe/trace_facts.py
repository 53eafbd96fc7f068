"""What is in a trace, in words: for a terminal and for a page."""

from __future__ import annotations

from collections.abc import Iterator

from pagewake.observe.report.words import count, counted, duration, percent, short
from pagewake.scenario.trace_info import Expected, TraceInfo
from pagewake.scenario.units import PAGE_BYTES, mib

UNKNOWN = "not in this format"
HEADINGS = ("limit", "pages", "expected page-ins", "of all touches")


def facts(info: TraceInfo) -> Iterator[tuple[str, str]]:
    """Names and figures, the most general first."""
    yield "trace", info.trace
    yield "format", info.format
    yield "accesses", f"{count(info.accesses)}, as {count(info.touches)} touches of a page"
    yield "pages", f"{count(info.pages)} ({size(info.pages)}), {_written(info)}"
    yield "writes", UNKNOWN if info.writes is None else _share(info.writes, info.touches)
    yield "length", length(info)
    yield "working set", working_set(info)
    if info.reuse is not None:
        its = info.reuse
        found = f"p50 {count(its.p50)}, p90 {count(its.p90)}, p99 {count(its.p99)}"
        yield "reuse", f"{found}, at most {count(its.max)} other pages between two uses"
    yield "looked at", looked_at(info)


def size(pages: int) -> str:
    """Memory of so many pages."""
    return mib(pages * PAGE_BYTES)


def length(info: TraceInfo) -> str:
    """How long the trace is, in what it counts."""
    if info.unit == "nanoseconds":
        return duration(info.length / 1e9, 4)
    return f"{short(info.length)} instructions"


def working_set(info: TraceInfo) -> str:
    """The least and the most of all parts."""
    pages = sorted(part.pages for part in info.working_set)
    return (
        f"{count(pages[0])} to {count(pages[-1])} pages in {len(pages)} parts of it,"
        f" {count(pages[len(pages) // 2])} at the median"
    )


def looked_at(info: TraceInfo) -> str:
    """Whether figures of reuse are exact, or how wrong they may be."""
    if info.error is None:
        return "all accesses"
    wrong = percent(info.error, 1)
    return (
        f"one page in {count(info.one_page_in)}; expected page-ins are wrong by about {wrong} of"
        f" all touches at the worst limit"
    )


def row(expected: Expected) -> tuple[str, str, str, str]:
    """A limit as a row of a table."""
    return (
        size(expected.limit_pages),
        count(expected.limit_pages),
        count(expected.page_ins),
        percent(expected.share, 1),
    )


def remark(info: TraceInfo) -> str:
    """What the expectation is, and is not."""
    if info.only_faults:
        return (
            "It has faults and no hits: a page is used again in it only after it was taken away, so"
            " more page-ins than it has pages come of the recorded machine's limit, not of the"
            " program, and a smaller limit would have seen more of them than is expected here."
        )
    return (
        f"Expected are page-ins with LRU; the first touch of each of the"
        f" {counted(info.pages, 'page')} reads nothing. Linux, and pagewake, evict by second"
        " chance and in batches, so a run has more of them close to a knee of the curve."
    )


def _written(info: TraceInfo) -> str:
    if info.pages_written is None:
        return f"which are written: {UNKNOWN}"
    return f"{count(info.pages_written)} of them written"


def _share(part: int, whole: int) -> str:
    return f"{count(part)}, {percent(part, whole)} of all touches"
