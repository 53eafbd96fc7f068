"""Which recordings there are, what stands for each, and where its settings come from.

A setting is `said` by the description of the recordings, `measured` of them, or `chosen`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple


class Setting(NamedTuple):
    """Of the scenarios; how it is known, and from what."""

    what: str
    how: str
    why: str


class Case(NamedTuple):
    """A recording, and the scenario of that name beside this file, if it has faults at all.

    `costs_of`: another one, of which its settings are measured.
    """

    name: str
    about: str
    simulated: bool = True
    costs_of: str | None = None

    @property
    def recording(self) -> str:
        return f"kvm-{self.name}.ftrace.txt.gz"


SETTINGS: Final = (
    Setting("`profile` 6.1, `cpus` 2", "said", "Debian 12 on 2 cores"),
    Setting("`page_cluster` 3, `halt_poll` 200us", "said", "defaults of that kernel, not changed"),
    Setting("`hz` 250, of host and guest", "said", "Debian's kernels have it"),
    Setting("`vcpus`, `memory`", "said", "QEMU's options"),
    Setting(
        "`replacement` second-chance",
        "chosen",
        'the default; the two lists of that kernel ("kernel") leave the others as they are, and '
        "halve ready before re-entry in seq-2v, where each walk has memory of its own",
    ),
    Setting(
        "`limit` 48 MiB",
        "chosen",
        "`memory.max` is 70 MiB, and no line says what QEMU and the guest's kernel keep of it; so "
        "about as many pages come in as in burst-2v",
    ),
    Setting("threads, accesses, bursts, writes", "said", "what the walker does"),
    Setting(
        "`read_request`, `read_page`",
        "measured",
        "windows of one and of eight whose page is in by the end, p50, without the 27 us below",
    ),
    Setting(
        "`host.medium`",
        "measured",
        "how many of the pages are in once they are submitted; of the others, threads that poll: "
        "until they sleep, p50, and their sleep, 10 quantiles, without a page's `read_page`",
    ),
    Setting(
        "its `parallelism`", "chosen", "no read waits for another: measured times have that in"
    ),
    Setting(
        "since when those are in",
        "chosen",
        "half of `read_request` or more: no line says it, and nobody looks before",
    ),
    Setting(
        "`worker_look`",
        "measured",
        "NOT_PRESENT to the thread's CPU again where the worker slept, p50, without the 25 us of "
        "the exit",
    ),
    Setting("`worker_hop`", "measured", "so much more where it had found its page, p50"),
    Setting(
        "`reclaim_lag`",
        "measured",
        "faults of 5 ms and more, over batches of 32 of all absent pages, of which each has two "
        "such steps",
    ),
    Setting(
        "`trap`, `context_switch`",
        "measured",
        "halves of entry with NOT_PRESENT to the next fault or HLT, p50, without a touch",
    ),
    Setting("`tick`", "measured", "entry with vector 236 to the write of an MSR, p50"),
    Setting(
        "all of these, in over-4v-crash",
        "measured",
        "of burst-2v: its own times have waits for a CPU in them",
    ),
    Setting("`touch`, `cpi`: 20 us", "measured", "entry to the fault of the page behind, p50"),
    Setting("`exit` + `fault` + `entry`: 27 us", "measured", "faults that find their page, p50"),
    Setting("`kernel_for` / `kernel_every`", "measured", "faults of kernel mode"),
    Setting("how the 27 us are split", "chosen", "no line says it"),
    Setting("memory of each thread", "chosen", "a part of the buffer; recordings share all of it"),
    Setting("when CPUs go and come", "chosen", "as often as recorded, in a quarter of the time"),
    Setting("`wake`, `irq`", "chosen", "the defaults"),
)
GIVEN: Final = ("kernel_share", "read_share")
"""Facts that scenarios are set to, or very nearly."""

CASES: Final = (
    Case("burst-2v", "2 vcpus, 6 threads, 10,000 accesses each: a random page, and 31 behind it"),
    Case("seq-2v", "2 vcpus, 8 threads, 14,000 accesses each, every one a walk of its own"),
    Case("hotplug-2v", "As burst-2v without an end; CPU 1 goes offline and comes back three times"),
    Case(
        "over-4v-crash",
        "As burst-2v without an end, 4 vcpus on 2 CPUs; the recorded guest died",
        costs_of="burst-2v",
    ),
    Case("kut-asyncpf.enable", "Of asyncpf of kvm-unit-tests, up to its first fault", False),
)
BY_NAME: Final[Mapping[str, Case]] = {case.name: case for case in CASES}
