"""Requests in a scenario: where they come from, and what is wrong with a file of arrivals."""

from __future__ import annotations

from pathlib import Path

import pytest

from pagewake.errors import ConfigError, DataError
from pagewake.guest_kernel.config import Spread
from pagewake.scenario.arrivals import read_arrivals
from pagewake.scenario.loading import loads
from pagewake.scenario.spread import SpreadReader
from pagewake.scenario.writing import effective_toml

TEXT = """
[scenario]
name = "requests"
duration = "10ms"
[host]
medium = "nvme"
[[vm]]
name = "web"
vcpus = 1
memory = "8MiB"
limit = "8MiB"
[[vm.task]]
name = "worker"
pattern = "requests"
service = "40us"
rate = "100/s"
"""


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ('rate = "100/s"|', "task.0.rate: requests come by a rate, of clients or from a file"),
        ('rate = "100/s"|rate = 5\nclients = 3', '"rate" says already when requests come'),
        ('rate = "100/s"|rate = 0', "nearest is 1e-06"),
        ('rate = "100/s"|rate = 5\nthink = "1ms"', 'only clients think: it goes with "clients"'),
        ('service = "40us"|', 'pattern "requests" needs it'),
        ('service = "40us"|service = "0us"', 'too short: at least "1ns"'),
        ('service = "40us"|service = 40', 'write a string such as "40us" or "exponential 40us"'),
        ('service = "40us"|service = "exponential"', "lacks its mean"),
        ('rate = "100/s"|rate = 5\ntouches_per_request = 3', "need a working set"),
        ('rate = "100/s"|rate = 5\ntouch = "1us"', 'a task of pattern "requests" has no "touch"'),
        ('rate = "100/s"|arrivals_file = "no.txt"', 'there is no file "'),
        ('"web"|"web"\nnested = 1\nl2 = {memory = "4MiB"}', ""),
    ],
)
def test_what_does_not_fit_is_told(change: str, message: str) -> None:
    before, _, after = change.partition("|")
    text = TEXT.replace(before, after)
    if "nested" in change:
        text, message = f"{text}level = 2\n", "requests come from outside"
    with pytest.raises(ConfigError) as caught:
        loads(text)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("expect", "message"),
    [
        ('of = "web/wroker"\np99 = "1ms"', 'did you mean "web/worker"?'),
        ('of = "web/batch"\np99 = "1ms"', 'a task of pattern "work" answers no requests'),
        ('of = "web/worker"', "nothing is expected"),
        ('of = "web/worker"\np98 = "1ms"', 'unknown key "p98"'),
        ('of = "web/worker"\np99 = 1', "expect.0.p99"),
    ],
)
def test_an_expectation_that_cannot_be_held_is_refused(expect: str, message: str) -> None:
    batch = '[[vm.task]]\nname = "batch"\npattern = "work"'
    with pytest.raises(ConfigError) as caught:
        loads(f"{TEXT}{batch}\n[[expect]]\n{expect}\n")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("phase", "message"),
    [
        ('touches = 5\nworking_set = "4MiB"', 'more than the task has; at most "1MiB"'),
        ("touches = 5\ntheta = 0.5", 'theta: a phase of pattern "random" has none'),
        ('touches = 5\npattern = "zipf"\nhot_set = 0.5', 'hot_set: a phase of pattern "zipf"'),
        ('touches = 5\npattern = "work"', '"work" is no pattern'),
        ('pattern = "zipf"', 'the required key "touches" is missing'),
    ],
)
def test_a_phase_that_does_not_fit_is_refused(phase: str, message: str) -> None:
    heap = '[[vm.task]]\nname = "heap"\npattern = "random"\nworking_set = "1MiB"'
    with pytest.raises(ConfigError) as caught:
        loads(f"{TEXT}{heap}\n[[vm.task.phase]]\n{phase}\n")
    assert message in str(caught.value)


@pytest.mark.parametrize("text", ["40us", "exponential 1500ns"])
def test_a_spread_is_written_as_it_is_read(text: str) -> None:
    reader = SpreadReader()
    assert reader.write(reader.read(text)) == text
    assert reader.read("exponential 1500ns") == Spread(1500, exponential=True)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("0.1\nsoon\n", '2: "soon" is no number of seconds'),
        ("0.1\nnan\n", '2: "nan" is no number of seconds'),
        ("0.2\n0.1\n", '2: "0.1" lies before the line above'),
        ("-1\n", '1: "-1" is outside of any run'),
        ("# nothing\n", "has no instant"),
    ],
)
def test_a_bad_line_of_arrivals_is_named(tmp_path: Path, lines: str, message: str) -> None:
    path = tmp_path / "arrivals.txt"
    path.write_text(lines, "utf-8")
    with pytest.raises(DataError, match=message):
        read_arrivals(path)


def test_arrivals_are_whole_nanoseconds_and_the_effective_scenario_knows_the_file(
    tmp_path: Path,
) -> None:
    path = tmp_path / "arrivals.txt"
    path.write_text("# from a log\n0\n\n0.000000001\n1.5e-3\n1.5e-3\n", "utf-8")
    assert list(read_arrivals(path)) == [0, 1, 1_500_000, 1_500_000]
    scenario = loads(
        TEXT.replace('rate = "100/s"', 'arrivals_file = "arrivals.txt"'), base=tmp_path
    )
    written = effective_toml(scenario)
    assert loads(written) == scenario
    assert f'arrivals_file = "{path}"' in written
    path.write_text("0.5\n", "utf-8")
    with pytest.raises(DataError, match="not the file this scenario was executed with"):
        loads(written)
