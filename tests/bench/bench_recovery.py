"""How long a run stands still when its guest service is killed, by the size of what it holds.

A VM has 4 vcpus and its tasks thrash on NVMe (`thrash` in `common`); one simulated host, one guest
service, which is killed (SIGKILL) behind each of a few snapshots and started again at once, as a
supervisor would.  Timed is from the kill to the next window's close; on the way are the start of a
Python process, the joining of its group, the reading of the snapshot and the replay of the windows
behind it.  Medians; the digest is compared with that of the embedded run.
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import NamedTuple

import msgspec

from pagewake.bus.kafka import KafkaBus, KafkaSettings
from pagewake.engine.run import run_scenario
from pagewake.participants.plan import SNAPSHOTS, RunPlan, topic_name
from pagewake.participants.snapshots import SnapshotReader
from pagewake.scenario.writing import effective_toml
from tests.bench.common import quick, table, thrash
from tests.soak.watch import Seen, Watch
from tests.support.processes import KAFKA, START, Cluster, answers, new_run, running, until

SIZES = {100: "12ms", 1_000: "4ms", 10_000: "1ms"}
"""vcpus, and how long they are simulated: about fifty windows a millisecond."""
QUICK = {100: "6ms"}
VCPUS = 4  # of each VM
SNAPSHOT_S = 0.3
"""Of work, so that a short run has several; with the services' default of 5 s more is replayed."""
KILLS = 2
WAIT_S = 300.0
GUEST = "guest"


class Recovery(NamedTuple):
    """After one kill."""

    snapshot_bytes: int
    replayed: int
    serving_s: float
    owned_s: float
    window_s: float


def recoveries(cluster: Cluster, watch: Watch, path: Path, plan: RunPlan) -> list[Recovery]:
    """Of one run, each behind another snapshot; fewer if the run ends first."""
    seen = watch.follow(plan)
    submitted = cluster.submit(plan.run, str(path))
    found: list[Recovery] = []
    for number in range(KILLS):
        until(lambda: seen.ended or seen.snapshots > number, "a snapshot", WAIT_S)  # noqa: B023
        if seen.ended:
            break
        recovery = kill(cluster, seen)
        if recovery is not None:
            found.append(recovery)
    out, err = submitted.communicate(timeout=WAIT_S)
    if submitted.returncode:
        raise RuntimeError(err)
    expected = run_scenario(plan.scenario).digest
    assert msgspec.json.decode(out)["digest"] == expected, "the cluster's digest is another"
    return found


def kill(cluster: Cluster, seen: Seen) -> Recovery | None:
    """None if the run ended over it."""
    began_s = time.monotonic()
    cluster.kill(GUEST)
    window = seen.windows
    cluster.start(GUEST)
    cluster.until_said(GUEST, "serving", WAIT_S)
    serving_s = time.monotonic()
    owned = cluster.until_said(GUEST, "owned", WAIT_S)
    owned_s = time.monotonic()
    until(lambda: seen.ended or seen.windows > window + 1, "the run goes on", WAIT_S)
    moved_s = time.monotonic()
    if seen.ended:
        return None
    size = asyncio.run(snapshot_bytes(seen.plan))
    times_s = (serving_s - began_s, owned_s - began_s, moved_s - began_s)
    return Recovery(size, owned["replay"], *times_s)


async def snapshot_bytes(plan: RunPlan) -> int:
    """Of the guest shard's newest snapshot."""
    (shard,) = plan.topology.shards
    partition = plan.snapshot_partition(shard.topic, shard.partition)
    reader = SnapshotReader(plan.run, shard.source, plan.code)
    async with KafkaBus(KafkaSettings(bootstrap=KAFKA)) as bus:
        async for stored in bus.read(topic_name(plan.run, SNAPSHOTS), partition):
            reader.feed(stored.key, stored.value)
    return reader.complete[0].manifest.size


def figures(found: list[Recovery]) -> list[str]:
    """Medians, and the longest."""
    size, replayed, *times_s = (median(column) for column in zip(*found, strict=True))
    longest_s = max(each.window_s for each in found)
    return [
        f"{size / 1e3:,.0f}",
        f"{replayed:.0f}",
        *(f"{each_s:.1f}" for each_s in (*times_s, longest_s)),
    ]


def main() -> None:
    """Print the table."""
    if not answers(KAFKA):
        print(f"skipped, no Kafka at {KAFKA}: {START}", file=sys.stderr)
        return
    heads = ["vcpus", "kills", "snapshot KB", "windows replayed", "serving s", "owned s"]
    rows: list[list[object]] = [[*heads, "next window s", "longest s"]]
    with TemporaryDirectory() as name:
        directory = Path(name)
        watch = Watch(KAFKA)
        for cluster in running(directory, snapshot_s=0.05 if quick() else SNAPSHOT_S):
            cluster.start("host", GUEST)
            for vcpus, duration in (QUICK if quick() else SIZES).items():
                scenario = thrash(vcpus // VCPUS, duration)
                path = directory / f"{vcpus}.toml"
                path.write_text(effective_toml(scenario))
                plan = RunPlan.of(new_run(), scenario, 1)
                found = recoveries(cluster, watch, path, plan)
                watch.forget(plan)
                rows.append([f"{vcpus:,}", len(found), *figures(found)])
        watch.close()
    table(rows)


if __name__ == "__main__":
    main()
