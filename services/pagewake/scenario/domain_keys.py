"""Keys of the tables that are structs of the domain: costs, tunables, the set-up of hypervisors.

The domain has their fields and defaults and knows nothing of files; here is how each field is
written in one. `reading.fields_of` refuses a struct of which a field has no key here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import get_args

import msgspec

from pagewake.guest_kernel.config import KernelCosts, SchedulerConfig
from pagewake.kvm.config import (
    Cpuid,
    EmulatorLoad,
    ExitRates,
    Feature,
    HostCosts,
    NestedConfig,
    Userfault,
)
from pagewake.scenario.keys import Choices, Duration, Flag, Key, Number, Rate, Table

_FEATURES = Choices("feature", get_args(Feature))

DOMAIN_KEYS: Mapping[type[msgspec.Struct], Mapping[str, Key | Table]] = {
    KernelCosts: {
        "tick_ns": Key("tick", Duration(), "one timer tick"),
        "trap_ns": Key("trap", Duration(1), "entry and exit of a #PF handler"),
        "context_switch_ns": Key("context_switch", Duration(1), "task to task"),
        "irq_ns": Key("irq", Duration(1), "a device interrupt or IPI"),
        "spin_ns": Key("spin", Duration(1), "one failed allocation in task_wake"),
    },
    SchedulerConfig: {
        "latency_ns": Key("latency", Duration(1), "period of one round"),
        "min_granularity_ns": Key("min_granularity", Duration(1), "shortest slice"),
        "wakeup_granularity_ns": Key(
            "wakeup_granularity", Duration(), "lead needed to preempt at a wake-up"
        ),
        "balance_ns": Key("balance", Duration(1), "period of load balancing"),
    },
    HostCosts: {
        "exit_ns": Key("exit", Duration(1), "leaving guest mode"),
        "entry_ns": Key("entry", Duration(2), "entering guest mode"),
        "fault_ns": Key("fault", Duration(), "handling a fault without I/O"),
        "first_touch_ns": Key("first_touch", Duration(), "a zeroed page"),
        "huge_touch_ns": Key("huge_touch", Duration(), "a zeroed huge page (`huge_pages`)"),
        "worker_hop_ns": Key("worker_hop", Duration(1), "hand-off to a worker"),
        "worker_look_ns": Key(
            "worker_look", Duration(1), "a worker's first look at its page (with `cpus`)"
        ),
        "read_request_ns": Key(
            "read_request", Duration(), "submitting a request to swap (with `page_cluster`)"
        ),
        "read_page_ns": Key("read_page", Duration(), "and for each page of it"),
        "wake_ns": Key("wake", Duration(1), "blocked vcpu thread to running"),
        "reclaim_page_ns": Key(
            "reclaim_page", Duration(), "kswapd, for each step of a page's eviction (`cpus`)"
        ),
    },
    Userfault: {
        "signal_ns": Key("signal", Duration(1), "KVM signals the eventfd, in the vcpu thread"),
        "wake_ns": Key("wake", Duration(1), "signal to a handler that runs"),
        "take_ns": Key("take", Duration(1), "the handler takes a request"),
        "copy_ns": Key("copy", Duration(1), "a page is copied in, and said to be there"),
        "exit_ns": Key("exit", Duration(1), "the vcpu thread to user space and back"),
        "local": Key("local", Number(0.0, 1.0), "share of the pages that user space has at hand"),
    },
    EmulatorLoad: {
        "every_ns": Key("every", Duration(1), "its period"),
        "for_ns": Key("for", Duration(1), "CPU time that it takes each time"),
    },
    Cpuid: {
        "l1": Key(
            "l1",
            _FEATURES,
            "shown to L1: ASYNC_PF (bit 4), without which it takes no part; ASYNC_PF_INT (14), "
            "which guests since 5.9 need; ASYNC_PF_VMEXIT (10), for a hypervisor's opt-in (4.13)",
        ),
        "l2": Key("l2", _FEATURES, "shown to L2 by L1's VMM"),
    },
    NestedConfig: {
        "npt": Key("npt", Flag(), "L0 uses nested paging"),
        "l1_npt": Key("l1_npt", Flag(), "L1 uses nested paging for L2"),
        "l1_vintr_masking": Key("l1_vintr_masking", Flag(), "L1 runs L2 with V_INTR_MASKING"),
        "l2_npt": Key("l2_npt", Flag(), "L2 uses nested paging for L3"),
        "l2_vintr_masking": Key(
            "l2_vintr_masking",
            Flag(),
            "L2 runs L3 with V_INTR_MASKING; without it L3 takes L2's ticks, if L1 has gap_g0",
        ),
        "exits": Table("exits", "rates per L2 vcpu"),
    },
    ExitRates: {
        "hlt": Key("hlt", Rate(), "HLT exits per second"),
        "msr": Key("msr", Rate(), "MSR exits per second"),
        "io": Key("io", Rate(), "IOIO exits per second"),
        "cpuid": Key("cpuid", Rate(), "CPUID exits per second"),
        "intr": Key("intr", Rate(), "INTR exits per second"),
    },
}
