"""Any small scenario, under any legal interleaving: one digest, and every invariant holds.

Scenarios are drawn over kernel profiles, switches, media, tasks and interventions; windows are cut
at random, VMs dealt out over one to three shards, and simulated hosts over processes.  The log of
each run is verified.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from random import Random

import msgspec
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pagewake.engine.run import RunOrder, run_scenario
from pagewake.errors import ConfigError
from pagewake.host_memory.replacement import AS_KERNEL, REPLACEMENTS
from pagewake.kvm.profile import RELEASES
from pagewake.kvm.switches import SWITCHES
from pagewake.observe.result import RunResult
from pagewake.participants.at_start import refuse_overfull
from pagewake.scenario.loading import loads
from pagewake.scenario.model import Scenario
from pagewake.verify.verify import verify_log
from tests.support.runs import files_of, run_in_pieces

OFF = '"off"'
DRAWN = {
    "preempt": ("true",),
    "send_always": ('"always"', '"never"'),
    "gap_g7": ("false",),
    "clear_waits": ("false",),
    "pg_clears_queue": ("false",),
    "pg_resets_hash": ("false", "true"),
    "smm": ("false", "true"),
    "worker_writes": ("false",),
    "sync_writes": ("true",),
    "read_ahead": ('"block"', '"cluster"', '"vma"'),
    "swap_plug": ("false", "true"),
    "swap_poll": ("false", "true"),
    "reclaim": ('"fault"', '"worker"'),
    "direct_reclaim": ("false", "true"),
    "scheduler": ('"cfs"', '"eevdf"'),
    "replacement": ('"mglru"', '"two-lists"', '"two-lists-2.6.28"'),
    "worker_pins": ("false", "true"),
    "present_all": ("false",),
    "present_unhalts": ("true",),
    "present_makes_runnable": ("true",),
    "untold_halts": ("false", "true"),
    "pending_blocks_apf": ("false",),
    "ready_cancels_not_present": ("true",),
    "ready_needs_not_present": ("true",),
    "guest_wait": ('"schedule"', '"halt_unsafe"', '"halt_kernel"'),
    "kernel_mode_panics": ("true",),
    "takes_interrupt": ("false", "true"),
    "host_kernel_rule": ('"halt"',),
    "hash_multiplier": ('"new"',),
    "probe_fixed": ("false",),
    "guest_teardown": ('"restart"', '"suspend"', '"crash"'),
    "nested_fix": ('"none"', '"2017"', '"2020"', '"2020-nsvm"', '"2022"'),
    "ready_needs_lapic": ("false", "true"),
    "enable_needs_lapic": ('"never"', '"always"', '"nonzero"'),
    "token_nonzero": ("false", "true"),
    "online_zeroes_slot": ("false", "true"),
    "broadcast_needs_memory": ("false",),
    "reset_drops_exception": ("false", "true"),
    "init_behind_halt": ("false", "true"),
    "held_back_wakes": ("false",),
    "broadcast_ends_latched": ("true",),
    "apf_in_guest_mode": ("false", "true"),
    "user_apf": ('"exit"', '"ring"'),
    "user_apf_ring": ('"32"',),
    "user_apf_armed": ("false",),
    "gap_g0": ("false",),
    "gap_g3": ("false",),
    "gap_g5": ("false",),
}
_BY_PROFILE = "its values come with the profiles; alone, in tests/property/test_every_switch.py"
NOT_DRAWN = {
    "gup": "2.6.38 is drawn with v2639_nowait, or none of its faults were asynchronous",
    "prefault": _BY_PROFILE,
    "ready_by_interrupt": _BY_PROFILE,
    "completion_kicks": _BY_PROFILE,
    "paging_required": _BY_PROFILE,
    "msr_reserved": _BY_PROFILE,
    "alloc_before_lock": "runs are the same either way: its description says so",
    "gap_g1": "nested_fix, which is drawn, closes it",
    "gap_g2": "nested_fix, which is drawn, closes it",
    "gap_g6": "one value in all profiles; both, alone, in tests/property/test_every_switch.py",
}
FEATURES = ('"async_pf", "async_pf_int", "async_pf_vmexit"', '"async_pf", "async_pf_int"', "")
"""Of CPUID: whatever L1 asks for, without the opt-in of a hypervisor, and none."""
PROFILES = tuple(release.name for release in RELEASES)
MEDIA = (
    '"nvme"',
    '"ssd-sata"',
    '"zram"',
    '{ latency = "300us", jitter = "200us", parallelism = 4 }',
)
MOMENTS = st.integers(0, 12_000)
LIMITS = st.sampled_from(("512KiB", "1MiB", "4MiB"))


@st.composite
def tasks(draw: st.DrawFn, inner: bool = False) -> str:
    lines = [
        "[[vm.task]]",
        f'name = "t{draw(st.integers(0, 10**6))}"',
        f"count = {draw(st.integers(1, 3))}",
        f'pattern = "{draw(st.sampled_from(("random", "sequential", "zipf")))}"',
        'working_set = "1MiB"',
        f'access = "{draw(st.sampled_from(("read", "write", "mixed")))}"',
        f"populated = {draw(st.sampled_from(('true', 'true', 'false')))}",
        f'touch = "{draw(st.sampled_from((100, 3_000, 20_000)))}ns"',
    ]
    if not inner and draw(st.booleans()):
        lines.append('kernel_every = "20us"\nkernel_for = "10us"')
        lines.append(f"no_preempt = {draw(st.sampled_from(('true', 'false')))}")
    if draw(st.booleans()):
        lines.append(f"touches = {draw(st.integers(1, 2_000))}")
    if not inner and draw(st.booleans()):
        lines.append(f'start = "{draw(MOMENTS)}us"')
    if not inner:
        lines += draw(st.lists(st.sampled_from(PHASES), max_size=3))
    return "\n".join(lines)


ORDERS = ("follow", "address", "recorded")
HANDLER_CRASHES = (
    'do = "handler-crash"\nfor = "700us"',
    'do = "handler-crash"\nfor = "90us"\nkeeps = true',
)
PHASES = (
    '[[vm.task.phase]]\ntouches = 7\npattern = "random"\nhot_set = 0.05\nhot_start = 0.97',
    '[[vm.task.phase]]\ntouches = 300\npattern = "sequential"',
    '[[vm.task.phase]]\ntouches = 40\npattern = "zipf"\ntheta = 0.5\nworking_set = "64KiB"',
)


@st.composite
def servers(draw: st.DrawFn) -> str:
    """Tasks that serve requests, some of which touch pages."""
    source = st.sampled_from(
        (
            "rate = 3000", 'rate = 9000\narrivals = "constant"', "clients = 5",
            'clients = 2\nthink = "exponential 300us"',
        )
    )  # fmt: skip
    lines = [
        "[[vm.task]]",
        f'name = "r{draw(st.integers(0, 10**6))}"',
        f"count = {draw(st.integers(1, 3))}",
        f'pattern = "requests"\n{draw(source)}',
        f'service = "{draw(st.sampled_from(("", "exponential ")))}{draw(st.integers(1, 200))}us"',
        f"touches_per_request = {draw(st.sampled_from((0, 1, 7, 300)))}",
        'working_set = "1MiB"',
        f'access = "{draw(st.sampled_from(("read", "mixed")))}"',
        f"populated = {draw(st.sampled_from(('true', 'false')))}",
        f"private = {draw(st.sampled_from(('true', 'false')))}",
    ]
    if draw(st.booleans()):
        lines.append(f"requests = {draw(st.integers(1, 40))}")
    if draw(st.booleans()):
        lines.append(f'start = "{draw(MOMENTS)}us"')
    return "\n".join(lines)


STEPS = (
    "kernel", "user", "cli", "sti", "hlt", "cpuid", "preempt-off", "preempt-on",
    "run 7us", "run 350us", "sleep 400us",
    "wrmsr apf-en 0x0", "wrmsr apf-en 0x1001", "wrmsr apf-en 0x1003", "wrmsr apf-en 0x1009",
    "wrmsr apf-en 0x1005", "wrmsr apf-en 0x7f00000001", "wrmsr apf-int 0xf3", "wrmsr apf-ack 0x1",
)  # fmt: skip


@st.composite
def scripts(draw: st.DrawFn, vcpus: int) -> str:
    """Exact things in any order: touches of few pages, flags, halts, MSR writes."""
    touches = st.builds("touch {} {}".format, st.integers(0, 5), st.sampled_from(("read", "write")))
    steps = st.builds(
        "{}{}".format,
        st.one_of(st.just(""), st.just(""), st.just(""), st.builds("at {}us ".format, MOMENTS)),
        st.one_of(touches, st.sampled_from(STEPS)),
    )
    lines = [
        "[[vm.task]]",
        f'name = "s{draw(st.integers(0, 10**6))}"',
        f"count = {draw(st.integers(1, 2))}",
        'pattern = "script"\nworking_set = "24KiB"\npopulated = true\nresident = "0B"',
        f"private = {draw(st.sampled_from(('true', 'false')))}",
        f"script = {json.dumps(draw(st.lists(steps, min_size=1, max_size=12)))}",
    ]
    if draw(st.booleans()):
        lines.append(f"vcpu = {draw(st.integers(0, vcpus - 1))}")
    return "\n".join(lines)


@st.composite
def guests_inside(draw: st.DrawFn, levels: int, vcpus: int) -> str:
    """The L2 of every VM, perhaps an L3 in it, and what runs there; keys of a VM come first."""
    if not levels:
        return ""
    memory = {2: "16MiB", 3: "8MiB"}
    lines = [f"nested = {levels}"]
    lines += [
        f'[vm.l{level}]\nvcpus = {draw(st.integers(1, vcpus))}\nmemory = "{memory[level]}"'
        for level in range(2, levels + 2)
    ]
    for level in range(2, levels + 2):
        for number in range(draw(st.integers(0, 2))):
            task = draw(tasks(inner=True))
            lines.append(
                f"{task}\nlevel = {level}".replace('name = "t', f'name = "l{level}-{number}-', 1)
            )
    return "\n".join(lines)


@st.composite
def hypervisors(draw: st.DrawFn) -> str:
    """How the hypervisors run their guests, and why those leave."""
    flags = ("npt", "l1_npt", "l1_vintr_masking", "l2_npt", "l2_vintr_masking")
    reasons = ("hlt", "msr", "io", "cpuid", "intr")
    yes = st.sampled_from(("true", "false"))
    rate = st.sampled_from((0, 500, 5_000))
    return "\n".join(
        [
            "[nested]",
            *(f"{flag} = {draw(yes)}" for flag in flags),
            "[nested.exits]",
            *(f"{reason} = {draw(rate)}" for reason in reasons),
        ]
    )


def snapshots() -> st.SearchStrategy[list[str]]:
    """What was saved, in the order of the restore; often nothing of importance is missing."""
    states = ["regs", "lapic", "int", "en", "events", "mp_state"]
    some = st.lists(st.sampled_from(states), unique=True)
    return st.one_of(some, st.permutations(states))


@st.composite
def handlers(draw: st.DrawFn) -> str:
    """A task in user space that brings the pages; slow ones have a queue."""
    take_us = draw(st.sampled_from((1, 60)))
    return f"""[vm.userfault]
wake = "{draw(st.integers(1, 30))}us"
take = "{take_us}us"
copy = "{draw(st.integers(1, 20))}us"
local = {draw(st.sampled_from((0, 0.4)))}"""


@st.composite
def swap_areas(draw: st.DrawFn) -> str:
    """Areas before the medium of the host, zswap, or both."""
    sizes = st.tuples(
        st.sampled_from(("zram", "nvme", "ssd-sata")),
        st.sampled_from((16, 256, 1024)),
        st.integers(0, 2),
    )
    areas = [
        f'[[host.swap]]\nmedium = "{medium}"\nsize = "{size}KiB"\npriority = {priority}'
        for medium, size, priority in draw(st.lists(sizes, max_size=3))
    ]
    percent, share = draw(st.sampled_from((1, 10, 60))), draw(st.sampled_from((0.0, 0.3)))
    zswap = f"[host.zswap]\nmax_pool_percent = {percent}\nincompressible = {share}"
    return "\n".join([*areas, zswap] if draw(st.booleans()) or not areas else areas)


ROOMY = "48MiB"
"""A limit under which a VM holds the frames of a huge page ahead (`participants/at_start.py`)."""


@st.composite
def wide(draw: st.DrawFn, roomy: bool) -> str:
    """A task with whole ranges of 2 MiB: fresh ones, more than the limit has room for, or few."""
    size, populated = ("56MiB", "false") if roomy else ("4MiB", "true")
    return "\n".join(
        [
            f'[[vm.task]]\nname = "wide"\nworking_set = "{size}"\npopulated = {populated}',
            f'pattern = "{draw(st.sampled_from(("random", "zipf")))}"',
            f'access = "{draw(st.sampled_from(("write", "mixed")))}"\ntouch = "500ns"',
        ]
    )


@st.composite
def events(draw: st.DrawFn, vcpus: int, levels: int, user: bool) -> str:
    what = draw(
        st.sampled_from(
            (
                'do = "vcpu-offline"', 'do = "vcpu-online"', 'do = "vcpu-reset"', 'do = "irq"',
                'do = "registers-set"', 'do = "user-exit"\nfor = "40us"',
                'do = "smi"', 'do = "smi"\nfor = "40us"',
                'do = "lapic"\non = false', 'do = "lapic"\non = true',
                'do = "cr0-pg"\nfor = "100us"', 'do = "nmi"\nfaults = true',
                'do = "vcpu-stall"\nfor = "150us"', 'do = "msr-write"\nmsr = "apf-en"',
                'do = "vcpu-stall"\nfor = "150us"\nwhere = "latch"',
                'do = "msr-write"\nmsr = "apf-en"\nvalue = 0',
                'do = "msr-write"\nmsr = "apf-en"\nvalue = 0x7f00000001',
                'do = "area-write-fails"\ncount = 2',
            )
        )
    )  # fmt: skip
    where = f'vm = "v-{draw(st.integers(0, 1))}"\nvcpu = {draw(st.integers(0, vcpus - 1))}'
    if draw(st.integers(0, 3)) == 0:
        what = draw(
            st.sampled_from(
                (
                    'do = "migrate"\npause = "90us"',
                    'do = "restore"',
                    *(
                        f'do = "new-kernel"\nhow = "{how}"\nfor = "30us"'
                        for how in ("kexec", "crash", "hibernate")
                        if not levels
                    ),
                    f'do = "restore"\nsaves = {json.dumps(draw(snapshots()))}',
                    'do = "fail-allocations"\nwhere = "guest"\ncount = 2',
                    'do = "fail-allocations"\nwhere = "host"\ncount = 2',
                    'do = "worker-gup-fails"\ncount = 2',
                    *(HANDLER_CRASHES if user else ()),
                )
            )
        )
        where = where.partition("\n")[0]
    return f'[[event]]\nat = "{draw(MOMENTS)}us"\n{what}\n{where}'


@st.composite
def sources(draw: st.DrawFn, profile: str) -> tuple[str, str]:
    """Pages from elsewhere: a key of the VM; its source, with a task that has such pages."""
    old = PROFILES.index(profile) < PROFILES.index("4.4")
    kind = draw(st.sampled_from(("file",) if old else ("postcopy", "uffd", "file")))
    own = {"uffd": "threads = 3", "file": 'read_ahead = "64KiB"', "postcopy": ""}[kind]
    return f'page_source = "{kind}"', "\n".join(
        [
            "[vm.source]",
            draw(st.sampled_from(("", own))),
            draw(st.sampled_from(("", 'prefetch = "0B"', 'prefetch = "512KiB"'))),
            draw(st.sampled_from(("", *(f'order = "{by}"' for by in ORDERS)))),
            draw(st.sampled_from(("", 'medium = "rdma"', 'medium = "migration"'))),
            '[[vm.task]]\nname = "there"\npattern = "zipf"\nworking_set = "1MiB"',
            'access = "mixed"\npopulated = true\ntouch = "2us"',
        ]
    )


@st.composite
def scenarios(draw: st.DrawFn) -> Scenario:
    vcpus = draw(st.integers(1, 3))
    levels = draw(st.sampled_from((0, 0, 1, 2)))
    memory = draw(st.sampled_from(("", "", "1MiB", "6MiB")))
    profile = draw(st.sampled_from(PROFILES))
    switched = draw(st.lists(st.sampled_from(sorted(DRAWN)), max_size=3, unique=True))
    overrides = [f"{name} = {draw(st.sampled_from(DRAWN[name]))}" for name in switched]
    if profile == "2.6.38":
        overrides.append('gup = "v2639_nowait"')
    medium = draw(st.sampled_from(MEDIA))
    user = medium != '"zram"' and draw(st.integers(0, 2)) == 0
    fed = not user and draw(st.integers(0, 2)) == 0
    elsewhere = draw(sources(profile)) if fed else ("", "")
    tiers = not user and not fed and draw(st.integers(0, 2)) == 0
    cpus = draw(st.sampled_from((0, 0, 1, 2)))
    huge = draw(st.booleans())
    roomy = huge and not user and not fed and draw(st.booleans())
    if roomy:
        memory = draw(st.sampled_from(("", "64MiB")))
    if user and "user_apf" not in switched:
        overrides.append('user_apf = "ring"')
    text = "\n".join(
        [
            f'[scenario]\nname = "any"\nseed = {draw(st.integers(0, 99))}\nduration = "15ms"',
            f'[kernel]\nprofile = "{profile}"',
            f"cpuid = {{ l1 = [{draw(st.sampled_from(FEATURES))}] }}",
            f'apf = "{draw(st.sampled_from(("pv", "pv", "pv", "nonpv", "off")))}"',
            f"irqchip = {draw(st.sampled_from(('true', 'true', 'true', 'false')))}",
            f"hz = {draw(st.sampled_from((0, 250, 1000)))}",
            "[kernel.overrides]",
            *overrides,
            draw(hypervisors()) if levels else "",
            f"[host]\nmedium = {medium}",
            f"count = {draw(st.integers(1, 2))}",
            f"exits_per_s = {draw(st.sampled_from((0, 3_000)))}",
            f'reclaim_lag = "{draw(st.sampled_from((50, 200)))}us"',
            f"charge_batch = {draw(st.sampled_from((1, 8, 64)))}",
            "" if tiers else f"page_cluster = {draw(st.sampled_from((3, 0, OFF)))}",
            f'costs.read_request = "{draw(st.sampled_from((0, 0, 9)))}us"',
            f'costs.worker_look = "{draw(st.sampled_from((1, 30)))}us"',
            f"cpus = {cpus}",
            f'costs.reclaim_page = "{draw(st.sampled_from((0, 1, 30)))}us"',
            f'halt_poll = "{draw(st.sampled_from((0, 0, 200)))}us"',
            f"huge_pages = {str(huge).lower()}",
            f'replacement = "{draw(st.sampled_from((*REPLACEMENTS, AS_KERNEL)))}"',
            f'memory = "{memory}"' if memory else "",
            draw(swap_areas()) if tiers else "",
            f'[[vm]]\nname = "v"\ncount = 2\nvcpus = {vcpus}',
            f'memory = "{"80MiB" if roomy else "32MiB"}"',
            f"protected = {draw(st.sampled_from(('true', 'false'))) if not levels else 'false'}",
            f"hlt_exits = {draw(st.sampled_from(('true', 'true', 'false')))}",
            f'limit = "{ROOMY if roomy else draw(LIMITS)}"',
            f'min = "{draw(st.sampled_from((0, 128)))}KiB"' if memory else "",
            f'low = "{draw(st.sampled_from((0, 256, 512)))}KiB"' if memory else "",
            elsewhere[0],
            'emulator = { every = "1ms", for = "200us" }' if cpus and draw(st.booleans()) else "",
            draw(guests_inside(levels, vcpus)),
            draw(handlers()) if user else "",
            elsewhere[1],
            draw(wide(roomy)) if huge else "",
            *draw(st.lists(tasks(), min_size=1, max_size=2, unique_by=lambda t: t.split('"')[1])),
            *draw(st.lists(scripts(vcpus), max_size=3, unique_by=lambda t: t.split('"')[1])),
            *draw(st.lists(servers(), max_size=2, unique_by=lambda t: t.split('"')[1])),
            '[[vm.task]]\nname = "w"\ncount = 2\npattern = "work"' if draw(st.booleans()) else "",
            *draw(st.lists(events(vcpus, levels, user), max_size=6)),
        ]
    )
    scenario = loads(text, "any.toml", Path())
    try:
        refuse_overfull(scenario)
    except ConfigError:  # zram or min fill the host
        assume(False)
    return scenario


def test_every_switch_is_drawn_or_has_a_reason() -> None:
    listed = [*DRAWN, *NOT_DRAWN]
    assert sorted(listed) == sorted(SWITCHES), "each in DRAWN, or with its reason in NOT_DRAWN"


def random_cut(seed: int) -> Callable[[int, int], int]:
    draws = Random(seed)
    return lambda _, proposed: proposed - draws.randrange(120_000)


def _said(result: RunResult) -> RunResult:
    """All that a result says of the scenario, accounting included."""
    return msgspec.structs.replace(result, wall_s=0.0, windows=0, shards=0, jobs=None)


@pytest.mark.slow
@settings(max_examples=45, deadline=None)
@given(scenarios(), st.integers(0, 1 << 30), st.integers(1, 3))
def test_any_cut_and_any_shards_give_one_digest_and_a_log_that_verifies(
    scenario: Scenario, seed: int, shards: int
) -> None:
    directory = Path(tempfile.mkdtemp())
    try:
        whole = run_scenario(scenario, log_dir=directory / "log")
        cut = run_scenario(scenario, shards=shards, cut=random_cut(seed))
        assert (cut.digest, cut.events) == (whole.digest, whole.events)
        assert _said(cut) == _said(whole)
        pieces = run_in_pieces(RunOrder(scenario, log_dir=directory / "pieces"), processes=3)
        assert _said(pieces) == _said(whole)
        assert files_of(directory / "pieces") == files_of(directory / "log")
        report = verify_log(directory / "log")
        assert report.problems == []
        assert (report.digest, report.events) == (whole.digest, whole.events)
        assert whole.dummies.inserted == (
            whole.dummies.consumed + whole.dummies.leaked + whole.dummies.left
        )
    finally:
        shutil.rmtree(directory)
