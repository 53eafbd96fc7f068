"""Any run can be written as a trace, and what a trace can hold of it comes back."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from pagewake.engine.run import run_scenario
from pagewake.recorded.export import write_ftrace
from pagewake.scenario.loading import loads
from pagewake.scenario.model import Scenario
from tests.property.test_engine import MEDIA, scenarios, scripts, servers, tasks
from tests.support.exported import out_of_turn, read_trace
from tests.support.round_trip import round_trip
from tests.support.runs import LoggedRun, read_events

KERNELS = ("2.6.39", "3.10", "4.4", "4.19", "5.4", "5.10", "6.1", "6.19")
"""Without 5.8, whose guests take no READY by interrupt, and 4.14, in which two READYs end a VM."""


@st.composite
def plain(draw: st.DrawFn) -> Scenario:
    """One VM that nobody interferes with, and that has no guests of its own."""
    vcpus = draw(st.integers(1, 3))
    polite = scripts(vcpus).filter(lambda script: "wrmsr" not in script)  # Linux writes them
    text = "\n".join(
        [
            f'[scenario]\nname = "any"\nseed = {draw(st.integers(0, 99))}\nduration = "15ms"',
            f'[kernel]\nprofile = "{draw(st.sampled_from(KERNELS))}"',
            f'apf = "{draw(st.sampled_from(("pv", "pv", "nonpv")))}"',
            f"hz = {draw(st.sampled_from((250, 1000)))}",
            f"[host]\nmedium = {draw(st.sampled_from(MEDIA))}",
            f"exits_per_s = {draw(st.sampled_from((0, 3_000)))}",
            f'[[vm]]\nname = "v"\nvcpus = {vcpus}\nmemory = "32MiB"',
            f'limit = "{draw(st.sampled_from((512, 1024, 4096)))}KiB"',
            *draw(st.lists(tasks(), min_size=1, max_size=2, unique_by=lambda t: t.split('"')[1])),
            *draw(st.lists(polite, max_size=2, unique_by=lambda t: t.split('"')[1])),
            *draw(st.lists(servers(), max_size=1, unique_by=lambda t: t.split('"')[1])),
        ]
    )
    return loads(text, "any.toml", Path())


@settings(max_examples=15, deadline=None)
@given(plain())
def test_what_a_trace_can_hold_comes_back(scenario: Scenario) -> None:
    directory = Path(tempfile.mkdtemp())
    try:
        log = directory / "log"
        result = run_scenario(scenario, log_dir=log)
        run = LoggedRun(result, read_events(log), log)
        trip = round_trip(run, scenario.kernel.profile, directory)
        assert trip.differences() == []
        assert [str(breach) for breach in trip.breaches] == []
    finally:
        shutil.rmtree(directory)


@settings(max_examples=15, deadline=None)
@given(scenarios().filter(lambda drawn: drawn.kernel.switches(0).user_apf == "none"))
def test_any_run_can_be_written(scenario: Scenario) -> None:
    """With guests of guests, interventions, migrations: whatever is drawn."""
    directory = Path(tempfile.mkdtemp())
    try:
        run_scenario(scenario, log_dir=directory / "log")
        for host in range(scenario.host.count):
            write_ftrace(directory / "log", directory / "trace.txt", None, host)
            text = (directory / "trace.txt").read_text("utf-8")
            assert out_of_turn(read_trace(text, scenario.kernel.profile_of(0))) == []
    finally:
        shutil.rmtree(directory)
