"""A run whose hosts are spread over processes: the digest, result and log of a run in one piece."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from pagewake.engine.recorded import recorded_of
from pagewake.engine.run import Assembly, RunOrder, run_piece, run_scenario
from pagewake.engine.split import deal, deal_runs, is_worthwhile
from pagewake.errors import ConfigError
from pagewake.observe.result import RunResult
from pagewake.scenario.loading import load, loads
from pagewake.scenario.model import Scenario
from tests.support.runs import files_of, run_in_pieces

SPREAD = """
[scenario]
name = "spread"
duration = "20ms"
[kernel]
profile = "6.x"
[host]
medium = "nvme"
count = {hosts}
[[vm]]
name = "web"
count = 3
vcpus = 2
memory = "16MiB"
limit = "4MiB"
[[vm.task]]
name = "server"
count = 2
pattern = "requests"
rate = "4000/s"
service = "exponential 100us"
touches_per_request = 8
working_set = "8MiB"
theta = 0.5
populated = true
[[vm.task]]
name = "build"
pattern = "sequential"
working_set = "1MiB"
touches = 100
[[expect]]
of = "web/server"
p99 = "1us"
[[vm]]
name = "l1"
count = 2
vcpus = 2
memory = "32MiB"
limit = "4MiB"
nested = 1
[vm.l2]
vcpus = 2
memory = "16MiB"
[[vm.task]]
name = "inner"
level = 2
pattern = "random"
working_set = "8MiB"
access = "write"
populated = true
[[event]]
at = "3ms"
do = "migrate"
vm = "web-1"
pause = "500us"
[[event]]
at = "4ms"
do = "vcpu-stall"
vm = "web-2"
vcpu = 1
for = "1ms"
[[event]]
at = "6ms"
do = "medium"
medium = "ssd-sata"
host = {last}
"""
"""Requests, tasks that end, nested guests, and interventions on several hosts."""


def spread(hosts: int) -> Scenario:
    return loads(SPREAD.format(hosts=hosts, last=hosts - 1), "spread.toml", Path())


def said(result: RunResult) -> RunResult:
    """All that a result says, but for how it was run."""
    return msgspec.structs.replace(result, wall_s=0.0, jobs=None)


@pytest.mark.parametrize("hosts", [1, 2, 3, 5])
def test_any_number_of_processes_gives_the_same_run(hosts: int, tmp_path: Path) -> None:
    scenario = spread(hosts)
    whole = run_scenario(scenario, shards=2, log_dir=tmp_path / "1")
    assert whole.jobs == 1
    assert whole.latency["web/server"].count > 100
    assert whole.exits["host"] > 0
    assert whole.progress is not None
    assert whole.progress["web-0/build-0"].finished_ns is not None
    for processes in (2, 3, 8):
        log = tmp_path / str(processes)
        order = RunOrder(scenario, shards=2, log_dir=log)
        result = run_in_pieces(order, processes)
        assert said(result) == said(whole)
        assert result.jobs == min(processes, hosts)
        assert files_of(log) == files_of(tmp_path / "1")


def test_pieces_keep_as_much_of_the_journal_as_their_run(tmp_path: Path) -> None:
    scenario = spread(2)
    whole = run_scenario(scenario, log_dir=tmp_path / "whole", journal="none")
    order = RunOrder(scenario, log_dir=tmp_path / "pieces", journal="none")
    assert said(run_in_pieces(order, 2)) == said(whole)
    assert files_of(tmp_path / "pieces") == files_of(tmp_path / "whole")


def test_pieces_of_a_replay_intervene_on_their_own_hosts(tmp_path: Path) -> None:
    scenario = spread(3)
    recorded = recorded_of(_recorded(scenario, tmp_path), scenario)
    assert [len(controls) for controls in recorded.controls] == [0, 0, 1]
    whole = run_scenario(scenario, recorded=recorded)
    assert said(run_in_pieces(RunOrder(scenario, recorded=recorded), 2)) == said(whole)
    assert whole.digest != run_scenario(scenario).digest


def _recorded(scenario: Scenario, directory: Path) -> Path:
    """A log that has one intervention more than its scenario, on the last host."""
    more = '[[event]]\nat = "8ms"\ndo = "migrate"\nvm = "web-2"\npause = "1ms"\n'
    text = SPREAD.format(hosts=3, last=2) + more
    run_scenario(loads(text, "more.toml", Path()), log_dir=directory / "log")
    return directory / "log"


def test_a_log_that_is_not_finished_leaves_nothing(tmp_path: Path) -> None:
    order = RunOrder(spread(2), log_dir=tmp_path / "log")
    with Assembly(order, deal(order.scenario, 2)) as assembly:
        run_piece(assembly.pieces[0])
        assert any(tmp_path.iterdir())
    assert not any(tmp_path.iterdir())


def test_a_place_for_no_log_is_refused_before_anything_runs(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="is not an empty directory"):
        Assembly(RunOrder(spread(2), log_dir=tmp_path / "file"), [[0], [1]])


# ------------------------------------------------------------------------------- who has what


def test_hosts_are_dealt_by_their_vcpus() -> None:
    vms = [("a", 8), ("b", 3), ("c", 3), ("d", 3), ("e", 1)]
    text = '[scenario]\nname = "x"\nduration = "1ms"\n[host]\nmedium = "nvme"\ncount = 5\n'
    text += "".join(
        f'[[vm]]\nname = "{name}"\nvcpus = {vcpus}\nmemory = "1MiB"\n'
        '[[vm.task]]\nname = "w"\npattern = "work"\n'
        for name, vcpus in vms
    )
    scenario = loads(text, "x.toml", Path())
    assert deal(scenario, 2) == [[0, 4], [1, 2, 3]]
    assert deal(scenario, 3) == [[0], [1, 3], [2, 4]]
    assert deal(scenario, 9) == [[0], [1], [2], [3], [4]]
    assert deal(scenario, 1) == [[0, 1, 2, 3, 4]]


def test_nested_vcpus_count() -> None:
    inner = "nested = 1\n[vm.l2]\nvcpus = 3\nmemory = '4MiB'\n"
    text = '[scenario]\nname = "x"\nduration = "1ms"\n[host]\nmedium = "nvme"\ncount = 4\n'
    for name, more in (("a", ""), ("b", ""), ("c", inner), ("d", "")):
        text += f'[[vm]]\nname = "{name}"\nvcpus = 1\nmemory = "16MiB"\n{more}'
        text += '[[vm.task]]\nname = "w"\npattern = "work"\n'
    assert deal(loads(text, "x.toml", Path()), 2) == [[2], [0, 1, 3]]


@pytest.mark.parametrize(
    ("runs", "processes", "at_once", "pieces"),
    [
        (1, 8, 1, [5]),  # as many as hosts
        (1, 2, 1, [2]),
        (2, 2, 2, [1, 1]),  # whole runs first
        (3, 8, 3, [3, 3, 2]),
        (4, 8, 2, [4, 4, 4, 4]),  # memory for two at a time
        (4, 1, 4, [1, 1, 1, 1]),
        (20, 8, 20, [1] * 20),
    ],
)
def test_cores_left_over_by_runs_split_hosts(
    runs: int, processes: int, at_once: int, pieces: list[int]
) -> None:
    deals = deal_runs([spread(5)] * runs, processes, at_once)
    assert [len(deal) for deal in deals] == pieces


def test_what_is_worth_more_processes_depends_on_medium_vcpus_and_duration() -> None:
    assert not is_worthwhile([load("web", ["scenario.duration=1ms"])])
    assert is_worthwhile([load("web")])
    assert is_worthwhile([load("web", ["scenario.duration=10ms"])] * 10)
    assert not is_worthwhile([load("web", ["host.medium=hdd-2010"])])
    assert is_worthwhile([load("web", ["host.medium=hdd-2010", "scenario.duration=20s"])])
