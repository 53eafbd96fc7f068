"""Every built-in scenario: its log verifies, replays, and is a function of scenario and seed."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from pagewake.engine.run import run_scenario
from pagewake.observe.result import RunResult
from pagewake.scenario.library import builtin_names
from pagewake.scenario.loading import load
from pagewake.verify.verify import verify_log

LONG = {
    "natapov-2010": "scenario.duration=3s",
    "nested": "scenario.duration=200ms",
    "overcommit": "scenario.duration=150ms",
    "swap-tiers": "scenario.duration=40ms",
    "zswap": "scenario.duration=40ms",
    "trace-sort": "scenario.duration=150ms",
    "trace-sqlite": "scenario.duration=150ms",
}


DIGESTS = Path(__file__).parents[1] / "compat" / "digests.toml"


def shortened(name: str) -> list[str]:
    return [LONG[name]] if name in LONG else []


@pytest.fixture(scope="class")
def logged(name: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[RunResult, Path]:
    """Its run and the log of it, once for all that looks at them."""
    directory = tmp_path_factory.mktemp(name) / "log"
    return run_scenario(load(name, shortened(name)), log_dir=directory), directory


@pytest.mark.parametrize("name", builtin_names(), scope="class")
class TestEveryBuiltIn:
    def test_log_verifies_and_replays(self, logged: tuple[RunResult, Path]) -> None:
        result, directory = logged
        report = verify_log(directory)
        assert report.problems == []
        assert (report.digest, report.events) == (result.digest, result.events)
        again = run_scenario(load(str(directory / "run.toml")))
        assert again.digest == result.digest

    def test_has_the_digest_on_record(self, name: str, logged: tuple[RunResult, Path]) -> None:
        known = tomllib.loads(DIGESTS.read_text("utf-8"))
        digest = logged[0].digest
        assert digest == known[name], "meant? tests/compat/digests.toml says what to do"

    def test_says_what_it_shows(self, name: str) -> None:
        about = load(name).about
        assert len(about.description) > 20
        assert about.shows


def test_hash_seed_and_shards_do_not_matter() -> None:
    digests = {
        subprocess.run(
            [
                sys.executable, "-m", "pagewake", "run", "overcommit", "--json",
                "--set", "scenario.duration=100ms", "--shards", shards,
            ],
            env=os.environ | {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            check=True,
            text=True,
        ).stdout.split('"digest":')[1][:70]
        for hash_seed, shards in (("1", "1"), ("99", "3"))
    }  # fmt: skip
    assert len(digests) == 1


def test_another_seed_is_another_run() -> None:
    runs = [run_scenario(load("natapov-2010", [LONG["natapov-2010"]], seed)) for seed in (1, 2)]
    assert runs[0].digest != runs[1].digest


if __name__ == "__main__":
    for builtin in builtin_names():
        print(f'{builtin} = "{run_scenario(load(builtin, shortened(builtin))).digest}"')  # noqa: T201
