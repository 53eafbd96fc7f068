"""Arguments and options that several commands share, worded once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

ScenarioArgument: TypeAlias = Annotated[
    str,
    typer.Argument(metavar="SCENARIO", help="A scenario file, or the name of a built-in one."),
]
LogArgument: TypeAlias = Annotated[
    Path, typer.Argument(metavar="LOG", help="A log directory, as `run --log` writes it.")
]
SeedOption: TypeAlias = Annotated[
    int | None, typer.Option("--seed", min=0, help="Seed of all randomness.", show_default=False)
]
SetOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Override one value of the scenario, such as host.medium=nvme or vm.0.count=8.",
    ),
]
ShardsOption: TypeAlias = Annotated[
    int, typer.Option("--shards", min=1, help="Distribute the VMs over this many shards.")
]
JournalOption: TypeAlias = Annotated[
    str,
    typer.Option(
        "--journal",
        metavar="none|faults|full",
        help="How much of the journal is kept: nothing, what figures are counted from, or all.",
    ),
]
JobsOption: TypeAlias = Annotated[
    int | None,
    typer.Option(
        "--jobs",
        min=1,
        help="Processes for runs and for simulated hosts; 1: this one does it all"
        " (default: one per core; 1 for what is short).",
        show_default=False,
    ),
]
JsonOption: TypeAlias = Annotated[
    bool, typer.Option("--json", help="Print the result as JSON on stdout.")
]
KafkaOption: TypeAlias = Annotated[
    str | None,
    typer.Option("--kafka", metavar="HOST:PORT", help="Bootstrap servers; PAGEWAKE_KAFKA."),
]
MqttOption: TypeAlias = Annotated[
    str | None, typer.Option("--mqtt", metavar="URL", help="Control plane; PAGEWAKE_MQTT.")
]
InstanceOption: TypeAlias = Annotated[
    str | None, typer.Option("--instance", help="Name of this process; PAGEWAKE_INSTANCE.")
]
