"""`pagewake import`: a recording of a real kernel as a log directory, checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.table import Table

from pagewake.cli.figures import Counted
from pagewake.cli.options import JsonOption
from pagewake.cli.output import print_json, print_line
from pagewake.cli.screen import print_text
from pagewake.errors import CheckFailedError, ConfigError
from pagewake.kvm.profile import PROFILES, nearest_profile
from pagewake.observe.report.words import counted
from pagewake.recorded.check import Breach, check_recording, told
from pagewake.recorded.figures import Figures
from pagewake.recorded.importing import import_files
from pagewake.recorded.log import Check, RecordedVm, Recording, RecordingReader
from pagewake.recorded.placed import Span
from pagewake.recorded.summary import Summary, summary_lines, summary_of
from pagewake.recorded.summary import counted as counted_figures

FilesArgument = Annotated[
    list[str],
    typer.Argument(metavar="FILE...", help="What a tracer printed; - is standard input."),
]
DirectoryOption = Annotated[
    Path, typer.Option("--output", "-o", metavar="DIR", help="The directory to write.")
]
ProfileOption = Annotated[
    str | None,
    typer.Option("--profile", metavar="P", help="The kernel, where it is known better."),
]
VmOption = Annotated[
    list[str] | None,
    typer.Option("--vm", metavar="PID,..", help="The vcpu threads of one VM; for each VM."),
]
SyncOption = Annotated[
    float,
    typer.Option("--sync-ms", min=0, help="A synchronous fault counts from so many ms on."),
]

SummaryOption = Annotated[
    bool, typer.Option("--summary", help="Say in ten lines what asynchronous page faults did.")
]


class Imported(msgspec.Struct, frozen=True):
    """What an import found, as `--json` prints it."""

    directory: str
    profile: str
    why: str
    vms: list[RecordedVm]
    vcpus: int
    events: dict[str, int]
    lines: dict[str, int]
    counts: dict[str, int]
    violations: list[Breach]
    spans: list[Span]
    checks: list[Check]
    summary: Summary


def import_(
    files: FilesArgument,
    output: DirectoryOption,
    profile: ProfileOption = None,
    vms: VmOption = None,
    sync_ms: SyncOption = 0.3,
    summary: SummaryOption = False,
    as_json: JsonOption = False,
) -> None:
    """Read a recording of a real kernel into a log directory; exit 1 if it breaks a rule."""
    must_be_known(profile)
    import_files(files, output, profile, vm_groups(vms or ()), round(sync_ms * 1_000_000))
    reader = RecordingReader(output)
    checks = check_recording(reader)
    recording = reader.recording
    if as_json:
        print_json(
            Imported(
                str(output), recording.profile, recording.why, recording.vms,
                sum(len(vm.vcpus) for vm in recording.vms), dict(checks.events),
                recording.lines, recording.counts, checks.breaches, checks.spans, recording.checks,
                summary_of(_figures(reader), recording.lines),
            )
        )  # fmt: skip
    else:
        _print(recording, checks.events.total(), checks.breaches, checks.spans)
        if summary:
            print_text(_summary(_figures(reader), recording.lines))
    if checks.breaches:
        raise CheckFailedError(told(checks.breaches))


def _figures(reader: RecordingReader) -> Figures:
    return counted_figures(reader).figures(reader.recording.length_ns)


def _summary(figures: Figures, lines: Mapping[str, int]) -> Table:
    table = Table.grid(padding=(0, 2))
    for name, text in summary_lines(figures, lines):
        table.add_row(name, Counted(text))
    return table


def _print(recording: Recording, events: int, breaches: list[Breach], spans: list[Span]) -> None:
    vcpus = sum(len(vm.vcpus) for vm in recording.vms)
    found = "no violation" if not breaches else counted(len(breaches), "violation")
    print_line(
        f"{counted(events, 'event')} of {counted(vcpus, 'vcpu')} in "
        f"{counted(len(recording.vms), 'VM')}, {recording.length_ns / 1e9:.3f} s: {found}"
    )
    print_line(f"kernel {recording.profile}: {recording.why}")
    if recording.joined_by:
        behind_s = recording.guest_behind_ns / 1e9
        print_line(
            f"host and guest joined by {counted(recording.joined_by, 'token')}: the guest's clock"
            f" is {abs(behind_s):.6f} s {'behind' if behind_s > 0 else 'ahead of'} the host's"
        )
    for span in spans:
        print_line(f"{span.file}:{span.line}: {span.why}: {span.what}")
    for check in recording.checks:
        if not check.possible:
            print_line(f"not checked: {check.name}: {check.why}")


def must_be_known(profile: str | None) -> None:
    """ConfigError if there is no such kernel."""
    if profile is not None and profile not in PROFILES:
        raise ConfigError(f'--profile: unknown kernel "{profile}": {nearest_profile(profile)}')


def vm_groups(given: Sequence[str]) -> list[list[int]]:
    """The threads of each VM, as `--vm` lists them."""
    groups = []
    for text in given:
        pids = text.split(",")
        if not all(pid.isdecimal() for pid in pids):
            raise ConfigError(f"--vm: {text} is no list of thread ids: write it as in 4711,4712")
        groups.append([int(pid) for pid in pids])
    return groups
