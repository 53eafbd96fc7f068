"""`pagewake errata`: the gallery of defects, each broken and mended before one's eyes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import RenderableType
from rich.table import Table

from pagewake.cli.listing import two_columns
from pagewake.cli.options import JsonOption
from pagewake.cli.output import print_json, print_line
from pagewake.cli.screen import print_text
from pagewake.engine.run import run_scenario
from pagewake.errata.entry import Entry, Setting, entries, entry, plain, shown
from pagewake.errata.signs import Sign, beside
from pagewake.errata.trial import Ran, Trial, line_of, present, seen_by, try_out, verdict
from pagewake.errors import CheckFailedError, ConfigError
from pagewake.events.types import Event
from pagewake.kvm.profile import resolve


def errata(
    number: Annotated[
        str | None, typer.Argument(metavar="N", help="A defect, such as 43 or D43.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Run all of them.")] = False,
    profile: Annotated[
        str | None,
        typer.Option(
            metavar="PROFILE",
            help="List those that a kernel has: what breaks by its rules.",
            show_default=False,
        ),
    ] = None,
    log: Annotated[
        Path | None,
        typer.Option(
            "--log",
            metavar="DIR",
            help="Write both event logs into this new directory, as before and after.",
            show_default=False,
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List known defects, or run one as it was and mended; exit 1 if it is not so.

    A defect is run twice: by the rules of kernels that had it, and with the one switch that mends
    it. The log lines shown are those of the two runs. `--json` runs what it lists.
    """
    if (number is not None) + every + (profile is not None) > 1:
        raise ConfigError("a number, --all and --profile are three things: give one of them")
    if log is not None and number is None:
        raise ConfigError("--log is for the runs of one defect: give its number")
    if profile is not None:
        _tell_present(profile, as_json)
        return
    chosen = entries() if number is None else [entry(number)]
    if log is not None:
        _write_logs(chosen[0], log)
    if number is None and not every and not as_json:
        print_text(_listed(chosen))
        return
    trials = [try_out(each) for each in chosen]
    if as_json:
        told = [verdict(trial) for trial in trials]
        print_json(told if number is None else told[0])
    elif number is None:
        print_text(_verdicts(trials))
    else:
        _tell(trials[0])
    _check(trials)


def _tell_present(profile: str, as_json: bool) -> None:
    resolve(profile, {})
    found = {each.id: each for each in entries()}
    seen = {number: shown for number, each in found.items() if (shown := seen_by(each, profile))}
    if as_json:
        print_json([present(found[number], profile, shown) for number, shown in seen.items()])
    else:
        print_text(_listed([found[number] for number in seen]))


def _write_logs(entry: Entry, directory: Path) -> None:
    try:
        directory.mkdir()
    except OSError as error:
        raise ConfigError(
            f"{directory}: cannot be made: {error.strerror}: name a new directory"
        ) from None
    for which, value in (("before", entry.before), ("after", entry.after)):
        run_scenario(entry.loaded(value), log_dir=directory / which)


def _check(trials: Sequence[Trial]) -> None:
    wrong = [f"{trial.entry.name}: {what}" for trial in trials for what in _wrongs(trial)]
    if wrong:
        raise CheckFailedError("\n".join(wrong))


def _wrongs(trial: Trial) -> Iterator[str]:
    entry = trial.entry
    if not trial.breaks:
        yield f"with {entry.switch} = {shown(entry.before)} it does not break"
    if not trial.fixed:
        yield f"with {entry.switch} = {shown(entry.after)} it is not mended"


def _listed(chosen: Sequence[Entry]) -> RenderableType:
    table = two_columns()
    for each in chosen:
        table.add_row(each.name, each.title)
        table.add_row("", f"{each.kernels}; {', '.join(each.commits)}", style="dim")
    return table


def _verdicts(trials: Sequence[Trial]) -> RenderableType:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for heading in ("", "breaks", "fixed", "by", "what"):
        table.add_column(heading, no_wrap=heading not in ("by", "what"))
    for trial in trials:
        entry = trial.entry
        table.add_row(
            entry.name,
            "yes" if trial.breaks else "NO",
            "yes" if trial.fixed else "NO",
            f"{entry.switch} = {shown(entry.after)}",
            entry.title,
        )
    return table


def _tell(trial: Trial) -> None:
    entry = trial.entry
    facts = two_columns()
    for label, text in (
        ("symptom", entry.symptom),
        ("kernels", entry.kernels),
        ("years", entry.years),
        ("commits", ", ".join(entry.commits)),
        ("known", entry.known),
        ("reported", entry.reported),
        ("why", " ".join(entry.story.split())),
        ("run", f"{entry.scenario}, profile {entry.profile}"),
    ):
        facts.add_row(label, plain(text))
    print_text(f"{entry.name}: {entry.title}\n", facts, "")
    _tell_run(entry, entry.before, trial.before, trial.before.broken, entry.broken)
    _tell_run(entry, entry.after, trial.after, trial.after.mended, entry.mended)
    print_line(f"\nmore, with both timelines: docs/errata/{entry.name.lower()}.md")


def _tell_run(entry: Entry, value: Setting, ran: Ran, seen: Sequence[Event], sign: Sign) -> None:
    which = "before" if value == entry.before else "after"
    not_seen = "" if seen else "NOT SEEN: "
    print_text(f"{which}, {entry.switch} = {shown(value)}: {not_seen}{plain(sign.says)}")
    for event in seen:  # long lines, which are to be found again in a log
        print_line(f"  {line_of(event)}")
    for line in beside(sign) if seen else ():
        print_line(f"  {line}")
    print_line(f"  digest {ran.digest}")
