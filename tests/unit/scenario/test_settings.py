"""Axes of a comparison: one key and its values."""

from __future__ import annotations

import pytest

from pagewake.errors import ConfigError
from pagewake.scenario.settings import parse_axis


@pytest.mark.parametrize(
    ("text", "key", "values"),
    [
        ("kernel.apf=off,nonpv,pv", "kernel.apf", ["off", "nonpv", "pv"]),
        ("vm.0.limit=1GiB", "vm.0.limit", ["1GiB"]),
        ("kernel.profile=2.6.39, 5.8", "kernel.profile", ["2.6.39", "5.8"]),
        ("kernel.overrides.preempt=true,false", "kernel.overrides.preempt", ["true", "false"]),
        (
            'host.medium=nvme,{ latency = "1ms", parallelism = 2 }',
            "host.medium",
            ["nvme", '{ latency = "1ms", parallelism = 2 }'],
        ),
        ('scenario.description="a,b",c', "scenario.description", ['"a,b"', "c"]),
    ],
)
def test_an_axis_is_a_key_and_its_values(text: str, key: str, values: list[str]) -> None:
    assert parse_axis(text) == (key, values)


@pytest.mark.parametrize(
    ("text", "needles"),
    [
        ("kernel.apf", ["write key=a,b"]),
        ("kernel.apff=off,pv", ['"kernel.apff"', '"apf"']),
        ("duration=1s,2s", ['did you mean "scenario.duration"?']),
        ("limit=1MiB,2MiB", ['"vm.0.limit"']),
        ("kernl.apf=off,pv", ['"kernl"', '"kernel"']),
        ("vm.0.task.1.tuch=1us,2us", ['"vm.0.task.1.tuch"', '"touch"']),
        ("kernel.apf=off,,pv", ["empty"]),
        ("kernel.apf=", ["empty"]),
        ("kernel.apf=pv,off,pv", ['"pv"', "twice"]),
        ("kernel=1,2", ["kernel is a table"]),
    ],
)
def test_a_bad_axis_is_named(text: str, needles: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_axis(text)
    message = str(caught.value)
    assert message.startswith(f'--axis "{text}": '), message
    for needle in needles:
        assert needle in message, message
