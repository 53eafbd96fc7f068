"""A recording in ten lines for a person, and the same figures for a program.

What is not in the recording is left out of a line or said to be unknown, never guessed.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from pagewake.observe.report import words
from pagewake.observe.report.words import GLUE, duration, percent
from pagewake.recorded import names
from pagewake.recorded.figures import FigureCounter, Figures, Stage
from pagewake.recorded.log import RecordingReader
from pagewake.recorded.placed import Span
from pagewake.verify.log_run import PlacedEvent

KNOWN = ("begin", "end")
"""Spans of which no line is missing: what they say of is told by events."""
_NEEDED: Mapping[str, tuple[str, ...]] = {
    "synchronous": (names.PAGE_FAULT, names.ENTRY),
    "idle": (names.EXIT,),
}
"""What no line of a recording shows if it lacks one of these: it is not 0, but unknown."""
_STARTS = (names.TRY_ASYNC, names.NOT_PRESENT)
"""Both were recorded, or nothing was asynchronous, if there are no lines of either."""


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


def unseen(lines: Mapping[str, int]) -> dict[str, str]:
    """The figures that are unknown, each with why; `lines` by event."""
    missing = {
        figure: [name for name in needed if not lines.get(name)]
        for figure, needed in _NEEDED.items()
    }
    if not any(lines.get(name) for name in (*_STARTS, names.READY)):
        missing["asynchronous"] = [names.NOT_PRESENT]
    one_is_missing = [name for name in _STARTS if not lines.get(name)]
    if len(one_is_missing) == 1:
        missing["refused"] = one_is_missing
        if names.NOT_PRESENT in one_is_missing:
            missing["synchronous"] += one_is_missing
    return {figure: f"no {', no '.join(of)} lines" for figure, of in missing.items() if of}


class Summary(msgspec.Struct, frozen=True):
    """The figures, what they are drawn together to, and the sentence; times in nanoseconds.

    `unknown`: what is 0 in the figures because no line would show it, and why.
    """

    figures: Figures
    asynchronous_share: float | None
    kernel_share: float | None
    stood_still_ns: int
    blackout_ns: int
    sentence: str
    unknown: dict[str, str]


def summary_of(figures: Figures, lines: Mapping[str, int]) -> Summary:
    """What `--json` prints; `lines`: how many there are of each event."""
    unknown = unseen(lines)
    known = figures.kernel + figures.user
    return Summary(
        figures,
        figures.started / figures.waited if figures.waited and unknown.keys() <= {"idle"} else None,
        figures.kernel / known if known else None,
        figures.stood_still_ns,
        figures.blackout_ns,
        _sentence(figures, unknown),
        unknown,
    )


def summary_lines(figures: Figures, of_events: Mapping[str, int]) -> list[tuple[str, str]]:
    """Ten lines, each with what it is about; of a guest that recorded itself, one more or alone.

    `of_events`: how many lines there are of each.
    """
    if names.only_a_guest(of_events):
        return [("waits", _waits(figures).replace(GLUE, " "))]
    unknown = unseen(of_events)
    lines = [
        ("asynchronous", _asynchronous(figures, unknown)),
        ("not so", _not_so(figures, unknown)),
        ("kernel mode", _kernel_mode(figures)),
        ("submission", _stage(figures.submission, "from its start until the guest is told")),
        ("completion", _stage(figures.completion, "until the page is there")),
        ("delivery", _stage(figures.delivery, "from then on to READY")),
        ("outstanding", _outstanding(figures)),
        ("halts", _halts(figures, unknown)),
        ("stood still", _stood_still(figures, unknown)),
        ("gained", _sentence(figures, unknown)),
    ]
    if of_events.get(names.APF_WAIT):
        lines.append(("waits", _waits(figures)))
    return [(name, text.replace(GLUE, " ")) for name, text in lines]


def _asynchronous(figures: Figures, unknown: Mapping[str, str]) -> str:
    share = percent(figures.started, figures.waited)
    of_all = f"of {words.counted(figures.waited, 'fault')} that waited ({share})"
    if {"synchronous", "refused"} & unknown.keys():
        of_all = f"of at least {words.counted(figures.waited, 'fault')} that waited"
    text = (
        f"{figures.started:,} {of_all}: {figures.injected:,} told to the guest,"
        f" {figures.halted:,} halted the vcpu"
    )
    if "asynchronous" in unknown:
        text += f"; {unknown['asynchronous']}: none happened, or none were recorded"
    untold = figures.started - figures.injected - figures.halted
    return f"{text}, {untold:,} unknown" if untold else text


def _not_so(figures: Figures, unknown: Mapping[str, str]) -> str:
    found = figures.synchronous
    counts = (("synchronous", found.count), ("repeated", figures.repeated))
    text = ", ".join(
        f"{what} unknown ({unknown[what]})" if what in unknown else f"{count:,} {what}"
        for what, count in (*counts, ("refused", figures.refused))
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


def _waits(figures: Figures) -> str:
    text = _stage(figures.waits, "of a task until its wake").replace("fault", "wait")
    return f"{text}; {figures.unslept:,} returned at once: the wake came before"


def _outstanding(figures: Figures) -> str:
    text = (
        f"{figures.outstanding_mean:.2f} on average, at most {figures.outstanding_max_vcpu} of a "
        f"vcpu and {figures.outstanding_max_vm} of a VM; {figures.late:,} of {figures.ready:,} "
        "READYs not for the oldest"
    )
    return f"{text}; {figures.open:,} open at the end" if figures.open else text


def _halts(figures: Figures, unknown: Mapping[str, str]) -> str:
    found = [
        f"{why} {count:,} ({_time(figures.halted_ns.get(why, 0))})"
        for why, count in sorted(figures.halts.items(), key=lambda each: (-each[1], each[0]))
    ]
    if "idle" in unknown:
        found.append(f"hlt unknown ({unknown['idle']})")
    return ", ".join(found) or "none"


def _stood_still(figures: Figures, unknown: Mapping[str, str]) -> str:
    whole = figures.span_ns * figures.vcpus
    parts = (
        ("synchronous", figures.synchronous.took_ns, "in synchronous faults"),
        ("for a page", figures.for_a_page_ns, "halted for a page"),
        ("idle", figures.idle_ns, "idle while a page was awaited"),
    )
    text = ", ".join(
        f"{'unknown' if part in unknown else _time(ns)} {what}" for part, ns, what in parts
    )
    least = "at least " if {"synchronous", "idle"} & unknown.keys() else ""
    return f"{least}{_time(figures.stood_still_ns)} of {_time(whole)} of all vcpus: {text}"


def _sentence(figures: Figures, unknown: Mapping[str, str]) -> str:
    """Idle time that is not seen counts as gained, so what is gained may be less."""
    gained, blackout = (f"{ns / 1e9:.3g}" for ns in (figures.gained_ns, figures.blackout_ns))
    about = "at most" if "idle" in unknown else "about"
    of = "of at least" if "synchronous" in unknown else "of"
    return (
        f"async page faults gained this guest {about} {gained} {of} {blackout} blacked-out vcpu"
        " seconds"
    )


def _time(ns: int | None) -> str:
    return duration((ns or 0) / 1e9).replace("µ", "u")
