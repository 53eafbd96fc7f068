"""Cluster: how fast runs go, who owns them, and what goes over Kafka."""

from __future__ import annotations

from grafana_foundation_sdk.builders import dashboard

from grafana.limits import red_above_none, red_at
from grafana.page import page
from grafana.panels import INSTANCE, PER_S, RUN, Query, heat, lines, number

BYTES = "cluster:pagewake_bus_bytes_per_page_not_present:ratio1m"
BY_INSTANCE = "{{service}} {{instance}}"


def cluster() -> dashboard.Dashboard:
    """See the module."""
    waiting = f"max by (run, source) (pagewake_window_waits_for_seconds{{{RUN}}}) or vector(0)"
    rejected = "sum(instance_why:pagewake_bus_rejected_records:increase5m) or vector(0)"
    return page(
        "cluster",
        "The services that execute runs: speed, windows, ownership and Kafka.",
        [
            number("Simulated by wall time", "1: as fast as the clock.", "none",
                   Query(f"run:pagewake_sim_speed_ratio:mean1m{{{RUN}}}")),
            number("Windows", "Opened by all hosts of a run, a second.", PER_S,
                   Query(f"run:pagewake_windows:rate1m{{{RUN}}}")),
            number("Longest wait", "Of an open window for a shard; waits below 10 s are none.", "s",
                   Query(f"max({waiting})", "wait"), limits=red_at("PagewakeRunStalled")),
            number("Kafka per absent page", "What all services wrote to Kafka in the last minute, "
                   "for each touch of an absent page.", "bytes", Query(BYTES, "bytes")),
            number("Kafka silent", "The longest that it has not answered a service.", "s",
                   Query(f"max(pagewake_kafka_silent_seconds{{{INSTANCE}}})", "silent"),
                   limits=red_at("PagewakeKafkaSilent")),
            number("Records rejected", "In five minutes. There is no series before the first one.",
                   "short", Query(rejected, "rejected"),
                   limits=red_above_none("PagewakeRecordsRejected")),
            number("Runs broken off", "Until they are deleted; `pagewake runs list` says why.",
                   "short", Query(f"count(max by (run) (pagewake_run_broken_off{{{RUN}}})) or "
                                  "vector(0)", "broken off"),
                   limits=red_above_none("PagewakeRunBrokenOff")),
            "Speed",
            lines("Simulated by wall time", "Simulated seconds per second, mean of a minute; 0 for "
                  "a run that is paused or waits, nothing for one that has ended.",
                  "none", Query(f"run:pagewake_sim_speed_ratio:mean1m{{{RUN}}}")),
            lines("Simulated by wall time, of each part", "In the last second; only of parts that "
                  "have caught up and not ended. 0 for long: paused, or PagewakeRunNotMoving.",
                  "none", Query(f"max by (run, source) (pagewake_sim_speed_ratio{{{RUN}}})",
                                "{{run}} {{source}}")),
            lines("Simulated time", "Reached by the slowest part of the run.", "s",
                  Query(f"run:pagewake_sim_time_seconds:min{{{RUN}}}")),
            lines("Windows", "Opened by all hosts of a run, a second; over a minute, so a run "
                  "begins too low.", PER_S,
                  Query(f"run:pagewake_windows:rate1m{{{RUN}}}")),
            lines("Events of a window", "Domain events of a shard in one window, mean.", "short",
                  Query(f"run:pagewake_window_events:mean1m{{{RUN}}}")),
            heat("How long windows take", "Wall time from a window's opening to its last close, "
                 "all chosen runs together; windows per second.",
                 "run_le:pagewake_window_wall_seconds_bucket:rate1m"),
            lines("How long windows take: median and 99th percentile", "Wall time.", "s",
                  Query(f"run:pagewake_window_wall_seconds:p50_1m{{{RUN}}}", "{{run}} p50"),
                  Query(f"run:pagewake_window_wall_seconds:p99_1m{{{RUN}}}", "{{run}} p99"),
                  limits=red_at("PagewakeWindowsSlow"), span=24),
            "Services",
            lines("Cores busy", "Of the machine's, by each process; a service uses one at most.",
                  "none", Query(f"instance:process_cpu_seconds:rate1m{{{INSTANCE}}}",
                                "{{instance}}")),
            lines("Memory", "Resident in each process.", "bytes",
                  Query(f'process_resident_memory_bytes{{job="pagewake", {INSTANCE}}}',
                        BY_INSTANCE)),
            lines("Partitions owned", "Of runs that have not been forgotten; by instance.",
                  "short", Query(f"sum by (service, instance) (pagewake_owned_partitions"
                                 f"{{{INSTANCE}}})", BY_INSTANCE), stacked=True),
            lines("Takeovers and snapshots", "In five minutes. A run that begins is taken over, "
                  "too.",
                  "short",
                  Query(f"instance:pagewake_recoveries:increase5m{{{INSTANCE}}}",
                        "{{instance}} takeovers"),
                  Query(f"instance:pagewake_snapshots:increase5m{{{INSTANCE}}}",
                        "{{instance}} snapshots")),
            lines("Executed again", "Simulated time between the snapshot and the takeover, at the "
                  "last takeover of each part.",
                  "s", Query(f"max by (run, source) (pagewake_replay_sim_seconds{{{RUN}}})",
                             "{{run}} {{source}}")),
            lines("Waits of open windows", "For whom, if that is longer than 10 s; else 0.", "s",
                  Query(waiting, "wait {{run}} {{source}}"), limits=red_at("PagewakeRunStalled")),
            "Kafka",
            lines("Bytes", "Of records, out = written and in = read by all services.", "Bps",
                  Query("topic_direction:pagewake_bus_bytes:rate1m", "{{topic}} {{direction}}")),
            lines("Records", "out = written and in = read by all services.", PER_S,
                  Query("topic_direction:pagewake_bus_records:rate1m", "{{topic}} {{direction}}")),
            lines("Bytes per absent page", "What all services wrote to Kafka, snapshots "
                  "included, for each touch of an absent page.",
                  "bytes", Query(BYTES, "all")),
            lines("Bytes per absent page, of each run", "What its parts wrote, without snapshots, "
                  "since it began.",
                  "bytes", Query(f"sum by (run) (pagewake_run_bytes_total{{{RUN}}}) / "
                                 f"(sum by (run) (pagewake_page_not_present_total{{{RUN}}}) > 0)")),
            lines("Lag", "Records of a partition that its owner has not read.", "short",
                  Query(f"run_topic:pagewake_bus_lag_records:max{{{RUN}}}", "{{run}} {{topic}}"),
                  limits=red_at("PagewakeLagGrowing")),
            lines("Records that came again", "Ignored, since the last takeover of each part; each "
                  "was written twice because nobody could know whether the first one was.",
                  "short", Query(f"sum by (run, source) (pagewake_duplicates_ignored_total"
                                 f"{{{RUN}}})", "{{run}} {{source}}")),
            lines("Records of a window", "What the run's parts wrote, by its windows, since it "
                  "began.",
                  "short", Query(f"sum by (run) (pagewake_run_records_total{{{RUN}}}) / "
                                 f"sum by (run) (pagewake_windows_total{{{RUN}}})")),
        ],
    )  # fmt: skip
