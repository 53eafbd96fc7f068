"""One embedded run of a scenario: participants, counting, log, result."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pagewake import __version__
from pagewake.bus.log_dir import LogWriter
from pagewake.engine.embedded import OnProgress, run_embedded
from pagewake.engine.recorded import Recording
from pagewake.observe.result import ResultCounter, RunFacts, RunResult, swap_facts
from pagewake.participants.build import HostPart, build
from pagewake.participants.plan import RunPlan
from pagewake.scenario.model import Scenario
from pagewake.scenario.writing import effective_toml
from pagewake.simtime.window import Cut


def run_scenario(
    scenario: Scenario,
    *,
    shards: int = 1,
    log_dir: Path | None = None,
    on_progress: OnProgress | None = None,
    cut: Cut | None = None,
    recorded: Recording | None = None,
) -> RunResult:
    """Run to the end and count; with `log_dir` everything that happened is written there.

    `recorded` is what a log says beyond its scenario, for a replay.
    """
    started = time.perf_counter()
    counter = ResultCounter()
    plan = RunPlan.of("embedded", scenario, shards)
    parts = build(plan)
    if recorded is not None:
        _intervene(parts, recorded)
    log = None if log_dir is None else LogWriter(log_dir, effective_toml(scenario, __version__))
    try:
        with without_collector():
            outcome = run_embedded(
                plan,
                parts,
                log=log,
                observer=counter.feed,
                on_progress=on_progress,
                cut=cut,
                ends_ns=None if recorded is None else recorded.ends_ns,
            )
    finally:
        if log is not None:
            log.close()
    facts = RunFacts(
        scenario=scenario.name,
        seed=scenario.seed,
        profile=scenario.kernel.profile,
        apf=scenario.kernel.apf,
        sim_ns=outcome.sim_ns,
        wall_s=time.perf_counter() - started,
        windows=outcome.windows,
        digest=outcome.digest,
        shards=len(plan.topology.shards),
        version=__version__,
        swap=swap_facts(scenario),
        expects=scenario.expects,
    )
    return counter.finish(facts, outcome.summaries)


def _intervene(parts: list[HostPart], recorded: Recording) -> None:
    for part, controls in zip(parts, recorded.controls, strict=True):
        for control in controls:
            part.host.intervene(control)


@contextmanager
def without_collector() -> Iterator[None]:
    """Events and state form no cycles; looking for some costs a third of a large run."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
