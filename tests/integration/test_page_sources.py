"""Where pages are that a VM never had here: what asynchronous page faults give, and what pushes do.

The claims are those of the built-in scenarios' descriptions and of two how-to pages.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from pagewake.bus.log_reader import LogReader
from pagewake.engine.run import RunOrder, run_scenario
from pagewake.events.types import PageReady, PagesPushed
from pagewake.observe.result import RunResult
from pagewake.scenario.loading import load
from pagewake.verify.log_run import LogRun
from pagewake.verify.verify import verify_log
from tests.support.runs import files_of, run_in_pieces

FED = ("postcopy", "restore-uffd", "restore-file")
LIMITS = {"postcopy": "48MiB", "restore-uffd": "2MiB", "restore-file": "2MiB"}
SHORT = "scenario.duration=60ms"


def run(name: str, *settings: str) -> RunResult:
    result = run_scenario(load(name, list(settings)))
    assert result.unresolved == 0
    return result


def p99_ns(result: RunResult) -> int:
    (latency,) = result.latency.values()
    assert latency.p99_ns is not None
    return latency.p99_ns


def come(log: Path) -> list[tuple[int, str, int]]:
    """(instant, VM, gfn) of every page that came, from the log."""
    said = LogRun(LogReader(log))
    arrivals: list[tuple[int, str, int]] = []
    for host in said.hosts():
        for window in said.windows(host):
            for placed in window.delivered:
                event = placed.event
                if isinstance(event, PageReady):
                    arrivals.append((event.at_ns, event.vm, event.gfn))
                elif isinstance(event, PagesPushed):
                    arrivals += [(event.at_ns, event.vm, gfn) for gfn in event.gfns]
    return sorted(arrivals)


@pytest.mark.parametrize("name", FED)
def test_shards_processes_and_a_log_are_one_run(name: str, tmp_path: Path) -> None:
    sets = [SHORT, "vm.0.count=2", f"vm.0.limit={LIMITS[name]}", "host.count=2"]
    scenario = load(name, sets)
    whole = run_scenario(scenario, log_dir=tmp_path / "whole")
    assert whole.evictions > 0
    assert whole.pushed > 0 or name == "restore-uffd"
    split = run_scenario(scenario, shards=2)
    pieces = run_in_pieces(RunOrder(scenario, log_dir=tmp_path / "pieces"), processes=2)
    assert split.digest == pieces.digest == whole.digest
    assert split.pushed == pieces.pushed == whole.pushed
    assert files_of(tmp_path / "pieces") == files_of(tmp_path / "whole")
    report = verify_log(tmp_path / "whole")
    assert (report.problems, report.digest) == ([], whole.digest)


@pytest.mark.parametrize("apf", ["off", "nonpv", "pv"])
def test_a_migration_brings_every_page_once_no_faster_than_its_link(
    apf: str, tmp_path: Path
) -> None:
    sets = [f"kernel.apf={apf}", "vm.0.task.0.working_set=32MiB", "scenario.duration=60ms"]
    result = run_scenario(load("postcopy", sets), log_dir=tmp_path / "log")
    arrivals = come(tmp_path / "log")
    pages = Counter(gfn for _, _, gfn in arrivals)
    assert len(pages) == 8192
    assert set(pages.values()) == {1}
    assert result.page_ins + result.pushed == 8192
    span_ns = arrivals[-1][0] - arrivals[0][0]
    jitter_ns = 100_000
    assert span_ns + jitter_ns >= 8191 * 3_500


def test_behind_a_migration_asynchronous_faults_keep_the_tail_short() -> None:
    off, nonpv, pv = (run("postcopy", f"kernel.apf={apf}") for apf in ("off", "nonpv", "pv"))
    assert p99_ns(off) > 10 * p99_ns(pv)
    assert p99_ns(nonpv) > 10 * p99_ns(pv)
    assert pv.work.total > 1.5 * off.work.total


def test_without_a_push_every_page_is_asked_for() -> None:
    with_push, without = (
        run("postcopy", SHORT, *more) for more in ((), ("vm.0.source.prefetch=0B",))
    )
    assert without.pushed == 0
    assert without.page_ins > with_push.page_ins


def test_a_recorded_working_set_saves_faults_and_its_order_matters() -> None:
    sets = [
        ["vm.0.source.prefetch=8MiB", f"vm.0.source.order={order}"]
        for order in ("recorded", "address")
    ]
    nothing, (recorded, address) = run("restore-uffd"), [run("restore-uffd", *own) for own in sets]
    assert recorded.page_ins < 0.6 * nothing.page_ins
    assert 0.8 * nothing.page_ins < address.page_ins < nothing.page_ins


def test_one_thread_of_a_handler_is_slower_than_four() -> None:
    one, four = (run("restore-uffd", f"vm.0.source.threads={n}") for n in (1, 4))
    assert p99_ns(one) > 1.5 * p99_ns(four)


def test_a_larger_window_of_a_file_has_fewer_faults_that_take_longer() -> None:
    small, large = (run("restore-file", f"vm.0.source.read_ahead={n}") for n in ("4KiB", "1MiB"))
    assert small.pushed == 0
    assert large.page_ins < small.page_ins / 4
    assert p99_ns(large) > p99_ns(small)


def test_a_file_is_read_again_where_what_was_copied_in_is_written_to_swap() -> None:
    """Readers evict: clean pages of a file go for nothing, others have to be written first."""
    sets = [SHORT, "vm.0.limit=2MiB", "kernel.apf=off"]
    file, uffd = (run(f"restore-{by}", *sets) for by in ("file", "uffd"))
    assert file.evictions > 0
    assert "PageDropped" not in file.by_event
    assert uffd.by_event["PageDropped"] > 0


def test_cold_memory_behind_cxl_has_no_asynchronous_fault() -> None:
    by_medium = {
        (medium, apf): run("cxl-tier", f"host.medium={medium}", f"kernel.apf={apf}")
        for medium in ("cxl", "nvme")
        for apf in ("off", "pv")
    }
    assert by_medium["cxl", "pv"].not_present["injected"] == 0
    assert p99_ns(by_medium["cxl", "pv"]) > 0.9 * p99_ns(by_medium["cxl", "off"])
    assert p99_ns(by_medium["nvme", "pv"]) < p99_ns(by_medium["nvme", "off"]) / 3
