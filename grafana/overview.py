"""Overview: is everything there, what runs, and where to go on."""

from __future__ import annotations

from grafana_foundation_sdk.builders import dashboard

from grafana.limits import AT
from grafana.page import TITLES, page, uid
from grafana.panels import (
    PER_SIM_S,
    RUN,
    Limit,
    Query,
    lines,
    listing,
    number,
    per_simulated_second,
    words,
)

ABOUT = {
    "protocol": "what guests are told of absent pages, who sleeps, who is woken",
    "nested": "exits of nested guests by code and route",
    "memory": "residency, page-ins, eviction, the swap device",
    "cluster": "windows, simulated by wall time, ownership, Kafka",
}
KEPT = "${__url_time_range}&${run:queryparam}&${instance:queryparam}"
ALERTS = 'ALERTS{alertname=~"Pagewake.*", alertstate="firing"}'


def overview() -> dashboard.Dashboard:
    """See the module."""
    there = [Limit(AT["PagewakeServiceDown"], "red"), Limit(1, "green")]
    links = "\n".join(
        f"- [{TITLES[name]}](/d/{uid(name)}?{KEPT}): {about}" for name, about in ABOUT.items()
    )
    return page(
        "overview",
        "Every service and every run of the cluster.",
        [
            words(f"{links}\n\nAlerts have their sections in docs/runbook.md.", height=5),
            number("Services", "Instances that answer Prometheus.", "short",
                   Query('sum by (service) (up{job="pagewake"})', "{{service}}"), limits=there,
                   span=8),
            number("Runs", "Runs that a service exports: under way, or ended in the last minutes.",
                   "short", Query(f"count(run:pagewake_sim_time_seconds:min{{{RUN}}})", "runs")),
            number("Partitions owned", "Of all runs together.", "short",
                   Query("sum(service:pagewake_owned_partitions:sum)", "partitions")),
            number("Alerts", "That fire now; no alert has no series.", "short",
                   Query(f"count({ALERTS}) or vector(0)", "alerts"),
                   limits=[Limit(0, "green"), Limit(1, "red")], span=8),
            listing(
                "Runs", "Under way, or ended in the last minutes: those have no speed (simulated "
                "by wall time).",
                ["run"],
                {
                    "simulated": (f"run:pagewake_sim_time_seconds:min{{{RUN}}}", "s"),
                    "speed": (f"run:pagewake_sim_speed_ratio:mean1m{{{RUN}}}", "none"),
                    "absent pages": (
                        f"sum by (run) (pagewake_page_not_present_total{{{RUN}}})", "short"),
                    "page-ins": (
                        f"sum by (run) (pagewake_host_page_ins_total{{{RUN}}})", "short"),
                    "asleep": (f"run:pagewake_guest_sleepers:sum{{{RUN}}}", "short"),
                    "dummies": (f"run:pagewake_guest_dummies:sum{{{RUN}}}", "short"),
                    "windows": (f"sum by (run) (pagewake_windows_total{{{RUN}}})", "short"),
                },
            ),
            lines("Simulated by wall time", "Simulated seconds per second.", "none",
                  Query(f"run:pagewake_sim_speed_ratio:mean1m{{{RUN}}}")),
            lines("Touches of absent pages", "Per simulated second.", PER_SIM_S,
                  Query(per_simulated_second("run:pagewake_page_not_present:rate1m"))),
            lines("How long a page-in takes, median", "Simulated time.", "s",
                  Query(f"run_medium:pagewake_host_page_in_sim_seconds:p50_1m{{{RUN}}}",
                        "{{run}} {{medium}}")),
            lines("How long a window takes, median", "Wall time.", "s",
                  Query(f"run:pagewake_window_wall_seconds:p50_1m{{{RUN}}}")),
        ],
    )  # fmt: skip
