"""One embedded run of a scenario: participants, counting, log, result."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pagewake import __version__
from pagewake.bus.log_dir import LogWriter
from pagewake.engine.build import build
from pagewake.engine.embedded import Progress, run_embedded
from pagewake.observe.result import ResultCounter, RunFacts, RunResult
from pagewake.scenario.model import Scenario
from pagewake.scenario.writing import effective_toml
from pagewake.simtime.window import Cut


def run_scenario(
    scenario: Scenario,
    *,
    shards: int = 1,
    log_dir: Path | None = None,
    on_progress: Progress | None = None,
    cut: Cut | None = None,
) -> RunResult:
    """Run to the end and count; with `log_dir` everything that happened is written there."""
    started = time.perf_counter()
    counter = ResultCounter()
    participants = [
        (part.host, [(shard.topic, shard.shard, shard.vms) for shard in part.shards])
        for part in build(scenario, shards)
    ]
    log = None if log_dir is None else LogWriter(log_dir, effective_toml(scenario))
    try:
        with _without_collector():
            outcome = run_embedded(
                participants,
                duration_ns=scenario.duration_ns,
                log=log,
                observer=counter.feed,
                on_progress=on_progress,
                cut=cut,
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
        shards=shards,
        version=__version__,
    )
    summaries = [summary for host in outcome.summaries for summary in host.shards]
    return counter.finish(facts, summaries)


@contextmanager
def _without_collector() -> Iterator[None]:
    """Events and state form no cycles; looking for some costs a third of a large run."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
