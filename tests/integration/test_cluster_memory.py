"""The cluster's participants over a bus of lists: whatever happens to them, the digest is that of
the embedded run.
"""

from __future__ import annotations

import itertools
from functools import cache
from pathlib import Path

import msgspec
import pytest

from pagewake.bus.partitions import StoredRecord
from pagewake.bus.port import BrokenLogError, Outbox
from pagewake.cluster.partition_log import PartitionLog
from pagewake.cluster.runs import Runs
from pagewake.engine.recorded import recorded_of
from pagewake.engine.run import run_scenario
from pagewake.events.codec import Encoded
from pagewake.events.types import WindowOpened
from pagewake.observe.result import RunResult
from pagewake.participants.build import shard_participant
from pagewake.participants.participant import Out
from pagewake.participants.plan import RunPlan
from pagewake.participants.snapshots import SnapshotReader
from pagewake.scenario.library import builtin_names
from pagewake.scenario.loading import load
from pagewake.scenario.model import Scenario
from pagewake.verify.verify import verify_log
from tests.support.cluster import FakeCluster
from tests.support.poison import KEYS, poison

SHORTENED = {
    "ci-batch": "10ms",
    "cxl-tier": "10ms",
    "database": "10ms",
    "jvm-gc": "10ms",
    "postcopy": "20ms",
    "restore-file": "20ms",
    "restore-uffd": "20ms",
    "web": "10ms",
    "swap-tiers": "10ms",
    "zswap": "10ms",
    "natapov-2010": "2s",
    "overcommit": "30ms",
    "snapshot-restore": "30ms",
    "nested": "100ms",
    "trace-sort": "40ms",
    "trace-sqlite": "40ms",
}


@cache
def scenario_of(name: str) -> Scenario:
    sets = [f"scenario.duration={SHORTENED[name]}"] if name in SHORTENED else []
    return load(name, sets)


@cache
def embedded_result(name: str) -> RunResult:
    return run_scenario(scenario_of(name), shards=2)


def embedded(name: str) -> str:
    return embedded_result(name).digest


def plan_of(name: str, shards: int = 1) -> RunPlan:
    return RunPlan.of("some-run", scenario_of(name), shards)


@pytest.mark.parametrize("name", builtin_names())
def test_the_digest_is_the_embedded_one(name: str) -> None:
    assert FakeCluster(plan_of(name), 1).run() == embedded(name)


@pytest.mark.parametrize("name", builtin_names())
@pytest.mark.parametrize("seed", [1, 2])
def test_kills_snapshots_duplicates_and_zombies_change_nothing(name: str, seed: int) -> None:
    cluster = FakeCluster(
        plan_of(name, 2), seed, duplicate=0.05, kill=0.01, snapshot=0.02, zombies=3
    )
    assert cluster.run() == embedded(name)


@pytest.mark.parametrize("name", ["natapov-2010", "nested", "row-19-l1-with-hypervisor"])
def test_the_copied_log_is_the_embedded_log_byte_for_byte(name: str, tmp_path: Path) -> None:
    scenario = scenario_of(name)
    run_scenario(scenario, shards=2, log_dir=tmp_path / "embedded")
    plan = RunPlan.of("embedded", scenario, 2)
    cluster = FakeCluster(plan, 3, duplicate=0.1, kill=0.01, snapshot=0.02, zombies=1)
    cluster.run()
    cluster.copy_log(tmp_path / "copied")
    for file in (tmp_path / "embedded").iterdir():
        assert (tmp_path / "copied" / file.name).read_bytes() == file.read_bytes(), file.name


@pytest.mark.parametrize("name", builtin_names())
def test_the_result_is_the_embedded_one(name: str) -> None:
    cluster = FakeCluster(plan_of(name, 2), 4, duplicate=0.1)
    cluster.run()
    expected = msgspec.structs.replace(embedded_result(name), wall_s=0.0, jobs=None)
    assert cluster.result() == expected


def commands(vm: str) -> list[tuple[int, dict[str, object]]]:
    """What a person does, and after how many steps."""
    return [
        (2, {"do": "vcpu-offline", "vm": vm, "vcpu": 1}),
        (6, {"do": "medium", "medium": "nvme"}),
        (10, {"do": "migrate", "vm": vm, "pause": "1ms"}),
        (11, {"do": "vcpu-online", "vm": vm, "vcpu": 1}),
        (20, {"do": "fail-allocations", "vm": vm, "where": "guest", "count": 3}),
    ]


INTERACTIVE = {"natapov-2010": ("bm-0", "200ms"), "overcommit": ("guest-3", "60ms")}


def interactive(
    seed: int,
    name: str = "natapov-2010",
    shards: int = 1,
    *,
    stop_after: int | None = None,
    chaos: float = 0.0,
) -> FakeCluster:
    vm, duration = INTERACTIVE[name]
    cluster = FakeCluster(
        RunPlan.of("some-run", load(name, [f"scenario.duration={duration}"]), shards),
        seed,
        duplicate=5 * chaos,
        kill=chaos,
        snapshot=chaos,
        zombies=2,
    )
    for number, (after, command) in enumerate(commands(vm)):
        cluster.command(after, f"c{number}", **command)
    if stop_after is not None:
        cluster.command(stop_after, "stop", do="stop")
    return cluster


@pytest.mark.parametrize("stop_after", [None, 12, 40])
@pytest.mark.parametrize(
    ("name", "shards"), [("natapov-2010", 1), ("overcommit", 1), ("overcommit", 3)]
)
def test_an_interactive_run_replays_to_its_digest(
    name: str, shards: int, stop_after: int | None, tmp_path: Path
) -> None:
    cluster = interactive(1, name, shards, stop_after=stop_after, chaos=0.02)
    digest = cluster.run()
    assert digest != embedded(name)
    late = [answer for answer in cluster.answers.values() if not answer.ok]
    assert all("the run ends at" in str(answer.error) for answer in late)
    assert len(cluster.answers) - len(late) >= 3
    assert cluster.copy_log(tmp_path / "log") == digest
    assert verify_log(tmp_path / "log").problems == []
    scenario = load(str(tmp_path / "log" / "run.toml"))
    recorded = recorded_of(tmp_path / "log", scenario)
    answers = cluster.answers.values()
    end_ns = cluster.result().sim_ns
    times = [answer.at_ns or 0 for answer in answers if answer.ok and answer.id != "stop"]
    given = [at_ns for at_ns in times if at_ns < end_ns]
    assert [[control.at_ns for control in host] for host in recorded.controls] == [given]
    assert run_scenario(scenario, recorded=recorded).digest == digest


def test_a_stopped_run_ends_where_its_answer_says() -> None:
    cluster = interactive(1, stop_after=40)
    cluster.run()
    assert cluster.result().sim_ns == cluster.answers["stop"].at_ns


@pytest.mark.parametrize(
    ("command", "error"),
    [
        ({"do": "vcpu-offline", "vm": "bm-0", "vcpu": 9}, 'vcpu: "bm-0" has no vcpu 9'),
        ({"do": "vcpu-offline", "vm": "bm-7", "vcpu": 1}, 'vm: there is no VM "bm-7"'),
        ({"do": "vcpu-offline", "vm": "bm-0"}, 'vcpu: the required key "vcpu" is missing'),
        ({"do": "medium", "medium": "nvme", "host": 3}, "there is no host 3"),
        ({"do": "explode"}, 'do: "explode" is nothing to do'),
        ({"do": "pause", "vm": "bm-0"}, "unknown field `vm`"),
        ({"do": "pace"}, "missing required field `speed`"),
        ({"do": "pace", "speed": -1}, '{"do":"pace","speed":-1}: Expected `float` >= 0.0'),
        ({}, "is nothing to do"),
    ],
)
def test_a_wrong_command_changes_nothing_and_says_why(
    command: dict[str, object], error: str
) -> None:
    cluster = FakeCluster(plan_of("natapov-2010"), 1)
    cluster.command(10, "wrong", **command)
    assert cluster.run() == embedded("natapov-2010")
    answer = cluster.answers["wrong"]
    assert not answer.ok
    assert error in str(answer.error)


def test_malformed_and_foreign_records_are_counted_and_change_nothing() -> None:
    cluster = FakeCluster(plan_of("nested"), 1)
    other = FakeCluster(RunPlan.of("other-run", scenario_of("nested"), 1), 1)
    foreign = other.members[0].unsent[0].record
    for (topic, partition), junk in itertools.product(
        [("faults", 0), ("apf.nested", 0)], [b"", b"{}", b"\xff\x00", b"[" * 100_000, foreign]
    ):
        cluster.append(Out(topic, partition, Encoded(junk, "")))
    assert cluster.run() == embedded("nested")
    assert cluster.rejected == {"malformed": 8, "foreign": 2}


@pytest.mark.parametrize("why", poison("some-run"))
def test_no_poison_is_fatal_or_applied(why: str) -> None:
    cluster = FakeCluster(plan_of("nested"), 1)
    record = poison("some-run")[why]
    for member in cluster.members:
        before = member.participant.seqs(), member.participant.at_ns
        step = member.participant.accept(record)
        assert step.rejected is not None
        assert not step.outs
        assert not step.events
        assert (member.participant.seqs(), member.participant.at_ns) == before
    runs = Runs()
    for key in (
        b"some-run",
        b"some-run/state",
        b"some-run/host-0",
        b"some-run/spent-host-0",
        *KEYS,
    ):
        assert runs.feed(StoredRecord(0, key, record)) is None or record is None
    assert runs.entries == {}
    assert PartitionLog("some-run", "faults", 0, ["guest-0"]).feed(record) == []
    reader = SnapshotReader("some-run", "host-0", "0")
    for key in KEYS:
        reader.feed(key, record)
    assert reader.complete == []


def test_a_duplicate_with_other_content_stops_the_run() -> None:
    cluster = FakeCluster(plan_of("nested"), 1)
    member = cluster.members[0]
    cluster.send(member)
    shard = cluster.members[1]
    cluster.step(shard)
    window = Outbox("some-run", "host-0", "apf.nested", 0, "another version")
    other = window.encode(0, [WindowOpened(0, 12345)])[0].record
    with pytest.raises(BrokenLogError, match=r"different content.*another version"):
        shard.participant.accept(other)


def test_a_gap_stops_the_run() -> None:
    cluster = FakeCluster(plan_of("nested"), 1)
    window = Outbox("some-run", "host-0", "apf.nested", 0, "x")
    window.seq = 3
    with pytest.raises(BrokenLogError, match=r"apf\.nested-0: commit 3 of host-0 follows a gap"):
        cluster.members[1].participant.accept(window.encode(0, [WindowOpened(0, 9)])[0].record)


def upgraded(cluster: FakeCluster, plan: RunPlan) -> FakeCluster:
    """A cluster half through its run, with snapshots; then all services are of another version."""
    for member in itertools.islice(itertools.cycle(cluster.members), 300):
        cluster.step(member)
        if not member.unsent:
            cluster.store(member)
    assert not cluster.ended()
    assert cluster.snapshots
    cluster.plan = plan
    for index in range(cluster.participants):
        cluster.die(index)
    return cluster


def test_another_version_with_the_same_rules_executes_a_run_again_and_goes_on() -> None:
    plan = plan_of("natapov-2010", 2)
    cluster = upgraded(FakeCluster(plan, 1), plan._replace(code="another version"))
    assert [member.offset for member in cluster.members] == [0] * cluster.participants
    assert cluster.run() == embedded("natapov-2010")


def other_rules() -> RunPlan:
    """As `plan_of("natapov-2010")`, of a version in which an exit takes longer."""
    other = load("natapov-2010", ["scenario.duration=2s", "host.costs.exit=600ns"])
    return RunPlan.of("some-run", other, 1)._replace(code="another version")


def test_another_version_with_other_rules_stops_the_run() -> None:
    cluster = upgraded(FakeCluster(plan_of("natapov-2010"), 1), other_rules())
    with pytest.raises(BrokenLogError, match=r"(different content|not fit).*another version"):
        cluster.run()


def test_a_shard_finds_out_by_itself_that_a_window_of_another_version_does_not_fit() -> None:
    shard = shard_participant(plan_of("nested"), 0)
    host = Outbox("some-run", "host-0", "apf.nested", 0, "another version")
    shard.accept(host.encode(0, [WindowOpened(0, 12_345)])[0].record)
    shard.journal()
    with pytest.raises(BrokenLogError, match="by version another version does not fit"):
        shard.accept(host.encode(1, [WindowOpened(1, 12_000)])[0].record)
