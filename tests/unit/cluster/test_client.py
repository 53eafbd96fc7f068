"""What commands say of a run that is not there, or not in the state that they need."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
import pytest

from pagewake.bus.partitions import StoredRecord
from pagewake.cli import cluster
from pagewake.cluster import client
from pagewake.cluster.runs import Announced, StateChanged
from pagewake.errors import CheckFailedError, ConfigError
from pagewake.participants.plan import RunPlan
from pagewake.scenario.loading import load
from tests.unit.cli.support import invoke

PLAN = RunPlan.of("first", load("row-01-user-fault"), 1)


class Kept:
    """A bus that has the topic of runs and nothing else."""

    def __init__(self, *runs: str, state: StateChanged | None = None) -> None:
        said: list[tuple[str, msgspec.Struct]] = [
            (run, Announced.of(PLAN._replace(run=run), 0.0)) for run in runs
        ]
        if state is not None:
            said.append((f"{runs[0]}/state", state))
        self.records = [
            StoredRecord(offset, key.encode(), msgspec.json.encode(what))
            for offset, (key, what) in enumerate(said)
        ]

    async def create_topics(self, _: object) -> None:
        """They are there."""

    async def read(self, *_: object) -> AsyncIterator[StoredRecord]:
        for record in self.records:
            yield record


def test_an_unknown_run_is_answered_with_the_nearest_and_never_with_all() -> None:
    bus = Kept("first", *(f"firs-{number}" for number in range(20)), "other")
    with pytest.raises(ConfigError) as caught:
        asyncio.run(client.entry_of(bus, "firsd"))  # type: ignore[arg-type]
    told = str(caught.value)
    assert told.startswith("there is no run 'firsd'; nearest: first, ")
    assert told.count("firs") == 1 + client.NEAREST_MAX
    assert told.endswith("; all of them: pagewake runs list")


def test_a_run_like_no_other_is_answered_with_the_way_to_the_list() -> None:
    with pytest.raises(ConfigError, match="no run 'x'; all of them: pagewake runs list"):
        asyncio.run(client.entry_of(Kept("first"), "x"))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("state", "told"),
    [
        (None, "running, and has no whole log yet; end it first: pagewake runs stop first"),
        (StateChanged("stopped", "a gap"), r"stopped, and has no whole log \(a gap\); .* delete"),
    ],
)
def test_a_run_that_cannot_be_exported_says_what_to_do(
    state: StateChanged | None, told: str, tmp_path: Path
) -> None:
    bus = Kept("first", state=state)
    with pytest.raises(CheckFailedError, match=told):
        asyncio.run(client.export(bus, "first", tmp_path / "log"))  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("command", "told"),
    [("stop", "asked to end; wait for it with: pagewake runs watch a"), ("delete", "is deleted")],
)
def test_what_was_done_to_a_run_is_said_beside_the_results(
    command: str, told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def nothing(_settings: object, _clock: object, _work: Callable[..., object]) -> None:
        """No broker is asked."""

    monkeypatch.setattr(cluster, "on_bus", nothing)
    monkeypatch.delenv("PAGEWAKE_MQTT", raising=False)
    outcome = invoke(capsys, "runs", command, "a")
    assert (outcome.code, outcome.out) == (0, "")
    assert outcome.err.startswith("pagewake: run a is ")
    assert told in outcome.err
    assert outcome.err.count("\n") == 1
