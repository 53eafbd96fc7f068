"""Overview: is everything there, what runs, and where to go on."""

from __future__ import annotations

from grafana_foundation_sdk.builders import dashboard

from grafana.limits import AT
from grafana.page import TITLES, page, uid
from grafana.panels import (
    GROUP,
    PAGE_BYTES,
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
KEPT = "&".join(
    ["${__url_time_range}"]
    + [f"${{{name}:queryparam}}" for name in ("datasource", "run", "group", "instance")]
)
ALERTS = 'ALERTS{alertname=~"Pagewake.*", alertstate="firing"}'


def _of_groups(metric: str) -> str:
    return f"sum by (run, group) ({metric}{{{RUN}, {GROUP}}})"


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
                    "of": (f"max by (run) (pagewake_run_duration_sim_seconds{{{RUN}}})", "s"),
                    "speed": (f"run:pagewake_sim_speed_ratio:mean1m{{{RUN}}}", "none"),
                    "absent pages": (
                        f"sum by (run) (pagewake_page_not_present_total{{{RUN}}})", "short"),
                    "page-ins": (
                        f"sum by (run) (pagewake_host_page_ins_total{{{RUN}}})", "short"),
                    "asleep": (f"run:pagewake_guest_sleepers:sum{{{RUN}}}", "short"),
                    "dummies": (f"run:pagewake_guest_dummies:sum{{{RUN}}}", "short"),
                    "windows": (f"sum by (run) (pagewake_windows_total{{{RUN}}})", "short"),
                    "interventions": (
                        f"sum by (run) (pagewake_interventions_total{{{RUN}}})", "short"),
                    "paused": (f"max by (run) (pagewake_run_paused{{{RUN}}})", "bool_yes_no"),
                    "ended": (f"min by (run) (pagewake_run_ended{{{RUN}}})", "bool_yes_no"),
                },
            ),
            listing(
                "VM groups", "The VMs of each [[vm]] table of a run's scenario, together.",
                ["run", "group"],
                {
                    "VMs": (_of_groups("pagewake_group_vms"), "short"),
                    "vcpus": (_of_groups("pagewake_group_vcpus"), "short"),
                    "tasks asleep": (_of_groups("pagewake_group_sleepers"), "short"),
                    "vcpus standing still": (_of_groups("pagewake_group_vcpus_still"), "short"),
                    "resident": (
                        f"{_of_groups('pagewake_group_resident_pages')} * {PAGE_BYTES}", "bytes"),
                    "work": (_of_groups("pagewake_group_work_total"), "short"),
                    "touches": (_of_groups("pagewake_group_touches_total"), "short"),
                    "requests": (_of_groups("pagewake_group_requests_total"), "short"),
                    "finished": (_of_groups("pagewake_group_tasks_finished_total"), "short"),
                    "killed": (_of_groups("pagewake_group_tasks_killed_total"), "short"),
                },
            ),
            lines("Simulated by wall time", "Simulated seconds per second.", "none",
                  Query(f"run:pagewake_sim_speed_ratio:mean1m{{{RUN}}}")),
            lines("Touches of absent pages", "Per simulated second.", PER_SIM_S,
                  Query(per_simulated_second("run:pagewake_page_not_present:rate1m"))),
            lines("Work by VM group", "Increments of work tasks; a vcpu that does nothing else "
                  "makes a billion of 1 ns.",
                  PER_SIM_S,
                  Query("run_group:pagewake_group_work:rate1m"
                        f"{{{RUN}, {GROUP}}} / on (run) group_left () "
                        f"(run:pagewake_sim_speed:ratio1m{{{RUN}}} > 0)", "{{run}} {{group}}")),
            lines("Touches by VM group", "How far tasks come that touch memory.", PER_SIM_S,
                  Query("run_group:pagewake_group_touches:rate1m"
                        f"{{{RUN}, {GROUP}}} / on (run) group_left () "
                        f"(run:pagewake_sim_speed:ratio1m{{{RUN}}} > 0)", "{{run}} {{group}}")),
            lines("How long a page-in takes, median", "Simulated time.", "s",
                  Query(f"run_medium:pagewake_host_page_in_sim_seconds:p50_1m{{{RUN}}}",
                        "{{run}} {{medium}}")),
            lines("How long a window takes, median", "Wall time.", "s",
                  Query(f"run:pagewake_window_wall_seconds:p50_1m{{{RUN}}}")),
        ],
    )  # fmt: skip
