"""`page_source` and `[vm.source]`: what is refused, and what they stand for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pagewake.errors import ConfigError
from pagewake.explore.gallery import load_small
from pagewake.explore.machine import SmallMachine
from pagewake.participants.build import plan_vms, vm_memory
from pagewake.scenario.loading import loads

FED = """
[scenario]
name = "fed"
duration = "10ms"
[kernel]
profile = "6.12"
[host]
medium = "zram"
[[vm]]
name = "vm"
vcpus = 1
memory = "8MiB"
page_source = "postcopy"
[vm.source]
[[vm.task]]
name = "web"
pattern = "zipf"
working_set = "1MiB"
populated = true
"""


def memory_of(text: str):  # type: ignore[no-untyped-def]  # noqa: ANN201
    scenario = loads(text, "fed.toml", Path())
    return vm_memory(scenario, plan_vms(scenario, scenario.instances())[0])


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"postcopy"', '"swap"', None),
        ('"postcopy"', '"swap"\nsource = { prefetch = "4KiB" }', "say page_source"),
        ('"postcopy"', '"precopy"', '"postcopy"'),
        ('"6.12"', '"3.16"', 'at least "4.4"'),
        ('"6.12"', '"amazonlinux2023"', None),
        ("populated = true", "populated = false", "nothing is at the source"),
        ("[vm.source]", "[vm.userfault]", "leave one of them out|not synchronous"),
        ("[vm.source]", '[vm.source]\nmedium = "zram"', "not synchronous"),
        ("[vm.source]", '[vm.source]\nmedium = "cxl"', "not synchronous"),
        ("[vm.source]", "[vm.source]\nmedium = 3", "vm.source.medium"),
        ("[vm.source]", "[vm.source]\nthreads = 2", "it belongs to uffd"),
        ("[vm.source]", '[vm.source]\nread_ahead = "4KiB"', "it belongs to file"),
        ("[vm.source]", '[vm.source]\norder = "random"', "valid are address, follow, recorded"),
        ("[vm.source]", '[vm.source]\nprefetch = "1000B"', "4KiB|4096"),
    ],
)
def test_what_does_not_fit_is_refused_with_what_to_do(old: str, new: str, said: str | None) -> None:
    text = FED.replace(old, new, 1)
    if "source = {" in new:
        text = text.replace("[vm.source]\n", "")
    if said is None:
        loads(text, "fed.toml", Path())
        return
    with pytest.raises(ConfigError, match=said):
        loads(text, "fed.toml", Path())


def test_a_file_says_that_handling_is_none_of_its_business() -> None:
    text = FED.replace('"postcopy"', '"file"').replace(
        "[vm.source]", '[vm.source]\nhandling = "1us"'
    )
    with pytest.raises(ConfigError, match="it belongs to postcopy and uffd"):
        loads(text, "fed.toml", Path())


def test_all_that_was_populated_is_absent_unless_it_is_said_to_be_resident() -> None:
    assert int(memory_of(FED).resident.sum()) == 0
    text = FED.replace("populated = true", 'populated = true\nresident = "256KiB"')
    memory = memory_of(text)
    assert int(memory.resident.sum()) == 64
    assert set(memory.source.push) == set(memory.populated[~memory.resident])


@pytest.mark.parametrize(
    ("kind", "source", "pages", "follows"),
    [
        ("postcopy", "", 256, True),
        ("postcopy", 'prefetch = "0B"', 0, True),
        ("postcopy", 'order = "address"', 256, False),
        ("uffd", "", 0, False),
        ("uffd", 'prefetch = "64KiB"', 16, False),
        ("file", 'prefetch = "2MiB"', 256, False),
    ],
)
def test_what_is_pushed_by_default_and_on_request(
    kind: str, source: str, pages: int, follows: bool
) -> None:
    text = FED.replace('"postcopy"', f'"{kind}"').replace("[vm.source]", f"[vm.source]\n{source}")
    config = memory_of(text).source
    assert (len(config.push), config.follows) == (pages, follows)


def test_a_recording_has_the_pages_first_that_are_touched_most() -> None:
    text = FED.replace('"postcopy"', '"uffd"').replace(
        "[vm.source]", '[vm.source]\nprefetch="1MiB"'
    )
    by_skew = memory_of(text).source.push
    assert sorted(by_skew) == list(range(256))
    assert not np.array_equal(by_skew, np.arange(256))
    hot = text.replace('"zipf"', '"random"\nhot_set = 0.25\nhot_touches = 0.8\nhot_start = 0.5')
    assert memory_of(hot).source.push[:64].tolist() == list(range(128, 192))


def test_explore_knows_no_source() -> None:
    sets = ["vm.0.page_source=file"]
    with pytest.raises(ConfigError, match='set it to "swap"'):
        SmallMachine(load_small("one-vcpu", sets))
