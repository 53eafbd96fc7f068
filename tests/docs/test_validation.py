"""The page of validation: verdicts, what is kept, and that it is what recordings and runs give."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import pytest
from docs.generate import validation
from docs.validation import measure
from docs.validation.cases import CASES, Case
from docs.validation.causes import Causes
from docs.validation.costs import Costs, settings
from docs.validation.facts import FACTS, SAME_ORDER, Fact, Value, Verdict, verdict
from docs.validation.walker import ACCESSES, BUFFER_PAGES, BURST, THREADS, accesses, write_traces

from pagewake.host_memory.media import WHOLE
from pagewake.scenario.loading import load

RUN = [case for case in CASES if case.simulated]
BY_NAME = {fact.name: fact for fact in FACTS}
TOUCH_NS = 20_000
"""What a touch takes, and the loop behind it."""
RECORDINGS = os.environ.get("PAGEWAKE_RECORDINGS")


def ids(case: Case) -> str:
    return case.name


@pytest.mark.parametrize(
    ("recorded", "simulated", "said"),
    [
        (100, 125, "same"),
        (125, 100, "same"),
        (100, 126, "same order"),
        (100, 316, "same order"),
        (316, 100, "same order"),
        (100, 317, "off"),
        (0, 0, "same"),
        (0, 1, "off"),
        (1, 0, "off"),
        (None, 1, "off"),
        (1, None, "off"),
        (None, None, "-"),
    ],
)
def test_a_verdict_is_of_the_factor_between_two_figures(
    recorded: Value, simulated: Value, said: Verdict
) -> None:
    assert verdict(BY_NAME["whole_p50"], recorded, simulated) == said


def test_what_a_scenario_was_set_to_says_nothing() -> None:
    assert verdict(BY_NAME["completion_p50"], 1, 100, given=True) == "given"
    assert verdict(BY_NAME["completion_p50"], 1, None, given=True) == "off"


@pytest.mark.parametrize(("name", "most"), [("token", 0), ("rules", 0), ("identity", 5)])
def test_a_rule_is_kept_by_both_or_broken(name: str, most: int) -> None:
    fact: Fact = BY_NAME[name]
    assert verdict(fact, most, most) == "holds"
    assert verdict(fact, most + 1, most) == "broken"
    assert verdict(fact, most, most + 1) == "broken"


def test_a_burst_is_a_random_page_and_those_behind_it() -> None:
    pages = BUFFER_PAGES // THREADS
    touched = list(accesses(0))
    assert len(touched) == ACCESSES
    for first in range(0, ACCESSES, BURST):
        start = touched[first][0]
        burst = [page for page, _ in touched[first : first + BURST]]
        assert burst == [(start + step) % pages for step in range(len(burst))]
    starts = {touched[first][0] for first in range(0, ACCESSES, BURST)}
    assert len(starts) > ACCESSES // BURST * 0.9
    assert sum(kind == "S" for _, kind in touched) == pytest.approx(ACCESSES / 2, rel=0.05)
    assert list(accesses(1)) != touched


HEAD = "CPU 0/KVM-7 [000] ..... "
LINES = f"""
{HEAD}1.000000: kvm_page_fault: vcpu 0 rip 0x1 address 0x5000 error_code 0x6
{HEAD}1.000400: kvm_entry: vcpu 0, rip 0x1
{HEAD}2.000000: kvm_page_fault: vcpu 0 rip 0x1 address 0x6000 error_code 0x6
{HEAD}2.001000: sched_switch: prev_comm=CPU 0/KVM prev_pid=7 prev_prio=120 prev_state=D ==> \
next_comm=swapper/0 next_pid=0 next_prio=120
<idle>-0 [000] ..... 2.005000: sched_switch: prev_comm=swapper/0 prev_pid=0 prev_prio=120 \
prev_state=R ==> next_comm=CPU 0/KVM next_pid=7 next_prio=120
{HEAD}2.007000: kvm_entry: vcpu 0, rip 0x1
{HEAD}3.000000: kvm_page_fault: vcpu 0 rip 0x1 address 0x7000 error_code 0x6
{HEAD}3.000200: kvm_try_async_get_page: gva = 0x7000, gfn = 0x7
{HEAD}3.000210: kvm_async_pf_not_present: token 0x1000 gva 0x7000
{HEAD}3.000220: sched_switch: prev_comm=CPU 0/KVM prev_pid=7 prev_prio=120 prev_state=R+ ==> \
next_comm=kworker/0:0 next_pid=9 next_prio=120
kworker/0:0-9 [000] ..... 3.000230: sched_switch: prev_comm=kworker/0:0 prev_pid=9 prev_prio=120 \
prev_state=I ==> next_comm=CPU 0/KVM next_pid=7 next_prio=120
{HEAD}3.000300: kvm_async_pf_ready: token 0x1000 gva 0x7000
{HEAD}3.000350: kvm_entry: vcpu 0, rip 0x1
{HEAD}4.000000: kvm_page_fault: vcpu 0 rip 0x1 address 0x8000 error_code 0x6
{HEAD}4.000299: kvm_entry: vcpu 0, rip 0x1
"""


def test_causes_are_what_a_thread_did_in_its_faults() -> None:
    reading = Causes()
    reading.take(LINES.splitlines())
    assert reading.found() == {
        "slow": 2,
        "slow_slept": 1,
        "slow_preempted": 0,
        "slow_running": 1,
        "slow_ns": 7_400_000,
        "slow_off_ns": 4_000_000,
        "slow_long": 1,
        "slow_long_ns": 7_000_000,
        "slow_long_off_ns": 4_000_000,
        "attempt_p50": 200_000,
        "told_p50": 150_000,
        "early": 1,
        "early_worker": 1,
    }


def test_costs_are_what_threads_and_the_disk_took() -> None:
    reading = Costs()
    reading.take(LINES.splitlines())
    found = reading.found()
    assert (found["absent"], found["polled"]) == (4, 1)
    assert (found["submit_p50"], found["sleep_p50"]) == (1_000_000, 4_000_000)
    assert (found["submitted"], found["in_by_then"]) == (4, 2)
    assert found["one_p50"] == 400_000
    assert found["back_done_p50"] == 20_000
    assert found["back_p50"] is None
    assert found["long_ns"] == 7_000_000
    assert found["eight_p50"] is None


@pytest.mark.parametrize("case", RUN, ids=ids)
def test_scenarios_say_what_was_measured(case: Case, tmp_path: Path) -> None:
    kept = measure.stored(measure.RECORDED)[case.costs_of or case.name]
    write_traces(tmp_path)
    scenario = load(str(shutil.copy(str(measure.HERE / f"{case.name}.toml"), tmp_path)))
    host = scenario.host
    path_ns = host.costs.exit_ns + host.costs.fault_ns + host.costs.entry_ns
    said = settings(kept, path_ns, path_ns - host.costs.entry_ns // 2)
    quantiles = said.pop("quantiles")
    ours = {
        "read_page": host.costs.read_page_ns,
        "read_request": host.costs.read_request_ns,
        "worker_look": host.costs.worker_look_ns,
        "worker_hop": host.costs.worker_hop_ns,
        "reclaim_lag": host.reclaim_lag_ns,
    }
    assert ours == pytest.approx(said, abs=500)
    medium = host.medium.quantiles
    assert medium is not None
    assert [at_ns for _, at_ns in medium] == pytest.approx([at for _, at in quantiles], abs=500)
    assert [share / WHOLE for share, _ in medium] == pytest.approx([at for at, _ in quantiles])
    costs = scenario.kernel.costs
    switch_ns = kept["switch_p50"] - TOUCH_NS
    assert costs.trap_ns + costs.context_switch_ns == pytest.approx(switch_ns, abs=1_000)
    assert costs.tick_ns == kept["tick_p50"]


def test_every_case_is_kept_and_shown() -> None:
    assert measure.stored(measure.RECORDED).keys() == {case.name for case in CASES}
    assert measure.stored(measure.SIMULATED).keys() == {
        "natapov-2010", *(case.name for case in RUN),
    }  # fmt: skip
    page = validation.page()
    assert [case.name for case in CASES if f"\n## {case.name}\n" not in page] == []


def test_every_verdict_of_the_page_is_that_of_its_figures() -> None:
    """What is in short at the head is the sum of what stands below."""
    page = validation.page()
    for case in RUN:
        below = page.split(f"\n## {case.name}\n")[1].split("\n## ")[0]
        verdicts = [line.split(" | ")[-1].rstrip(" |") for line in below.splitlines()]
        short = next(line for line in page.splitlines() if line.startswith(f"| {case.name} |"))
        kinds = ("same", "same order", "off", "holds", "broken", "given")
        counts = [int(cell) for cell in short.strip("| ").split(" | ")[1:]]
        assert counts == [verdicts.count(kind) for kind in kinds], case.name


def test_rules_of_the_protocol_are_kept_by_recordings_and_runs() -> None:
    """What is exact here has to come out: tokens, order, and the counts that are one."""
    recorded, simulated = (measure.stored(path) for path in (measure.RECORDED, measure.SIMULATED))
    for case in CASES:
        for fact in FACTS:
            if fact.unit == "rule":
                ours = simulated.get(case.name, {}).get(fact.name, 0)
                assert verdict(fact, recorded[case.name][fact.name], ours) == "holds", (case, fact)


@pytest.mark.parametrize("case", RUN, ids=ids)
def test_the_three_facts_come_out_as_recorded(case: Case) -> None:
    """Nearly: within a factor of 1.6, and tails within half a power of ten."""
    recorded, simulated = (measure.stored(path) for path in (measure.RECORDED, measure.SIMULATED))
    for name, most in (("early_share", 1.6), ("sync_share", 1.6), ("delivery_p99", SAME_ORDER)):
        ours, theirs = simulated[case.name][name], recorded[case.name][name]
        assert theirs / most <= ours <= theirs * most, name


@pytest.mark.skipif(RECORDINGS is None, reason="PAGEWAKE_RECORDINGS names no directory of them")
@pytest.mark.parametrize("case", CASES, ids=ids)
def test_what_is_kept_of_a_recording_is_what_it_says(case: Case) -> None:
    directory = Path(str(RECORDINGS))
    kept = measure.stored(measure.RECORDED)[case.name]
    sha256 = hashlib.sha256((directory / case.recording).read_bytes()).hexdigest()
    assert sha256 == kept["sha256"]
    assert measure.as_kept(measure.recorded(case, directory)) == kept


@pytest.mark.slow
@pytest.mark.parametrize("case", RUN, ids=ids)
def test_what_is_kept_of_a_run_is_what_it_comes_to(case: Case) -> None:
    kept = measure.stored(measure.SIMULATED)[case.name]
    assert measure.as_kept(measure.simulated(case)) == kept, "make validation"
