"""A recording becomes a scenario that has its figures, and says where each line is from."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from pagewake.errors import DataError
from pagewake.fit.calibration import Fitted, fitted, next_guess_ns, rounded
from pagewake.fit.evidence import Evidence, Switched, evidence_of, shut_down, tenths_of
from pagewake.fit.reasons import explained
from pagewake.fit.sides import Both, Figure, side_by_side
from pagewake.fit.skeleton import rising, skeleton, slowness
from pagewake.recorded.figures import Figures, Stage
from pagewake.recorded.importing import import_files
from pagewake.recorded.log import RecordingReader
from pagewake.scenario.loading import load, loads
from tests.unit.cli.support import invoke

RECORDINGS = Path(__file__).parents[2] / "recordings"
MS = 1_000_000


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("imported") / "burst"
    import_files([str(RECORDINGS / "burst.txt.gz")], directory)
    return directory


@pytest.fixture(scope="module")
def evidence(directory: Path) -> Evidence:
    return evidence_of(RecordingReader(directory))


@pytest.fixture(scope="module")
def found(evidence: Evidence) -> Fitted:
    return fitted(evidence)


@pytest.fixture(scope="module")
def figures(evidence: Evidence, found: Fitted) -> dict[str, Figure]:
    tenths = tenths_of(found.counter.starts_ns, evidence.length_ns)
    both = Both(evidence.figures, found.figures, evidence.tenths, tenths)
    return {figure.name: figure for figure in explained(side_by_side(both), both)}


# ------------------------------------------------------------------------------- the scenario


def test_every_line_says_where_it_comes_from(found: Fitted) -> None:
    said = False
    in_rows = False
    for line in found.text.splitlines():
        in_rows = (in_rows or line.endswith("= [")) and line != "]"
        if line and not line.startswith("[") and not in_rows and line != "]":
            assert "#" in line or said, line
        assert len(line) <= 100, line
        said = line.startswith("#")


def test_the_scenario_has_what_the_recording_says(evidence: Evidence, found: Fitted) -> None:
    scenario = loads(found.text, "fit")
    (vm,) = scenario.vms
    (task,) = vm.tasks
    figures = evidence.figures
    assert scenario.name == "fit-burst"
    assert (scenario.kernel.profile, vm.vcpus) == (evidence.profile, 2)
    assert (task.count, task.pattern) == (figures.outstanding_max_vm, "random")
    assert task.write_share == pytest.approx(figures.writes / figures.started, abs=0.001)
    assert scenario.duration_ns == pytest.approx(evidence.length_ns, abs=1_000)
    device = scenario.host.medium.device()
    assert (device.name, device.read.min_ns) == ("empirical", evidence.quantiles[0][1])
    assert device.read.sample_ns(1 << 63) == evidence.figures.completion.p50_ns


def test_a_slow_cpu_has_costs_in_proportion(evidence: Evidence, found: Fitted) -> None:
    costs = loads(found.text, "fit").host.costs
    assert slowness(evidence) > 10
    assert costs.fault_ns == 2_000 * slowness(evidence)
    stage = evidence.figures.submission
    fast = evidence._replace(figures=_with(evidence.figures, submission=_at(stage, 3_100)))
    assert "costs" not in skeleton(fast, 1_000)


def _with(figures: Figures, **changes: object) -> Figures:
    return msgspec.structs.replace(figures, **changes)


def _at(stage: Stage, p50_ns: int) -> Stage:
    return msgspec.structs.replace(stage, p50_ns=p50_ns)


def test_kernel_mode_gets_its_share_of_the_time(evidence: Evidence) -> None:
    half = _with(evidence.figures, kernel=50, user=50)
    (task,) = loads(skeleton(evidence._replace(figures=half), 1_000_000), "fit").vms[0].tasks
    assert task.kernel_for_ns == pytest.approx(task.kernel_every_ns, rel=0.01)


def test_walks_keep_apart_and_share_the_memory(evidence: Evidence) -> None:
    walked = evidence._replace(runs=0.9, working_set_pages=6 * 512)
    (task,) = loads(skeleton(walked, 1_000), "fit").vms[0].tasks
    assert (task.pattern, task.private, task.regions * task.region_pages) == (
        "sequential",
        True,
        6 * 512,
    )


def test_hotplug_becomes_events_of_the_scenario(evidence: Evidence) -> None:
    switched = [Switched(MS, 1, on=False), Switched(2 * MS, 1, on=True)]
    scenario = loads(skeleton(evidence._replace(switched=switched), 1_000), "fit")
    told = [(type(each.control).__name__, each.control.at_ns) for each in scenario.events]
    assert told == [("VcpuOffline", MS), ("VcpuOnline", 2 * MS)]


def test_several_vms_are_told_of(evidence: Evidence) -> None:
    assert "of the 3 there" in skeleton(evidence._replace(vms=3), 1_000)


def test_rows_within_one_time_are_left_out() -> None:
    rows = [(0, 5), (10, 5), (20, 5), (500, 9), (1000, 9)]
    assert rising(rows) == [(0, 5), (20, 5), (500, 9), (1000, 9)]


# ------------------------------------------------------------------------------- the evidence


def test_a_guest_that_turns_all_vcpus_off_for_good_has_shut_down() -> None:
    starts = [Switched(1, 0, on=True), Switched(1, 1, on=True)]
    plugged = [Switched(5, 1, on=False), Switched(7, 1, on=True)]
    ends = [Switched(9, 1, on=False), Switched(10, 0, on=False)]
    assert shut_down([*starts, *plugged, *ends], 2) == (9, plugged)
    assert shut_down([*starts, *plugged], 2) == (None, plugged)
    assert shut_down([*plugged, ends[0]], 2) == (None, [*plugged, ends[0]])
    assert shut_down([], 2) == (None, [])


def test_tenths_hold_every_fault_once() -> None:
    assert tenths_of([0, 9, 10, 55, 99, 100], 100) == [2, 1, 0, 0, 0, 1, 0, 0, 0, 2]


def test_a_recording_without_asynchronous_faults_cannot_be_fitted(tmp_path: Path) -> None:
    lines = "\n".join(
        f"       CPU 0/KVM-100     [000] d..1.    10.00000{at}: kvm_entry: vcpu 0, rip 0x401000"
        for at in range(9)
    )
    (tmp_path / "quiet.txt").write_text(f"# tracer: nop\n{lines}\n", "utf-8")
    import_files([str(tmp_path / "quiet.txt")], tmp_path / "quiet")
    with pytest.raises(DataError, match="has no asynchronous page fault"):
        evidence_of(RecordingReader(tmp_path / "quiet"))


# ------------------------------------------------------------------------------- calibration


def test_the_run_has_the_recorded_faults_and_the_recorded_device(
    evidence: Evidence, figures: dict[str, Figure]
) -> None:
    assert figures["started"].error == pytest.approx(0, abs=0.01)
    for name in ("submission_p50_ns", "completion_p50_ns", "completion_p90_ns"):
        assert figures[name].error == pytest.approx(0, abs=0.15), name
        assert figures[name].recording


def test_the_same_recording_gives_the_same_scenario(evidence: Evidence, found: Fitted) -> None:
    assert fitted(evidence).text == found.text


@pytest.mark.parametrize("wanted", [3, 50, 1_000, 40_000])
def test_the_search_finds_what_more_time_makes_fewer_of(wanted: int) -> None:
    tried: dict[int, int] = {}
    touch_ns = 1_000_000
    for _ in range(12):
        tried[touch_ns] = 10_000_000_000 // (touch_ns + 100_000)
        if abs(tried[touch_ns] - wanted) <= wanted / 100:
            return
        touch_ns = next_guess_ns(tried, wanted)
    pytest.fail(f"{wanted} not found: {tried}")


def test_times_have_three_digits() -> None:
    assert [rounded(ns) for ns in (1, 999, 12_345, 6_789_012)] == [1, 999, 12_300, 6_780_000]


# ------------------------------------------------------------------------------- side by side


def test_what_is_off_has_a_reason_that_names_figures(figures: dict[str, Figure]) -> None:
    off = {name: figure.reason for name, figure in figures.items() if figure.off}
    assert all(off.values()), off
    assert "vcpu threads" in str(off["delivery_p50_ns"])
    assert "read-ahead" in str(off["synchronous"])
    assert not any(figure.reason for figure in figures.values() if not figure.off)


def test_a_reason_that_the_figures_do_not_support_is_not_given(
    evidence: Evidence, found: Fitted
) -> None:
    calm = _with(evidence.figures, synchronous=found.figures.synchronous)
    calm = _with(calm, delivery=_at(calm.delivery, 25_000))
    both = Both(calm, found.figures, evidence.tenths, evidence.tenths)
    reasons = {figure.name: figure.reason for figure in explained(side_by_side(both), both)}
    assert reasons["delivery_p90_ns"] is None
    assert reasons["gained_ns"] is None


def test_reclaim_and_waiting_for_a_cpu_are_told_where_lines_tell_of_them(
    evidence: Evidence, found: Fitted
) -> None:
    seen = evidence.figures.synchronous
    for change, word in (
        ({"off_cpu_ns": seen.took_ns}, "on no CPU"),
        ({"reclaim_ns": seen.took_ns}, "reclaimed"),
    ):
        figures = _with(evidence.figures, synchronous=msgspec.structs.replace(seen, **change))
        both = Both(figures, found.figures, evidence.tenths, evidence.tenths)
        reasons = {each.name: each.reason for each in explained(side_by_side(both), both)}
        assert word in str(reasons["synchronous"])


def test_what_the_recording_does_not_show_is_null_and_not_0(
    evidence: Evidence, found: Fitted
) -> None:
    hidden = ("synchronous", "synchronous_ns", "awaiting_ns", "idle_ns")
    for unknown, expected in ((frozenset({"synchronous", "idle"}), True), (frozenset(), False)):
        tenths = evidence.tenths
        both = Both(evidence.figures, found.figures, tenths, tenths, unknown)
        rows = {each.name: each.recording for each in explained(side_by_side(both), both)}
        assert {rows[name] is None for name in hidden} == {expected}
    assert evidence.unknown == frozenset()


# ------------------------------------------------------------------------------- the command


def test_the_command_writes_a_scenario_that_runs_in_other_ways(
    directory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(tmp_path / "fit.toml")
    done = invoke(capsys, "fit", str(directory), "-o", path, "--json")
    assert done.code == 0
    assert {"name", "recording", "simulated", "error"} <= json.loads(done.out)[0].keys()
    assert load(path, axes=["host.medium=nvme"]).host.medium.name == "nvme"
    again = invoke(capsys, "fit", str(directory), "-o", path)
    assert (again.code, "asynchronous faults" in again.out) == (0, True)


def test_the_command_writes_over_its_like_only(
    directory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("[scenario]\n", "utf-8")
    done = invoke(capsys, "fit", str(directory), "-o", str(path))
    assert (done.code, "is not a fitted scenario" in done.err) == (2, True)
    assert invoke(capsys, "fit", str(tmp_path)).code == 2
