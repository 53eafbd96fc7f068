"""Protocol: from the touch of an absent page to the task that is woken."""

from __future__ import annotations

from grafana_foundation_sdk.builders import dashboard

from grafana.limits import red_at
from grafana.page import page
from grafana.panels import (
    GROUP,
    PER_SIM_S,
    RUN,
    Query,
    heat,
    lines,
    number,
    per_simulated_second,
)


def _of_recordings(what: str) -> str:
    """A counter of recordings; 0 where none is followed."""
    return f"sum(pagewake_recording_{what}_total{{{RUN}}}) or vector(0)"


def protocol() -> dashboard.Dashboard:
    """See the module."""
    return page(
        "protocol",
        "Asynchronous page faults between host and guests: what was told, who slept, who woke.",
        [
            number("Absent pages touched", "Since the run began: device requests and joins.",
                   "short", Query(f"sum by (run) (pagewake_page_not_present_total{{{RUN}}})")),
            number("Waits", "Outcomes of task_wait since the run began.",
                   "short", Query(f"sum by (run) (pagewake_guest_task_waits_total{{{RUN}}})")),
            number("Asleep now", "Tasks in task_wait.",
                   "short", Query(f"run:pagewake_guest_sleepers:sum{{{RUN}}}")),
            number("Dummies now", "Left by READYs that came before their fault; those of a READY "
                   "without a fault stay for good.",
                   "short", Query(f"run:pagewake_guest_dummies:sum{{{RUN}}}"),
                   limits=red_at("PagewakeDummiesLeaking")),
            number("Halts", "Since the run began; a vcpu that is halted for a page is halted again "
                   "after each interrupt meanwhile.",
                   "short", Query(f"sum by (run) (pagewake_kvm_halts_total{{{RUN}}})")),
            number("Double faults", "Since the run began: faults on a page that is already on its "
                   "way for the same vcpu. Without asynchronous faults in the guest there is one "
                   "for every interrupt during a halt.",
                   "short", Query(f"sum by (run) (pagewake_kvm_double_faults_total{{{RUN}}})")),
            "Host to guest",
            lines("Touches of absent pages", "By what the guest was told: injected = NOT_PRESENT, "
                  "halted = the vcpu stands still, untold = the event could not be written, "
                  "synchronous = the vcpu thread waits itself.",
                  PER_SIM_S, Query(per_simulated_second(
                      "run_delivery:pagewake_page_not_present:rate1m"), "{{run}} {{delivery}}"),
                  stacked=True),
            lines("Synchronous touches", "Share of all touches of absent pages, by why they could "
                  "not be asynchronous.",
                  "percentunit", Query(f"run_why:pagewake_page_synchronous:ratio1m{{{RUN}}}",
                                       "{{run}} {{why}}"), stacked=True),
            lines("Completed page-ins", "By what the guest was told: token = READY, broadcast = "
                  "READY for all, silent = APF off or the write failed, synchronous = no READY "
                  "was due.",
                  PER_SIM_S, Query(per_simulated_second(
                      "run_delivery:pagewake_page_ready:rate1m"), "{{run}} {{delivery}}"),
                  stacked=True),
            lines("Injections", "Events that entered a guest.",
                  PER_SIM_S, Query(per_simulated_second(
                      "run_event:pagewake_kvm_injections:rate1m"), "{{run}} {{event}}")),
            lines("Halts", "apf_off and kernel_mode: the guest may not be told. double_fault: "
                  "again a page that is on its way. stale: nothing was outstanding. hlt and "
                  "offline: the guest's own.",
                  PER_SIM_S, Query(per_simulated_second(
                      "run_why:pagewake_kvm_halts:rate1m"), "{{run}} {{why}}")),
            "In the guest",
            lines("Outcomes of task_wait", "slept = another task runs meanwhile, early_ready = "
                  "READY was there first, halted = nothing else could run.",
                  PER_SIM_S, Query(per_simulated_second(
                      "run_outcome:pagewake_guest_task_waits:rate1m"), "{{run}} {{outcome}}"),
                  stacked=True),
            lines("Tasks woken", "token = by the READY of their page, broadcast = by one for all, "
                  "offline = because their CPU went away.",
                  PER_SIM_S, Query(per_simulated_second(
                      "run_how:pagewake_guest_task_wakes:rate1m"), "{{run}} {{how}}"),
                  stacked=True),
            lines("Sleepers and dummies", "Tasks in task_wait, and dummies in the sleeper hashes. "
                  "The red line is where dummies count as leaked.",
                  "short",
                  Query(f"run:pagewake_guest_sleepers:sum{{{RUN}}}", "{{run}} sleepers"),
                  Query(f"run:pagewake_guest_dummies:sum{{{RUN}}}", "{{run}} dummies"),
                  limits=red_at("PagewakeDummiesLeaking")),
            lines("Traps", "Page fault traps by the reason that the guest's handler read.",
                  PER_SIM_S, Query(per_simulated_second(
                      "run_reason:pagewake_guest_traps:rate1m"), "{{run}} {{reason}}")),
            lines("Tasks asleep, by VM group", "Of all VMs of a group together.", "short",
                  Query(f"sum by (run, group) (pagewake_group_sleepers{{{RUN}, {GROUP}}})",
                        "{{run}} {{group}}")),
            lines("Vcpus that stand still, by VM group", "Halted by the host for a page, or the "
                  "vcpu's own thread waits for one.",
                  "short",
                  Query(f"sum by (run, group) (pagewake_group_vcpus_still{{{RUN}, {GROUP}}})",
                        "{{run}} {{group}}")),
            heat("How long tasks sleep", "Simulated time from task_wait to task_wake, all chosen "
                 "runs together; wakes per second of wall time.",
                 "run_le:pagewake_guest_wait_sim_seconds_bucket:rate1m"),
            lines("How long tasks sleep: median and 99th percentile", "Simulated time. It is the "
                  "page-in and the wait for the vcpu's next exit.",
                  "s",
                  Query(f"run:pagewake_guest_wait_sim_seconds:p50_1m{{{RUN}}}", "{{run}} p50"),
                  Query(f"run:pagewake_guest_wait_sim_seconds:p99_1m{{{RUN}}}", "{{run}} p99")),
            "Recorded hosts",
            number("Rules broken", "Lines of followed recordings that break a rule of the "
                   "protocol; the log of pagewake watch has each of them.",
                   "short", Query(_of_recordings("violations"))),
            number("Unknown stretches", "Times at which lines were lost, torn, or went back in "
                   "time: what was in flight then is unknown.",
                   "short", Query(_of_recordings("spans"))),
            number("Lost events", "That the tracer had no room for: give it larger buffers.",
                   "short", Query(_of_recordings("lost_events"))),
            lines("Lines", "Of all chosen recordings, by whether somebody reads their event.",
                  "short",
                  Query(f"sum(rate(pagewake_recording_lines_total{{{RUN}}}[1m])) or vector(0)",
                        "read"),
                  Query(f"sum(rate(pagewake_recording_passed_lines_total{{{RUN}}}[1m]))"
                        " or vector(0)", "passed over")),
        ],
    )  # fmt: skip
