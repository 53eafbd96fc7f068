"""What a kernel's memory rules cost a guest: a VM that thrashes, under one rule and without it."""

from __future__ import annotations

import pytest

from pagewake.engine.embedded import run_embedded
from pagewake.events import types as ev
from pagewake.participants.build import build
from pagewake.participants.participant import ShardParticipant, Step
from pagewake.participants.plan import RunPlan
from pagewake.scenario.loading import loads
from tests.support.cluster import FakeCluster, Member
from tests.support.thrash import THRASH, thrashing


def evicted_dirty(*settings: str) -> tuple[int, int]:
    """Of all pages that went: how many for nothing, and how many had to be written first."""
    answers = [event for event in thrashing(*settings) if isinstance(event, ev.PagesEvicted)]
    written = sum(len(answer.dirty) for answer in answers)
    return sum(len(answer.dropped) for answer in answers) - written, written


class TestWorkerWrites:
    def test_reads_by_workers_cost_write_backs(self) -> None:
        clean, written = evicted_dirty("kernel.overrides.worker_writes=true")
        assert written > 1_000
        assert clean < 10

    def test_reads_that_ask_for_no_more_than_the_guest_cost_none(self) -> None:
        clean, written = evicted_dirty("kernel.overrides.worker_writes=false")
        assert clean > 1_000
        assert written <= 128, "what was written before time 0"

    @pytest.mark.parametrize(("profile", "is_clean"), [("posted-v7", False), ("2.6.39", True)])
    def test_synchronous_reads_are_clean_since_2_6_38(self, profile: str, is_clean: bool) -> None:
        clean, _ = evicted_dirty("kernel.apf=off", f"kernel.profile={profile}")
        assert (clean > 100) is is_clean


class TestReclaim:
    def waits_ns(self, *settings: str) -> list[int]:
        """How long vcpu threads waited for a frame before their faults were asynchronous."""
        since: dict[int, int] = {}
        waits = []
        for event in thrashing(*settings):
            if isinstance(event, ev.FrameAwaited):
                since[event.vcpu] = event.at_ns
            elif isinstance(event, ev.FrameFound):
                waits.append(event.at_ns - since.pop(event.vcpu))
        return waits

    def test_since_5_8_a_vcpu_thread_at_the_limit_stands_still_for_a_frame(self) -> None:
        waits = self.waits_ns("kernel.profile=6.12")
        assert len(waits) > 20
        assert min(waits) >= 2_400
        assert max(waits) > 200_000

    def test_so_does_one_whose_fault_cannot_be_asynchronous(self) -> None:
        """The frame is charged in the attempt, before it is asked what may come of it."""
        waits = self.waits_ns("kernel.profile=6.12", "kernel.apf=off")
        assert len(waits) > 20

    def test_nothing_reclaims_beside_it(self) -> None:
        """A memory cgroup has no kswapd: about one in 32 page-ins finds it full."""
        page_ins = sum(isinstance(e, ev.PageReady) for e in thrashing("kernel.profile=6.12"))
        waits = len(self.waits_ns("kernel.profile=6.12"))
        assert page_ins / 64 < waits < page_ins / 2

    @pytest.mark.parametrize("setting", ["kernel.profile=5.4", "kernel.overrides.reclaim=worker"])
    def test_before_it_the_wait_was_part_of_the_asynchronous_page_in(self, setting: str) -> None:
        assert self.waits_ns(setting) == []


OVERCOMMITTED = ("vm.0.count=2", "vm.0.limit=8MiB", "host.memory=8MiB")
"""Each VM may have the whole memory of the host."""


class TestDirectReclaim:
    def waits_ns(self, *settings: str) -> list[int]:
        """How long vcpu threads waited for a frame of the host."""
        since: dict[tuple[str, int], int] = {}
        waits = []
        for event in thrashing(*OVERCOMMITTED, *settings):
            if isinstance(event, ev.FrameAwaited) and event.host:
                since[event.vm, event.vcpu] = event.at_ns
            elif isinstance(event, ev.FrameFound) and (event.vm, event.vcpu) in since:
                waits.append(event.at_ns - since.pop((event.vm, event.vcpu)))
        return waits

    @pytest.mark.parametrize("profile", ["2.6.39", "5.4", "6.12"])
    def test_a_vcpu_thread_reclaims_where_the_host_is_short(self, profile: str) -> None:
        waits = self.waits_ns(f"kernel.profile={profile}")
        assert len(waits) > 30
        assert max(waits) > 1_000_000, "write-backs of what the workers read"

    def test_so_does_one_whose_fault_cannot_be_asynchronous(self) -> None:
        assert len(self.waits_ns("kernel.apf=off")) > 10

    @pytest.mark.parametrize(
        "settings",
        [
            (*OVERCOMMITTED, "kernel.profile=2.6.38"),
            (*OVERCOMMITTED, "kernel.overrides.direct_reclaim=false"),
            OVERCOMMITTED[:2],
        ],
    )
    def test_elsewhere_no_thread_does(self, settings: tuple[str, ...]) -> None:
        events = thrashing(*settings)
        assert not any(isinstance(event, ev.FrameAwaited) and event.host for event in events)
        assert not any(isinstance(event, ev.HostShort) for event in events)

    def test_it_does_only_while_its_shard_knows_the_host_to_be_short(self) -> None:
        short: dict[str, bool] = {}
        asked = set()
        for event in thrashing(*OVERCOMMITTED):
            if isinstance(event, ev.HostShort):
                short[event.vm] = event.short
            elif isinstance(event, ev.FrameAwaited) and event.host:
                asked.add(short.get(event.vm, False))
        assert asked == {True}


class TestWorkersThatRead:
    def page_ins(self, profile: str, workers: int) -> int:
        events = thrashing(f"kernel.profile={profile}", f"host.workers={workers}")
        return sum(isinstance(event, ev.PageReady) for event in events)

    def test_a_worker_of_the_posted_series_reads_its_page(self) -> None:
        assert self.page_ins("posted-v7", 1) < self.page_ins("posted-v7", 0) / 2

    def test_since_2_6_39_it_only_waits_for_what_the_vcpu_thread_has_started(self) -> None:
        assert self.page_ins("2.6.39", 1) == self.page_ins("2.6.39", 0)


class TestWorkerPins:
    def again(self, profile: str) -> tuple[list[ev.PageNotPresent], list[ev.Event]]:
        """Faults of no guest, and all that happened."""
        events = thrashing(f"kernel.profile={profile}")
        faults = [event for event in events if isinstance(event, ev.PageNotPresent)]
        return [fault for fault in faults if fault.why == "prefault"], events

    def test_up_to_3_12_a_page_whose_ready_waits_stays(self) -> None:
        again, events = self.again("3.10")
        assert again == []
        assert any(event.refused for event in events if isinstance(event, ev.PagesEvicted))

    def test_since_3_13_it_may_go_and_holds_the_vcpu_up_before_its_ready(self) -> None:
        again, events = self.again("3.16")
        assert again
        told = {(e.vcpu, e.gfn): e.at_ns for e in events if isinstance(e, ev.ApfPresented)}
        assert all(told[fault.vcpu, fault.gfn] > fault.at_ns + 200_000 for fault in again[:3])
        assert all(fault.task is None and fault.vcpu == 0 for fault in again)


CLEARED = (
    'event=[{at="25ms",do="vcpu-reset",vm="vm-0",vcpu=0},'
    '{at="40ms",do="vcpu-reset",vm="vm-0",vcpu=1}]'
)


@pytest.mark.parametrize("short", ["limit", "host"])
def test_a_wait_outlasts_kills_and_snapshots(short: str) -> None:
    overcommitted = OVERCOMMITTED if short == "host" else ()
    scenario = loads(THRASH, sets=["kernel.profile=6.12", CLEARED, *overcommitted])
    plan = RunPlan.of("thrash", scenario, shards=len(scenario.instances()))
    cluster = FakeCluster(plan, 5, kill=0.08, snapshot=0.5)
    waiting: list[str] = []

    def look(member: Member, _: Step) -> None:
        if isinstance(member.participant, ShardParticipant):
            vm = member.participant.kernels[0].vm
            for thread in vm.vcpus:
                waiting.extend(clearing.why for clearing in thread.clearings)
            waiting.extend("limit" for _ in vm.short)
            waiting.extend("host" for _ in vm.reclaiming)

    cluster.observers.append(look)
    assert cluster.run() == run_embedded(plan, build(plan)).digest
    assert cluster.kills > 5
    assert {"reset", short} <= set(waiting)
