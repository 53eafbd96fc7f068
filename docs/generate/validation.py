"""explanation/validation.md: recordings of a host beside runs of the same set-up, from kept facts.

Nothing runs here: `make validation` measures, `docs/validation/` keeps.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from docs.generate.markdown import code, head, table
from docs.validation import measure
from docs.validation.cases import CASES, GIVEN, SETTINGS, Case
from docs.validation.causes import CAUSES, Cause
from docs.validation.costs import COSTS
from docs.validation.facts import EDGE, FACTS, SAME, SAME_ORDER, Fact, Value, Verdict, verdict
from docs.validation.reasons import REASONS
from pagewake.cli.benchmark import PREDICTED_WITHIN
from pagewake.cli.progress import duration
from pagewake.observe.published import BENCHMARK, MASTER, published_ratio

ABOUT = f"""
What recordings of a real host show, beside what runs of the same set-up come to. The host is Debian
12 (Linux 6.1, AMD) **on an emulated CPU**: its protocol, orders and shares are those of KVM, its
CPU times are some ten times those of hardware. So shares and orders are to be compared first, and
times by their order.

A run goes the way of a recording: it is written as ftrace text (`pagewake export --ftrace`),
imported and measured by the same code (`pagewake import --summary`). `make validation` runs all
scenarios anew (`docs/validation/*.toml`); recordings are measured again where
`PAGEWAKE_RECORDINGS` names their directory, else the figures kept of them stay
(`docs/validation/recorded.toml`, with the SHA-256 of each).

## When figures are the same

| verdict | says |
| --- | --- |
| same | at most a factor of {SAME:g} apart |
| same order | at most a factor of {SAME_ORDER:.2f} (half a power of ten) apart |
| off | further apart, or one of them has none |
| given | the scenario was set to this figure, so it says nothing |
| holds, broken | a rule, kept by both or not |
| - | nothing to compare |

Counts that have to be equal may differ by {EDGE}, as a recording begins and ends in the middle.
*Error* is how much larger the run's figure is. A slow synchronous fault took 0.3 ms or more without
an asynchronous attempt.
"""
SCENARIOS = """
Every setting of the scenarios is said by the description of the recordings, measured of them, or
chosen because neither says it. No setting was varied to bring a fact closer.
"""
THREE = """
The three facts that decide whether asynchronous page faults pay, recorded / simulated:
"""
BENCHMARK_ABOUT = f"""
`natapov-2010`, seed {measure.BENCHMARK_SEED}, `duration` {measure.BENCHMARK_LENGTH}, nothing fitted
([what it says](model.md#how-far-off-it-is-the-benchmark-of-2010)). One setting is not as on a host
of 2010: its `page_cluster` is "off". With 3, Linux's default, pv/master is 2.008 in 10 s, 5.2 %
from what was published, and 2.000 in 60 s, 4.8 %; nonpv/master is 1.004 (`pagewake benchmark
--seeds 1 --set scenario.duration=10s --set host.page_cluster=3`). So nothing of the host moves
nonpv toward 1.128: not read-ahead, not direct reclaim, which its host never comes to, and not fewer
CPUs ([model](model.md)), which take it below 1.
"""
CAUSES_ABOUT = """
What vcpu threads did while they were in a fault, by `sched_switch`. A thread that is in a fault and
on its CPU for milliseconds waits for nothing: it allocates, reclaims, submits.
"""
Table = Mapping[str, Any]


def page() -> str:
    """The whole page."""
    recorded, simulated = measure.stored(measure.RECORDED), measure.stored(measure.SIMULATED)
    parts = [
        head("Validation against recordings", "`docs/validation/`", ABOUT),
        "## In short\n", _short(recorded, simulated),
        THREE.strip() + "\n", _three(recorded, simulated),
        *(_case(case, recorded[case.name], simulated.get(case.name, {})) for case in CASES),
        "## The benchmark of 2010\n", BENCHMARK_ABOUT.strip() + "\n",
        _benchmark(simulated["natapov-2010"]),
        "## Causes, by the lines of the recordings\n", CAUSES_ABOUT.strip() + "\n",
        _causes(recorded, CAUSES),
        "## What is off, and why\n", REASONS.strip() + "\n",
        "## Where the settings come from\n", SCENARIOS.strip() + "\n",
        table(["setting", "is", "from"], SETTINGS),
        "What is measured:\n",
        _causes(recorded, COSTS),
    ]  # fmt: skip
    return "\n".join(parts)


def _verdict(case: Case, fact: Fact, recorded: Table, simulated: Table) -> Verdict:
    name = fact.name
    given = name in GIVEN
    if not case.simulated and fact.unit != "rule":
        return "-"
    return verdict(fact, recorded.get(name), simulated.get(name), given=given)


def _short(recorded: Mapping[str, Table], simulated: Mapping[str, Table]) -> str:
    """Facts by verdict, of every recording that has a run."""
    rows = []
    for case in CASES:
        ours = simulated.get(case.name, {})
        found = Counter(_verdict(case, fact, recorded[case.name], ours) for fact in FACTS)
        kinds: tuple[Verdict, ...] = ("same", "same order", "off", "holds", "broken", "given")
        rows.append((case.name, *(str(found[kind]) for kind in kinds)))
    return table(["recording", "same", "same order", "off", "holds", "broken", "given"], rows)


def _three(recorded: Mapping[str, Table], simulated: Mapping[str, Table]) -> str:
    """Of every recording that has a run: what it shows, and what its run comes to."""
    facts = [fact for fact in FACTS if fact.name in ("early_share", "sync_share", "delivery_p99")]
    rows = []
    for case in CASES:
        if case.simulated:
            both = recorded[case.name], simulated[case.name]
            cells = [" / ".join(shown(fact, of.get(fact.name)) for of in both) for fact in facts]
            rows.append((case.name, *cells))
    return table(["recording", *(fact.what for fact in facts)], rows)


def _case(case: Case, recorded: Table, simulated: Table) -> str:
    rows = [
        (
            fact.what,
            shown(fact, recorded.get(fact.name)),
            shown(fact, simulated.get(fact.name)) if case.simulated else "-",
            error(fact, recorded.get(fact.name), simulated.get(fact.name)),
            _verdict(case, fact, recorded, simulated),
        )
        for fact in FACTS
        if case.simulated or fact.unit == "rule"
    ]
    source = f"{code(recorded['file'])}, SHA-256 `{recorded['sha256'][:16]}`…"
    headings = ["fact", "recording", "simulated", "error", "verdict"]
    return f"## {case.name}\n\n{case.about}. {source}\n\n" + table(headings, rows)


def _causes(recorded: Mapping[str, Table], causes: Sequence[Cause]) -> str:
    cases = [case for case in CASES if case.simulated]
    rows = [
        (each.what, *(shown(each, recorded[case.name].get(each.name)) for case in cases))
        for each in causes
    ]
    return table(["what", *(case.name for case in cases)], rows)


def shown(fact: Fact | Cause, value: Value) -> str:
    """A figure as the page has it; times with three digits."""
    if value is None:
        return "-"
    match fact.unit:
        case "share":
            return f"{100 * value:.1f} %"
        case "ns":
            return duration(value / 1e9)
        case _:
            return f"{value:,}"


def error(fact: Fact, recorded: Value, simulated: Value) -> str:
    """How much larger the run's is; a factor from ten times on."""
    if fact.unit == "rule" or not recorded or simulated is None:
        return "-"
    ratio = simulated / recorded
    return f"x {ratio:.3g}" if ratio >= 10 else f"{100 * (ratio - 1):+.0f} %"


def _benchmark(simulated: Mapping[str, float]) -> str:
    rows = []
    for row in BENCHMARK:
        if row is MASTER:
            continue
        published = published_ratio(row).value
        off = simulated[row.name] / published - 1
        within = "within 5 %" if abs(off) <= PREDICTED_WITHIN else "off: not explained"
        rows.append(
            (f"{row.name}/master", f"{published:.3f}", f"{simulated[row.name]:.3f}",
             f"{100 * off:+.1f} %", within)
        )  # fmt: skip
    return table(["ratio of work", "published", "simulated", "error", "verdict"], rows)
