"""Every key of a scenario file does something: a change of it changes what a run is.

The keys are those that the model has, so a new one without a case here fails, and so does a case
of a key that is gone.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest

from pagewake.engine.run import run_scenario
from pagewake.errors import PagewakeError
from pagewake.explore.machine import MAY
from pagewake.explore.search import Bounds, Plan, Search
from pagewake.observe.result import RunResult
from pagewake.scenario.keys import Key
from pagewake.scenario.loading import load
from pagewake.scenario.media import Medium
from pagewake.scenario.model import Scenario
from pagewake.scenario.reading import fields_of

HEAD = '[scenario]\nname = "every-key"\nduration = "12ms"\n'
VM = '[[vm]]\nname = "vm"\nvcpus = 2\nmemory = "32MiB"\nlimit = "4MiB"\n'
ROOMY = ("vm.0.memory=64MiB", "vm.0.limit=64MiB")
"""With frames for whole ranges."""
EMULATOR = 'vm.0.emulator={every="1ms", for="100us"}'
BUSY = (
    HEAD
    + """
[host]
medium = "nvme"
page_cluster = "off"
"""
    + VM.replace('name = "vm"', 'name = "vm"\ncount = 2')
    + """
[[vm.task]]
name = "toucher"
count = 2
pattern = "random"
working_set = "6MiB"
access = "mixed"
populated = true
kernel_every = "500ns"
kernel_for = "500ns"
[[vm.task]]
name = "scanner"
pattern = "sequential"
working_set = "1MiB"
[[vm.task]]
name = "skewed"
pattern = "zipf"
working_set = "2MiB"
access = "write"
[[vm.task]]
name = "worker"
count = 3
pattern = "work"
finish_after = "3ms"
[[vm.task]]
name = "player"
pattern = "trace"
trace = "tiny.csv"
"""
)
EXACT = (
    HEAD
    + """
[kernel]
hz = 1000
[host]
medium = { latency = "300us", parallelism = 64 }
page_cluster = "off"
"""
    + VM
    + """
[[vm.task]]
name = "exact"
count = 2
pattern = "script"
working_set = "64KiB"
populated = true
resident = "0B"
script = ["at 2ms kernel", "touch 1", "user", "at 9ms touch 2", "run 1us"]
[[vm.task]]
name = "other"
pattern = "work"
finish_after = "11ms"
[[event]]
at = "1ms"
do = "alloc-fails"
vm = "vm-0"
where = "guest"
count = 3
[[event]]
at = "8ms"
do = "msr-write"
vm = "vm-0"
vcpu = 1
msr = "apf-en"
value = 0x1001001
"""
)
LEVELS = (
    HEAD.replace("12ms", "40ms")
    + """
[kernel.scheduler]
latency = "2ms"
min_granularity = "500us"
[host]
medium = "nvme"
page_cluster = "off"
"""
    + VM
    + """
nested = 2
l2 = { vcpus = 2, memory = "16MiB" }
l3 = { vcpus = 1, memory = "8MiB" }
[[vm.task]]
name = "inner"
level = 2
count = 2
pattern = "random"
working_set = "6MiB"
populated = true
[[vm.task]]
name = "fresh"
level = 2
pattern = "sequential"
working_set = "256KiB"
[[vm.task]]
name = "deep"
level = 3
count = 2
pattern = "work"
finish_after = "4ms"
"""
)
CROWDED = (
    HEAD.replace("12ms", "40ms")
    + """
[host]
medium = "nvme"
page_cluster = "off"
"""
    + VM
    + """
[[vm.task]]
name = "worker"
count = 7
pattern = "work"
finish_after = "10ms"
[[vm.task]]
name = "pinned"
count = 3
vcpu = 0
pattern = "work"
finish_after = "3ms"
[[vm.task]]
name = "sleeper"
pattern = "script"
script = ["sleep 1ms", "run 1ms", "sleep 3ms", "run 2ms", "sleep 2ms", "run 1ms", "cpuid"]
"""
)
SHARED = (
    HEAD
    + """
[host]
medium = "nvme"
page_cluster = "off"
memory = "6MiB"
"""
    + "".join(
        VM.replace('"vm"', f'"{name}"')
        + """
[[vm.task]]
name = "toucher"
pattern = "random"
working_set = "6MiB"
populated = true
"""
        for name in ("one", "other")
    )
)
PHASED = (
    HEAD
    + """
[host]
medium = "nvme"
page_cluster = "off"
"""
    + VM
    + """
[[vm.task]]
name = "mutator"
pattern = "random"
working_set = "6MiB"
populated = true
hot_set = 0.1
[[vm.task.phase]]
touches = 20
[[vm.task.phase]]
touches = 9
pattern = "zipf"
[[vm.task]]
name = "other"
pattern = "random"
working_set = "2MiB"
populated = true
hot_set = 0.1
"""
)
SERVED = (
    HEAD
    + """
[host]
medium = "nvme"
page_cluster = "off"
"""
    + VM
    + """
[[vm.task]]
name = "web"
count = 3
pattern = "requests"
rate = "9000/s"
service = "exponential 100us"
touches_per_request = 6
working_set = "6MiB"
populated = true
[[vm.task]]
name = "app"
count = 2
pattern = "requests"
clients = 5
think = "exponential 500us"
service = "40us"
[[vm.task]]
name = "log"
pattern = "requests"
arrivals_file = "arrivals.txt"
service = "20us"
[[expect]]
of = "vm/web"
mean = "1ms"
p50 = "1ms"
p90 = "1ms"
p99 = "1ms"
p999 = "1ms"
max = "1ms"
throughput = 100
"""
)
EXPLORED = (
    HEAD
    + """
[kernel]
profile = "3.10"
[kernel.overrides]
completion_kicks = true
[host]
medium = { latency = "300us", parallelism = 64 }
page_cluster = "off"
"""
    + VM
    + """
[[vm.task]]
name = "one"
vcpu = 0
count = 2
pattern = "script"
populated = true
resident = "0B"
script = ["kernel", "touch 0", "run 1us"]
[[vm.task]]
name = "other"
pattern = "script"
script = ["run 1us"]
[explore.budget]
tick = 0
"""
)
TRACE = "icount,page,kind,count\n" + "".join(f"{40 * n},{n % 9},L,1\n" for n in range(20))
TEXTS = {
    "busy": BUSY,
    "exact": EXACT,
    "levels": LEVELS,
    "crowded": CROWDED,
    "shared": SHARED,
    "served": SERVED,
    "phased": PHASED,
    "explored": EXPLORED,
}
ARRIVALS = {"arrivals.txt": "0.001\n0.0015\n", "others.txt": "0.002\n0.0025\n"}


class Change(NamedTuple):
    """A base (a text above or a built-in), settings that both runs have, and what is changed.

    The first change names the key it stands for; others go with it.
    """

    base: str
    changes: tuple[str, ...]
    given: tuple[str, ...] = ()

    @property
    def changed(self) -> tuple[str, ...]:
        """What is given with the changes, each key once."""
        keys = {text.partition("=")[0] for text in self.changes}
        kept = (text for text in self.given if text.partition("=")[0] not in keys)
        return (*kept, *self.changes)

    @property
    def key(self) -> str:
        return key_of(self.changes[0])


AREAS = (
    'host.swap=[{medium="ssd-sata",size="9MiB",priority=4},{medium="zram",size="9MiB",priority=3}]'
)
"""Two swap areas before the medium of the host."""


def change(base: str, *changes: str, given: tuple[str, ...] = ()) -> Change:
    return Change(base, changes, given)


MOVES_THE_DIGEST = [
    change("busy", "scenario.seed=2"),
    change("busy", "scenario.duration=11ms"),
    change("busy", "kernel.profile=5.8"),
    change("busy", "kernel.apf=nonpv"),
    change("busy", "kernel.cpuid.l1=[]"),
    change("levels", 'kernel.cpuid.l2=["async_pf"]', given=("kernel.profile=6.1", "kernel.l2=6.1")),
    change("busy", "kernel.l0=2.6.38"),
    change("busy", "kernel.l1=5.10", given=("kernel.profile=5.10", "kernel.l1=3.x")),
    change("levels", "kernel.l2=2.6.39"),
    change("busy", "kernel.overrides.preempt=true"),
    change("busy", "kernel.hz=250"),
    change("exact", "kernel.idle_hz=500"),
    change("busy", "kernel.irqchip=false"),
    change("busy", "kernel.costs.tick=6us"),
    change("busy", "kernel.costs.trap=600ns"),
    change("busy", "kernel.costs.context_switch=1us"),
    change("busy", "kernel.costs.irq=2us"),
    change("exact", "kernel.costs.spin=11us"),
    change("crowded", "kernel.scheduler.latency=3ms"),
    change("crowded", "kernel.scheduler.min_granularity=9ms"),
    change("crowded", "kernel.scheduler.wakeup_granularity=20ms"),
    change("crowded", "kernel.scheduler.balance=2ms"),
    change("levels", "nested.npt=false"),
    change("levels", "nested.l1_npt=false"),
    change("levels", "nested.l1_vintr_masking=false"),
    change(
        "row-19-l1-with-hypervisor",
        "nested.l2_npt=true",
        given=("kernel.overrides.l1.nested_fix=2017",),
    ),
    change("levels", "nested.l2_vintr_masking=false"),
    *(
        change("levels", f"nested.exits.{kind}=5000")
        for kind in ("hlt", "msr", "io", "cpuid", "intr")
    ),
    change("busy", "host.count=2"),
    change("busy", "host.medium=ssd-sata"),
    change("busy", "host.medium.base=ssd-sata", given=("host.medium.parallelism=3",)),
    change("busy", "host.medium.latency=60us"),
    change("busy", "host.medium.jitter=5us", given=("host.medium.latency=60us",)),
    change("busy", "host.medium.transfer=9us"),
    change("busy", "host.medium.parallelism=1"),
    change("busy", 'host.medium.quantiles=[[0, "20us"], [1, "90us"]]'),
    change("busy", 'host.medium.write_quantiles=[[0, "20us"], [1, "80us"]]'),
    change("busy", "host.medium.synchronous=true", given=('host.medium={latency="60us"}',)),
    change("busy", "host.medium.ratio=2.5", given=("host.medium=zram", "host.memory=7MiB")),
    change("busy", "host.memory=4MiB"),
    change("busy", "host.page_cluster=0", given=("kernel.profile=6.1",)),
    change("busy", "host.huge_pages=true", given=ROOMY),
    change("busy", "host.swap.0.medium=zram", given=(AREAS,)),
    change("busy", "host.swap.0.size=64KiB", given=(AREAS,)),
    change("busy", "host.swap.1.priority=9", given=(AREAS,)),
    change("busy", "host.zswap.max_pool_percent=3", given=("host.zswap={}",)),
    *(
        change("busy", f"host.zswap.{key}", given=("host.zswap.max_pool_percent=5",))
        for key in ("ratio=1.5", "compress=9us", "decompress=9us", "incompressible=0.5")
    ),
    change(
        "busy",
        "host.costs.huge_touch=90us",
        given=(*ROOMY, "host.huge_pages=true", "vm.0.task.0.resident=5MiB"),
    ),
    change("phased", "host.replacement=two-lists", given=("scenario.duration=80ms",)),
    change("busy", "host.charge_batch=2"),
    change("busy", "host.reclaim_lag=300us"),
    change("busy", "host.hz=1000"),
    change("busy", "host.exits_per_s=2000"),
    change("busy", "host.workers=1", given=("kernel.profile=posted-v7",)),
    change("busy", "host.cpus=2"),
    change("busy", "host.halt_poll=200us"),
    change("busy", "host.writeback=1"),
    change("busy", "host.costs.exit=600ns"),
    change("busy", "host.costs.entry=600ns"),
    change("busy", "host.costs.fault=3us"),
    change("busy", "host.costs.first_touch=4us"),
    change("exact", "host.costs.worker_hop=3us", given=("vm.0.vcpus=3",)),
    change("busy", "host.costs.worker_look=5us", given=("host.cpus=2",)),
    change("busy", "host.costs.read_request=2us", given=("host.page_cluster=3",)),
    change("busy", "host.costs.read_page=1us", given=("host.page_cluster=3",)),
    change("busy", "host.costs.wake=3us"),
    change("busy", "host.costs.reclaim_page=5us", given=("host.cpus=2", "kernel.profile=2.6.39")),
    change("busy", "vm.0.name=other"),
    change("busy", "vm.0.count=3"),
    change("busy", "vm.0.vcpus=1"),
    change("exact", "vm.0.memory=16MiB"),
    change("busy", "vm.0.limit=3MiB"),
    change("shared", "vm.0.min=3MiB"),
    change("shared", "vm.0.low=3MiB"),
    change("busy", "vm.0.protected=true"),
    change("exact", "vm.0.hlt_exits=false", given=("vm.0.vcpus=3",)),
    change("busy", "vm.0.nested=1", 'vm.0.l2={memory="4MiB"}'),
    change("levels", "vm.0.l2.vcpus=1"),
    change("levels", "vm.0.l3.vcpus=2"),
    change("busy", "vm.0.task.0.name=other"),
    change("busy", "vm.0.task.0.count=1"),
    change("busy", "vm.0.task.1.pattern=random"),
    change("levels", "vm.0.task.2.level=2"),
    change("busy", "vm.0.task.0.weight=2048"),
    change("busy", "vm.0.task.0.vcpu=0"),
    change("busy", "vm.0.task.0.start=1ms"),
    change("busy", "vm.0.task.0.working_set=5MiB"),
    change("busy", "vm.0.task.0.access=write"),
    change("busy", "vm.0.task.0.write_share=0.1"),
    change("busy", "vm.0.task.2.populated=true"),
    change("busy", "vm.0.task.0.resident=0B"),
    change("busy", "vm.0.task.0.private=true"),
    change("busy", "vm.0.task.0.touch=200ns"),
    change("busy", "vm.0.task.0.touches=20"),
    change("busy", "vm.0.task.1.stride=3"),
    change("busy", "vm.0.task.2.theta=0.5"),
    change("busy", "vm.0.task.4.trace=builtin:sort"),
    change("busy", "vm.0.task.4.repeat=2"),
    change("busy", "vm.0.task.4.cpi=3"),
    change("exact", 'vm.0.task.0.script=["touch 3"]'),
    change("busy", "vm.0.task.0.kernel_every=700ns"),
    change("busy", "vm.0.task.0.kernel_for=200ns"),
    change("busy", "vm.0.task.0.no_preempt=true", given=("kernel.overrides.preempt=true",)),
    change("busy", "vm.0.task.3.finish_after=1ms"),
    change("phased", "vm.0.task.1.hot_set=0.3"),
    change("phased", "vm.0.task.1.hot_touches=0.5"),
    change("phased", "vm.0.task.1.hot_start=0.5"),
    change("phased", "vm.0.task.0.phase.0.touches=30"),
    change("phased", "vm.0.task.0.phase.0.pattern=sequential"),
    change("phased", "vm.0.task.0.phase.0.working_set=1MiB"),
    change("phased", "vm.0.task.0.phase.1.theta=0.2"),
    change("phased", "vm.0.task.0.phase.0.hot_set=0.5"),
    change("phased", "vm.0.task.0.phase.0.hot_touches=0.2"),
    change("phased", "vm.0.task.0.phase.0.hot_start=0.5"),
    change("served", "vm.0.task.0.service=100us"),
    change("served", "vm.0.task.0.touches_per_request=5"),
    change("served", "vm.0.task.0.rate=8000"),
    change("served", "vm.0.task.0.arrivals=constant"),
    change("served", "vm.0.task.0.requests=20"),
    change("served", "vm.0.task.1.clients=6"),
    change("served", "vm.0.task.1.think=400us"),
    change("served", "vm.0.task.2.arrivals_file=others.txt"),
    change("exact", "event.0.count=2"),
    *(
        change("snapshot-restore", f"vm.0.userfault.{key}", given=("scenario.duration=20ms",))
        for key in ("signal=2us", "wake=9us", "take=2us", "copy=3us", "local=0.5")
    ),
    change(
        "snapshot-restore",
        "vm.0.userfault.exit=4us",
        given=("scenario.duration=20ms", "kernel.overrides.user_apf=exit"),
    ),
    *(
        change("busy", f"vm.0.emulator.{key}", given=("host.cpus=2", EMULATOR))
        for key in ("every=2ms", "for=50us")
    ),
    change("busy", "vm.0.page_source=file"),
    *(
        change(name, f"vm.0.source.{key}", given=("scenario.duration=10ms",))
        for name, key in (
            ("postcopy", "medium=rdma"),
            ("postcopy", "prefetch=4MiB"),
            ("postcopy", "order=address"),
            ("postcopy", "handling=20us"),
            ("restore-uffd", "threads=1"),
            ("restore-file", "read_ahead=64KiB"),
        )
    ),
]
MOVES_THE_DIGEST.append(
    change(
        "explored",
        'explore.choices=["vcpu 1", "vcpu 1"]',
        given=('explore.choices=["vcpu 0", "vcpu 0"]',),
    )
)
CHANGES_THE_RESULT = [
    change("busy", "kernel.increment=2ns"),
    change("served", "expect.0.of=vm/app"),
    *(
        change("served", f"expect.0.{name}=2ms")
        for name in ("mean", "p50", "p90", "p99", "p999", "max")
    ),
    change("served", "expect.0.throughput=200"),
]
"""Counted in the result, in no event."""

IS_REFUSED = [
    change("levels", "vm.0.l2.memory=4MiB"),
    change("levels", "vm.0.l3.memory=32MiB"),
    change("busy", f"vm.0.task.4.trace_sha256={'0' * 64}"),
    change("served", f"vm.0.task.2.arrivals_sha256={'0' * 64}"),
]
"""Limits and checks: what they forbid is not run."""

TELLS_PEOPLE = {"name", "description", "shows", "expects", "version"}
"""Keys of `[scenario]` that a run prints or writes down and does not read."""


@cache
def keys(struct: type[msgspec.Struct] = Scenario, below: str = "") -> list[str]:
    """Every key of a scenario file, numbers of arrays left out."""
    return list(_keys(struct, below))


def _keys(struct: type[msgspec.Struct], below: str) -> Iterator[str]:
    for field in fields_of(struct):
        path = below + field.mark.name
        if isinstance(field.mark, Key):
            yield path
        else:
            assert field.struct is not None
            yield from _keys(field.struct, f"{path}.")
        if path == "host.medium":
            yield from _keys(Medium, f"{path}.")


def key_of(setting: str) -> str:
    """The key that a `--set` changes, or that holds what it changes."""
    parts = [part for part in setting.partition("=")[0].split(".") if not part.isdecimal()]
    paths = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
    return next((path for path in paths if path in keys()), setting)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("bases")
    for name, text in TEXTS.items():
        (directory / f"{name}.toml").write_text(text, "utf-8")
    for name, text in {"tiny.csv": TRACE, **ARRIVALS}.items():
        (directory / name).write_text(text, "utf-8")
    return directory


@cache
def outcome(directory: Path, base: str, settings: tuple[str, ...]) -> RunResult:
    """What a run says, but for how long it took."""
    name = str(directory / f"{base}.toml") if base in TEXTS else base
    return msgspec.structs.replace(run_scenario(load(name, settings)), wall_s=0.0)


def both(directory: Path, case: Change) -> tuple[RunResult, RunResult]:
    return (
        outcome(directory, case.base, case.given),
        outcome(directory, case.base, case.changed),
    )


CHANGES_WHAT_IS_EXPLORED = [
    *(
        change("explored", f"explore.budget.{name}=1", given=("explore.budget.tick=0",))
        for name in MAY
        if name != "tick"
    ),
    change("explored", "explore.budget.tick=1"),
    change("explored", "explore.boot=true"),
    change("explored", 'explore.event=[{do="irq",vm="vm-0",vcpu=1}]'),
    change("explored", 'explore.properties=["always TaskFinished <= 1"]'),
]


@cache
def explored(directory: Path, settings: tuple[str, ...]) -> tuple[object, ...]:
    plan = Plan(load(str(directory / "explored.toml"), settings), bounds=Bounds(depth=25))
    assert plan.scenario.explore is not None
    plan = plan._replace(properties=plan.scenario.explore.properties)
    found = Search(plan).breadth_first()
    return found.states, found.transitions, sorted(found.found)


@pytest.mark.parametrize("case", CHANGES_WHAT_IS_EXPLORED, ids=lambda case: case.key)
def test_another_value_is_another_space(directory: Path, case: Change) -> None:
    assert explored(directory, case.given) != explored(directory, case.changed)


def test_every_key_of_the_model_has_one_case() -> None:
    cases = [*MOVES_THE_DIGEST, *CHANGES_THE_RESULT, *CHANGES_WHAT_IS_EXPLORED, *IS_REFUSED]
    told = [f"scenario.{name}" for name in TELLS_PEOPLE]
    assert sorted([*(case.key for case in cases), *told]) == sorted(keys())


@pytest.mark.parametrize("case", MOVES_THE_DIGEST, ids=lambda case: case.key)
def test_another_value_is_another_run(directory: Path, case: Change) -> None:
    plain, changed = both(directory, case)
    assert plain.digest != changed.digest


@pytest.mark.parametrize("case", CHANGES_THE_RESULT, ids=lambda case: case.key)
def test_another_value_is_another_result_of_the_same_run(directory: Path, case: Change) -> None:
    plain, changed = both(directory, case)
    assert plain.digest == changed.digest
    assert plain != changed


@pytest.mark.parametrize("case", IS_REFUSED, ids=lambda case: case.key)
def test_what_a_limit_forbids_is_refused(directory: Path, case: Change) -> None:
    outcome(directory, case.base, case.given)
    with pytest.raises(PagewakeError):
        outcome(directory, case.base, case.changed)


@pytest.mark.parametrize("key", sorted(TELLS_PEOPLE))
def test_what_tells_people_is_no_part_of_a_run(directory: Path, key: str) -> None:
    text = outcome(directory, "exact", (f"scenario.{key}=another",))
    assert text.digest == outcome(directory, "exact", ()).digest
