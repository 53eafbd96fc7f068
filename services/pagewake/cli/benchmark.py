"""`pagewake benchmark`: a scenario in the three modes of 2010, beside the published figures.

`master` is the kernel before the series (`kernel.apf=off`), `nonpv` the series under a guest that
does not know it, `pv` the series and its guest.  A ratio is formed per seed and averaged, so that
what a seed has in common for all modes cancels.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Annotated

import msgspec
import typer
from rich.console import RenderableType

from pagewake.cli.figures import Figures
from pagewake.cli.fitting import refuse_start
from pagewake.cli.loading import load
from pagewake.cli.options import JobsOption, JsonOption, SetOption
from pagewake.cli.output import print_json
from pagewake.cli.parallel import run_all
from pagewake.cli.progress import duration, seconds
from pagewake.cli.screen import folded, print_result
from pagewake.cli.task_rows import label, percent
from pagewake.engine.run import RunOrder
from pagewake.errors import ConfigError
from pagewake.observe.published import (
    BENCHMARK,
    MASTER,
    NONPV,
    PV,
    RATIO_OF_V4,
    Estimate,
    PublishedRow,
    mean_of,
    published_ratio,
)
from pagewake.observe.result import RunResult

PREDICTION = "natapov-2010"
ALWAYS_SHOWN = ("blackout", "halted", "idle", "interrupt")
MAX_SEEDS = 100
"""Chosen: three runs a seed, and the error falls only with the root of their number."""
SURPRISING_ERRORS = 2.0
"""Standard errors: chance alone is farther off in one of twenty cases."""
PREDICTED_WITHIN = 0.05
"""What the scenario natapov-2010 promises of pv/master; its description says so."""

SeedsOption = Annotated[
    str, typer.Option("--seeds", metavar="N,N,...", help="Seeds to run every mode with.")
]


class ModeFigures(msgspec.Struct, frozen=True):
    """One mode, simulated and published; `cpu` is each kind's share of all vcpu time."""

    name: str
    apf: str
    work: Estimate
    ratio: Estimate
    published_work: Estimate
    published_ratio: Estimate
    cpu: dict[str, float]
    digests: dict[str, str]


class Benchmark(msgspec.Struct, frozen=True):
    """All modes, compared with one another and with the published figures."""

    scenario: str
    seeds: list[int]
    sim_ns: int
    wall_s: float
    modes: list[ModeFigures]
    remarks: list[str]


def benchmark(
    scenario: Annotated[
        str, typer.Argument(metavar="SCENARIO", help="A scenario file or built-in name.")
    ] = PREDICTION,
    seeds: SeedsOption = "1,2,3",
    sets: SetOption = None,
    jobs: JobsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run a scenario in the three modes of 2010 and print them beside the published figures."""
    numbers = parse_seeds(seeds)
    points = [(row, seed) for row in BENCHMARK for seed in numbers]
    scenarios = [
        load(scenario, [*(sets or ()), f"kernel.apf={row.apf}"], seed) for row, seed in points
    ]
    for loaded in scenarios:
        refuse_start(loaded)
    started_s = time.monotonic()
    results = run_all([RunOrder(scenario) for scenario in scenarios], jobs)
    by_mode = {
        row.apf: [result for (at, _), result in zip(points, results, strict=True) if at is row]
        for row in BENCHMARK
    }
    outcome = summarize(by_mode, time.monotonic() - started_s, as_described=not sets)
    if as_json:
        print_json(outcome)
    else:
        print_result(*_report(outcome))


def parse_seeds(text: str) -> list[int]:
    """The seeds of `1,2,3`; each may stand once."""
    seeds: list[int] = []
    for part in text.split(","):
        if not part.strip().isdecimal():
            raise ConfigError(f"--seeds {text}: {part!r} is no seed; give numbers such as 1,2,3")
        if int(part) in seeds:
            raise ConfigError(f"--seeds {text}: {int(part)} twice; the same run says nothing new")
        seeds.append(int(part))
    if len(seeds) > MAX_SEEDS:
        raise ConfigError(f"--seeds: {len(seeds)} seeds are more than {MAX_SEEDS}")
    return seeds


def summarize(
    by_mode: Mapping[str, Sequence[RunResult]], wall_s: float, as_described: bool
) -> Benchmark:
    """Ratios, errors and CPU shares of the three modes' results, which share their seeds.

    Only the scenario that models the published set-up, unchanged, is held against its figures.
    """
    masters = [result.work.total for result in by_mode[MASTER.apf]]
    if not all(masters):
        raise ConfigError("no work was done with kernel.apf=off: there is nothing to compare with")
    modes = [_mode(row, by_mode[row.apf], masters) for row in BENCHMARK]
    first = by_mode[MASTER.apf][0]
    return Benchmark(
        scenario=first.scenario,
        seeds=[result.seed for result in by_mode[MASTER.apf]],
        sim_ns=first.sim_ns,
        wall_s=wall_s,
        modes=modes,
        remarks=_remarks(modes) if as_described and first.scenario == PREDICTION else [],
    )


def _remarks(modes: Sequence[ModeFigures]) -> list[str]:
    ratios = {mode.apf: mode.ratio for mode in modes}
    return [_pv_remark(ratios[PV.apf]), _nonpv_remark(ratios[NONPV.apf])]


def _mode(row: PublishedRow, results: Sequence[RunResult], masters: Sequence[int]) -> ModeFigures:
    work = [result.work.total for result in results]
    return ModeFigures(
        name=row.name,
        apf=row.apf,
        work=mean_of(work),
        ratio=mean_of([own / master for own, master in zip(work, masters, strict=True)]),
        published_work=row.work,
        published_ratio=published_ratio(row),
        cpu=_cpu_shares(results),
        digests={str(result.seed): result.digest for result in results},
    )


def _cpu_shares(results: Sequence[RunResult]) -> dict[str, float]:
    spent: Counter[str] = Counter()
    for result in results:
        spent.update(result.cpu)
    total = spent.total() or 1
    return {kind: ns / total for kind, ns in spent.items()}


def _pv_remark(simulated: Estimate) -> str:
    published = published_ratio(PV).value
    off = simulated.value / published - 1
    off_v4 = simulated.value / RATIO_OF_V4 - 1
    verdict = "within" if abs(off) <= PREDICTED_WITHIN else "not within"
    return (
        f"pv/master is a prediction: {simulated.value:.3f}, {100 * off:+.1f} % from the published"
        f" {published:.3f} ({verdict} {100 * PREDICTED_WITHIN:.0f} %) and {100 * off_v4:+.1f} %"
        f" from the {RATIO_OF_V4:.3f} of version 4 of the series (single runs)."
        " No parameter was fitted."
    )


def _nonpv_remark(simulated: Estimate) -> str:
    published = published_ratio(NONPV)
    assert published.error is not None
    apart = abs(simulated.value - published.value) / published.error
    head = (
        f"nonpv/master: {simulated.value:.3f}, published {published.value:.3f}"
        f" ± {published.error:.3f}, {apart:.1f} standard errors apart."
    )
    if apart <= SURPRISING_ERRORS:
        return head
    return (
        f"{head} The protocol and fair scheduling do not explain the published gain: a task whose"
        " vcpu is halted for it stays runnable, is charged for the halt, and leaves the workers"
        " the share they had. Nothing was fitted to close the gap."
    )


def _report(outcome: Benchmark) -> list[RenderableType]:
    seeds = ", ".join(map(str, outcome.seeds))
    runs = len(outcome.seeds) * len(outcome.modes)
    head = (
        f"{outcome.scenario}: {runs} runs of {seconds(outcome.sim_ns)} simulated,"
        f" {'seed' if len(outcome.seeds) == 1 else 'seeds'} {seeds}, in {duration(outcome.wall_s)}"
    )
    return [
        head,
        _ratio_table(outcome.modes, is_published=outcome.scenario == PREDICTION),
        _cpu_table(outcome.modes),
        *(folded(remark) for remark in outcome.remarks),
    ]


def _ratio_table(modes: Sequence[ModeFigures], *, is_published: bool) -> RenderableType:
    """Work relative to master; published figures only beside what they were measured with."""
    headings = ["mode", "work", "simulated", "± error"]
    if is_published:
        headings += ["published", "± error", "published work"]
    table = Figures(headings, title="work relative to master, with standard errors")
    for mode in modes:
        row = [mode.name, f"{mode.work.value:,.0f}", *_with_error(mode.ratio, mode)]
        if is_published:
            row += _with_error(mode.published_ratio, mode)
            row.append(f"{mode.published_work.value:,.0f}")
        table.add_row(*row)
    return table


def _with_error(ratio: Estimate, mode: ModeFigures) -> tuple[str, str]:
    known = ratio.error is not None and mode.apf != MASTER.apf
    return f"{ratio.value:.3f}", f"{ratio.error:.3f}" if known else ""


def _cpu_table(modes: Sequence[ModeFigures]) -> RenderableType:
    table = Figures(
        ["vcpu time", *(mode.name for mode in modes)], title="what each mode did with the CPU"
    )
    kinds = sorted(
        {*ALWAYS_SHOWN, *(kind for mode in modes for kind in mode.cpu)},
        key=lambda kind: (-sum(mode.cpu.get(kind, 0.0) for mode in modes), kind),
    )
    for kind in kinds:
        table.add_row(label(kind), *(percent(mode.cpu.get(kind, 0.0), 2) for mode in modes))
    return table
