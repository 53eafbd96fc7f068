"""reference/result.md: what `run --json` prints, from observe/result.py and progress.py.

Also what `trace-info --json` prints, from scenario/trace_info.py.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from docs.generate.events import typed
from docs.generate.markdown import code, head, prose, table
from pagewake.observe.expectations import Expectation
from pagewake.observe.latency import Latency
from pagewake.observe.progress import Share, TaskProgress
from pagewake.observe.result import Dummies, Panic, RunResult, Waits, WaitTimes, Work
from pagewake.scenario.trace_info import Expected, Reuse, TraceInfo, WorkingSet

ABOUT = """
What `pagewake run --json` prints: one object. `submit --wait --json` prints the same, `compare
--json` a list of them, each with its `axes`; the page that `report` writes has it inside, but for
`wall_s` and `jobs`, which alone depend on the machine. Names of tasks are `vm/task`, both of them
instances, as in `bm-0/faulter-1`.
"""
KEYS: Mapping[str, str] = {
    "scenario": "name of the scenario",
    "seed": "of all its randomness",
    "profile": "kernel profile",
    "apf": "mode: `off`, `nonpv` or `pv`",
    "sim_ns": "simulated time until the last VM ended",
    "wall_s": "seconds that the run took",
    "windows": "windows of all simulated hosts",
    "events": "domain events",
    "digest": "of all domain events: equal digests, equal runs",
    "not_present": "faults on absent pages, by what the guest was told; without first touches",
    "first_touches": "touches of pages that were never written before",
    "page_ins": "pages read from swap",
    "evictions": "frames taken back",
    "waits": "calls of task_wait",
    "wakes": "tasks woken, by what unlinked them",
    "dummies": "nodes for a READY that came first",
    "halts": "halts of vcpus, by why; a guest's own HLT among them",
    "double_faults": "faults on a page that the same vcpu waits for already",
    "exits": "exits of nested guests, by route",
    "work": "increments of work tasks",
    "wait_sim_seconds": "how long tasks slept until they were woken; null if none was",
    "unresolved": "tasks asleep at the end whose page-in is not in flight: lost wake-ups",
    "unresolved_tasks": "their names",
    "sleepers": "all tasks asleep in task_wait at the end",
    "cpu": "vcpu time in ns, by kind; `task:NAME` went to the tasks of that name",
    "by_event": "domain events, by name",
    "latency": "of requests, by `group/task`, the names of the `[[vm]]` and the `[[vm.task]]`",
    "expected": "what the scenario expects of them (`[[expect]]`), and whether it came true",
    "panics": "VMs that are over because their guest's kernel panicked, by name",
    "touches": "touches of all tasks",
    "requests": "requests that all tasks served",
    "silent": "tokens announced as absent and never as ready, by why: "
    "[not sent](events.md#silentwhy), or [withdrawn](events.md#clearwhy)",
    "progress": "every task, by its name",
    "per_group": "the VMs of a `[[vm]]` table together, by its name",
    "per_vm": "every VM, by its name",
    "in_swap": "pages that lie in swap at the end",
    "in_swap_bytes": "memory of the hosts that they take there; 0 unless the medium is memory, "
    "null with several swap areas",
    "page_ins_from": "page-ins by swap area, zswap last; empty where `host.medium` is all",
    "read_ahead": "page-ins beside a page that was wanted (`host.page_cluster`)",
    "pushed": "pages that came without being asked for, from sources of VMs (`page_source`)",
    "huge_touches": "faults that brought 512 of the first touches each (`host.huge_pages`)",
    "host_cpu": "time of the hosts' CPUs by kind of thread, and idle (`host.cpus`); else empty",
    "shards": "how many the run was split into",
    "version": "of pagewake",
    "jobs": "processes that simulated it; null for a run of a cluster and for a log",
    "journal": "how much of it a log, or the cluster, keeps",
}
NULL = """
All from `touches` to `in_swap_bytes` is null where a log of version 0.1.0
was read: it does not hold them. Of a run that was submitted with `--journal none`, `waits`,
`wakes`, `halts`, `exits`, `wait_sim_seconds`, `latency`, `panics`, `progress`, `per_group` and
`per_vm` are null.
"""
PARTS = (TaskProgress, Share, Work, Waits, Dummies, WaitTimes, Latency, Expectation, Panic)


OF_A_TRACE = """
What `pagewake trace-info --json` prints ([how to bring a trace](../how-to/bring-a-trace.md)).
"""
OF_A_TRACE_KEYS: Mapping[str, str] = {
    "trace": "the file",
    "format": "told by its content",
    "unit": "what `length` and `since` count: `instructions` or `nanoseconds`",
    "length": "of the trace",
    "accesses": "recorded ones",
    "touches": "what a run makes of them",
    "pages": "distinct ones, of 4 KiB",
    "pages_written": "of them; null where the format does not know writes",
    "writes": "touches that write; null likewise",
    "at_once": "the most pages of one instruction, which a limit must have room for",
    "only_faults": "whether hits are not in it",
    "working_set": "pages touched in each of equal parts",
    "reuse": "other pages between two uses; null if no page is used twice",
    "one_page_in": "1: all pages were looked at; else a sample",
    "error": "of the shares in `curve`, at worst; null if exact",
    "curve": "expected page-ins from a 64th of the pages to all",
    "limits": "expected page-ins at the limits of `--limit`",
}
OF_A_TRACE_PARTS = (WorkingSet, Reuse, Expected)


def page() -> str:
    """The whole page."""
    keys = {field.name: typed(field.type) for field in msgspec.structs.fields(RunResult)}
    assert list(keys) == list(KEYS), "every key of a result has a text, in their order"
    parts = [
        head("Result", "`observe/result.py`, `observe/progress.py`, `observe/latency.py`", ABOUT),
        table(["key", "type", "is"], [(code(key), keys[key], KEYS[key]) for key in keys]),
        f"{NULL}\n",
    ]
    parts += [_part(part) for part in PARTS]
    keys = {field.name: typed(field.type) for field in msgspec.structs.fields(TraceInfo)}
    assert list(keys) == list(OF_A_TRACE_KEYS), "every key has a text, in their order"
    rows = [(code(key), keys[key], OF_A_TRACE_KEYS[key]) for key in keys]
    parts += ["## What is in a trace", OF_A_TRACE, table(["key", "type", "is"], rows)]
    parts += [_part(part) for part in OF_A_TRACE_PARTS]
    return "\n".join(parts)


def _part(part: type[msgspec.Struct]) -> str:
    rows = [(code(each.name), typed(each.type)) for each in msgspec.structs.fields(part)]
    return "\n".join([f"## {part.__name__}\n", f"{prose(part)}\n", table(["key", "type"], rows)])
