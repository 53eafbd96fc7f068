"""A recording in ten lines for a person, and the same figures for a program.

What is not in the recording is left out of a line or said to be unknown, never guessed.
"""

from __future__ import annotations

import msgspec

from pagewake.observe.report import words
from pagewake.observe.report.words import GLUE, duration, percent
from pagewake.recorded.figures import FigureCounter, Figures, Stage
from pagewake.recorded.log import RecordingReader
from pagewake.recorded.placed import Span
from pagewake.verify.log_run import PlacedEvent

KNOWN = ("begin", "end")
"""Spans of which no line is missing: what they say of is told by events."""


def counted(
    reader: RecordingReader, vm: str | None = None, until_ns: int | None = None
) -> FigureCounter:
    """The figures of a recording, or of one of its VMs up to some instant."""
    counter = FigureCounter(reader.recording.sync_fault_ns)
    for one in reader.found():
        if isinstance(one, Span) and one.why not in KNOWN:
            counter.forget()
        elif isinstance(one, PlacedEvent) and vm in (None, one.event.vm):
            counter.feed([one.event] if until_ns is None or one.event.at_ns <= until_ns else ())
    return counter


class Summary(msgspec.Struct, frozen=True):
    """The figures, what they are drawn together to, and the sentence; times in nanoseconds."""

    figures: Figures
    asynchronous_share: float | None
    kernel_share: float | None
    stood_still_ns: int
    blackout_ns: int
    sentence: str


def summary_of(figures: Figures) -> Summary:
    """What `--json` prints."""
    known = figures.kernel + figures.user
    return Summary(
        figures,
        figures.started / figures.waited if figures.waited else None,
        figures.kernel / known if known else None,
        figures.stood_still_ns,
        figures.blackout_ns,
        _sentence(figures),
    )


def summary_lines(figures: Figures) -> list[tuple[str, str]]:
    """Ten lines, each with what it is about."""
    lines = [
        ("asynchronous", _asynchronous(figures)),
        ("not so", _not_so(figures)),
        ("kernel mode", _kernel_mode(figures)),
        ("submission", _stage(figures.submission, "from its start until the guest is told")),
        ("completion", _stage(figures.completion, "until the page is there")),
        ("delivery", _stage(figures.delivery, "from then on to READY")),
        ("outstanding", _outstanding(figures)),
        ("halts", _halts(figures)),
        ("stood still", _stood_still(figures)),
        ("gained", _sentence(figures)),
    ]
    return [(name, text.replace(GLUE, " ")) for name, text in lines]


def _asynchronous(figures: Figures) -> str:
    share = percent(figures.started, figures.waited)
    text = (
        f"{figures.started:,} of {words.counted(figures.waited, 'fault')} that waited ({share}): "
        f"{figures.injected:,} told to the guest, {figures.halted:,} halted the vcpu"
    )
    untold = figures.started - figures.injected - figures.halted
    return f"{text}, {untold:,} unknown" if untold else text


def _not_so(figures: Figures) -> str:
    found = figures.synchronous
    text = (
        f"{found.count:,} synchronous, {figures.repeated:,} repeated, {figures.refused:,} refused"
    )
    parts = [
        f"{percent(ns, found.took_ns)} {what}"
        for ns, what in (
            (found.off_cpu_ns, "off the CPU"),
            (found.reclaim_ns, "in reclaim of its own"),
        )
        if ns is not None and found.took_ns
    ]
    return f"{text}; synchronous: of its time {', '.join(parts)}" if parts else text


def _kernel_mode(figures: Figures) -> str:
    known = figures.kernel + figures.user
    if not known:
        return "unknown of all asynchronous faults" if figures.started else "no asynchronous fault"
    share = percent(figures.kernel, known)
    return f"{figures.kernel:,} of {words.counted(known, 'asynchronous fault')} ({share})"


def _stage(stage: Stage, what: str) -> str:
    if stage.p50_ns is None:
        return f"none seen ({what})"
    times = ", ".join(
        f"{name} {_time(value)}"
        for name, value in (
            ("p50", stage.p50_ns),
            ("p90", stage.p90_ns),
            ("p99", stage.p99_ns),
            ("max", stage.max_ns),
        )
    )
    return f"{times} ({what}; {words.counted(stage.count, 'fault')})"


def _outstanding(figures: Figures) -> str:
    text = (
        f"{figures.outstanding_mean:.2f} on average, at most {figures.outstanding_max_vcpu} of a "
        f"vcpu and {figures.outstanding_max_vm} of a VM; {figures.late:,} of {figures.ready:,} "
        "READYs not for the oldest"
    )
    return f"{text}; {figures.open:,} open at the end" if figures.open else text


def _halts(figures: Figures) -> str:
    found = [
        f"{why} {count:,} ({_time(figures.halted_ns.get(why, 0))})"
        for why, count in sorted(figures.halts.items(), key=lambda each: (-each[1], each[0]))
    ]
    return ", ".join(found) or "none"


def _stood_still(figures: Figures) -> str:
    whole = figures.span_ns * figures.vcpus
    return (
        f"{_time(figures.stood_still_ns)} of {_time(whole)} of all vcpus: "
        f"{_time(figures.synchronous.took_ns)} in synchronous faults, "
        f"{_time(figures.for_a_page_ns)} halted for a page, "
        f"{_time(figures.idle_ns)} idle while a page was awaited"
    )


def _sentence(figures: Figures) -> str:
    gained, blackout = (f"{ns / 1e9:.3g}" for ns in (figures.gained_ns, figures.blackout_ns))
    return (
        f"async page faults gained this guest about {gained} of {blackout} blacked-out vcpu seconds"
    )


def _time(ns: int | None) -> str:
    return duration((ns or 0) / 1e9).replace("µ", "u")
