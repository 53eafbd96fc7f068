"""`pagewake explore`: every interleaving of a small machine, and what breaks in which."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from pagewake.bus.log_dir import NewDirectory
from pagewake.cli.guard import InterruptedRunError, complain
from pagewake.cli.listing import two_columns, under
from pagewake.cli.options import JsonOption, SetOption
from pagewake.cli.output import print_json, print_line
from pagewake.cli.screen import print_text
from pagewake.engine.run import run_scenario, without_collector
from pagewake.errors import CheckFailedError, ConfigError, nearest
from pagewake.explore.checks import broken_invariants
from pagewake.explore.gallery import Case, cases, load_small, names
from pagewake.explore.machine import MAY
from pagewake.explore.matrix import effects
from pagewake.explore.saved import saved_toml
from pagewake.explore.search import (
    Bounds,
    Explored,
    Found,
    OnProgress,
    Plan,
    Progress,
    Search,
)
from pagewake.explore.story import as_scenario, minimised
from pagewake.explore.timed import TRIES, timed
from pagewake.explore.words import story
from pagewake.explore.workers import Workers
from pagewake.scenario.model import Scenario
from pagewake.scenario.units import parse_pages

TELL_EVERY_S = 5.0
CHECKED_MAX = 200_000
"""States whose orders are checked: it takes about as long again as to find them."""
PAGE_BYTES = 4096
ORDERS = ("breadth", "depth")


class Told(msgspec.Struct, frozen=True):
    """A violation as `--json` has it; `length` is its number of choices."""

    property: str
    what: str
    length: int
    choices: list[str]


class Outcome(msgspec.Struct, frozen=True):
    """What `--json` prints."""

    scenario: str
    profile: str
    states: int
    transitions: int
    depth: int
    at_rest: int
    complete: bool
    stopped: str
    seconds: float
    states_per_s: int
    order: str
    reduced: bool
    jobs: int
    violations: list[Told]
    reached: dict[str, int]


ScenarioArgument = Annotated[
    str | None,
    typer.Argument(metavar="SCENARIO", help="A scenario file, or the name of a built-in one."),
]
JobsOption = Annotated[int, typer.Option("--jobs", min=1, help="Processes.")]
MaxStatesOption = Annotated[
    int, typer.Option("--max-states", min=0, help="Stop after so many states; 0: never.")
]
BudgetOption = Annotated[
    list[str] | None,
    typer.Option("--budget", metavar="WHAT=N", help=f"How often: {', '.join(MAY)}."),
]
PropertyOption = Annotated[
    list[str] | None,
    typer.Option("--property", metavar="EXPR", help='As in "finally TaskSlept == TaskWoken".'),
]
OrderOption = Annotated[
    str, typer.Option("--order", metavar="breadth|depth", help="Which states come first.")
]
DepthOption = Annotated[int, typer.Option("--depth", min=0, help="Stop there; 0: nowhere.")]
WalksOption = Annotated[
    int, typer.Option("--walks", min=0, help="So many random orders instead of all.")
]
SeedOption = Annotated[int, typer.Option("--seed", min=0, help="Of the walks.")]
MemoryOption = Annotated[
    str, typer.Option("--memory", metavar="SIZE", help="Stop when this much is in use.")
]
ReduceOption = Annotated[
    bool, typer.Option(help="Take steps that commute with all others at once.")
]
InvariantsOption = Annotated[
    bool,
    typer.Option(help="Check the invariants of verify in one order to every state, too."),
]
FirstOption = Annotated[bool, typer.Option("--first", help="Stop at the first violation.")]
ResumeOption = Annotated[
    Path | None,
    typer.Option(
        "--resume",
        metavar="FILE",
        help="Go on from there, and keep there every minute, and at the end, how far it is.",
        show_default=False,
    ),
]
SaveOption = Annotated[
    Path | None,
    typer.Option(
        "--save",
        metavar="FILE",
        help="Write a timed scenario that shows the first violation.",
        show_default=False,
    ),
]
LogOption = Annotated[
    Path | None,
    typer.Option(
        "--log",
        metavar="DIR",
        help="Write the first violation as a log into this new directory.",
        show_default=False,
    ),
]
MatrixOption = Annotated[
    bool,
    typer.Option("--matrix", help="Change every switch in turn: what it opens and closes."),
]
GalleryOption = Annotated[
    bool,
    typer.Option("--gallery", help="Find every known defect in its small scenario."),
]


def explore(
    scenario: ScenarioArgument = None,
    sets: SetOption = None,
    jobs: JobsOption = 1,
    max_states: MaxStatesOption = 1_000_000,
    budget: BudgetOption = None,
    properties: PropertyOption = None,
    order: OrderOption = "breadth",
    depth: DepthOption = 0,
    walks: WalksOption = 0,
    seed: SeedOption = 1,
    memory: MemoryOption = "8GiB",
    reduce: ReduceOption = True,
    invariants: InvariantsOption = True,
    first: FirstOption = False,
    resume: ResumeOption = None,
    save: SaveOption = None,
    log: LogOption = None,
    matrix: MatrixOption = False,
    gallery: GalleryOption = False,
    as_json: JsonOption = False,
) -> None:
    """Try every order in which a small machine can do things; exit 1 if anything breaks in one.

    Times only say that something can happen, not when: a page-in takes as long as it likes, an
    event of the scenario comes at any point, once. Without a scenario, those made for this are
    listed.
    """
    if gallery:
        _gallery(as_json)
        return
    if scenario is None:
        _list()
        return
    loaded = load_small(scenario, [*(sets or ()), *_budgets(budget or ())])
    plan = Plan(
        loaded,
        [*_own_properties(loaded), *(properties or ())],
        reduce,
        Bounds(max_states, depth, _bytes(memory)),
        first,
    )
    if matrix:
        _matrix(plan, as_json)
        return
    _refuse_places(save, log)
    way = _way(order, walks, resume)
    explored, search = _walk(plan, way, jobs, walks, seed, resume)
    if invariants and way == "breadth" and explored.states <= CHECKED_MAX:
        explored.found |= broken_invariants(plan, search.space)
    stories = [minimised(plan, found) for found in explored.found.values()]
    outcome = _outcome(plan, explored, stories, way, jobs)
    if as_json:
        print_json(outcome)
    else:
        _tell(plan, explored, stories, len(search.boot))
    _keep(plan, stories, len(search.boot), save, log)
    if stories:
        raise CheckFailedError(
            "\n".join(f"{each.broken.property}: {each.broken.what}" for each in stories)
        )


def _way(order: str, walks: int, resume: Path | None) -> str:
    """Which states come first: by breadth, by depth, or at random."""
    if order not in ORDERS:
        raise ConfigError(f'--order "{order}": {nearest(order, ORDERS)}')
    way = "random" if walks else order
    if resume is not None and way != "breadth":
        raise ConfigError("--resume: only a walk level by level goes on: no --walks, no --order")
    return way


def _refuse_places(save: Path | None, log: Path | None) -> None:
    """Before all the work, ConfigError for what could not be written behind it."""
    if log is not None:
        with NewDirectory(log):
            pass
    if save is not None and not save.parent.is_dir():
        raise ConfigError(f"--save {save}: there is no {save.parent}: make it or name another")


class Shown(msgspec.Struct, frozen=True):
    """A known defect as `--gallery --json` has it, found and mended."""

    errata: int
    title: str
    scenario: str
    property: str
    found: bool
    states: int
    seconds: float
    length: int
    mended_states: int
    mended_complete: bool
    mended_violations: list[str]
    remains: list[str]


def _gallery(as_json: bool) -> None:
    shown = [_shown(case) for case in cases()]
    if as_json:
        print_json(shown)
    else:
        table = under("", "defect", "in", "states", "s", "choices", "mended")
        for each in shown:
            rest = ", ".join(each.mended_violations) or "nothing"
            table.add_row(
                f"D{each.errata}" if each.errata else "",
                each.title,
                each.scenario,
                f"{each.states:,}" if each.found else "NOT FOUND",
                f"{each.seconds:.1f}",
                str(each.length),
                f"{each.mended_states:,}: {rest}",
            )
        print_text(table)
    wrong = [each.title for each in shown if not each.found or set(each.mended_violations)
             - set(each.remains) or not each.mended_complete]  # fmt: skip
    if wrong:
        raise CheckFailedError("\n".join(wrong))


def _shown(case: Case) -> Shown:
    """To the first state that shows it, and the whole space of the mended one."""
    broken, mend = case.broken(), case.mended()
    found = Search(Plan(broken, _own_properties(broken), wanted=case.property)).breadth_first()
    mended = Search(Plan(mend, _own_properties(mend))).breadth_first()
    story_of = found.found.get(case.property)
    return Shown(
        case.errata,
        case.title,
        case.scenario,
        case.property,
        story_of is not None,
        found.states,
        found.seconds,
        len(story_of.path) if story_of is not None else 0,
        mended.states,
        mended.complete,
        sorted(mended.found),
        case.remains,
    )


def _matrix(plan: Plan, as_json: bool) -> None:
    base = Search(plan).breadth_first()
    found = list(effects(plan, base))
    if as_json:
        print_json(found)
        return
    outcomes = ", ".join(sorted(base.found)) or "nothing"
    print_line(f"{plan.scenario.name}, {plan.scenario.kernel.profile}: {outcomes}\n")
    table = under("switch", "value", "states", "opens", "closes")
    for each in found:
        if each.opens or each.closes or not each.complete:
            states = f"{each.states:,}" + ("" if each.complete else " (bound)")
            opens, closes = ", ".join(each.opens), ", ".join(each.closes)
            table.add_row(each.switch, str(each.value), states, opens, closes)
    print_text(table)


def _list() -> None:
    table = two_columns()
    for name in names():
        table.add_row(name, load_small(name).about.description)
    print_text(table)


def _budgets(given: Sequence[str]) -> Iterator[str]:
    for each in given:
        what, _, number = each.partition("=")
        if what not in MAY:
            raise ConfigError(f'--budget "{each}": there is no "{what}": {nearest(what, MAY)}')
        if not number.isdecimal():
            raise ConfigError(f'--budget "{each}": write a number, as in "{what}=1"')
        yield f"explore.budget.{what}={number}"


def _own_properties(scenario: Scenario) -> Sequence[str]:
    return scenario.explore.properties if scenario.explore is not None else ()


def _bytes(size: str) -> int:
    try:
        return parse_pages(size) * PAGE_BYTES
    except ValueError as error:
        raise ConfigError(f"--memory: {error}") from None


def _walk(
    plan: Plan, way: str, jobs: int, walks: int, seed: int, resume: Path | None
) -> tuple[Explored, Search]:
    """One search; InterruptedRunError if somebody stopped it, after what it found was kept."""
    with ExitStack() as stack:
        stack.enter_context(without_collector())
        workers = stack.enter_context(Workers(plan, jobs)) if jobs > 1 else None
        search = Search(plan, _progress(), workers)
        stack.enter_context(_stopped_by_ctrl_c(search))
        if resume is not None and resume.exists():
            search.load(resume)
        if way == "random":
            explored = search.at_random(walks, seed)
        elif way == "depth":
            explored = search.depth_first()
        else:
            explored = search.breadth_first(resume)
    if resume is not None:
        search.save(resume)
    if search.interrupted:
        raise InterruptedRunError(_interrupted(explored, resume))
    return explored, search


@contextmanager
def _stopped_by_ctrl_c(search: Search) -> Iterator[None]:
    """The first Ctrl-C stops the search between two states, a second one at once."""

    def interrupt(_number: int, _frame: object) -> None:
        search.interrupted = True
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _interrupted(explored: Explored, resume: Path | None) -> str:
    kept = "" if resume is None else f"; --resume {resume} goes on from there"
    return f"interrupted after {explored.states:,} states, depth {explored.depth}{kept}"


def _progress() -> OnProgress:
    """Tells how far a search is, now and then."""
    told_s = time.monotonic()

    def tell(progress: Progress) -> None:
        nonlocal told_s
        if time.monotonic() - told_s < TELL_EVERY_S:
            return
        told_s = time.monotonic()
        per_s = round(progress.states / max(progress.seconds, 1e-9))
        complain(
            f"{progress.states:,} states, {per_s:,} a second, "
            f"frontier {progress.frontier:,}, depth {progress.depth}"
        )

    return tell


def _outcome(
    plan: Plan, explored: Explored, stories: Sequence[Found], way: str, jobs: int
) -> Outcome:
    return Outcome(
        scenario=plan.scenario.name,
        profile=plan.scenario.kernel.profile,
        states=explored.states,
        transitions=explored.transitions,
        depth=explored.depth,
        at_rest=explored.at_rest,
        complete=explored.complete,
        stopped=explored.stopped,
        seconds=explored.seconds,
        states_per_s=round(explored.states / max(explored.seconds, 1e-9)),
        order=way,
        reduced=plan.reduce,
        jobs=jobs,
        violations=[
            Told(*each.broken, len(each.path), [str(choice) for choice in each.path])
            for each in stories
        ],
        reached=dict(sorted(explored.reached.items())),
    )


def _tell(plan: Plan, explored: Explored, stories: Sequence[Found], skip: int) -> None:
    extent = "the whole space" if explored.complete else f"stopped by {explored.stopped}"
    print_line(
        f"{plan.scenario.name}, {plan.scenario.kernel.profile}: {explored.states:,} states, "
        f"{explored.transitions:,} transitions, depth {explored.depth}, {extent}, "
        f"in {explored.seconds:.1f} s"
    )
    for text, number in explored.reached.items():
        if text.startswith("sometimes"):
            print_line(f"{text}: {number:,} times")
    for found in stories:
        if found.path:
            print_line(f"\n{found.broken.property}, {len(found.path)} choices:")
            for line in story(plan.scenario, found, skip):
                print_line(f"  {line}")
    if not stories:
        print_line("no violation")


def _keep(
    plan: Plan, stories: Sequence[Found], skip: int, save: Path | None, log: Path | None
) -> None:
    stories = [each for each in stories if each.path]  # what is reached in no order has none
    if not stories:
        return
    if log is not None:
        run_scenario(as_scenario(plan.scenario, stories[0].path), log_dir=log)
    if save is not None:
        _save(plan, stories, skip, save)


def _save(plan: Plan, stories: Sequence[Found], skip: int, save: Path) -> None:
    """The first that durations can show."""
    for found in stories:
        shown = timed(plan, found)
        if shown is not None:
            lines = story(plan.scenario, found, skip)
            save.write_text(saved_toml(plan.scenario, shown, found.broken, lines), "utf-8")
            return
    complain(
        f"--save: {TRIES} runs by the clock show none of these: keep the story with --log, whose "
        "run.toml has its choices"
    )
