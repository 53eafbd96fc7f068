"""Nested routing: where the exits of nested guests went.  Empty for runs without any."""

from __future__ import annotations

from grafana_foundation_sdk.builders import dashboard

from grafana.page import page
from grafana.panels import (
    PER_SIM_S,
    RUN,
    Query,
    bars,
    lines,
    listing,
    number,
    per_simulated_second,
)

EXITS = f"pagewake_nested_exits_total{{{RUN}}}"
VMEXITS = f"pagewake_nested_vmexits_total{{{RUN}}}"
NESTED = "and on (run) run_route:pagewake_nested_exits:rate1m"
SYNCHRONOUS = (
    f'sum by (run) (run_why:pagewake_page_synchronous:ratio1m{{{RUN}, why="guest_mode"}}) {NESTED}'
)
G0 = (
    "L0 cannot tell L1 of a fault while L2 runs under V_INTR_MASKING (gap G0): it waits for the "
    "page itself. Touches that were served so (why = guest_mode), of all touches of runs with "
    "nested guests."
)


def nested() -> dashboard.Dashboard:
    """See the module."""
    return page(
        "nested",
        "Exits of nested guests by code, level and route; and the gap that keeps L1 untold.",
        [
            number("Exits", "Of L2 and deeper guests since the run began.", "short",
                   Query(f"sum by (run) ({EXITS})"), span=6),
            number("To L0 itself", "Share of the exits that L0 routed and handled: route host or "
                   "continue. What L1 routes again, for an L3, is not among them.",
                   "percentunit",
                   Query(f'sum by (run) (pagewake_nested_exits_total{{{RUN}, level="L0", '
                         f'route!="done"}}) / sum by (run) '
                         f'(pagewake_nested_exits_total{{{RUN}, level="L0"}})'), span=6),
            number("#VMEXITs into L1", "Synthesized into a guest hypervisor since the run began.",
                   "short", Query(f"sum by (run) ({VMEXITS}) {NESTED}"), span=6),
            number("G0 share", G0, "percentunit", Query(SYNCHRONOUS), span=6),
            "Routes",
            lines("Exits by route", "By the hypervisor that routed it: host = it handles the "
                  "exit always, continue = by default, as its guest does not intercept it; done = "
                  "#VMEXIT to its guest.",
                  PER_SIM_S, Query(per_simulated_second(
                      "run_route:pagewake_nested_exits:rate1m"), "{{run}} {{route}}"),
                  stacked=True),
            lines("Exits by code and route", "The level is the hypervisor that routed it.",
                  PER_SIM_S, Query(per_simulated_second(
                      "run_level_exit_route:pagewake_nested_exits:rate1m"),
                      "{{run}} {{level}} {{exit}} {{route}}")),
            lines("#VMEXITs by reason", "apf = a page that is not there, intercept = the "
                  "hypervisor above asked for it, error = the nested state was refused.",
                  PER_SIM_S, Query(per_simulated_second(
                      "run_reason:pagewake_nested_vmexits:rate1m") + f" {NESTED}",
                      "{{run}} {{reason}}")),
            lines("G0 share", G0, "percentunit", Query(SYNCHRONOUS)),
            "Totals",
            bars("Exits by code", "Since the run began, all chosen runs together.", "short",
                 Query(f"sort_desc(sum by (exit) ({EXITS}))", "{{exit}}"), span=24),
            listing("Exits", "Since the run began.", ["run", "level", "exit", "route"],
                    {"exits": (EXITS, "short")}),
        ],
    )  # fmt: skip
