"""Host CPUs are fewer than threads want: who computes, what is stolen, and how late READYs come."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from random import Random

import msgspec
import pytest

from pagewake.engine.embedded import run_embedded
from pagewake.engine.run import run_scenario
from pagewake.errors import PagewakeError
from pagewake.events.types import (
    ApfPresented,
    CpuAwaited,
    CpuFound,
    Event,
    ExceptionInjected,
    PageRequested,
    WorkerCompleted,
)
from pagewake.explore.search import Plan, Search
from pagewake.kvm.config import HostCosts
from pagewake.observe.result import RunResult
from pagewake.participants.build import build
from pagewake.participants.participant import ShardParticipant, Step
from pagewake.participants.plan import RunPlan
from pagewake.recorded.check import check_recording
from pagewake.recorded.export import write_ftrace
from pagewake.recorded.importing import import_files
from pagewake.recorded.log import RecordingReader
from pagewake.recorded.summary import counted
from pagewake.scenario.loading import loads
from pagewake.scenario.model import Scenario
from pagewake.verify.verify import verify_log
from tests.support.cluster import FakeCluster, Member
from tests.support.runs import read_events

SCHEDULERS = pytest.mark.parametrize("scheduler", ["cfs", "eevdf"])
ASLEEP = ("idle", "halted", "blackout", "offline", "steal")
"""Kinds of vcpu time that take no CPU of the host."""
BUSY = """
[scenario]
name = "shared-cpus"
duration = "60ms"
[kernel]
profile = "6.1"
[host]
medium = "nvme"
page_cluster = "off"
[[vm]]
name = "vm"
count = 2
vcpus = 2
memory = "32MiB"
limit = "8MiB"
[[vm.task]]
name = "worker"
count = 2
pattern = "work"
"""
TOUCHING = """
[[vm.task]]
name = "toucher"
count = 2
pattern = "random"
working_set = "12MiB"
populated = true
"""


def scenario(*sets: str, text: str = BUSY + TOUCHING) -> Scenario:
    return loads(text, sets=list(sets))


@cache
def result(*sets: str, text: str = BUSY + TOUCHING) -> RunResult:
    return run_scenario(scenario(*sets, text=text))


def on_cpu_ns(run: RunResult) -> int:
    return sum(ns for kind, ns in run.cpu.items() if kind not in ASLEEP)


def delivered_ns(*sets: str) -> list[int]:
    """From each completion to its READY, sorted."""
    wanted = scenario(*sets)
    plan = RunPlan.of("delivered", wanted, 1)
    seen: list[Event] = []
    run_embedded(plan, build(plan), observer=seen.extend)
    done: dict[tuple[str, int, int], int] = {}
    waits: list[int] = []
    for event in seen:
        if isinstance(event, WorkerCompleted):
            done[event.vm, event.vcpu, event.token] = event.at_ns
        elif isinstance(event, ApfPresented) and (event.vm, event.vcpu, event.token) in done:
            waits.append(event.at_ns - done.pop((event.vm, event.vcpu, event.token)))
    return sorted(waits)


def waits_ns(*sets: str, text: str) -> list[int]:
    """How long vcpu threads waited for a CPU."""
    plan = RunPlan.of("waits", scenario(*sets, text=text), 1)
    seen: list[Event] = []
    run_embedded(plan, build(plan), observer=seen.extend)
    since: dict[tuple[str, int], int] = {}
    waits: list[int] = []
    for event in seen:
        if isinstance(event, CpuAwaited):
            since[event.vm, event.vcpu] = event.at_ns
        elif isinstance(event, CpuFound):
            waits.append(event.at_ns - since.pop((event.vm, event.vcpu)))
    return waits


class TestProgress:
    def test_four_vcpus_on_two_cpus_do_half_of_the_work_each(self) -> None:
        alone, shared = (result(f"host.cpus={cpus}", text=BUSY) for cpus in (0, 2))
        assert alone.cpu.get("steal", 0) == 0
        for task, work in shared.work.per_task.items():
            assert 0.40 < work / alone.work.per_task[task] < 0.60
        assert 0.45 < shared.work.total / alone.work.total < 0.505

    @pytest.mark.parametrize("cpus", [1, 2, 3])
    @pytest.mark.parametrize("poll", ["0ns", "200us"])
    def test_threads_run_no_longer_than_there_are_cpus(self, cpus: int, poll: str) -> None:
        run = result(f"host.cpus={cpus}", f"host.halt_poll={poll}")
        ran_ns = on_cpu_ns(run)
        assert ran_ns <= cpus * run.sim_ns
        assert ran_ns + run.cpu["blackout"] > 0.8 * cpus * run.sim_ns  # most of it is reclaim
        assert run.cpu["steal"] > 0
        assert sum(run.cpu.values()) == 4 * run.sim_ns

    def test_the_time_of_all_cpus_is_accounted_for(self) -> None:
        run = result(*TestOneRun.SHORT)
        assert list(run.host_cpu) == ["emulator", "idle", "kswapd", "vcpu", "worker"]
        assert sum(run.host_cpu.values()) == 2 * run.sim_ns
        assert run.host_cpu["vcpu"] > on_cpu_ns(run), "and reclaim, which is blackout"
        assert min(run.host_cpu[kind] for kind in ("emulator", "kswapd", "worker")) > 50_000
        assert result().host_cpu == {}

    @pytest.mark.parametrize("profile", ["posted-v7", "2.6.39", "4.14", "6.1", "6.19"])
    def test_as_many_cpus_as_anybody_wants_are_as_good_as_no_limit(self, profile: str) -> None:
        rules = (f"kernel.profile={profile}", "kernel.apf=off", "host.costs.reclaim_page=0ns")
        assert result("host.cpus=64", *rules).digest == result("host.cpus=0", *rules).digest

    @pytest.mark.parametrize("profile", ["2.6.39", "6.1"])
    def test_but_workers_look_on_the_cpu_that_queued_them(self, profile: str) -> None:
        run = result("host.cpus=64", f"kernel.profile={profile}")
        asked = run.not_present["injected"] + run.not_present["halted"]
        assert run.cpu["steal"] == asked * HostCosts().worker_look_ns > 0


class TestCompletedToReady:
    @pytest.mark.parametrize("profile", ["2.6.39", "6.1"])
    def test_ready_waits_for_the_vcpu_to_have_a_cpu(self, profile: str) -> None:
        rules = f"kernel.profile={profile}"
        free, short = delivered_ns("host.cpus=0", rules), delivered_ns("host.cpus=1", rules)
        assert len(short) > 50
        p99 = [waits[len(waits) * 99 // 100] for waits in (free, short)]
        assert p99[1] > p99[0] + 400_000


class TestKswapd:
    """Of a host that reclaims beside its vcpu threads."""

    OLD = ("kernel.profile=2.6.39", "host.cpus=2")

    def test_its_time_is_taken_from_the_vcpus(self) -> None:
        free, dear = (
            result(*self.OLD, f"host.costs.reclaim_page={cost}") for cost in ("0ns", "20us")
        )
        assert dear.evictions > 100
        assert free.host_cpu["kswapd"] == 0
        assert dear.host_cpu["kswapd"] > 2 * 20_000 * dear.evictions, "two steps or three for each"
        assert dear.work.total < 0.95 * free.work.total

    def test_frames_come_later_where_it_has_to_wait_for_a_cpu(self) -> None:
        alone, beside = (result(self.OLD[0], f"host.cpus={cpus}") for cpus in (64, 1))
        assert beside.evictions < 0.8 * alone.evictions

    def test_a_vcpu_thread_that_reclaims_at_its_limit_leaves_it_nothing(self) -> None:
        digests = {
            result("kernel.profile=6.1", "host.cpus=2", f"host.costs.reclaim_page={cost}").digest
            for cost in ("0ns", "50us")
        }
        assert len(digests) == 1
        short = ("kernel.profile=6.1", "host.cpus=2", "host.memory=14MiB")
        dear = result(*short, "host.costs.reclaim_page=50us")
        assert 0 < dear.evictions < result(*short).evictions, "there it is the host that is short"

    def test_without_counted_cpus_it_takes_none(self) -> None:
        digests = {
            result(self.OLD[0], f"host.costs.reclaim_page={cost}").digest for cost in ("0ns", "9us")
        }
        assert len(digests) == 1

    def test_what_a_vm_that_is_over_had_in_the_queue_keeps_nobody_waiting(self) -> None:
        sets = ("host.cpus=1", "host.memory=14MiB", "scenario.duration=400ms")
        ending = BUSY.replace('"work"', '"work"\nfinish_after = "2ms"') + TOUCHING.replace(
            '"random"', '"random"\ntouches = 300'
        )
        with_queue = (self.OLD[0], *sets, "host.costs.reclaim_page=100us")
        plan = RunPlan.of("over", scenario(*with_queue, text=ending), 1)
        parts = build(plan)
        run_embedded(plan, parts)
        over_ns = [kernel.vm.frozen_ns for kernel in parts[0].shards[0].kernels]
        assert None not in over_ns
        assert len(set(over_ns)) == 2
        draws = Random(3)
        cut = run_scenario(plan.scenario, cut=lambda _, at_ns: at_ns - draws.randrange(90_000))
        assert cut.digest == result(*with_queue, text=ending).digest
        assert cut.evictions > 300


class TestEmulator:
    LOAD = 'vm.0.emulator={every="1ms", for="200us"}'

    def test_what_it_takes_is_stolen_from_the_vcpus(self) -> None:
        without, beside = (result("host.cpus=4", *sets, text=BUSY) for sets in ((), (self.LOAD,)))
        assert "steal" not in without.cpu
        assert 15_000_000 < beside.cpu["steal"] < 25_000_000, "12 ms for each of two VMs"
        assert beside.work.total < 0.95 * without.work.total

    def test_it_takes_no_cpu_from_whom_it_leaves_one(self) -> None:
        without, beside = (result("host.cpus=6", *sets, text=BUSY) for sets in ((), (self.LOAD,)))
        assert beside.digest == without.digest

    @pytest.mark.parametrize(
        ("sets", "message"),
        [
            ((LOAD,), r"vm\.0\.emulator: it has a CPU of its own where host\.cpus is 0"),
            (("host.cpus=1", 'vm.0.emulator={every="1ms", for="1ms"}'), 'less than "1ms"'),
        ],
    )
    def test_what_has_no_effect_is_refused(self, sets: tuple[str, ...], message: str) -> None:
        with pytest.raises(PagewakeError, match=message):
            scenario(*sets)


class TestScheduler:
    """CFS until 6.5, EEVDF from 6.6 on."""

    @pytest.mark.parametrize(("profile", "scheduler"), [("6.1", "cfs"), ("6.6", "eevdf")])
    def test_it_is_that_of_the_hosts_kernel(self, profile: str, scheduler: str) -> None:
        sets = ("host.cpus=2", f"kernel.profile={profile}")
        of_the_host = result(*sets, f"kernel.overrides.l0.scheduler={scheduler}")
        assert result(*sets).digest == of_the_host.digest
        guests = {"cfs": "eevdf", "eevdf": "cfs"}[scheduler]
        assert result(*sets, f"kernel.overrides.scheduler={guests}").digest != of_the_host.digest

    def test_under_either_all_have_their_share(self) -> None:
        for scheduler in ("cfs", "eevdf"):
            run = result("host.cpus=2", f"kernel.overrides.scheduler={scheduler}", text=BUSY)
            works = run.work.per_task.values()
            assert max(works) < 1.15 * min(works)

    def test_slices_are_shorter_than_turns_were(self) -> None:
        """Four vcpus on two CPUs: a turn of CFS is 6 ms, a slice 1.5 ms."""
        turns, slices = (
            waits_ns("host.cpus=2", f"kernel.overrides.scheduler={scheduler}", text=BUSY)
            for scheduler in ("cfs", "eevdf")
        )
        assert len(slices) > 2 * len(turns)
        assert max(slices) < max(turns)


class TestFirstLook:
    """A worker is bound to the CPU that queued it, and goes before its vcpu enters its guest."""

    def early(self, *sets: str, cpus: int = 4) -> tuple[int, int]:
        """READYs that came before the guest had been told of their page, and all that were told."""
        wanted = scenario(f"host.cpus={cpus}", *sets)
        plan = RunPlan.of("early", wanted, 1)
        seen: list[Event] = []
        run_embedded(plan, build(plan), observer=seen.extend)
        told: set[tuple[str, int, int]] = set()
        early = 0
        for event in seen:
            if isinstance(event, ExceptionInjected) and event.kind == "not_present":
                told.add((event.vm, event.vcpu, event.token))
            elif isinstance(event, ApfPresented) and event.delivery == "token":
                early += (event.vm, event.vcpu, event.token) not in told
        return early, len(told)

    def test_a_page_that_comes_until_then_is_ready_before_re_entry(self) -> None:
        quick = 'host.medium={ latency = "100us", jitter = "90us", parallelism = 64 }'
        early, told = self.early(quick, "host.costs.worker_look=60us")
        assert 0.1 * told < early < 0.9 * told

    def test_more_are_where_others_have_the_cpu_behind_the_worker(self) -> None:
        slow = 'host.medium={ latency = "500us", jitter = "300us", parallelism = 64 }'
        assert self.early(slow, "host.costs.worker_look=60us")[0] == 0
        early, told = self.early(slow, "host.costs.worker_look=60us", cpus=2)
        assert early > 0.05 * told

    def test_and_none_is_where_reads_take_longer(self) -> None:
        assert self.early("host.costs.worker_look=5us")[0] == 0


class TestPolling:
    def test_a_poll_takes_a_cpu_that_nobody_wants_and_saves_the_wake_up(self) -> None:
        halted = ("kernel.apf=nonpv", "vm.0.task.0.count=1")
        slept, polled = result(*halted), result(*halted, "host.halt_poll=200us")
        assert polled.cpu["polling"] > 10 * polled.cpu["halted"]
        assert slept.cpu["halted"] > polled.cpu["polling"] > 0

    def test_where_cpus_are_short_fewer_poll(self) -> None:
        halted = ("kernel.apf=nonpv", "host.halt_poll=200us", "vm.0.task.0.count=1")
        assert result(*halted, "host.cpus=2").cpu["polling"] < result(*halted).cpu["polling"] / 2


class TestOneRun:
    """Any cut, any number of shards or processes, snapshots and kills: one digest."""

    SHORT = (
        "host.cpus=2",
        "host.halt_poll=200us",
        "vm.0.limit=4MiB",
        "host.memory=7MiB",
        "kernel.profile=4.14",
        TestEmulator.LOAD,
        "scenario.duration=20ms",
    )

    @SCHEDULERS
    def test_cuts_and_shards_leave_no_trace(self, scheduler: str) -> None:
        sets = (*self.SHORT, f"kernel.overrides.scheduler={scheduler}")
        whole = result(*sets)
        draws = Random(7)
        cut = run_scenario(
            scenario(*sets), shards=3, cut=lambda _, at_ns: at_ns - draws.randrange(90_000)
        )
        assert cut.windows != whole.windows
        same = msgspec.structs.replace(cut, windows=whole.windows, wall_s=whole.wall_s)
        assert same == whole

    def test_vms_that_share_cpus_are_one_shard(self) -> None:
        assert len(RunPlan.of("r", scenario("host.cpus=2"), 4).topology.shards) == 1
        assert len(RunPlan.of("r", scenario(), 4).topology.shards) == 2

    @SCHEDULERS
    def test_kills_and_snapshots_change_nothing(self, scheduler: str) -> None:
        sets = (*self.SHORT, f"kernel.overrides.scheduler={scheduler}")
        plan = RunPlan.of("shared", scenario(*sets), 1)
        cluster = FakeCluster(plan, 5, kill=0.05, snapshot=0.3)
        queued: set[int] = set()

        def look(member: Member, _: Step) -> None:
            if isinstance(member.participant, ShardParticipant):
                cpus = member.participant.follower.shard.cpus
                assert cpus is not None
                queued.add(len(cpus.waiting))

        cluster.observers.append(look)
        assert cluster.run() == result(*sets).digest
        assert cluster.kills > 3
        assert len(queued) > 1


class TestRefused:
    def test_vms_with_guests_of_their_own_share_no_cpus_with_others(self) -> None:
        nested = (
            '[[vm]]\nname = "n"\nvcpus = 1\nmemory = "32MiB"\nnested = 1\n'
            'l2 = { vcpus = 1, memory = "4MiB" }\n'
            '[[vm.task]]\nname = "w"\npattern = "work"\n'
        )
        assert len(loads(BUSY + nested).vms) == 2
        with pytest.raises(PagewakeError, match=r"host\.cpus = 2: VMs that share CPUs"):
            loads(BUSY + nested, sets=["host.cpus=2"])

    @pytest.mark.parametrize("key", ["cpus=1", "halt_poll=10us"])
    def test_what_depends_on_when_a_thread_runs_is_not_explored(self, key: str) -> None:
        small = scenario(f"host.{key}", "vm.0.count=1", "vm.0.vcpus=1", text=BUSY)
        with pytest.raises(PagewakeError, match=f"no host.{key.partition('=')[0]}"):
            Search(Plan(small)).breadth_first()

    @pytest.mark.parametrize("value", ["-1", "many", "5000"])
    def test_what_is_no_number_of_cpus_says_so(self, value: str) -> None:
        with pytest.raises(PagewakeError, match=r"host\.cpus"):
            scenario(f"host.cpus={value}")


class TestTold:
    def test_waits_for_a_cpu_are_the_time_that_was_stolen(self) -> None:
        sets = ("host.cpus=2", "scenario.duration=20ms")
        plan = RunPlan.of("told", scenario(*sets), 1)
        seen: list[Event] = []
        run_embedded(plan, build(plan), observer=seen.extend)
        since: dict[tuple[str, int], int] = {}
        waited_ns = 0
        for event in seen:
            if isinstance(event, CpuAwaited):
                since[event.vm, event.vcpu] = event.at_ns
            elif isinstance(event, CpuFound):
                waited_ns += event.at_ns - since.pop((event.vm, event.vcpu))
        waited_ns += sum(20_000_000 - at_ns for at_ns in since.values())
        assert waited_ns == result(*sets).cpu["steal"] > 1_000_000

    def test_a_log_of_such_a_run_verifies(self, tmp_path: Path) -> None:
        log = tmp_path / "log"
        run = run_scenario(scenario(*TestOneRun.SHORT), log_dir=log)
        report = verify_log(log)
        assert (report.problems, report.digest) == ([], run.digest)

    @pytest.mark.parametrize("cpus", [1, 2])
    def test_it_can_be_written_as_a_trace_in_which_all_rules_hold(
        self, tmp_path: Path, cpus: int
    ) -> None:
        """Who waits for a CPU has not entered its guest; a fault ends where its page is found."""
        reads = ("host.page_cluster=3", "host.costs.read_request=20us", "host.costs.read_page=3us")
        walks = TOUCHING.replace("random", "sequential")
        wanted = scenario(f"host.cpus={cpus}", *reads, "vm.0.count=1", text=BUSY + walks)
        run_scenario(wanted, log_dir=tmp_path / "log")
        trace = tmp_path / "trace.txt"
        profile = write_ftrace(tmp_path / "log", trace, None, None).kernel
        import_files([str(trace)], tmp_path / "imported", profile, sync_fault_ns=20_000)
        reader = RecordingReader(tmp_path / "imported")
        assert list(check_recording(reader).breaches) == []
        figures = counted(reader).figures(reader.recording.length_ns)
        events = list(read_events(tmp_path / "log"))
        asked = {(e.vcpu, e.at_ns) for e in events if isinstance(e, PageRequested)}
        assert figures.synchronous.count + figures.started > 0.8 * len(asked) > 80, (
            "some of them went on behind reclaim"
        )
