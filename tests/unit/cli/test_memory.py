"""A run that would not fit is refused before it is built, and says how much is there."""

from __future__ import annotations

from pathlib import Path

import pytest

from pagewake.cli import fitting, memory
from pagewake.participants.footprint import memory_bytes
from pagewake.scenario.loading import load
from tests.unit.cli.support import invoke, small_scenario

MEMINFO = "MemTotal:       8000000 kB\nMemFree:         100 kB\nMemAvailable:    4000000 kB\n"
TERABYTES = ("--set", "vm.0.memory=1TiB", "--set", "vm.0.task.1.working_set=1000GiB",
             "--set", "vm.0.count=4000")  # fmt: skip


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    put(tmp_path / "proc/meminfo", MEMINFO)
    return tmp_path


def put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def group(folder: Path, names: tuple[str, str], limit: str, taken: int, stat: str) -> None:
    put(folder / names[0], f"{limit}\n")
    put(folder / names[1], f"{taken}\n")
    put(folder / "memory.stat", stat)


V2 = ("memory.max", "memory.current")
V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes")


def test_the_machine_says_what_is_available(machine: Path) -> None:
    assert memory.available_bytes(machine) == 4_000_000 * 1024


def test_the_tightest_control_group_counts_without_its_cache(machine: Path) -> None:
    put(machine / "proc/self/cgroup", "0::/slice/job\n")
    root = machine / "sys/fs/cgroup"
    group(root, V2, "max", 7_000, "")
    group(root / "slice", V2, "9000000", 1_000_000, "active_file 5\ninactive_file 100\nanon 9\n")
    group(root / "slice/job", V2, "max", 10, "")
    assert memory.available_bytes(machine) == 8_000_105


def test_a_control_group_of_version_1_counts_too(machine: Path) -> None:
    put(machine / "proc/self/cgroup", "9:cpu:/job\n4:memory:/job\n0::/\n")
    stat = "active_file 3\ntotal_active_file 7\ntotal_inactive_file 20\n"
    group(machine / "sys/fs/cgroup/memory/job", V1, "5000000", 1_000_000, stat)
    assert memory.available_bytes(machine) == 4_000_027


def test_a_group_that_is_full_leaves_nothing(machine: Path) -> None:
    put(machine / "proc/self/cgroup", "0::/\n")
    group(machine / "sys/fs/cgroup", V2, "1000", 2_000, "")
    assert memory.available_bytes(machine) == 0


def test_where_nothing_is_said_nothing_is_known(tmp_path: Path) -> None:
    assert memory.available_bytes(tmp_path) is None


def test_more_vms_and_more_memory_need_more(tmp_path: Path) -> None:
    path = small_scenario(tmp_path)
    one = memory_bytes(load(path))
    two, three = (memory_bytes(load(path, [f"vm.0.count={count}"])) for count in (2, 3))
    large = memory_bytes(load(path, ["vm.0.memory=1GiB"]))
    vcpus = memory_bytes(load(path, ["vm.0.vcpus=4"]))
    assert three - two == two - one > one / 3
    assert min(large, vcpus) > one


@pytest.mark.parametrize(
    "command", [("run",), ("compare", "--axis", "kernel.apf=off,pv"), ("benchmark", "--seeds", "1")]
)
def test_what_does_not_fit_is_refused(
    command: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name, *options = command
    refused = invoke(capsys, name, small_scenario(tmp_path), *options, *TERABYTES)
    assert (refused.code, refused.out) == (2, "")
    assert "MiB to simulate, and this machine has" in refused.err
    assert "PAGEWAKE_ANY_MEMORY=1 runs it all the same" in refused.err


def test_a_load_test_that_does_not_fit_is_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fitting, "available_bytes", lambda _: 1 << 10)
    refused = invoke(capsys, "load", "--embedded", "--vcpus", "64", "--duration", "1s")
    assert refused.code == 2
    assert "this machine has 0 MiB free" in refused.err


def test_a_setting_runs_it_all_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fitting, "available_bytes", lambda _: 1 << 10)
    path = small_scenario(tmp_path, "1ms")
    assert invoke(capsys, "run", path).code == 2
    monkeypatch.setenv(fitting.ANYWAY, "1")
    assert invoke(capsys, "run", path).code == 0
