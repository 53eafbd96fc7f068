"""Every figure of a result is that of its log, and that of the metrics of a cluster."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray
from prometheus_client.core import Metric

from pagewake.cluster.metrics import Owned, RunMetrics
from pagewake.cluster.tally import Tally
from pagewake.engine.run import run_scenario
from pagewake.observe.progress import TaskProgress, sum_of
from pagewake.observe.report.reading import read_log
from pagewake.observe.result import RunResult
from pagewake.participants.participant import Step
from pagewake.participants.plan import RunPlan
from pagewake.scenario.library import builtin_names, trace_path
from pagewake.scenario.loading import load
from pagewake.scenario.model import Scenario, Task
from pagewake.scenario.page_trace import RawFile, read_trace
from tests.support.cluster import FakeCluster, Member
from tests.support.sums import LogSums, ends_ns, read_sums, slept_ns

SETS = {
    "natapov-2010": ["scenario.duration=300ms"],
    "overcommit": ["scenario.duration=40ms", "host.count=2"],
    "nested": ["scenario.duration=100ms", "vm.0.count=2"],
    "trace-sort": ["scenario.duration=60ms"],
    "trace-sqlite": ["scenario.duration=60ms", "host.medium=zram"],
}
PAGES = 299
DISTINCT = """
[scenario]
name = "distinct"
duration = "1s"
[host]
medium = "nvme"
[[vm]]
name = "vm"
vcpus = 1
memory = "4MiB"
limit = "4MiB"
[[vm.task]]
name = "reader"
pattern = "trace"
trace = "pages.csv"
"""
BROADCAST = 0xFFFFFFFF
SUMMED_OVER = {"run", "source", "medium", "group"}

each_scenario = pytest.mark.parametrize("name", builtin_names())


def scenario_of(name: str) -> Scenario:
    return load(name, SETS.get(name, []))


def plan_of(name: str) -> RunPlan:
    return RunPlan.of("some-run", scenario_of(name), 2)


def percentile(ordered: list[int], percent: int) -> int:
    """The least value that so many per cent do not exceed."""
    return next(
        value for rank, value in enumerate(ordered, 1) if rank * 100 >= percent * len(ordered)
    )


def with_zeros(counts: Counter[str], like: dict[str, int]) -> dict[str, int]:
    return {**dict.fromkeys(like, 0), **counts}


@each_scenario
def test_every_figure_is_a_sum_over_the_log(name: str, tmp_path: Path) -> None:
    scenario = scenario_of(name)
    result = run_scenario(scenario, shards=2, log_dir=tmp_path / "log")
    vms = {vm.name: vm for vm in scenario.instances()}
    tasks = {name: sum(task.count for task in vm.spec.tasks) for name, vm in vms.items()}
    sums = read_sums(tmp_path / "log", tasks)
    ends = ends_ns(sums, {name: f"host-{vm.host}" for name, vm in vms.items()})
    assert result.by_event == dict(Counter(event["event"] for event in sums.events))
    assert result.events == len(sums.events)
    assert result.windows == sum(len(windows) for windows in sums.windows.values())
    assert result.sim_ns == max(ends.values())
    assert_faults_agree(result, sums)
    assert_sleepers_agree(result, sums)
    assert result.halts == sums.counted("VcpuHalted", "why")
    assert result.exits == with_zeros(sums.counted("ExitRouted", "route"), result.exits)
    started = sums.counted("ApfStarted", "outcome")
    assert result.double_faults == started["double_fault"] + started["duplicate"]
    assert result.double_faults >= result.halts.get("double_fault", 0)
    assert result.work.per_task == sums.summary("work")
    assert result.work.total == sum(result.work.per_task.values())
    assert_shares_agree(result, sums)
    assert_tasks_agree(result, sums, scenario)
    assert result.cpu == sums.summary("cpu")
    assert sum(result.cpu.values()) == sum(vm.spec.vcpus * ends[name] for name, vm in vms.items())


def test_a_trace_touches_each_of_its_pages_first_once(tmp_path: Path) -> None:
    rows = [f"{page * 10},{page:x},S,1" for page in range(1, PAGES + 1)]
    (tmp_path / "pages.csv").write_text("\n".join(["icount,page,kind,count", *rows, ""]), "utf-8")
    (tmp_path / "distinct.toml").write_text(DISTINCT, "utf-8")
    result = run_scenario(load(str(tmp_path / "distinct.toml")), log_dir=tmp_path / "log")
    assert result.first_touches == PAGES
    assert read_log(tmp_path / "log").result.first_touches == PAGES


def assert_faults_agree(result: RunResult, sums: LogSums) -> None:
    faults = sums.of("PageNotPresent")
    told = Counter(event["delivery"] for event in faults if not event.get("first_touch"))
    assert result.not_present == with_zeros(told, result.not_present)
    touched = sum(len(event["gfns"]) for event in sums.of("PageTouched"))
    waited = sum(event.get("first_touch", False) for event in faults)
    left = sum(ending["summary"]["unreported_touches"] for ending in sums.endings)
    assert result.first_touches == touched + waited + left
    read = sum(event.get("read", True) for event in sums.of("PageReady"))
    at_hand = [*faults, *sums.of("PageRequested")]
    assert result.page_ins == read + sum(event.get("served", False) for event in at_hand)
    assert result.evictions == sum(
        len(event.get("dropped", [])) for event in sums.of("PagesEvicted")
    )


def assert_shares_agree(result: RunResult, sums: LogSums) -> None:
    """What each VM did is in the log; VMs add up to their group, groups to the run."""
    assert result.per_vm is not None
    assert result.per_group is not None
    faults = [e for e in sums.of("PageNotPresent") if not e.get("first_touch")]
    counted: dict[str, Counter[str]] = {
        "page_ins": sums.by_vm("PageReady", lambda e: e.get("read", True))
        + sums.by_vm("PageNotPresent", lambda e: e.get("served", False))
        + sums.by_vm("PageRequested", lambda e: e.get("served", False)),
        "evictions": sums.by_vm("PagesEvicted", lambda e: len(e.get("dropped", []))),
        "first_touches": sums.by_vm("PageTouched", lambda e: len(e["gfns"]))
        + sums.by_vm("PageNotPresent", lambda e: e.get("first_touch", False))
        + sums.summary("vm_unreported"),
        "finished": sums.by_vm("TaskFinished"),
        "killed": sums.by_vm("TaskKilled"),
    }
    for name, share in result.per_vm.items():
        assert {key: getattr(share, key) for key in counted} == {
            key: found[name] for key, found in counted.items()
        }
        told = Counter(event["delivery"] for event in faults if event["vm"] == name)
        assert share.not_present == with_zeros(told, share.not_present)
        slept = Counter(bool(e.get("halted")) for e in sums.of("TaskSlept") if e["vm"] == name)
        early = sums.by_vm("DummyConsumed")[name]
        assert share.waits == {"slept": slept[False], "early_ready": early, "halted": slept[True]}
        assert share.cpu == {
            kind: spent_ns
            for key, spent_ns in sums.summary("vm_cpu").items()
            for vm, _, kind in [key.partition("/")]
            if vm == name
        }
        assert share.silent == with_zeros(never_ready(sums, name), share.silent)
        assert share.blackout_ns == share.cpu.get("blackout", 0)
        assert share.halted_ns == share.cpu.get("halted", 0)
    totals = {
        **{key: getattr(result, key) for key in ("page_ins", "evictions", "first_touches")},
        "touches": result.touches,
        "requests": result.requests,
        "work": result.work.total,
        "not_present": result.not_present,
        "cpu": result.cpu,
        "silent": result.silent,
        "waits": msgspec.structs.asdict(result.waits),
        "tasks": len(result.progress or ()),
    }
    assert {key: getattr(sum_of(result.per_vm.values()), key) for key in totals} == totals
    for group, share in result.per_group.items():
        members = [each for vm, each in result.per_vm.items() if vm.rpartition("-")[0] == group]
        assert share == sum_of(members)
    assert sum_of(result.per_group.values()) == sum_of(result.per_vm.values())


def never_ready(sums: LogSums, vm: str) -> Counter[str]:
    """What was announced to a guest, and neither presented with success nor still under way."""
    told: set[int] = set()
    found: Counter[str] = Counter()
    for event in sorted((e for e in sums.events if e["vm"] == vm), key=lambda e: e["n"]):
        if event["event"] == "PageNotPresent" and event["delivery"] == "injected":
            told.add(event["token"])
        elif event["event"] == "BroadcastQueued":
            told.add(BROADCAST + event["vcpu"])
        elif event["event"] in ("ApfPresented", "ApfCleared"):
            tokens = event.get("tokens") or [event["token"]]
            for token in tokens:
                name = token + event["vcpu"] * (token == BROADCAST)
                if name in told and event.get("why"):
                    found[event["why"]] += 1
                told.discard(name)
    return found


def assert_tasks_agree(result: RunResult, sums: LogSums, scenario: Scenario) -> None:
    """A task touches once in so much of its CPU time, which is that of its VM's vcpus."""
    assert result.progress is not None
    specs = {
        f"{vm.name}/{task.name}-{number}": (f"{vm.name}/task:{task.name}", task)
        for vm in scenario.instances()
        for task in vm.spec.tasks
        for number in range(task.count)
    }
    assert list(result.progress) == sorted(specs)
    spent_ns: Counter[str] = Counter()
    ended = {
        kind: {f"{event['vm']}/{event['task']}": event["at_ns"] for event in sums.of(kind)}
        for kind in ("TaskFinished", "TaskKilled")
    }
    served = Counter(f"{event['vm']}/{event['task']}" for event in sums.of("RequestDone"))
    for name, task in result.progress.items():
        kind, spec = specs[name]
        spent_ns[kind] += task.cpu_ns
        assert task.requests == served[name], name
        assert task.touches == touches_in(spec, task), name
        assert task.finished_ns == ended["TaskFinished"].get(name)
        assert task.killed_ns == ended["TaskKilled"].get(name)
        assert task.work == (result.work.per_task[name] if spec.pattern == "work" else None)
        assert task.passes == passes_of(spec, task.touches)
        assert task.ends >= (task.finished_ns is not None)
        limits = (spec.touches, spec.finish_after_ns, spec.trace, spec.script or None)
        assert task.ends == any(limit is not None for limit in limits)
    tasks_ns = {key: ns for key, ns in sums.summary("vm_cpu").items() if "/task:" in key}
    assert {key: ns for key, ns in spent_ns.items() if ns} == tasks_ns


def touches_in(spec: Task, task: TaskProgress) -> int:
    """How many touches begin in the CPU time that a task had."""
    if spec.pattern == "work":
        return 0
    if spec.pattern == "script":
        touches = sum(step.op == "touch" for step in spec.script)
        if task.finished_ns is not None:
            return touches
        assert task.touches * spec.touch_ns <= task.cpu_ns
        return min(task.touches, touches)
    if spec.pattern == "requests":  # of the one that it serves at the end, some
        assert task.requests is not None
        done = task.requests * spec.touches_per_request
        assert done <= task.touches <= done + spec.touches_per_request
        return task.touches
    if spec.pattern == "trace":
        icounts = icounts_of(str(spec.trace))
        passes, into_ns = divmod(task.cpu_ns, (int(icounts[-1]) + 1) * spec.cpi_ns)
        return passes * len(icounts) + int((icounts * spec.cpi_ns < into_ns).sum())
    return -(-task.cpu_ns // spec.touch_ns)


def passes_of(spec: Task, touches: int) -> int | None:
    """How often so many touches go through a trace, or a region that is touched in order."""
    if spec.pattern == "trace":
        return touches // len(icounts_of(str(spec.trace)))
    if spec.phases:
        return touches // sum(phase.touches for phase in spec.phases)
    if spec.pattern == "sequential":
        return touches * spec.stride_pages // spec.region_pages
    return None


@lru_cache
def icounts_of(trace: str) -> NDArray[np.int64]:
    """At which instruction each row of a trace stands."""
    path = trace_path(trace)
    with path.open("rb") as file:
        return np.concatenate([block.icount for block in read_trace(trace, RawFile(file))])


def assert_sleepers_agree(result: RunResult, sums: LogSums) -> None:
    slept = Counter(bool(event.get("halted")) for event in sums.of("TaskSlept"))
    waits = result.waits
    assert (waits.slept, waits.halted) == (slept[False], slept[True])
    assert waits.early_ready == len(sums.of("DummyConsumed"))
    assert result.wakes == with_zeros(sums.counted("TaskWoken", "how"), result.wakes)
    waited, asleep = slept_ns(sums)
    assert result.sleepers == asleep
    times = result.wait_sim_seconds
    if times is None:
        assert not waited
    else:
        found = [percentile(waited, percent) / 1e9 for percent in (50, 90, 99, 100)]
        assert [times.p50, times.p90, times.p99, times.max] == found
    assert result.unresolved == len(result.unresolved_tasks) <= asleep
    unlinked = Counter(event.get("leaked", True) for event in sums.of("DummyUnlinked"))
    dummies = result.dummies
    assert dummies.inserted == len(sums.of("DummyInserted"))
    assert (dummies.consumed, dummies.leaked) == (waits.early_ready, unlinked[True])
    assert dummies.left == dummies.inserted - dummies.consumed - sum(unlinked.values())


@each_scenario
def test_a_report_of_the_log_has_the_same_result(name: str, tmp_path: Path) -> None:
    result = run_scenario(scenario_of(name), shards=2, log_dir=tmp_path / "log")
    assert read_log(tmp_path / "log").result == msgspec.structs.replace(
        result, wall_s=0.0, jobs=None
    )


@each_scenario
def test_the_metrics_of_a_cluster_are_its_result(name: str) -> None:
    cluster = FakeCluster(plan_of(name), 1)
    tallies = {member.participant.source: Tally() for member in cluster.members}

    def feed(member: Member, step: Step) -> None:
        if step.events:
            tallies[member.participant.source].feed(step.events)

    cluster.observers.append(feed)
    cluster.run()
    owned = [Owned(each.participant, tallies[each.participant.source]) for each in cluster.members]
    metrics = summed(RunMetrics(lambda: owned).collect())
    result = cluster.result()
    figures: dict[tuple[str, ...], int] = {
        **{("page_not_present_total", key): n for key, n in result.not_present.items()},
        **{("guest_task_wakes_total", key): n for key, n in result.wakes.items()},
        **{("kvm_halts_total", key): n for key, n in result.halts.items()},
        ("guest_task_waits_total", "slept"): result.waits.slept,
        ("guest_task_waits_total", "halted"): result.waits.halted,
        ("guest_task_waits_total", "early_ready"): result.waits.early_ready,
        ("guest_dummies",): result.dummies.left,
        ("guest_sleepers",): result.sleepers,
        ("guest_wait_sim_seconds_count",): sum(result.wakes.values()),
        ("kvm_double_faults_total",): result.double_faults,
        ("window_events_sum",): result.events,
        ("windows_total",): result.windows,
        ("host_page_ins_total",): result.page_ins,
        ("host_page_in_sim_seconds_count",): result.page_ins,
        ("host_evictions_total",): result.evictions,
        ("group_work_total",): result.work.total,
        ("group_touches_total",): result.touches or 0,
        ("group_requests_total",): result.requests or 0,
        ("group_tasks_finished_total",): result.by_event.get("TaskFinished", 0),
        ("group_tasks_killed_total",): result.by_event.get("TaskKilled", 0),
        ("group_sleepers",): result.sleepers,
    }
    assert {key: metrics[key] for key in figures} == figures
    routed = with_zeros(Counter(), result.exits)
    for (metric, *labels), count in metrics.items():
        if metric == "nested_exits_total":
            routed[labels[-1]] += count
    assert routed == result.exits


GROUPS = """
[scenario]
name = "groups"
duration = "5ms"
[host]
medium = "nvme"
[[vm]]
name = "web"
count = 3
vcpus = 1
memory = "4MiB"
limit = "2MiB"
[[vm.task]]
name = "server"
pattern = "random"
working_set = "3MiB"
populated = true
touch = "1us"
[[vm]]
name = "job"
vcpus = 1
memory = "2MiB"
limit = "2MiB"
[[vm.task]]
name = "answerer"
pattern = "requests"
rate = 20000
service = "10us"
[[vm.task]]
name = "once"
pattern = "sequential"
working_set = "1MiB"
touches = 300
count = 2
"""


def test_the_metrics_of_groups_move_while_the_run_does(tmp_path: Path) -> None:
    (tmp_path / "groups.toml").write_text(GROUPS, "utf-8")
    scenario = load(str(tmp_path / "groups.toml"))
    cluster = FakeCluster(RunPlan.of("some-run", scenario, 2), 1)
    owned = [Owned(member.participant, Tally()) for member in cluster.members]
    metrics = RunMetrics(lambda: owned)
    seen: list[Counter[tuple[str, str]]] = []
    cluster.observers.append(lambda _member, _step: seen.append(of_groups(metrics.collect())))
    cluster.run()
    shares = cluster.result().per_group
    assert shares is not None
    last = of_groups(metrics.collect())
    for group, share in shares.items():
        assert last["group_touches_total", group] == share.touches > 0
        assert last["group_requests_total", group] == share.requests
        assert last["group_tasks_finished_total", group] == share.finished
    assert shares["job"].finished == 2
    for key in (
        ("group_touches_total", "web"),
        ("group_requests_total", "job"),
        ("group_tasks_finished_total", "job"),
    ):
        values = [each[key] for each in seen]
        assert values == sorted(values), "a counter goes back"
        assert len(set(values)) > 2, "it moves on the way"


def of_groups(families: Iterable[Metric]) -> Counter[tuple[str, str]]:
    """Samples of groups, over all parts."""
    found: Counter[tuple[str, str]] = Counter()
    for sample in (sample for family in families for sample in family.samples):
        if "group" in sample.labels:
            name = sample.name.removeprefix("pagewake_")
            found[name, sample.labels["group"]] += round(sample.value)
    return found


def summed(families: Iterable[Metric]) -> Counter[tuple[str, ...]]:
    """Samples over all parts, media and groups, by name and the other labels' values."""
    found: Counter[tuple[str, ...]] = Counter()
    for sample in (sample for family in families for sample in family.samples):
        labels = [value for key, value in sample.labels.items() if key not in SUMMED_OVER]
        found[sample.name.removeprefix("pagewake_"), *labels] += round(sample.value)
    return found
