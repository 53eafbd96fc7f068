"""What the VMs of a host have at time 0: stocks, room, protection, and what cannot be started."""

from __future__ import annotations

import re
from collections import Counter

import msgspec
import pytest

from pagewake.engine.embedded import run_embedded
from pagewake.engine.run import run_scenario
from pagewake.errors import ConfigError
from pagewake.host_memory.media import MEDIA
from pagewake.observe.result import RunResult
from pagewake.participants.at_start import (
    Start,
    _counted,
    batch_pages,
    refill_ns,
    starts,
    stock_pages,
    use_ns,
)
from pagewake.participants.build import build, build_host, plan_vms
from pagewake.participants.plan import RunPlan
from pagewake.scenario.loading import loads
from pagewake.scenario.model import Scenario
from pagewake.scenario.units import PAGE_BYTES
from tests.unit.participants.scenes import scene, task

MIB = (1 << 20) // PAGE_BYTES


def host_of(*vms: str, memory: str = "64MiB", medium: str = "nvme", count: int = 1) -> Scenario:
    """Tables of VMs of 32 MiB, each with a populated task over all of it, on one host."""
    return loads(
        f'[scenario]\nname = "host"\nduration = "10ms"\n'
        f'[host]\nmedium = "{medium}"\nmemory = "{memory}"\ncount = {count}\n'
        + "".join(
            f'[[vm]]\nvcpus = 1\nmemory = "32MiB"\n{vm}\n[[vm.task]]\nname = "all"\n'
            f'pattern = "random"\nworking_set = "32MiB"\npopulated = true\n'
            for vm in vms
        )
    )


def rooms(scenario: Scenario) -> dict[str, int]:
    """Resident and in the stock: what a VM is charged with."""
    found: dict[str, Start] = dict(starts(scenario, 0))
    return {name: start.room_pages + start.stock_pages for name, start in found.items()}


def charged(scenario: Scenario) -> int:
    """Frames taken at time 0 on the first host, as it counts them itself."""
    host = build_host(scenario, 0, plan_vms(scenario, scenario.instances()))
    return host._frames.total + host._frames.pool


def test_vms_that_do_not_fit_have_the_same_part_of_their_limits() -> None:
    scenario = host_of('name = "big"', 'name = "small"\nlimit = "16MiB"', memory="24MiB")
    found = rooms(scenario)
    assert found["big"] / found["small"] == pytest.approx(2, rel=0.1)
    assert 23 * MIB < charged(scenario) <= 24 * MIB


def test_what_one_vm_does_not_want_is_there_for_the_others() -> None:
    scenario = host_of('name = "big"', 'name = "small"\nlimit = "4MiB"', memory="33MiB")
    assert rooms(scenario)["big"] > 28 * MIB


@pytest.mark.parametrize("key", ["min", "low"])
def test_protected_memory_is_there_at_the_start(key: str) -> None:
    gold, rest = f'name = "gold"\n{key} = "20MiB"', 'name = "rest"\ncount = 2'
    found = rooms(host_of(gold, rest, memory="32MiB"))
    assert found["gold"] >= 20 * MIB
    assert found["rest"] < 6 * MIB


def test_min_goes_before_low() -> None:
    vms = ('name = "min"\nmin = "20MiB"', 'name = "low"\nlow = "30MiB"')
    found = rooms(host_of(*vms, memory="32MiB"))
    assert found["min"] >= 20 * MIB
    assert found["low"] < 12 * MIB


def test_pages_in_zram_are_in_the_memory_of_the_host() -> None:
    disk, zram = (
        host_of('name = "vm"\ncount = 2', memory="48MiB", medium=medium)
        for medium in ("nvme", "zram")
    )
    out = 2 * (32 * MIB - rooms(zram)["vm"])
    assert rooms(zram)["vm"] < rooms(disk)["vm"] - 6 * MIB
    assert out / 2 == pytest.approx(48 * MIB - 2 * rooms(zram)["vm"], rel=0.1)
    assert 46 * MIB < charged(zram) <= 48 * MIB


def test_the_result_says_what_lies_in_zram_at_the_end() -> None:
    scenario = host_of('name = "vm"\ncount = 2', memory="48MiB", medium="zram")
    plan = RunPlan.of("any", scenario, shards=1)
    parts = build(plan)
    outcome = run_embedded(plan, parts)
    result = run_scenario(scenario)
    summary = parts[0].host.summary()
    assert result.in_swap == summary.stored > 0
    assert result.in_swap_bytes == summary.pool * PAGE_BYTES
    assert outcome.digest == result.digest
    disk = run_scenario(host_of('name = "vm"\ncount = 2', memory="48MiB"))
    assert disk.in_swap
    assert disk.in_swap_bytes == 0


@pytest.mark.parametrize(
    ("vms", "medium", "said"),
    [
        (['name = "a"\nmin = "9MiB"'], "nvme", "1 VMs need at least 9.* protected by min.*lower"),
        (['name = "a"'], "zram", "at least 1.*compressed medium.*another medium"),
        (['name = "a"\ncount = 99'], "nvme", "99 VMs.*ahead"),
    ],
)
def test_a_host_that_cannot_hold_the_least_says_what_is_missing(
    vms: list[str], medium: str, said: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        starts(host_of(*vms, memory="8MiB", medium=medium), 0)
    assert re.search(f"^host-0: host.memory is 8.0 MiB, its .*{said}", str(caught.value))
    assert "raise host.memory" in str(caught.value)


def test_hosts_are_shared_out_one_by_one() -> None:
    scenario = host_of('name = "a"', 'name = "b"', count=2, memory="16MiB")
    assert [list(starts(scenario, index)) for index in (0, 1)] == [["a"], ["b"]]


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_vms_are_counted_as_they_are_dealt_out(count: int) -> None:
    vms = ('name = "a"\ncount = 4', 'name = "b"', 'name = "c"\ncount = 3')
    scenario = host_of(*vms, count=count)
    for index in range(count):
        listed = Counter(vm.spec.name for vm in scenario.instances() if vm.host == index)
        assert {vm.name: number for vm, number in _counted(scenario, index)} == listed


def test_a_refill_is_asked_for_before_it_is_needed() -> None:
    scenario = scene(task("a"), limit="16MiB")
    (vm,) = scenario.vms
    left = stock_pages(scenario, vm) // 2
    assert left // vm.vcpus == scenario.host.charge_batch
    assert refill_ns(scenario, 0) == (left // vm.vcpus - 1) * use_ns(scenario)
    assert use_ns(scenario) == 500 + 500 + 3_300


def test_no_refill_is_needed_where_nobody_uses_the_stock() -> None:
    assert refill_ns(scene(task("a", "populated = true")), 0) is None
    assert refill_ns(scene(task("w", pattern="work")), 0) is None
    zram = scene(task("a", "populated = true"), medium='"zram"')
    assert refill_ns(zram, 0) is not None
    assert use_ns(zram) == 500 + 500 + min(3_300, 2_000 + MEDIA["zram"].cost_ns)


@pytest.mark.parametrize("key", ["min", "low"])
def test_a_protected_vm_keeps_its_pages(key: str) -> None:
    """A VM that rarely touches what it has loses it to busy ones, unless it is protected."""
    plain, kept = (
        run_scenario(
            loads(
                '[scenario]\nname = "host"\nduration = "30ms"\n'
                '[host]\nmedium = "nvme"\nmemory = "24MiB"\n'
                + vm_of("quiet", f'{key} = "9MiB"' if protected else "", "8MiB", "100us")
                + vm_of("busy", "vcpus = 4", "32MiB", "1us")
            )
        )
        for protected in (False, True)
    )
    assert page_ins_of("quiet-0", plain) > 10
    assert page_ins_of("quiet-0", kept) == 0
    assert kept.evictions > 100


def page_ins_of(vm: str, result: RunResult) -> int:
    assert result.per_vm is not None
    return result.per_vm[vm].page_ins


def vm_of(name: str, keys: str, working_set: str, touch: str) -> str:
    """A table of one VM with one populated task."""
    vcpus = "" if "vcpus" in keys else "vcpus = 1"
    return (
        f'[[vm]]\nname = "{name}"\n{vcpus}\nmemory = "32MiB"\n{keys}\n[[vm.task]]\nname = "task"\n'
        f'pattern = "random"\nworking_set = "{working_set}"\npopulated = true\ntouch = "{touch}"\n'
    )


@pytest.mark.parametrize("medium", ["hdd-2010", "nvme", "zram"])
@pytest.mark.parametrize("vcpus", [1, 4, 16])
@pytest.mark.parametrize("lag", ["10us", "1ms"])
@pytest.mark.parametrize("huge", [False, True])
def test_a_free_frame_is_never_waited_for(medium: str, vcpus: int, lag: str, huge: bool) -> None:
    fresh = task("fresh", "count = 16", "private = true", 'working_set = "1MiB"')
    scenario = scene(
        fresh.replace("random", "sequential"),
        vm="count = 1",
        medium=f'"{medium}"',
        host=f'reclaim_lag = "{lag}"\nhuge_pages = {str(huge).lower()}',
        limit="1GiB",
    )
    result = run_scenario(
        with_vm(scenario, vcpus=vcpus, own_limit_pages=1 << 18, memory_pages=1 << 18)
    )
    assert result.first_touches > 900
    assert result.not_present["synchronous"] == 0
    assert result.evictions == 0
    assert result.huge_touches == (result.first_touches // 512 if huge else 0)


def test_fresh_memory_alone_has_frames_ahead_for_whole_ranges() -> None:
    def stock(*keys: str, vm: str = "", limit: str = "1GiB") -> int:
        built = scene(task("any", *keys), host="huge_pages = true", vm=vm, limit=limit)
        spec = msgspec.structs.replace(built.vms[0], memory_pages=1 << 18)
        assert batch_pages(built, spec) == 256
        return stock_pages(built, spec) - 256

    assert stock() == 2 * 512 * 2 * 2  # half of it: two ranges a vcpu within 200 us of lag
    assert stock("populated = true") == 0
    assert stock(vm="userfault = {}") == 0
    assert stock(limit="32MiB") == 512 - 256


def with_vm(scenario: Scenario, **changes: int) -> Scenario:
    """The scenario with its one table of VMs changed."""
    (vm,) = scenario.vms
    return msgspec.structs.replace(scenario, vms=(msgspec.structs.replace(vm, **changes),))
