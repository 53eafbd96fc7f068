"""A run written as ftrace text: what a kernel would have printed, in an order that it can have."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from pagewake.engine.run import run_scenario
from pagewake.errors import ConfigError
from pagewake.events import types as ev
from pagewake.guest_kernel.apf_handler import APF_VECTOR
from pagewake.kvm.abi import BROADCAST_TOKEN
from pagewake.recorded.export import write_ftrace
from pagewake.scenario.loading import load
from tests.support.exported import (
    KERNELS,
    SCENARIOS,
    SHORT,
    Exported,
    Said,
    by_thread,
    export,
    out_of_turn,
    read_trace,
)
from tests.support.runs import run_logged

TWO_VMS = """
[scenario]
name = "two"
duration = "60ms"
[kernel]
profile = "2.6.38"
apf = "nonpv"
[host]
medium = "ssd-sata"
"""
WALKER = """
[[vm]]
name = "{name}"
vcpus = 1
memory = "16MiB"
limit = "4MiB"
[[vm.task]]
name = "t"
pattern = "zipf"
working_set = "12MiB"
populated = true
touch = "{touch}"
"""
UNLIKE = {"slow": "400us", "busy": "1us"}


@pytest.fixture(
    scope="module",
    params=[(name, kernel) for name in SCENARIOS for kernel in KERNELS],
    ids="-".join,
)
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    name, kernel = request.param
    return export(name, kernel, tmp_path_factory.mktemp("exported"))


def test_the_head_counts_the_lines(exported: Exported) -> None:
    counts = [line for line in exported.text.splitlines() if "entries-in-buffer" in line]
    count = len(exported.said)
    assert all(f": {count}/{count} " in line for line in counts)


def test_every_line_stands_where_a_kernel_prints_it(exported: Exported) -> None:
    assert out_of_turn(exported.said) == []


def test_what_the_protocol_did_has_its_line(exported: Exported) -> None:
    queued = [
        (event.token, event.gfn << 12)
        for event in exported.events
        if isinstance(event, ev.ApfStarted) and event.outcome == "queued"
    ]
    told = [(said.values["token"], said.values["gva"]) for said in exported.of("not_present")]
    assert sorted(queued) == sorted(told)
    presented = [event for event in exported.events if isinstance(event, ev.ApfPresented)]
    ready = exported.of("ready")
    assert len(presented) == len(ready)
    gvas = [(event.gfn or 0) << 12 for event in presented]
    assert sorted(gvas) == sorted(said.values["gva"] for said in ready)
    for kind, event in (
        ("completed", ev.WorkerCompleted),
        ("repeated_fault", ev.DoubleFault),
        ("msr", ev.MsrWritten),
    ):
        assert len(exported.of(kind)) == sum(type(each) is event for each in exported.events), kind


def test_a_fault_says_what_it_was_for(exported: Exported) -> None:
    faults = {
        (event.at_ns + 500) // 1000 * 1000: (event.gfn << 12, event.access == "write", event.cpl)
        for event in exported.events
        if isinstance(event, ev.PageNotPresent) and event.token is not None
    }
    exits: dict[int, Said] = {}
    for said in exported.said:
        if said.kind == "exit":
            exits[said.line.pid] = said
        elif said.kind == "page_fault" and said.line.time_ns in faults:
            gva, write, cpl = faults[said.line.time_ns]
            if said.values["address"] == gva:
                assert bool(int(said.values["error_code"]) & 2) == write
                rip = int(exits[said.line.pid].values["rip"])
                assert (rip >> 63 == 0) == bool(cpl)


def test_a_guest_is_told_in_as_many_lines_as_it_was_told(exported: Exported) -> None:
    def count(kind: type[ev.Event]) -> int:
        return sum(type(event) is kind for event in exported.events)

    told = [said for said in exported.of("inj_exception") if said.values["exception"] == "#PF"]
    assert len(told) == count(ev.ExceptionInjected)
    raised = [
        (before.kind, after.values["vec"])
        for said in by_thread(exported.said).values()
        for before, after in pairwise(said)
        if after.kind == "accept_irq" and after.values["vec"] == APF_VECTOR
    ]
    assert raised == [("ready", APF_VECTOR)] * count(ev.InterruptQueued)


def test_a_broadcast_has_the_token_of_its_time(tmp_path: Path) -> None:
    for kernel, token in (("2.6.39", 0), ("4.14", BROADCAST_TOKEN), ("6.1", BROADCAST_TOKEN)):
        directory = tmp_path / kernel
        directory.mkdir()
        exported = export("row-09-enable", kernel, directory)
        assert {said.values["token"] for said in exported.of("ready")} == {token}


def test_an_acknowledgement_is_traced_behind_the_ready_that_it_lets_through(
    tmp_path: Path,
) -> None:
    exported = export("row-06-two-completions", "6.1", tmp_path)
    kinds = ["ack" if said.values.get("msr") == 0x4B564D07 else said.kind for said in exported.said]
    let_through = [
        kinds[at - 3 : at + 1]
        for at, kind in enumerate(kinds)
        if kind == "ack" and kinds[at - 1] == "accept_irq"
    ]
    assert let_through
    assert all(each == ["exit", "ready", "accept_irq", "ack"] for each in let_through)


def test_vms_and_processes_have_their_thread_groups(tmp_path: Path) -> None:
    web = export("web", "6.1", tmp_path)
    groups = {said.line.tgid for said in web.said if said.line.comm.startswith("CPU ")}
    assert len(groups) == 4
    directory = tmp_path / "moved"
    directory.mkdir()
    moved = export("row-11-migrate-sleepers", "6.1", directory)
    assert len({said.line.tgid for said in moved.said if said.line.comm.startswith("CPU ")}) == 2
    old = tmp_path / "old"
    old.mkdir()
    assert {said.line.tgid for said in export("web", "2.6.39", old).said} == {None}


def test_nested_exits_have_their_lines(tmp_path: Path) -> None:
    exported = export("row-17-l2-shadowed", "2.6.39", tmp_path)
    exits = [event for event in exported.events if isinstance(event, ev.NestedVmexit)]
    injected = exported.of("nested_inject")
    assert [said.values["info2"] for said in injected] == [event.info2 for event in exits]
    assert {said.values["reason"] for said in injected} == {"PF excp", "hlt"}
    assert exported.of("nested_vmexit")
    assert exported.of("nested_run")


@pytest.mark.parametrize(
    ("profile", "kernel"), [("6.1", "4.4"), ("2.6.39", "5.8")], ids=["interrupt", "exception"]
)
def test_a_kernel_without_lines_for_a_run_is_refused(
    profile: str, kernel: str, tmp_path: Path
) -> None:
    log = run_logged("row-01-user-fault", tmp_path, f"kernel.profile={profile}").directory
    with pytest.raises(ConfigError, match=f"{kernel} has no lines for this run.*--kernel"):
        write_ftrace(log, tmp_path / "x", kernel, None)


def test_what_no_kernel_has_is_refused(tmp_path: Path) -> None:
    log = run_logged("snapshot-restore", tmp_path, "scenario.duration=20ms").directory
    with pytest.raises(ConfigError, match=r"no released kernel.*user_apf=none"):
        write_ftrace(log, tmp_path / "x", None, None)


def test_each_of_several_hosts_has_a_trace_of_its_own(tmp_path: Path) -> None:
    log = run_logged("web", tmp_path, "host.count=2", SHORT).directory
    with pytest.raises(ConfigError, match=r"2 simulated hosts.*--host, from 0 to 1"):
        write_ftrace(log, tmp_path / "x", None, None)
    with pytest.raises(ConfigError, match="--host 2"):
        write_ftrace(log, tmp_path / "x", None, 2)
    written = [write_ftrace(log, tmp_path / "x", None, host) for host in (0, 1)]
    assert [sorted(each.threads) for each in written] == [["web-0", "web-2"], ["web-1", "web-3"]]


def test_shards_change_nothing_but_the_order_within_an_instant(tmp_path: Path) -> None:
    traces = []
    for shards in (1, 3):
        log = tmp_path / f"log-{shards}"
        run_scenario(load("web", [SHORT]), shards=shards, log_dir=log)
        place = tmp_path / f"trace-{shards}"
        write_ftrace(log, place, None, None)
        traces.append(sorted(place.read_text("utf-8").splitlines()))
    assert traces[0] == traces[1]


def test_what_another_vm_does_meanwhile_keeps_its_place(tmp_path: Path) -> None:
    """The page of a VM that is not heard of for long comes between the lines of a busy one."""
    vms = [WALKER.format(name=name, touch=touch) for name, touch in UNLIKE.items()]
    (tmp_path / "two.toml").write_text(TWO_VMS + "".join(vms), encoding="utf-8")
    run_scenario(load(str(tmp_path / "two.toml")), log_dir=tmp_path / "log")
    write_ftrace(tmp_path / "log", tmp_path / "trace.txt", None, None)
    said = read_trace((tmp_path / "trace.txt").read_text("utf-8"), "2.6.38")
    assert out_of_turn(said) == []
    assert len(by_thread(said)) >= 2
