"""How VMs stand is read from the shards, and only so many are named."""

from __future__ import annotations

from prometheus_client import generate_latest

from pagewake.cluster.process_metrics import ProcessMetrics
from pagewake.cluster.resources import Speed, cpu_s, memory_bytes
from pagewake.cluster.standing import VMS_TOLD_MAX, standing
from pagewake.participants.build import host_participant, shard_participant
from pagewake.participants.plan import RunPlan
from pagewake.scenario.loading import load
from tests.support.clock import FakeClock


def test_sleepers_are_counted_and_the_worst_named() -> None:
    plan = RunPlan.of("r", load("overcommit", ["scenario.duration=20ms"]), 1)
    host, shard = host_participant(plan, 0), shard_participant(plan, 0)
    assert standing([host, shard]).sleepers == 0
    outs = host.start()
    for _ in range(40):
        answers = [out for record in outs for out in shard.accept(record.record).outs]
        shard.journal()
        told = [out.record for out in answers if out.topic == "faults"]
        outs = [out for record in told for out in host.accept(record).outs]
    stands = standing([host, shard])
    kernels = shard.follower.shard.kernels
    assert stands.owned == len(kernels) == 24
    assert stands.sleepers == sum(len(kernel.slept_at) for kernel in kernels) > 0
    assert len(stands.most) == VMS_TOLD_MAX
    fewest = min(vm.sleepers + vm.halted for vm in stands.most)
    assert fewest >= sorted(len(kernel.slept_at) for kernel in kernels)[-VMS_TOLD_MAX]


def test_speed_is_none_at_first_and_where_a_takeover_sets_a_run_back() -> None:
    clock = FakeClock()
    speed = Speed(clock)
    assert speed.of("r", 1_000_000_000) is None
    clock.advance(4.0)
    assert speed.of("r", 2_000_000_000) == 0.25
    assert speed.of("r", 500_000_000) is None
    speed.forget("r")
    assert speed.of("r", 9_000_000_000) is None


def test_a_process_knows_what_it_uses() -> None:
    assert cpu_s() > 0
    memory = memory_bytes()
    assert memory is None or memory > 1 << 20


def test_the_process_is_among_the_metrics() -> None:
    text = generate_latest(ProcessMetrics(list, float, list, FakeClock()).registry).decode()
    assert "process_cpu_seconds_total" in text
    assert "process_resident_memory_bytes" in text
