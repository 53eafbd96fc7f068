"""The page of a recording: what came of it, what was checked, when vcpus stood still.

matplotlib and Jinja are loaded here, so import this module when a page is wanted, not before.
"""

from __future__ import annotations

from pagewake import __version__
from pagewake.observe.report.distribution import durations_chart
from pagewake.observe.report.durations import Durations
from pagewake.observe.report.html import environment, json_block
from pagewake.observe.report.recorder import Best, VmRecorder
from pagewake.observe.report.svg import Chart
from pagewake.observe.report.timeline_chart import legend, timeline_chart
from pagewake.observe.report.words import counted, duration, instant
from pagewake.recorded.check import RecordedChecks, rules_for
from pagewake.recorded.checkable import unheard
from pagewake.recorded.figures import FigureCounter
from pagewake.recorded.log import RecordingReader
from pagewake.recorded.placed import Span
from pagewake.recorded.summary import KNOWN, summary_lines, summary_of
from pagewake.verify.log_run import PlacedEvent

BREACHES_MAX = 200
"""Violations named on the page; an edited recording may have thousands."""


def page_of_recording(reader: RecordingReader) -> str:
    """The page; it needs nothing but itself."""
    recording = reader.recording
    told = _Reading(reader)
    figures = told.counter.figures(recording.length_ns)
    breaches = told.checks.breaches
    found = counted(len(breaches), "violation") if breaches else "no violation"
    stretch = told.best.timeline
    vcpus = sum(len(vm.vcpus) for vm in recording.vms)
    lines = summary_lines(figures, recording.lines)
    return environment().get_template("recording.html").render(
        name=", ".join(source.name.rpartition("/")[2] for source in recording.sources),
        facts=[
            f"kernel {recording.profile}", counted(vcpus, "vcpu"),
            counted(len(recording.vms), "VM"), duration(recording.length_ns / 1e9),
            f"pagewake {__version__}",
        ],
        verdict=f"{counted(told.checks.events.total(), 'event')}, {found}. {lines[-1][1]}",
        bad=bool(breaches),
        breaches=breaches[:BREACHES_MAX],
        hidden=max(0, len(breaches) - BREACHES_MAX),
        lines=lines,
        durations=told.durations(),
        timelines=told.pictures(),
        legend=legend(stretch) if stretch is not None else [],
        spans=[(f"{one.file}:{one.line}", instant(one.from_ns), one.what) for one in told.spans],
        checks=recording.checks,
        why=recording.why,
        json=json_block(summary_of(figures, recording.lines)),
    )  # fmt: skip


class _Reading:
    """A recording, read once."""

    def __init__(self, reader: RecordingReader) -> None:
        recording = reader.recording
        self.checks = RecordedChecks(rules_for(recording.profile), unheard(recording.checks))
        self.counter = FigureCounter(recording.sync_fault_ns)
        self.best = Best()
        self._halted, self._blacked_out = Durations(), Durations()
        vms = {
            vm.name: VmRecorder(
                vm.name, number, self.best, self._halted, self._blacked_out, host_alone=True
            )
            for number, vm in enumerate(recording.vms)
        }
        for one in reader.found():
            self.checks.take((one,))
            if isinstance(one, PlacedEvent):
                self.counter.feed((one.event,))
                vms[one.event.vm].take(one)
            elif isinstance(one, Span) and one.why not in KNOWN:
                self.counter.forget()
        self.checks.finish()
        for vm in vms.values():
            vm.close(recording.length_ns)

    @property
    def spans(self) -> list[Span]:
        return self.checks.spans

    def durations(self) -> Chart | None:
        return durations_chart(
            "durations",
            [
                ("vcpus halted for a page, each halt", "halted", self._halted),
                ("vcpus blacked out by a synchronous fault", "blackout", self._blacked_out),
            ],
            None,
        )

    def pictures(self) -> list[Chart]:
        """The stretch in which most happens, and the fullest part of it."""
        stretch = self.best.timeline
        if stretch is None or not stretch.vcpus:
            return []
        shown = stretch.zoomed()
        part = shown.busiest()
        return [
            timeline_chart(f"timeline-{number}", one, {}, "time since the recording began")
            for number, one in enumerate((shown, part))
            if one is not None
        ]
