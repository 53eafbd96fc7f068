"""`pagewake verify`: a log's integrity and every invariant, from the log alone."""

from __future__ import annotations

from pathlib import Path

import msgspec

from pagewake.cli.options import JsonOption, LogArgument
from pagewake.cli.output import print_json, print_line
from pagewake.cli.versions import need_journal, tell_version
from pagewake.errors import CheckFailedError, DataError
from pagewake.observe.report.words import counted
from pagewake.recorded.check import check_recording, told
from pagewake.recorded.log import RecordingReader, is_recording
from pagewake.verify.verify import VerifyReport, verify_log

SHOWN_PROBLEMS = 20
"""A damaged log has thousands; `--json` has all of them."""


class Verdict(msgspec.Struct, frozen=True):
    """The verdict on a log, as `--json` prints it."""

    ok: bool
    digest: str
    events: int
    problems: list[str]


def verify(log: LogArgument, as_json: JsonOption = False) -> None:
    """Check a log's integrity and every invariant; exit 1 if anything is wrong in it."""
    if is_recording(log):
        _verify_recording(log, as_json)
        return
    need_journal(log, "verify")
    tell_version(log)
    report = verify_log(log)
    if as_json:
        print_json(Verdict(report.ok, report.digest, report.events, report.problems))
    else:
        found = "no violation" if report.ok else counted(len(report.problems), "problem")
        print_line(f"{_digest(report)} {counted(report.events, 'event')}, {found}")
    if not report.ok:
        raise CheckFailedError(_told(report))


def _verify_recording(directory: Path, as_json: bool) -> None:
    """An imported recording has no digest: the kernel did not tell one."""
    try:
        checks = check_recording(RecordingReader(directory))
    except DataError as error:
        if as_json:
            print_json(Verdict(False, "", 0, [str(error)]))
        raise CheckFailedError(str(error)) from error
    problems = [str(one) for one in checks.breaches]
    events = checks.events.total()
    if as_json:
        print_json(Verdict(not problems, "", events, problems))
    else:
        found = counted(len(problems), "violation") if problems else "no violation"
        print_line(f"recording: {counted(events, 'event')}, {found}")
    if problems:
        raise CheckFailedError(told(checks.breaches))


def _digest(report: VerifyReport) -> str:
    """Alone if it was computed from the events; else with a word on what it is."""
    if not report.digest:
        return "no digest:"
    return report.digest if report.confirmed else f"recorded {report.digest}, not confirmed:"


def _told(report: VerifyReport) -> str:
    shown = report.problems[:SHOWN_PROBLEMS]
    more = len(report.problems) - len(shown)
    rest = [f"and {more} more"] if more else []
    return "\n".join([counted(len(report.problems), "problem"), *shown, *rest])
