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
    """A recording, and the scenario of that name beside this file, if it has faults at all."""

    name: str
    about: str
    simulated: bool = True

    @property
    def recording(self) -> str:
        return f"kvm-{self.name}.ftrace.txt.gz"


SETTINGS: Final = (
    Setting("`profile` 6.1, `cpus` 2", "said", "Debian 12 on 2 cores"),
    Setting("`page_cluster` 3, `halt_poll` 200us", "said", "defaults of that kernel, not changed"),
    Setting(
        "`reclaim_lag` 3270us",
        "measured",
        "half of a direct reclaim, which has two such steps, in a recording of the same machine "
        "with its `vmscan` events, realtight-2v: 321 in 2.10 s",
    ),
    Setting("`vcpus`, `memory`, `limit`", "said", "QEMU's options, and `memory.max`"),
    Setting("threads, accesses, bursts, writes", "said", "what the walker does"),
    Setting("`host.medium`", "measured", "not present to completed, 18 quantiles"),
    Setting("`touch`, `cpi`: 20 us", "measured", "entry to the fault of the page behind, p50"),
    Setting("`exit` + `fault` + `entry`: 27 us", "measured", "faults that find their page, p50"),
    Setting("`kernel_for` / `kernel_every`", "measured", "faults of kernel mode"),
    Setting("how the 27 us are split", "chosen", "no line says it"),
    Setting("memory of each thread", "chosen", "a part of the buffer; recordings share all of it"),
    Setting("when CPUs go and come", "chosen", "as often as recorded, in a quarter of the time"),
    Setting("`worker_hop`, `wake`, guest's costs", "chosen", "the defaults"),
)
GIVEN: Final = (*(f"completion_{each}" for each in ("p10", "p50", "p90", "p99", "max")),
                "kernel_share")  # fmt: skip
"""Facts that scenarios are set to."""

CASES: Final = (
    Case("burst-2v", "2 vcpus, 6 threads, 10,000 accesses each: a random page, and 31 behind it"),
    Case("seq-2v", "2 vcpus, 8 threads, 14,000 accesses each, every one a walk of its own"),
    Case("hotplug-2v", "As burst-2v without an end; CPU 1 goes offline and comes back three times"),
    Case("over-4v-crash", "As burst-2v without an end, 4 vcpus on 2 CPUs; the recorded guest died"),
    Case("kut-asyncpf.enable", "Of asyncpf of kvm-unit-tests, up to its first fault", False),
)
BY_NAME: Final[Mapping[str, Case]] = {case.name: case for case in CASES}
