"""What `run` says of tasks: how far they came, what befell them, and `--check` on it."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from tests.unit.cli.support import invoke, small_scenario

TWO_KINDS = """
[scenario]
name = "two-kinds"
duration = "20ms"
[host]
medium = "zram"
[[vm]]
name = "gold"
vcpus = 1
memory = "4MiB"
limit = "2MiB"
[[vm.task]]
name = "web"
pattern = "sequential"
working_set = "1MiB"
touch = "1us"
touches = 512
[[vm]]
name = "bulk"
vcpus = 1
memory = "4MiB"
limit = "2MiB"
[[vm.task]]
name = "web"
pattern = "random"
working_set = "3MiB"
populated = true
touch = "1us"
"""


@pytest.fixture
def two_kinds(tmp_path: Path) -> str:
    path = tmp_path / "two-kinds.toml"
    path.write_text(TWO_KINDS, "utf-8")
    return str(path)


def test_touches_are_shown_with_their_rate_by_kind_of_task(
    two_kinds: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text = invoke(capsys, "run", two_kinds).out
    assert "work           no task of pattern work\n" in text
    assert ", gold/web 512 (" in text
    assert "/s, 2 passes)\n" in text
    assert "finished       1 of 1 task, the last at " in text


def test_several_kinds_of_vms_have_a_line_each(
    two_kinds: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text = invoke(capsys, "run", two_kinds).out
    bulk = next(line for line in text.splitlines() if line.startswith("of bulk"))
    gold = next(line for line in text.splitlines() if line.startswith("of gold"))
    assert "page-ins 0, evictions 0," in gold
    assert "page-ins 0" not in bulk


def test_vms_that_are_alike_are_told_apart_by_how_far_they_came(
    two_kinds: str, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ["--set", "vm.1.count=3", "--set", "host.medium=nvme", "--set", "vm.1.limit=1MiB"]
    outcome = invoke(capsys, "run", two_kinds, *more, "--json")
    bulk = {
        vm: share
        for vm, share in msgspec.json.decode(outcome.out)["per_vm"].items()
        if vm.startswith("bulk-")
    }
    found = {}
    for what in ("touches", "page_ins"):
        least, most = (of(bulk, key=lambda vm: bulk[vm][what]) for of in (min, max))
        found[what] = f"{bulk[least][what]:,} ({least}) to {bulk[most][what]:,} ({most})"
    text = invoke(capsys, "run", two_kinds, *more).out
    assert f"within bulk    touches {found['touches']}, page-ins {found['page_ins']}\n" in text
    assert "within gold" not in text


def test_one_kind_of_vms_is_the_whole_run_and_work_has_no_touches(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sets = ["--set", "scenario.duration=1ms"]
    text = invoke(capsys, "run", small_scenario(tmp_path), *sets).out
    assert "\nof " not in text
    assert "faulter " in text
    busy = tmp_path / "busy.toml"
    busy.write_text(TWO_KINDS.partition('pattern = "seq')[0] + 'pattern = "work"\n', "utf-8")
    assert "touches        no task touches memory\n" in invoke(capsys, "run", str(busy)).out


def test_who_is_killed_stands_in_the_result(capsys: pytest.CaptureFixture[str]) -> None:
    text = invoke(capsys, "run", "row-18-l2-npt").out
    assert "killed         1 task, the first at 10 ms: l1-0/inner-0\n" in text
    assert "killed" not in invoke(capsys, "run", "row-01-user-fault").out


@pytest.mark.parametrize(
    ("scenario", "fate", "intervention"),
    [
        ("row-12-ready-write-fails", "not sent (write failed) 1", "area-write-fails 1"),
        ("row-10-disable-outstanding", "withdrawn (msr-disable) 3", "msr-write 2"),
        ("row-11-migrate-sleepers", "withdrawn (migration) 4", "migrate 1"),
    ],
)
def test_what_was_never_ready_stands_beside_what_was_done(
    scenario: str, fate: str, intervention: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text = invoke(capsys, "run", scenario).out
    assert f"never ready    {fate}\n" in text
    assert f"interventions  {intervention}\n" in text


@pytest.mark.parametrize(
    ("scenario", "wrong"),
    [
        ("row-12-ready-write-fails", "1 wake-up lost: vm-0/toucher-0; 1 READY not sent: write"),
        ("row-18-l2-npt", "1 task killed: l1-0/inner-0"),
        ("row-11-migrate-sleepers", ""),
        ("row-01-user-fault", ""),
    ],
)
def test_check_ends_with_1_where_something_went_wrong(
    scenario: str, wrong: str, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = invoke(capsys, "run", scenario, "--check", "--json")
    assert outcome.code == (1 if wrong else 0)
    assert wrong in outcome.err
    assert '"digest"' in outcome.out
    assert invoke(capsys, "run", scenario).code == 0


def test_a_panic_ends_the_run_and_is_exit_code_1(capsys: pytest.CaptureFixture[str]) -> None:
    panics = ("kernel.overrides.send_always=always", "kernel.overrides.kernel_mode_panics=true")
    outcome = invoke(capsys, "run", "row-02-kernel-fault", *(f"--set={one}" for one in panics))
    assert outcome.code == 1
    assert "1 guest kernel panicked: vm-0" in outcome.err
    assert re.search(r"(?m)^PANICKED +vm-0 at [\d.]+ ms, not_present_in_kernel$", outcome.out)
    assert re.search(r"(?m)^unresolved +none", outcome.out)


def test_check_of_a_run_that_nobody_waits_for_is_refused(
    capsys: pytest.CaptureFixture[str],
) -> None:
    outcome = invoke(capsys, "submit", "row-01-user-fault", "--check")
    assert outcome.code == 2
    assert "give --wait with it" in outcome.err
