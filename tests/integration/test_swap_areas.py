"""Swap areas and zswap in whole runs: what is asynchronous, and that both sides agree where."""

from __future__ import annotations

from pathlib import Path

import pytest

from pagewake.engine.embedded import run_embedded
from pagewake.engine.run import run_scenario
from pagewake.errors import ConfigError
from pagewake.events.ids import Gfn
from pagewake.kvm.page_table import ABSENT
from pagewake.observe.result import RunResult
from pagewake.participants.build import HostPart, build
from pagewake.participants.plan import RunPlan
from pagewake.scenario.loading import loads
from pagewake.scenario.model import Scenario
from pagewake.verify.verify import verify_log

BUSY = """
[scenario]
name = "busy"
duration = "40ms"
[kernel]
profile = "{profile}"
[host]
medium = "ssd-sata"
memory = "14MiB"
{host}
[[vm]]
name = "vm"
count = 2
vcpus = 2
memory = "16MiB"
limit = "6MiB"
{vm}
[[vm.task]]
name = "task"
count = 4
pattern = "zipf"
working_set = "10MiB"
access = "mixed"
populated = true
touch = "2us"
[[vm.task]]
name = "fresh"
pattern = "sequential"
working_set = "2MiB"
touch = "20us"
"""
TIERS = """
[[host.swap]]
medium = "zram"
size = "2MiB"
priority = 5
[[host.swap]]
medium = "nvme"
size = "1MiB"
[[host.swap]]
medium = "nvme"
size = "1MiB"
"""
ZSWAP = "[host.zswap]\nmax_pool_percent = 12\nincompressible = 0.2\n"
ALL = TIERS + ZSWAP


def busy(host: str, profile: str = "6.x", vm: str = "") -> Scenario:
    return loads(BUSY.format(host=host, profile=profile, vm=vm), "busy.toml", Path())


def verified(directory: Path, scenario: Scenario) -> RunResult:
    result = run_scenario(scenario, log_dir=directory)
    assert verify_log(directory).problems == []
    return result


def test_a_host_has_asynchronous_faults_and_those_that_cannot_be(tmp_path: Path) -> None:
    result = verified(tmp_path / "log", busy(TIERS))
    assert min(result.page_ins_from.values()) > 30
    assert list(result.page_ins_from) == ["zram", "nvme", "nvme#2", "ssd-sata"]
    assert sum(result.page_ins_from.values()) == result.page_ins
    assert result.not_present["synchronous"] >= result.page_ins_from["zram"]
    assert result.not_present["injected"] > 100


def test_what_is_loaded_from_zswap_is_never_asynchronous(tmp_path: Path) -> None:
    result = verified(tmp_path / "log", busy(ZSWAP))
    alone = run_scenario(busy(""))
    from_zswap = result.page_ins_from["zswap"]
    assert from_zswap > 100
    assert result.not_present["injected"] <= result.page_ins - from_zswap + 20
    assert result.not_present["synchronous"] >= from_zswap > alone.not_present["synchronous"]
    assert alone.page_ins_from == {}
    assert result.by_event["PagesMoved"] > 0


def test_a_pool_for_all_leaves_nothing_to_the_device() -> None:
    result = run_scenario(busy("[host.zswap]\nmax_pool_percent = 90\nratio = 9.0"))
    assert result.page_ins_from["ssd-sata"] == 0
    assert result.not_present["injected"] + result.not_present["halted"] == 0
    assert result.page_ins > 1000


@pytest.mark.parametrize("profile", ["posted-v7", "3.10", "5.4", "6.1", "6.x"])
@pytest.mark.parametrize("host", [TIERS, ZSWAP, ALL])
def test_host_and_shard_agree_where_every_page_lies(host: str, profile: str) -> None:
    plan = RunPlan.of("agree", busy(host, profile), 2)
    parts = build(plan)
    agree(parts)
    run_embedded(plan, parts)
    assert agree(parts) > 1000


def agree(parts: list[HostPart]) -> int:
    """How many pages lie in swap; both sides have them at the same place.

    But for what the host has told and the shards have not heard.
    """
    swapped = apart = told = 0
    for part in parts:
        areas = part.host._areas
        assert areas is not None
        stored = areas.pool() + sum(area.stored for area in areas.areas)
        assert part.host.summary().stored == stored
        told += sum(len(getattr(one[3], "gfns", ())) for one in part.host._outbox._pending)
        vms = {kernel.vm.name: kernel.vm for shard in part.shards for kernel in shard.kernels}
        for account in part.host._accounts:
            vm = vms[account.name]
            assert vm.areas is not None
            out = [gfn for gfn, state in enumerate(vm.pages.state) if state == ABSENT]
            swapped += len(out)
            apart += sum(vm.areas.of(Gfn(gfn)) != areas.place(account.index, gfn) for gfn in out)
    assert apart <= told
    return swapped


def test_shards_change_nothing() -> None:
    one, two = (run_scenario(busy(ALL), shards=shards) for shards in (1, 2))
    assert one.digest == two.digest
    assert one.page_ins_from == two.page_ins_from


@pytest.mark.parametrize(
    ("host", "vm", "message"),
    [
        ("page_cluster = 3\n" + TIERS, "", "not read ahead where there is host.swap"),
        ("workers = 2\n" + ZSWAP, "", "those of one device"),
        (ZSWAP, "userfault = {}", "leave out host.zswap"),
    ],
)
def test_what_does_not_go_together_is_refused(host: str, vm: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        busy(host, vm=vm)


def test_the_medium_of_such_a_host_does_not_change() -> None:
    text = BUSY.format(host=TIERS, profile="6.x", vm="")
    text += '[[event]]\nat = "1ms"\ndo = "medium"\nmedium = "nvme"\n'
    with pytest.raises(ConfigError, match="does not change"):
        loads(text, "busy.toml", Path())
