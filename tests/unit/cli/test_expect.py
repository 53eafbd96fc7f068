"""`[[expect]]`: a run that misses a limit exits with 1 and says by how much."""

from __future__ import annotations

from pathlib import Path

import pytest

from pagewake.cli.check import check
from pagewake.engine.run import run_scenario
from pagewake.errors import CheckFailedError
from pagewake.scenario.loading import loads
from tests.unit.cli.support import invoke
from tests.unit.scenario.test_requests import TEXT

BUSY = TEXT.replace("100/s", "5000/s")


def with_limits(*limits: str) -> str:
    return "\n".join([BUSY, "[[expect]]", 'of = "web/worker"', *limits])


@pytest.mark.parametrize(
    ("limits", "told"),
    [
        (('p99 = "50us"',), r"web/worker p99 [\d.]+ us, expected at most 50 us"),
        (('throughput = "9000/s"',), r"web/worker throughput [\d,.]+/s, expected at least 9,000/s"),
        (('max = "1ns"', 'p50 = "1s"'), r"a run: web/worker max [^;]*, expected at most 1 ns$"),
    ],
)
def test_a_missed_limit_fails_with_the_value(limits: tuple[str, ...], told: str) -> None:
    result = run_scenario(loads(with_limits(*limits)))
    with pytest.raises(CheckFailedError, match=told):
        check(("a run", result), also_wrongs=False)


def test_limits_that_are_kept_let_pass() -> None:
    result = run_scenario(loads(with_limits('p99 = "9ms"', 'mean = "9ms"', "throughput = 1000")))
    assert [(each.what, each.met) for each in result.expected] == [
        ("mean", True),
        ("p99", True),
        ("throughput", True),
    ]
    check(("a run", result), also_wrongs=False)


def test_no_answer_meets_no_limit_on_latencies() -> None:
    late = with_limits('p99 = "9ms"').replace("5000/s", "1/s")
    result = run_scenario(loads(late))
    with pytest.raises(CheckFailedError, match="p99 of no request, expected at most 9 ms"):
        check(("a run", result), also_wrongs=False)


@pytest.mark.parametrize("command", [("run",), ("compare", "--axis", "scenario.seed=1,2")])
def test_commands_print_the_result_and_exit_with_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: tuple[str, ...]
) -> None:
    path = tmp_path / "web.toml"
    path.write_text(with_limits('p99 = "50us"'), "utf-8")
    name, *options = command
    missed = invoke(capsys, name, str(path), *options)
    assert missed.code == 1
    assert "requests" in missed.out or "scenario.seed" in missed.out
    assert "expected at most 50 us" in missed.err
    path.write_text(with_limits('p99 = "1s"'), "utf-8")
    assert invoke(capsys, name, str(path), *options).code == 0
