"""What a shard keeps of instants does not grow with the windows it has run."""

from __future__ import annotations

from pathlib import Path

from pagewake.engine.embedded import run_embedded
from pagewake.guest_kernel.shard import ENTRIES_PER_VM_MAX
from pagewake.participants.build import build
from pagewake.participants.plan import RunPlan
from pagewake.scenario.loading import loads

THRASH = """
[scenario]
name = "heaps"
duration = "20ms"
[host]
medium = { base = "nvme", parallelism = 64 }
[[vm]]
name = "vm"
count = 3
vcpus = 2
memory = "1MiB"
limit = "512KiB"
[[vm.task]]
name = "faulter"
count = 2
pattern = "random"
working_set = "768KiB"
access = "write"
populated = true
touch = "20us"
"""


def test_heaps_hold_a_few_entries_a_vm() -> None:
    plan = RunPlan.of("test", loads(THRASH, "heaps.toml", Path()), shards=1)
    parts = build(plan)
    shard = parts[0].shards[0]
    longest = [0, 0]

    def look(_sim_ns: int, _windows: int) -> None:
        for at, heap in enumerate((shard._ready, shard._bounds)):
            longest[at] = max(longest[at], len(heap))

    outcome = run_embedded(plan, parts, on_progress=look)

    assert outcome.windows > 20 * ENTRIES_PER_VM_MAX
    assert max(longest) <= ENTRIES_PER_VM_MAX * len(shard.kernels)
