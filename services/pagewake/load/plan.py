"""What a load test runs: sizes in vcpus, and the scenario of each.

Four vcpus a VM, each of them touching three times the memory that its VM may keep a half of, so
that every other touch misses; NVMe with 64 requests at once, so that windows are rich; a simulated
host for every 500 vcpus, which are 20 at 10,000.  The same seed for all.
"""

from __future__ import annotations

from pathlib import Path

from pagewake.errors import ConfigError
from pagewake.scenario.loading import loads
from pagewake.scenario.model import Scenario
from pagewake.scenario.units import parse_duration as parse_ns

# As the header says.
VCPUS_PER_VM = 4
VCPUS_PER_HOST = 500
VCPUS_MAX = 100_000
"""Ten times the 10,000 named above; more is a typing error."""
SIZES_MAX = 32
"""At the default duration they take about twenty minutes; more is a typing error."""
WARM_WINDOWS = 64
"""Of every simulated host before anything is measured: first touches of a VM cost more than later
ones, and wall time alone says little of how far a large run is."""
WARM_LIMIT_S = 180.0
"""A host that has not closed `WARM_WINDOWS` by then is measured as it is."""
DURATION_NS_MIN, DURATION_NS_MAX = 100_000_000, 3_600_000_000_000

_HEAD = """
[scenario]
name = "load-{vcpus}"
description = "{vcpus} vcpus that thrash"
duration = "1000000s"
[kernel]
profile = "posted-v7"
hz = 100
[host]
count = {hosts}
medium = {{ base = "nvme", parallelism = 64 }}
page_cluster = "off"
"""
_VM = """
[[vm]]
name = "{name}"
count = {count}
vcpus = {vcpus}
memory = "16MiB"
limit = "8MiB"
[[vm.task]]
name = "faulter"
count = {vcpus}
pattern = "random"
working_set = "12MiB"
access = "write"
populated = true
touch = "20us"
"""


def scenario_for(vcpus: int) -> Scenario:
    """Longer than anybody measures: a load run is ended by a command."""
    hosts = -(-vcpus // VCPUS_PER_HOST)
    text = _HEAD.format(vcpus=vcpus, hosts=hosts)
    whole, rest = divmod(vcpus, VCPUS_PER_VM)
    if whole:
        text += _VM.format(name="vm", count=whole, vcpus=VCPUS_PER_VM)
    if rest:
        text += _VM.format(name="last", count=1, vcpus=rest)
    return loads(text, f"load of {vcpus} vcpus", Path())


def parse_sizes(text: str) -> list[int]:
    """`64,256` as numbers in ascending order, each once."""
    sizes: list[int] = []
    for part in text.split(","):
        word = part.strip()
        if not (word.isascii() and word.isdecimal()) or not 1 <= int(word) <= VCPUS_MAX:
            raise ConfigError(
                f"--vcpus {text}: {part!r} is no size; give numbers from 1 to {VCPUS_MAX:,}"
                " such as 64,256,1024"
            )
        if int(word) in sizes:
            raise ConfigError(f"--vcpus {text}: {int(word)} twice; a size is measured once")
        sizes.append(int(word))
    if len(sizes) > SIZES_MAX:
        raise ConfigError(f"--vcpus: {len(sizes)} sizes are more than {SIZES_MAX}")
    return sorted(sizes)


def parse_duration(text: str) -> float:
    """Wall seconds to measure each size for; ConfigError for less than 100 ms or more than 1 h."""
    try:
        given_ns = parse_ns(text)
    except ValueError as error:
        raise ConfigError(f"--duration: {error}") from None
    if not DURATION_NS_MIN <= given_ns <= DURATION_NS_MAX:
        raise ConfigError(f"--duration {text}: give at least 100ms and at most 1h a size")
    return given_ns / 1e9
