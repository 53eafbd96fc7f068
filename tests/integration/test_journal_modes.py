"""A run that keeps less of its journal: the same run, fewer bytes, and what cannot be told."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import msgspec
import pytest

from pagewake.bus.log_reader import LogReader
from pagewake.engine.run import run_scenario
from pagewake.events.codec import JOURNAL_TOPIC
from pagewake.events.journal import JournalMode
from pagewake.observe.result import IN_JOURNAL, RunResult, without_journal
from pagewake.participants.plan import RunPlan
from pagewake.scenario.loading import load
from pagewake.scenario.model import Scenario
from tests.support.cluster import FakeCluster
from tests.unit.cli.support import invoke

LESS: tuple[JournalMode, ...] = ("faults", "none")
SCENARIOS = {
    "overcommit": ["scenario.duration=30ms"],
    "nested": ["scenario.duration=30ms"],
    "database": ["scenario.duration=50ms"],
}


def scenario_of(name: str) -> Scenario:
    return load(name, SCENARIOS[name])


@cache
def executed(name: str, journal: JournalMode) -> FakeCluster:
    """On a cluster whose processes die now and then."""
    plan = RunPlan.of("some-run", scenario_of(name), 2, journal=journal)
    cluster = FakeCluster(plan, 5, duplicate=0.05, kill=0.01, snapshot=0.02, zombies=1)
    cluster.run()
    return cluster


@cache
def embedded(name: str) -> dict[str, object]:
    """What the run says in one process."""
    return plain(run_scenario(scenario_of(name), shards=2))


def journal_bytes(cluster: FakeCluster) -> int:
    return sum(
        len(record)
        for (topic, _), records in cluster.log.items()
        if topic == JOURNAL_TOPIC
        for record in dict.fromkeys(records)
    )


def plain(result: RunResult) -> dict[str, object]:
    told: dict[str, object] = msgspec.to_builtins(result)
    return {**told, "wall_s": None, "journal": None, "shards": None, "jobs": None}


@pytest.mark.parametrize("name", SCENARIOS)
class TestOnACluster:
    def test_faults_give_the_whole_result(self, name: str) -> None:
        result = executed(name, "faults").result()
        assert result.journal == "faults"
        assert plain(result) == embedded(name)

    def test_none_gives_all_but_what_the_journal_alone_says(self, name: str) -> None:
        told = without_journal(executed(name, "none").result())
        whole = embedded(name)
        unknown = {*IN_JOURNAL, "per_group", "per_vm", "expected"}
        assert told["journal"] == "none"
        assert [told[key] for key in IN_JOURNAL] == [None] * len(IN_JOURNAL)
        same = whole.keys() - unknown - {"wall_s", "journal", "shards", "jobs"}
        assert {key: told[key] for key in same} == {key: whole[key] for key in same}

    def test_the_less_is_kept_the_fewer_bytes_are_written(self, name: str) -> None:
        sizes = [journal_bytes(executed(name, mode)) for mode in ("none", "faults", "full")]
        assert sizes == sorted(set(sizes))


@pytest.mark.parametrize("mode", LESS)
class TestALog:
    @pytest.fixture
    def log(self, mode: JournalMode, tmp_path: Path) -> Path:
        run_scenario(scenario_of("overcommit"), log_dir=tmp_path / "log", journal=mode)
        return tmp_path / "log"

    def test_it_is_whole_and_says_what_it_keeps(self, mode: JournalMode, log: Path) -> None:
        reader = LogReader(log)
        assert reader.problems() == []
        assert reader.sums is not None
        assert reader.sums.journal == mode

    def test_its_run_can_be_executed_again(
        self, log: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert invoke(capsys, "replay", str(log)).code == 0

    @pytest.mark.parametrize("command", ["verify", "report", "trace"])
    def test_who_needs_all_of_it_refuses(
        self, mode: str, log: Path, command: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        output = [] if command == "verify" else ["--output", str(log.parent / "out")]
        ran = invoke(capsys, command, str(log), *output)
        assert ran.code == 2
        assert f"{command} reads the whole journal" in ran.err
        assert f"--journal {mode}" in ran.err
        assert not (log.parent / "out").exists()


def test_a_run_says_how_much_its_log_keeps(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("run", "row-01-user-fault", "--journal", "faults", "--log")
    told = invoke(capsys, *words, str(tmp_path / "log")).out
    assert "kept is what figures are counted from" in told
    told = invoke(capsys, *words, str(tmp_path / "other"), "--json").out
    assert msgspec.json.decode(told)["journal"] == "faults"


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["run", "row-01-user-fault", "--journal", "none"], "give --log"),
        (["run", "row-01-user-fault", "--journal", "some"], "choose one of"),
        (["submit", "overcommit", "--journal", "none", "--wait", "--check"], "--check looks"),
        (["submit", "row-01-user-fault", "--journal", "some"], "choose one of"),
        (["load", "--embedded", "--journal", "none"], "--embedded keeps no journal"),
    ],
)
def test_what_makes_no_sense_is_refused(
    arguments: list[str], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    ran = invoke(capsys, *arguments)
    assert ran.code == 2
    assert why in ran.err
