"""A saved result, and what is worse than in it."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from pagewake.errors import ConfigError, DataError
from pagewake.load.regression import check_comparable, in_words, read_baseline, regressions
from tests.unit.load.support import measured, result


def test_what_print_json_writes_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "saved.json"
    saved = result(measured(64), measured(256))
    path.write_bytes(msgspec.json.format(msgspec.json.encode(saved), indent=2))
    assert read_baseline(path) == saved


def test_nothing_is_worse_than_itself() -> None:
    assert regressions(result(measured()), result(measured()), 0.0) == []


@pytest.mark.parametrize(
    ("now", "figure"),
    [
        (measured(rate=799.0), "faults_per_s"),
        (measured(p99_s=0.0130), "window.p99_s"),
        (measured(cpu=121.0), "cpu_s_per_million_faults"),
    ],
)
def test_what_is_worse_by_more_is_named(now: object, figure: str) -> None:
    (found,) = regressions(result(measured()), result(now), 0.2)  # type: ignore[arg-type]
    assert (found.vcpus, found.figure) == (64, figure)
    assert found.worse_by > 0.2
    assert in_words(found).startswith(f"64 vcpus: {figure} ")


def test_what_is_better_or_as_bad_as_allowed_is_not() -> None:
    better = measured(rate=5000.0, p99_s=0.001, cpu=10.0)
    allowed = measured(rate=800.0, p99_s=0.012, cpu=120.0)
    assert regressions(result(measured()), result(better), 0.2) == []
    assert regressions(result(measured()), result(allowed), 0.2) == []


def test_two_milliseconds_of_a_latency_mean_nothing() -> None:
    before, now = measured(p99_s=0.002), measured(p99_s=0.004)
    assert regressions(result(before), result(now), 0.2) == []


def test_what_one_side_does_not_know_is_not_compared() -> None:
    assert regressions(result(measured(cpu=None)), result(measured(cpu=900.0)), 0.2) == []
    assert regressions(result(measured(cpu=1.0)), result(measured(cpu=None)), 0.2) == []
    assert regressions(result(measured(64)), result(measured(128, rate=1.0)), 0.2) == []


def test_what_cannot_be_compared() -> None:
    with pytest.raises(ConfigError, match="measured cluster, this is embedded"):
        check_comparable(result(measured(), mode="cluster"), "embedded", {64: 1})
    with pytest.raises(ConfigError, match="it has --vcpus 64"):
        check_comparable(result(measured()), "embedded", {65: 1})
    with pytest.raises(ConfigError, match=r"in 1 process at 64 vcpus, this .* in 2: give --jobs 1"):
        check_comparable(result(measured()), "embedded", {64: 2})


def test_what_is_no_baseline(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_baseline(tmp_path / "none.json")
    (tmp_path / "odd.json").write_text('{"mode": "embedded"}')
    with pytest.raises(DataError, match="not a result of pagewake load"):
        read_baseline(tmp_path / "odd.json")
