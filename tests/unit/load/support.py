"""Results of load tests, made up."""

from __future__ import annotations

from pagewake.load.measured import Cost, Latency, LoadMode, LoadResult, Measurement, knee_of


def measured(
    vcpus: int = 64, *, rate: float = 1000.0, p99_s: float = 0.01, cpu: float | None = 100.0
) -> Measurement:
    cost = Cost("embedded", 0.9, cpu, 1 << 20)
    return Measurement(
        vcpus=vcpus,
        vms=vcpus // 4,
        hosts=1,
        wall_s=10.0,
        windows=500,
        faults_per_s=rate,
        events_per_s=17 * rate,
        faults_per_window=rate / 50,
        simulated_per_wall=0.01,
        window=Latency(p99_s / 3, p99_s, 2 * p99_s, 3 * p99_s),
        cpu_s_per_million_faults=cpu,
        memory_bytes_per_vcpu=(1 << 20) / vcpus,
        kafka_bytes_per_fault=None,
        services=[] if cpu is None else [cost],
    )


def result(
    *sizes: Measurement, mode: LoadMode = "embedded", interrupted: bool = False
) -> LoadResult:
    knee, reached = knee_of(sizes)
    return LoadResult(
        mode=mode,
        duration_s=10.0,
        warm_s=2.0,
        version="0",
        python="3",
        cores=2,
        latency_source="made up",
        sizes=list(sizes),
        knee_vcpus=knee,
        knee_reached=reached,
        interrupted=interrupted,
    )
