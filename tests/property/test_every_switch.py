"""Every rule switch does something, and nothing that its invariants do not allow.

Its values are not all the same run, and the events of each are checked by the rules in force.
"""

from __future__ import annotations

from typing import NamedTuple

import pytest

from pagewake.engine.embedded import run_embedded
from pagewake.events.types import Event
from pagewake.kvm.profile import SWITCHES
from pagewake.participants.build import build
from pagewake.participants.plan import RunPlan
from pagewake.scenario.loading import load, loads
from tests.support.invariants import check_run
from tests.support.thrash import THRASH

TWO_SLEEPERS = """
[scenario]
name = "two-sleepers"
duration = "12ms"
[kernel.scheduler]
wakeup_granularity = "0ns"
[host]
medium = { latency = "300us", parallelism = 64 }
page_cluster = "off"
[[vm]]
name = "vm"
vcpus = 1
memory = "32MiB"
limit = "4MiB"
[[vm.task]]
name = "one"
pattern = "script"
populated = true
resident = "0B"
script = ["at 2ms touch 1", "touch 2", "touch 1", "at 4ms touch 5", "at 5ms touch 6"]
[[vm.task]]
name = "two"
pattern = "script"
populated = true
resident = "0B"
script = ["at 2100us touch 3", "at 2600us touch 4", "touch 5"]
[[vm.task]]
name = "other"
pattern = "work"
finish_after = "11ms"
"""
STALL = 'event=[{at="2010us",do="vcpu-stall",vm="vm-0",vcpu=0,for="1ms"}]'
UNPAGED = 'event=[{at="2310us",do="cr0-pg",vm="vm-0",vcpu=0,for="2ms"}]'
AGAIN_ONLINE = (
    'event=[{at="3us",do="vcpu-offline",vm="vm-0",vcpu=1},'
    '{at="442us",do="vcpu-online",vm="vm-0",vcpu=1}]'
)
SMI = 'event=[{at="2310us",do="smi",vm="vm-0",vcpu=0,for="50us"}]'
TAKEN_OVER = (
    'event=[{at="2310us",do="new-kernel",vm="vm-0",how="hibernate",for="50us"},'
    '{at="7ms",do="new-kernel",vm="vm-0",how="crash",for="50us"}]'
)
LAPIC_OFF = (
    'event=[{at="2100us",do="lapic",vm="vm-0",vcpu=0,on=false},'
    '{at="3ms",do="lapic",vm="vm-0",vcpu=0,on=true}]'
)
NO_MEMORY = 'event=[{at="0ns",do="fail-allocations",vm="vm-0",where="host",count=1}]'
RESET = (
    'event=[{at="2002us",do="vcpu-stall",vm="vm-0",vcpu=0,for="50us"},'
    '{at="2020us",do="vcpu-reset",vm="vm-0",vcpu=0}]'
)
HALTED_THEN_INIT = ("kernel.apf=nonpv", RESET)
STOPPED = (
    "vm.0.task.2.finish_after=1ms",
    'event=[{at="2200us",do="lapic",vm="vm-0",vcpu=0,on=false}]',
)
LATCHED_THEN_MIGRATED = (
    (
        'event=[{at="0ns",do="vcpu-stall",vm="l1-0",vcpu=0,for="2ms",where="latch"},'
        '{at="11ms",do="migrate",vm="l1-0"}]'
    ),
)
STALE_GFN = (
    "kernel.apf=nonpv", "kernel.profile=posted-v7", "kernel.overrides.clear_waits=false", UNPAGED,
)  # fmt: skip
HALTS = ("kernel.apf=nonpv", STALL)
OVERCOMMITTED = ("vm.0.count=2", "vm.0.limit=8MiB", "host.memory=8MiB")
KERNEL_FAULT = ("kernel.overrides.send_always=always",)
LATE_STALL = 'event=[{at="2102us",do="vcpu-stall",vm="vm-0",vcpu=0,for="250us"}]'
BEYOND_32_BITS = ("vm.0.memory=16GiB", "vm.0.l2.memory=12GiB", "vm.0.task.1.working_set=8GiB")
SHORT = ("scenario.duration=40ms",)
QUEUE = ("vm.0.vcpus=1", "vm.0.task.0.count=48", "vm.0.userfault.take=2ms")
SHADOWED = ("nested.npt=false", "vm.0.l2.vcpus=2", "vm.0.task.1.count=2")


class Case(NamedTuple):
    """A scenario or its name, None for the one above, and what else is set in it."""

    scenario: str | None
    given: tuple[str, ...] = ()


CASES = {
    "gup": Case("row-01-user-fault"),
    "worker_writes": Case(THRASH),
    "sync_writes": Case(THRASH, ("kernel.apf=off",)),
    "read_ahead": Case(THRASH, ("host.page_cluster=3",)),
    "swap_plug": Case(THRASH, ("host.page_cluster=3", "host.costs.read_page=10us")),
    "swap_poll": Case(THRASH, ("host.page_cluster=0",)),
    "reclaim": Case(THRASH),
    "direct_reclaim": Case(THRASH, OVERCOMMITTED),
    "scheduler": Case(THRASH, ("host.cpus=1",)),
    "replacement": Case(THRASH, ("host.replacement=kernel",)),
    "worker_pins": Case(THRASH),
    "present_all": Case(None, HALTS),
    "present_unhalts": Case(None, (*HALTS, "kernel.profile=posted-v7")),
    "present_makes_runnable": Case("row-14-hlt-completion"),
    "clear_waits": Case("row-10-disable-outstanding"),
    "pg_clears_queue": Case(None, ("kernel.profile=6.x", UNPAGED)),
    "pg_resets_hash": Case(None, STALE_GFN),
    "smm": Case(None, ("kernel.profile=5.4", SMI)),
    "hash_multiplier": Case("row-10-disable-outstanding"),
    "guest_wait": Case("row-02-kernel-fault", KERNEL_FAULT),
    "kernel_mode_panics": Case("row-02-kernel-fault", KERNEL_FAULT),
    "takes_interrupt": Case("row-01-user-fault", ("kernel.profile=5.10",)),
    "send_always": Case("row-01-user-fault"),
    "host_kernel_rule": Case("row-02-kernel-fault", KERNEL_FAULT),
    "preempt": Case("row-01-user-fault"),
    "prefault": Case("row-17-l2-shadowed", SHADOWED),
    "untold_halts": Case("row-08-msr-bad-address"),
    "pending_blocks_apf": Case("row-06-two-completions"),
    "ready_cancels_not_present": Case(None, ("kernel.profile=4.14", LATE_STALL)),
    "ready_needs_not_present": Case("row-02-kernel-fault"),
    "ready_by_interrupt": Case("row-01-user-fault"),
    "completion_kicks": Case("row-01-user-fault"),
    "ready_needs_lapic": Case(None, ("kernel.profile=5.10", LAPIC_OFF)),
    "enable_needs_lapic": Case(None, ("kernel.profile=5.10", "kernel.irqchip=false")),
    "token_nonzero": Case("row-01-user-fault", ("kernel.profile=5.10",)),
    "online_zeroes_slot": Case(None, ("kernel.profile=6.x", "vm.0.vcpus=2", AGAIN_ONLINE)),
    "broadcast_needs_memory": Case("row-09-enable", (NO_MEMORY,)),
    "reset_drops_exception": Case(None, (RESET,)),
    "init_behind_halt": Case(None, HALTED_THEN_INIT),
    "held_back_wakes": Case(None, ("kernel.profile=6.x", *STOPPED)),
    "apf_in_guest_mode": Case("row-17-l2-shadowed"),
    "paging_required": Case(None, ("kernel.profile=5.10", UNPAGED)),
    "msr_reserved": Case("row-07-msr-reserved-bits"),
    "user_apf": Case("snapshot-restore", SHORT),
    "user_apf_ring": Case("snapshot-restore", (*SHORT, *QUEUE)),
    "user_apf_armed": Case("snapshot-restore", SHORT),
    "guest_teardown": Case(None, ("kernel.profile=5.10", TAKEN_OVER)),
    "nested_fix": Case("row-18-l2-npt"),
    "gap_g0": Case("row-16-l2-under-kvm"),
    "gap_g1": Case("row-18-l2-npt"),
    "gap_g2": Case("row-19-l1-with-hypervisor"),
    "gap_g3": Case("row-19-l1-with-hypervisor"),
    "gap_g5": Case("row-19-l1-with-hypervisor", BEYOND_32_BITS),
    "gap_g6": Case("row-17-l2-shadowed"),
    "gap_g7": Case("row-11-migrate-sleepers"),
    "broadcast_ends_latched": Case("row-17-l2-shadowed", LATCHED_THEN_MIGRATED),
}
IN_NO_RUN = {
    "alloc_before_lock": "allocation takes no time and cannot race: its description says so",
    "probe_fixed": "no run deletes a gfn that is not there: tests/unit/kvm/test_gfn_hash.py does",
}


def legal_run(case: Case, *settings: str) -> str:
    """The digest of a run whose every event is legal."""
    given = [*case.given, *settings]
    chosen = case.scenario or TWO_SLEEPERS
    scenario = loads(chosen, sets=given) if "\n" in chosen else load(chosen, given)
    plan = RunPlan.of("any", scenario, shards=1)
    events: list[Event] = []
    digest = run_embedded(plan, build(plan), observer=events.extend).digest
    assert check_run(scenario, events) == [], settings
    return digest


def test_every_switch_has_a_case_or_a_reason() -> None:
    listed = [*CASES, *IN_NO_RUN]
    assert sorted(listed) == sorted(SWITCHES), "each in CASES, or with its reason in IN_NO_RUN"


@pytest.mark.parametrize("name", CASES)
def test_its_values_are_not_all_the_same_run_and_each_is_legal(name: str) -> None:
    values = [str(value).lower() for value in SWITCHES[name].values]
    digests = {legal_run(CASES[name], f"kernel.overrides.{name}={value}") for value in values}
    assert len(digests) > 1
