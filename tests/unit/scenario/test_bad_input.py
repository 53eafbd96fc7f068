"""Whatever is wrong is told with file, line, key, value and the nearest valid one."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest

from pagewake.errors import ConfigError, DataError
from pagewake.scenario.loading import load, loads

Case = tuple[str, str, int, str, list[str]]

CASES: dict[str, Case] = {
    # name: text to replace, its replacement, line, key, what else the message must hold
    "unknown table": ("[host]", "[hots]", 15, "hots", ['did you mean "host"']),
    "unknown key": ("vcpus = 4", "vcpu = 4", 23, "vm.0.vcpu", ['"vcpus"']),
    "unknown key of a task": (
        'access = "write"',
        'acess = "write"',
        37,
        "vm.0.task.1.acess",
        ['"access"'],
    ),
    "key of another pattern": (
        'pattern = "work"',
        'pattern = "work"\ntheta = 1.5',
        31,
        "vm.0.task.0.theta",
        ["1.5", '"work"', "zipf"],
    ),
    "missing key of a table": ('memory = "2GiB"\n', "", 20, "vm.0.memory", ["missing"]),
    "missing key of the scenario": ('duration = "60s"\n', "", 1, "scenario.duration", ["missing"]),
    "missing working set": (
        'working_set = "1GiB"\n',
        "",
        32,
        "vm.0.task.1.working_set",
        ["missing", '"random"'],
    ),
    "number for a string": ('"2GiB"', "2147483648", 24, "vm.0.memory", ["2147483648", '"512MiB"']),
    "string for a number": ("vcpus = 4", 'vcpus = "4"', 23, "vm.0.vcpus", ['"4"', "1 to 64"]),
    "fraction for a whole number": ("hz = 1000", "hz = 0.5", 10, "kernel.hz", ["0.5"]),
    "true for a number": ("vcpus = 4", "vcpus = true", 23, "vm.0.vcpus", ["true"]),
    "string for a flag": (
        "populated = true",
        'populated = "yes"',
        38,
        "vm.0.task.1.populated",
        ['"yes"', "true"],
    ),
    "value for a table": ("[kernel.overrides]\npreempt", "overrides", 12, "kernel.overrides", []),
    "duration without unit": ('"60s"', '"60"', 5, "scenario.duration", ['"60"', '"5us"']),
    "duration with a size unit": (
        '"200us"',
        '"200KiB"',
        18,
        "host.reclaim_lag",
        ['"200KiB"', '"5us"'],
    ),
    "decimal size unit": ('"512MiB"', '"512MB"', 25, "vm.0.limit", ['"512MB"', '"512MiB"']),
    "size that is no multiple of a page": (
        '"2GiB"',
        '"5000B"',
        24,
        "vm.0.memory",
        ['"5000B"', '"8KiB"'],
    ),
    "negative duration": ('"60s"', '"-1s"', 5, "scenario.duration", ['"-1s"']),
    "no duration at all": ('"60s"', '"0s"', 5, "scenario.duration", ['"0s"', '"1ns"']),
    "limit of nothing": ('"512MiB"', '"0MiB"', 25, "vm.0.limit", ['"0MiB"', '"4KiB"']),
    "no vcpus": ("vcpus = 4", "vcpus = 0", 23, "vm.0.vcpus", ["0 ", "nearest is 1"]),
    "too many vcpus": ("vcpus = 4", "vcpus = 65", 23, "vm.0.vcpus", ["65", "nearest is 64"]),
    "negative seed": ("seed = 7", "seed = -7", 4, "scenario.seed", ["-7", "nearest is 0"]),
    "no VMs": ("count = 2", "count = 0", 22, "vm.0.count", ["0 ", "nearest is 1"]),
    "no room for the shared areas": (
        'memory = "2GiB"',
        'memory = "16KiB"',
        24,
        "vm.0.memory",
        ["4 vcpus", '"20KiB"'],
    ),
    "more memory than the VM has": (
        '"1GiB"',
        '"3GiB"',
        36,
        "vm.0.task.1.working_set",
        ['"3GiB"', '"2GiB"'],
    ),
    "private regions larger than the VM": (
        "populated = true",
        "private = true",
        36,
        "vm.0.task.1.working_set",
        ['"4GiB"', '"2GiB"'],
    ),
    "unknown profile": (
        "posted-v7",
        "posted-v6",
        8,
        "kernel.profile",
        ['"posted-v6"', "posted-v7"],
    ),
    "unknown mode": ('apf = "pv"', 'apf = "vp"', 9, "kernel.apf", ['"vp"', '"pv"']),
    "unknown medium": ("hdd-2010", "hdd-2011", 17, "host.medium", ['"hdd-2011"', '"hdd-2010"']),
    "unknown pattern": (
        '"random"',
        '"randon"',
        35,
        "vm.0.task.1.pattern",
        ['"randon"', '"random"'],
    ),
    "unknown switch": (
        "preempt = true",
        "prempt = true",
        13,
        "kernel.overrides.prempt",
        ['"preempt"'],
    ),
    "value that a switch does not have": (
        "preempt = true",
        "preempt = 3",
        13,
        "kernel.overrides.preempt",
        ["3", "true"],
    ),
    "unknown thing to do": (
        "vcpu-offline",
        "vcpu-ofline",
        42,
        "event.0.do",
        ['"vcpu-ofline"', '"vcpu-offline"'],
    ),
    "command in a file": ("vcpu-offline", "pause", 42, "event.0.do", ['"pause"', "command"]),
    "unknown key of an event": ("vcpu = 2", "vcpus = 2", 44, "event.0.vcpus", ['"vcpu"']),
    "missing key of an event": ("vcpu = 2\n", "", 40, "event.0.vcpu", ["missing"]),
    "event for an unknown VM": ('"bm-0"', '"bm-2"', 43, "event.0.vm", ['"bm-2"', "bm-"]),
    "event for an unknown vcpu": ("vcpu = 2", "vcpu = 4", 44, "event.0.vcpu", ["4", "3"]),
    "event after the end": ('"3s"', '"60s"', 41, "event.0.at", ['"60s"']),
    "task pinned outside": (
        'pattern = "work"',
        'pattern = "work"\nvcpu = 4',
        31,
        "vm.0.task.0.vcpu",
        ["4", "the last one is 3"],
    ),
    "task of a guest that is not there": (
        'pattern = "work"',
        'pattern = "work"\nlevel = 2',
        31,
        "vm.0.task.0.level",
        ["L2", "nested = 0", "at most level 1"],
    ),
    "nesting without an inner guest": (
        "count = 2",
        "count = 2\nnested = 1",
        20,
        "vm.0.l2",
        ["[vm.l2]"],
    ),
    "inner guest larger than the VM": (
        'limit = "512MiB"',
        'limit = "512MiB"\nnested = 1\nl2 = { memory = "3GiB" }',
        27,
        "vm.0.l2.memory",
        ['"3GiB"', '"2GiB"'],
    ),
    "two tasks of one name": (
        'name = "faulter"',
        'name = "worker"',
        33,
        "vm.0.task.1.name",
        ['"worker"', '"worker2"'],
    ),
    "more hosts than VMs": ("count = 1", "count = 3", 16, "host.count", ["3", "at most 2"]),
    "half of a kernel section": (
        'pattern = "work"',
        'pattern = "work"\nkernel_for = "1us"',
        31,
        "vm.0.task.0.kernel_for",
        ["kernel_every"],
    ),
    "task that starts after the end": (
        'pattern = "work"',
        'pattern = "work"\nstart = "61s"',
        31,
        "vm.0.task.0.start",
        ['"61s"', '"60s"'],
    ),
    "bad step of a script": (
        'pattern = "work"',
        'pattern = "script"\nscript = [\n  "touch 1",\n  "tuch 2",\n]',
        33,
        "vm.0.task.0.script.1",
        ['"tuch"', '"touch"'],
    ),
    "script outside its memory": (
        'pattern = "work"',
        'pattern = "script"\nworking_set = "8KiB"\nscript = ["touch 2"]',
        32,
        "vm.0.task.0.script.0",
        ["page 2", "the last one is 1"],
    ),
    "jitter larger than the latency": (
        '"hdd-2010"',
        '{ latency = "1ms", jitter = "2ms" }',
        17,
        "host.medium.jitter",
        ['"2ms"'],
    ),
    "ratio of a medium that is no memory": (
        '"hdd-2010"',
        '{ base = "nvme", ratio = 2 }',
        17,
        "host.medium.ratio",
        ["synchronous", '"zram"'],
    ),
    "a single quantile": (
        '"hdd-2010"',
        '{ quantiles = [[0, "1ms"]] }',
        17,
        "host.medium.quantiles",
        ["a list", "2 to 1,024"],
    ),
    "a quantile without its share": (
        '"hdd-2010"',
        '{ quantiles = [[0, "1ms"], "2ms"] }',
        17,
        "host.medium.quantiles.1",
        ['"2ms"', "[share, duration]"],
    ),
    "a quantile in percent": (
        '"hdd-2010"',
        '{ quantiles = [[0, "1ms"], [50, "2ms"], [1, "3ms"]] }',
        17,
        "host.medium.quantiles.1.0",
        ["50", "0 to 1"],
    ),
    "a quantile without a unit": (
        '"hdd-2010"',
        '{ quantiles = [[0, "1ms"], [1, 2]] }',
        17,
        "host.medium.quantiles.1.1",
        ["2 is not a duration"],
    ),
    "quantiles without the shortest": (
        '"hdd-2010"',
        '{ quantiles = [[0.1, "1ms"], [1, "2ms"]] }',
        17,
        "host.medium.quantiles.0",
        ["0.1", "it must be 0"],
    ),
    "quantiles without the longest": (
        '"hdd-2010"',
        '{ quantiles = [[0, "1ms"], [0.99, "2ms"]] }',
        17,
        "host.medium.quantiles.1",
        ["0.99", "it must be 1"],
    ),
    "shares that fall": (
        '"hdd-2010"',
        '{ quantiles = [[0, "1ms"], [0.9, "2ms"], [0.5, "3ms"], [1, "4ms"]] }',
        17,
        "host.medium.quantiles.2",
        ["0.5", "0.9"],
    ),
    "quantiles that fall": (
        '"hdd-2010"',
        '{ quantiles = [[0, "3ms"], [1, "2ms"]] }',
        17,
        "host.medium.quantiles.1",
        ['"2ms"', '"3ms"'],
    ),
    "a latency beside quantiles": (
        '"hdd-2010"',
        '{ latency = "1ms", quantiles = [[0, "1ms"], [1, "2ms"]] }',
        17,
        "host.medium.latency",
        ['"1ms"', "leave one"],
    ),
    "quantiles of a synchronous medium": (
        '"hdd-2010"',
        '{ base = "zram", quantiles = [[0, "1ms"], [1, "2ms"]] }',
        17,
        "host.medium.quantiles",
        ['no "quantiles"'],
    ),
    "weight of a VM": (
        "vcpus = 4",
        "weight = 100",
        23,
        "vm.0.weight",
        ["memory has no weight", "min or low"],
    ),
    "swappiness": ("vcpus = 4", "swappiness = 60", 23, "vm.0.swappiness", ["no page cache"]),
    "a key of cgroup v2 by its whole name": (
        "vcpus = 4",
        '"memory.max" = "1GiB"',
        23,
        "vm.0.memory.max",
        ["memory.max is limit here"],
    ),
    "protection from nothing": (
        "vcpus = 4",
        'vcpus = 4\nmin = "1MiB"',
        24,
        "vm.0.min",
        ["host.memory"],
    ),
    "protection of more than the limit": (
        'limit = "512MiB"',
        'limit = "512MiB"\nlow = "1GiB"',
        26,
        "vm.0.low",
        ['at most "512MiB"'],
    ),
    "pages that user space brings, from memory": (
        'medium = "hdd-2010"\nreclaim_lag = "200us"\n\n[[vm]]\n',
        'medium = "zram"\nreclaim_lag = "200us"\n\n[[vm]]\nuserfault = {}\n',
        21,
        "vm.0.userfault",
        ["host.medium"],
    ),
    "a crash of nobody": (
        'do = "vcpu-offline"\nvm = "bm-0"\nvcpu = 2',
        'do = "handler-crash"\nvm = "bm-0"\nfor = "1ms"',
        43,
        "event.0.vm",
        ['"bm-0"', "vm.userfault"],
    ),
    "a hypervisor whose registers are hidden": (
        'limit = "512MiB"',
        'limit = "512MiB"\nprotected = true\nnested = 1\nl2 = { memory = "1GiB" }',
        26,
        "vm.0.protected",
        ["nested = 0"],
    ),
    "unknown key of a medium": (
        '"hdd-2010"',
        '{ latancy = "1ms" }',
        17,
        "host.medium.latancy",
        ['"latency"'],
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
def test_a_bad_value_is_named_with_its_place(valid: str, case: Case) -> None:
    old, new, line, key, needles = case
    assert old in valid
    with pytest.raises(ConfigError) as caught:
        loads(valid.replace(old, new, 1), "bad.toml")
    message = str(caught.value)
    assert message.startswith(f"bad.toml:{line}: {key}"), message
    for needle in needles:
        assert needle in message, message
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("setting", "needles"),
    [
        ("vm.0.cuont=8", ['unknown key "vm.0.cuont"', '"count"']),
        ("vm.count=8", ["vm.0.count"]),
        ("vm.0.io_weight=8", ["no I/O control", "min or low"]),
        ("vm.7.count=8", ["vm.7", "vm.0"]),
        ("vm.0.task.9.touch=5us", ["vm.0.task.9", "vm.0.task.1"]),
        ("hots.medium=nvme", ['"hots"', '"host"']),
        ("host.medium=nvm", ["host.medium", '"nvm"', '"nvme"']),
        ("host.count.x=1", ["nearest is host.count"]),
        ("host.costs.exit=3", ["host.costs.exit", '"3"', '"5us"']),
        ("vm.0.vcpus=abc", ["vm.0.vcpus", '"abc"', "1 to 64"]),
        ("vm.0.vcpus=", ["vm.0.vcpus", '""']),
        ("kernel=3", ["kernel is a table"]),
        ("vm.0=3", ["vm.0 is a table"]),
        ("host.0=3", ["host is a table"]),
        ("kernel.overrides.preempt=maybe", ['"maybe"', "true"]),
        ("host.medium={latency=", ["{latency="]),
        ("event.0.do=vcpu-onlin", ['"vcpu-onlin"', '"vcpu-online"']),
        ("vm", ["host.medium=nvme"]),
        ("=3", ["host.medium=nvme"]),
        ("vm..count=3", ["host.medium=nvme"]),
    ],
)
def test_a_bad_setting_is_named_as_the_option_it_came_from(
    valid: str, setting: str, needles: list[str]
) -> None:
    with pytest.raises(ConfigError) as caught:
        loads(valid, "bad.toml", sets=[setting])
    message = str(caught.value)
    assert message.startswith(f'--set "{setting}": '), message
    for needle in needles:
        assert needle in message, message


def test_a_value_set_twice_is_blamed_on_the_last_option(valid: str) -> None:
    with pytest.raises(ConfigError, match=r'^--axis "vm\.0\.vcpus=99": '):
        loads(valid, sets=["vm.0.vcpus=2"], axes=["vm.0.vcpus=99"])


def test_a_bad_seed_is_blamed_on_its_option(valid: str) -> None:
    with pytest.raises(ConfigError, match=r"^--seed -3: scenario\.seed: -3 .* nearest is 0"):
        loads(valid, seed=-3)


def test_a_file_value_that_a_setting_made_impossible_is_blamed_on_what_is_over(valid: str) -> None:
    with pytest.raises(ConfigError, match=r'^bad\.toml:36: .*"1GiB".*"512MiB"'):
        loads(valid, "bad.toml", sets=["vm.0.memory=512MiB"])


def test_torn_toml_is_named_with_its_line() -> None:
    with pytest.raises(ConfigError, match=r'^torn\.toml:2:\d+: not valid TOML.*"name = "na"'):
        loads('[scenario]\nname = "na\nseed = 1\n', "torn.toml")


def test_toml_that_ends_inside_a_value_is_named_with_its_last_line(valid: str) -> None:
    with pytest.raises(ConfigError, match=r"^torn\.toml:\d+.*not valid TOML"):
        loads(valid + "\nx = [1,\n2,", "torn.toml")


def test_a_scenario_that_is_not_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "binary.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"binary\.toml: is not text"):
        load(str(path))


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        (["vm.0.task.1.start=1ms"], "vm.0.task.1.start"),
        (
            ["vm.0.task.1.kernel_every=1ms", "vm.0.task.1.kernel_for=1us"],
            "vm.0.task.1.kernel_every",
        ),
        (["kernel.overrides.l2.ready_by_interrupt=true"], "kernel.overrides.l2"),
        (["kernel.cpuid.l2=[]"], "kernel.cpuid.l2"),
        (['kernel.cpuid.l1=["async_pf", "apf"]'], "kernel.cpuid.l1"),
    ],
)
def test_what_would_have_no_effect_inside_is_refused(settings: list[str], key: str) -> None:
    with pytest.raises(ConfigError, match=key):
        load("nested", settings)


def test_a_script_inside_is_refused() -> None:
    text = """
        scenario = { name = "s", duration = "1ms" }
        host.medium = "nvme"
        [[vm]]
        name = "vm"
        vcpus = 1
        memory = "8MiB"
        limit = "8MiB"
        nested = 1
        l2.memory = "4MiB"
        task = [{ name = "t", level = 2, pattern = "script", script = ["run 1us"] }]
    """
    with pytest.raises(ConfigError, match=r"vm\.0\.task\.0\.pattern"):
        loads(text, "s.toml", Path())


def test_a_directory_is_no_scenario(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read as a scenario"):
        load(str(tmp_path))


@pytest.mark.parametrize(
    ("name", "nearest"),
    [("natapov-2011", "natapov-2010"), ("overcomit", "overcommit"), ("xyz", "overcommit")],
)
def test_an_unknown_name_brings_the_nearest(name: str, nearest: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(name)
    assert f'"{name}"' in str(caught.value)
    assert nearest in str(caught.value)


def test_a_missing_file_brings_the_nearest_beside_it(scenario_file: Path) -> None:
    with pytest.raises(ConfigError, match=r'there is no file ".*smal\.toml".*small\.toml'):
        load(str(scenario_file.with_name("smal.toml")))


def _with_trace(path: Path, text: str, trace: str) -> Path:
    path.write_text(text.replace('"work"', f'"trace"\ntrace = "{trace}"'), "utf-8")
    return path


def test_a_missing_trace_brings_the_nearest_beside_it(valid: str, scenario_file: Path) -> None:
    scenario_file.with_name("pages.csv").write_text("", "utf-8")
    path = _with_trace(scenario_file, valid, "page.csv")
    with pytest.raises(
        ConfigError, match=r'small\.toml:31: vm\.0\.task\.0\.trace.*page\.csv.*"pages\.csv"'
    ):
        load(str(path))


@pytest.mark.parametrize("place", ["/dev/null", "pipe"])
def test_a_trace_that_is_no_file_is_told_to_become_one(
    valid: str, scenario_file: Path, place: str
) -> None:
    os.mkfifo(scenario_file.with_name("pipe"))
    path = _with_trace(scenario_file, valid, place)
    with pytest.raises(ConfigError, match=f'{place}" is not a regular file.*trace-reduce'):
        load(str(path))


def test_an_unknown_built_in_trace_brings_the_nearest(valid: str, scenario_file: Path) -> None:
    path = _with_trace(scenario_file, valid, "builtin:sqlit")
    with pytest.raises(ConfigError, match=r'"builtin:sqlit".*"builtin:sqlite"'):
        load(str(path))


def test_a_trace_larger_than_the_vm_is_named_with_both_sizes(valid: str) -> None:
    text = valid.replace('"work"', '"trace"\ntrace = "builtin:sort"').replace('"2GiB"', '"4MiB"')
    with pytest.raises(
        ConfigError, match=r'bad\.toml:31: .*\.trace.*"builtin:sort" touches 2121 pages.*"4MiB"'
    ):
        loads(text, "bad.toml")


def test_the_content_of_a_trace_is_bad_data_not_bad_configuration(
    valid: str, scenario_file: Path
) -> None:
    trace = scenario_file.with_name("pages.csv")
    trace.write_text("icount,page,kind,count\n1,4a,I,1\n2,zz,S,3\n", "utf-8")
    path = _with_trace(scenario_file, valid, "pages.csv")
    with pytest.raises(DataError, match=r'pages\.csv:3: "2,zz,S,3"') as caught:
        load(str(path))
    assert caught.value.exit_code == 65


def test_a_torn_trace_is_bad_data(valid: str, scenario_file: Path) -> None:
    trace = scenario_file.with_name("pages.csv.gz")
    rows = "".join(f"{n},{n:x},L,1\n" for n in range(1, 20_000))
    trace.write_bytes(gzip.compress(b"icount,page,kind,count\n" + rows.encode())[:-400])
    path = _with_trace(scenario_file, valid, "pages.csv.gz")
    with pytest.raises(DataError, match=r"pages\.csv\.gz: the gzip data is torn"):
        load(str(path))


def test_another_trace_than_the_executed_one_is_refused(valid: str) -> None:
    text = valid.replace(
        '"work"', f'"trace"\ntrace = "builtin:sqlite"\ntrace_sha256 = "{"0" * 64}"'
    )
    with pytest.raises(DataError, match="not the file this scenario was executed with"):
        loads(text)


def test_a_byte_order_mark_is_named(tmp_path: Path, valid: str) -> None:
    path = tmp_path / "saved.toml"
    path.write_text(f"\ufeff{valid}", "utf-8")
    with pytest.raises(ConfigError, match=r"saved\.toml:1: begins with a byte order mark"):
        load(str(path))


def test_a_setting_is_one_line(valid: str) -> None:
    for text in ("kernel.hz=100\nkernel.apf=3", "kernel.hz=100\r\nx=1", "a\nb"):
        with pytest.raises(ConfigError, match="in one line") as caught:
            loads(valid, sets=[text])
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", ["vm.0.memory", "vm.0.limit", "host.memory"])
def test_memory_beyond_all_frame_numbers_is_refused(valid: str, key: str) -> None:
    with pytest.raises(ConfigError, match=f'{key}: "8200GiB" is too large: at most "8TiB"'):
        loads(valid, sets=[f"{key}=8200GiB"])


def test_more_vms_than_could_ever_be_built_are_refused(valid: str) -> None:
    with pytest.raises(ConfigError, match=r"vm\.0\.count: 1000000 .*; nearest is 65536"):
        loads(valid, sets=["vm.0.count=1000000"])
