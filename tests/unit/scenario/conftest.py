"""A small valid scenario that the tests change one thing of."""

from __future__ import annotations

from pathlib import Path

import pytest

VALID = """\
[scenario]
name = "small"
description = "two VMs"
seed = 7
duration = "60s"

[kernel]
profile = "posted-v7"
apf = "pv"
hz = 1000

[kernel.overrides]
preempt = true

[host]
count = 1
medium = "hdd-2010"
reclaim_lag = "200us"

[[vm]]
name = "bm"
count = 2
vcpus = 4
memory = "2GiB"
limit = "512MiB"

[[vm.task]]
name = "worker"
count = 4
pattern = "work"

[[vm.task]]
name = "faulter"
count = 4
pattern = "random"
working_set = "1GiB"
access = "write"
populated = true

[[event]]
at = "3s"
do = "vcpu-offline"
vm = "bm-0"
vcpu = 2
"""


@pytest.fixture
def valid() -> str:
    return VALID


@pytest.fixture
def scenario_file(tmp_path: Path) -> Path:
    path = tmp_path / "small.toml"
    path.write_text(VALID, "utf-8")
    return path
