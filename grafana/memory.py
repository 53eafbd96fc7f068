"""Host memory: what is resident, what comes from swap, and how long that takes."""

from __future__ import annotations

from grafana_foundation_sdk.builders import dashboard

from grafana.limits import red_at
from grafana.page import page
from grafana.panels import (
    GROUP,
    PAGE_BYTES,
    PER_SIM_S,
    RUN,
    Query,
    heat,
    lines,
    number,
    per_simulated_second,
)

NAMED = "{{run}} {{medium}}"


def memory() -> dashboard.Dashboard:
    """See the module."""
    resident = f"run_medium:pagewake_host_resident_pages:sum{{{RUN}}} * {PAGE_BYTES}"
    queue = f"run_medium:pagewake_host_swap_queue:sum{{{RUN}}}"
    return page(
        "memory",
        "Memory of the simulated hosts: residency, page-ins, eviction and the swap device.",
        [
            number("Resident", "Memory of the run's VMs that is in frames of its hosts.", "bytes",
                   Query(resident, NAMED), span=6),
            number("Page-ins", "Pages read from swap since the run began.", "short",
                   Query(f"sum by (run) (pagewake_host_page_ins_total{{{RUN}}})"), span=6),
            number("Evictions", "Frames taken back since the run began.", "short",
                   Query(f"sum by (run) (pagewake_host_evictions_total{{{RUN}}})"), span=6),
            number("Swap queue", "Requests that the device has not completed. At 64 a single vcpu "
                   "could have all of them outstanding, and would then wait synchronously.",
                   "short", Query(queue, NAMED), limits=red_at("PagewakeSwapQueueSaturated"),
                   span=6),
            "Pages",
            lines("Resident", "It stands at the limit of the VMs once those are reached.", "bytes",
                  Query(resident, NAMED)),
            lines("Resident, by VM group", "Of all VMs of a group together.", "bytes",
                  Query(f"sum by (run, group) (pagewake_group_resident_pages{{{RUN}, {GROUP}}}) "
                        f"* {PAGE_BYTES}", "{{run}} {{group}}")),
            lines("Page-ins and evictions", "Pages. In a run that stands at its limits every "
                  "page that comes in or is touched first drives one out.",
                  PER_SIM_S,
                  Query(per_simulated_second("run_medium:pagewake_host_page_ins:rate1m"),
                        f"{NAMED} in"),
                  Query(per_simulated_second("run_medium:pagewake_host_evictions:rate1m"),
                        f"{NAMED} out"), span=24),
            "Swap device",
            lines("Swap queue", "Requests that the device has not completed, reads and writes. "
                  "The red line is ASYNC_PF_PER_VCPU.",
                  "short", Query(queue, NAMED), limits=red_at("PagewakeSwapQueueSaturated")),
            heat("How long page-ins take", "Simulated time from request to readiness, all chosen "
                 "runs together; page-ins per second of wall time.",
                 "run_medium_le:pagewake_host_page_in_sim_seconds_bucket:rate1m"),
            lines("How long page-ins take: median and 99th percentile", "Simulated time.", "s",
                  Query(f"run_medium:pagewake_host_page_in_sim_seconds:p50_1m{{{RUN}}}",
                        f"{NAMED} p50"),
                  Query(f"run_medium:pagewake_host_page_in_sim_seconds:p99_1m{{{RUN}}}",
                        f"{NAMED} p99")),
            lines("Page-in against sleep, medians", "What a task sleeps longer than its page-in "
                  "takes it waits for the vcpu's next exit. A run without sleepers has page-ins "
                  "only.",
                  "s",
                  Query(f"run_medium:pagewake_host_page_in_sim_seconds:p50_1m{{{RUN}}}",
                        f"{NAMED} page-in"),
                  Query(f"run:pagewake_guest_wait_sim_seconds:p50_1m{{{RUN}}}", "{{run}} sleep")),
        ],
    )  # fmt: skip
