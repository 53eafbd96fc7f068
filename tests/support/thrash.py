"""A VM that thrashes: it reads many times what it may keep, so what is read soon goes again.

On vcpu 0 something computes, so that a READY there waits for the tick; on vcpu 1 pages come and go.
"""

from __future__ import annotations

from pagewake.engine.embedded import run_embedded
from pagewake.events.types import Event
from pagewake.participants.build import build
from pagewake.participants.plan import RunPlan
from pagewake.scenario.loading import loads

THRASH = """
[scenario]
name = "thrash"
duration = "60ms"
[kernel]
hz = 100
[host]
medium = { latency = "300us", jitter = "100us", parallelism = 16 }
page_cluster = "off"
[[vm]]
name = "vm"
vcpus = 2
memory = "128MiB"
limit = "512KiB"
[[vm.task]]
name = "late"
vcpu = 0
count = 2
pattern = "random"
working_set = "4MiB"
access = "read"
populated = true
touch = "1us"
[[vm.task]]
name = "busy"
vcpu = 0
pattern = "work"
[[vm.task]]
name = "reader"
vcpu = 1
count = 24
pattern = "random"
working_set = "4MiB"
access = "read"
populated = true
touch = "1us"
"""


def thrashing(*settings: str) -> list[Event]:
    """Every event of such a run, in the order of the VM."""
    plan = RunPlan.of("thrash", loads(THRASH, sets=settings), shards=1)
    events: list[Event] = []
    run_embedded(plan, build(plan), observer=events.extend)
    return sorted(events, key=lambda event: event.n)
