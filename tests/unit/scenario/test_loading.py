"""A scenario file becomes a model in base units, and what was executed loads again."""

from __future__ import annotations

import pickle
from pathlib import Path

import msgspec
import pytest

from pagewake.errors import ConfigError
from pagewake.events.types import VcpuOffline
from pagewake.host_memory.media import MEDIA
from pagewake.scenario.library import builtin_names, describe_builtins, find_trace
from pagewake.scenario.loading import load, loads, settings_of
from pagewake.scenario.writing import effective_toml

CONTRACT = """
[scenario]
name = "natapov-2010"
description = "bm -f 4 -w 4 -t 60 in a 512 MB cgroup"
seed = 1
duration = "60s"

[kernel]
profile = "posted-v7"     # which generation's rules
apf = "pv"                # pv | nonpv | off
hz = 1000                 # guest timer

[host]
count = 1                 # simulated hosts; VMs are dealt out over them
medium = "hdd-2010"       # preset name, or a [host.medium] table
reclaim_lag = "200us"

[[vm]]
name = "bm"               # instances are named bm-0, bm-1, ...
count = 1
vcpus = 4
memory = "2GiB"           # what the guest sees
limit = "512MiB"          # what the host lets it keep resident
nested = 0

[[vm.task]]
name = "worker"
count = 4
pattern = "work"

[[vm.task]]
name = "faulter"
count = 4
pattern = "random"
working_set = "1GiB"
access = "write"
populated = true

[[event]]
at = "3s"
do = "vcpu-offline"
vm = "bm-0"
vcpu = 2
"""


def test_the_documented_example_loads_in_base_units() -> None:
    scenario = loads(CONTRACT)
    vm = scenario.vms[0]
    assert (scenario.name, scenario.seed, scenario.duration_ns) == ("natapov-2010", 1, 60 * 10**9)
    assert (vm.memory_pages, vm.limit_pages) == (524_288, 131_072)
    assert vm.tasks[1].working_set_pages == 262_144
    assert scenario.host.reclaim_lag_ns == 200_000
    assert scenario.events[0].control == VcpuOffline(at_ns=3 * 10**9, vm="bm-0", n=0, vcpu=2)


@pytest.mark.parametrize("name", builtin_names())
def test_every_built_in_scenario_survives_being_written_out(name: str) -> None:
    scenario = load(name)
    assert scenario.name == name
    assert loads(effective_toml(scenario)) == scenario


def test_every_built_in_scenario_says_what_it_is_and_shows() -> None:
    for listed in describe_builtins():
        assert all(listed[key] for key in ("name", "description", "shows", "expects")), listed


def test_the_effective_scenario_holds_settings_and_seed(valid: str) -> None:
    scenario = loads(valid, sets=["host.medium=nvme", "vm.0.task.1.touch=5us"], seed=99)
    again = loads(effective_toml(scenario, "1.2.3"))
    assert (again.seed, again.about.version) == (99, "1.2.3")
    assert again.host.medium.device().name == "nvme"
    assert again.vms[0].tasks[1].touch_ns == 5_000


def test_a_scenario_pickles(valid: str) -> None:
    scenario = loads(valid)
    again = pickle.loads(pickle.dumps(scenario))
    assert again == scenario


def test_vms_are_dealt_out_over_the_hosts_in_file_order(valid: str) -> None:
    scenario = loads(valid, sets=["host.count=2", "vm.0.count=3"])
    dealt = [(instance.name, instance.host) for instance in scenario.instances()]
    assert dealt == [("bm-0", 0), ("bm-1", 1), ("bm-2", 0)]


def test_profiles_and_overrides_apply_per_level(valid: str) -> None:
    text = valid.replace("preempt = true", 'preempt = true\nl1 = { nested_fix = "2020" }')
    kernel = loads(text, sets=["kernel.l0=2.6.38"]).kernel
    assert kernel.switches(0).gup == "v2638_sync"
    assert (kernel.switches(1).gup, kernel.switches(1).nested_fix) == ("posted_noio", "2020")
    assert [kernel.switches(level).preempt for level in (0, 1, 2)] == [True] * 3
    assert kernel.switches(0).nested_fix == "none"


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("kernel.profile=5.8", "5.8"),
        ('kernel.profile="5.8"', "5.8"),
        ("kernel.profile=2.6.39", "2.6.39"),
    ],
)
def test_a_profile_on_the_command_line_stays_text(valid: str, setting: str, expected: str) -> None:
    assert loads(valid, sets=[setting]).kernel.profile == expected


def test_settings_reach_tables_that_the_file_leaves_out(valid: str) -> None:
    scenario = loads(
        valid,
        sets=[
            "host.costs.exit=3us",
            "kernel.overrides.l1.preempt=false",
            "host.medium.parallelism=3",
            "event.0.vcpu=1",
        ],
    )
    assert scenario.host.costs.exit_ns == 3_000
    assert scenario.kernel.switches(1).preempt is False
    assert scenario.host.medium.device().parallelism == 3
    assert scenario.events[0].control.vcpu == 1  # type: ignore[attr-defined]


def test_an_axis_and_a_setting_give_a_value_once(valid: str) -> None:
    axes = settings_of({"kernel.apf": "off"})
    assert loads(valid, axes=axes).kernel.apf == "off"
    with pytest.raises(ConfigError, match=r"kernel\.apf is given by --set .* too: give it once"):
        loads(valid, sets=["kernel.apf=nonpv"], axes=axes)


def test_a_medium_may_be_a_table_of_its_own(valid: str) -> None:
    table = '{ latency = "100us", jitter = "20us", parallelism = 4, transfer = "10us" }'
    device = loads(valid.replace('"hdd-2010"', table)).host.medium.device()
    assert (device.read_min_ns, device.parallelism) == (90_000, 4)


def test_a_synchronous_medium_has_only_a_cost(valid: str) -> None:
    table = '{ latency = "3us", synchronous = true }'
    device = loads(valid.replace('"hdd-2010"', table)).host.medium.device()
    assert (device.synchronous, device.cost_ns) == (True, 3_000)


def test_a_preset_with_another_latency_keeps_the_rest(valid: str) -> None:
    table = '{ base = "nvme", latency = "200us" }'
    device = loads(valid.replace('"hdd-2010"', table)).host.medium.device()
    assert (device.parallelism, device.read.min_ns) == (16, 200_000)


def test_a_medium_may_be_measured_quantiles(valid: str) -> None:
    reads = 'quantiles = [[0, "80us"], [0.999, "1.5ms"], [1.0, "3ms"]]'
    writes = 'write_quantiles = [[0, "5us"], [1, "9us"]]'
    table = f'{{ {reads}, {writes}, parallelism = 4, transfer = "10us" }}'
    scenario = loads(valid.replace('"hdd-2010"', table))
    device = scenario.host.medium.device()
    assert (device.name, device.parallelism) == ("empirical", 4)
    assert (device.read_min_ns, device.write_min_ns) == (90_000, 15_000)
    assert loads(effective_toml(scenario)).host.medium == scenario.host.medium


def test_quantiles_over_a_preset_keep_the_rest_and_may_be_of_writes_alone(valid: str) -> None:
    table = '{ base = "nvme", write_quantiles = [[0, "80us"], [1, "90us"]] }'
    device = loads(valid.replace('"hdd-2010"', table)).host.medium.device()
    nvme = MEDIA["nvme"]
    assert (device.parallelism, device.read) == (nvme.parallelism, nvme.read)
    assert device.write.min_ns == 80_000


def test_an_axis_goes_from_the_measured_medium_to_a_preset(valid: str) -> None:
    text = valid.replace('"hdd-2010"', '{ quantiles = [[0, "80us"], [1, "3ms"]] }')
    names = [
        loads(text, axes=[f"host.medium={name}"]).host.medium.device().name
        for name in ("empirical", "nvme")
    ]
    assert names == ["empirical", "nvme"]
    with pytest.raises(ConfigError, match='"empirical" is the medium of a scenario that has'):
        loads(valid, axes=["host.medium=empirical"])


def test_a_trace_beside_the_scenario_is_found_again_from_anywhere(
    valid: str, scenario_file: Path
) -> None:
    trace = scenario_file.with_name("pages.csv")
    trace.write_text("icount,page,kind,count\n1,4a,I,1\n2,4b,S,3\n", "utf-8")
    text = valid.replace('"work"', '"trace"\ntrace = "pages.csv"')
    scenario_file.write_text(text, "utf-8")
    task = load(str(scenario_file)).vms[0].tasks[0]
    assert (task.trace, task.trace_pages, task.region_pages) == (str(trace), 2, 2)
    written = effective_toml(load(str(scenario_file)))
    assert loads(written, base=Path("/")) == load(str(scenario_file))


def test_a_built_in_trace_keeps_its_portable_name() -> None:
    task = load("trace-sort").vms[0].tasks[0]
    assert task.trace == "builtin:sort"
    assert find_trace("builtin:sort", Path("/"))[1].is_file()


def test_the_region_of_a_script_is_what_it_touches(valid: str) -> None:
    text = valid.replace('"work"', '"script"\nscript = ["touch 9 write", "finish"]')
    task = loads(text).vms[0].tasks[0]
    assert (task.region_pages, task.regions) == (10, 1)
    assert msgspec.structs.replace(task, private=True).regions == 4


def test_an_empty_list_is_not_the_default(valid: str) -> None:
    restore = '\n[[event]]\nat = "1ms"\ndo = "restore"\nvm = "bm-0"\nsaves = []\n'
    scenario = loads(valid + restore, sets=["kernel.cpuid.l1=[]"])
    again = loads(effective_toml(scenario))
    assert again.kernel.cpuid.l1 == []
    assert again == scenario


def test_a_limit_left_out_is_the_memory_of_the_vm(valid: str) -> None:
    scenario = loads(valid.replace('limit = "512MiB"\n', ""))
    assert scenario.vms[0].limit_pages == scenario.vms[0].memory_pages
    assert loads(effective_toml(scenario)) == scenario
