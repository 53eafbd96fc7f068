"""The embedded runtime, with small domains."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from pathlib import Path

import pytest

from pagewake.bus.log_reader import LogReader
from pagewake.engine.embedded import EmbeddedOutcome, InterruptedRun, Observer
from pagewake.events.codec import APF_GUEST
from pagewake.events.types import Event, PageReady, TaskFinished, WindowOpened
from tests.support.domains import FakeHost, FakePart, FakeShard, FakeVm, run_domains
from tests.support.logs import commits_of, participants, write_log

NAMES = ["vm-0", "vm-1", "vm-2"]


def one_host(misses: int | None = 4, shards: int = 1, seed: int = 1) -> list[FakePart]:
    vms = [FakeVm(seed, name, misses, tick_ns=500) for name in NAMES]
    parts = [(APF_GUEST, FakeShard(vms[index::shards])) for index in range(shards)]
    return [(FakeHost(seed, 100, NAMES, agings=[200, 900]), parts)]


def run(made: list[FakePart], observer: Observer | None = None) -> EmbeddedOutcome:
    return run_domains(made, 100_000, observer=observer)


def test_a_run_ends_at_the_last_freeze() -> None:
    finished: list[int] = []

    def observe(events: list[Event]) -> None:
        finished.extend(event.at_ns for event in events if isinstance(event, TaskFinished))

    outcome = run(one_host(), observe)
    assert len(finished) == len(NAMES)
    assert outcome.sim_ns == max(finished)


def test_a_run_that_never_freezes_ends_at_its_duration() -> None:
    outcome = run_domains(one_host(misses=None), 5_000)
    assert outcome.sim_ns == 5_000


def test_the_run_ends_with_its_last_host() -> None:
    short, long = one_host(misses=1), one_host(misses=9)
    outcome = run([*short, *long])
    assert outcome.sim_ns == run(one_host(misses=9)).sim_ns
    assert outcome.windows == run(one_host(misses=1)).windows + run(one_host(misses=9)).windows


def test_the_digest_is_the_same_again_and_depends_on_the_seed() -> None:
    assert run(one_host()) == run(one_host())
    assert run(one_host()).digest != run(one_host(seed=2)).digest


def test_hosts_do_not_influence_each_other() -> None:
    alone = [run(one_host(seed=seed)).host_digests[0] for seed in (1, 2)]
    assert run([*one_host(seed=1), *one_host(seed=2)]).host_digests == alone


def test_summaries_come_from_every_shard() -> None:
    summaries = run(one_host(misses=4, shards=2)).summaries
    assert [sum(summary.work.values()) for summary in summaries] == [8, 4]


def test_the_observer_sees_every_domain_event_once() -> None:
    seen: list[Event] = []
    run(one_host(shards=2), seen.extend)
    for name in NAMES:
        numbers = sorted(event.n for event in seen if event.vm == name)
        assert numbers == list(range(1, len(numbers) + 1))
    assert sum(isinstance(event, PageReady) for event in seen) == 12


def test_what_a_frozen_vm_answers_is_not_observed_but_logged(tmp_path: Path) -> None:
    write_log(tmp_path / "log", misses=1)
    lines = (tmp_path / "log" / "faults-0.jsonl").read_text().splitlines()
    events = [event for line in lines for event in json.loads(line)["events"]]
    unnumbered = Counter(event["event"] for event in events if event.get("n") == 0)
    assert set(unnumbered) == {"PagesAged"}


def test_a_log_changes_nothing(tmp_path: Path) -> None:
    logged = write_log(tmp_path / "log")
    assert logged == run_domains(participants(), 50_000)


def test_the_log_ends_with_the_last_window(tmp_path: Path) -> None:
    outcome = write_log(tmp_path / "log", hosts=1)
    reader = LogReader(tmp_path / "log")
    (file,) = [file for file in reader.files if file.name == "apf.guest-0.jsonl"]
    commits = commits_of(reader, file)
    opened = [commit.events[0] for commit in commits]
    assert all(isinstance(event, WindowOpened) for event in opened)
    assert [event.last for event in opened if isinstance(event, WindowOpened)] == [
        *([False] * (outcome.windows - 1)),
        True,
    ]


def test_progress_never_goes_back_and_ends_at_the_end() -> None:
    reports: list[tuple[int, int]] = []
    outcome = run_domains(
        participants(),
        50_000,
        on_progress=lambda sim_ns, windows: reports.append((sim_ns, windows)),
    )
    assert [windows for _, windows in reports] == list(range(1, outcome.windows + 1))
    assert all(before[0] <= after[0] for before, after in itertools.pairwise(reports))
    assert reports[-1][0] >= outcome.sim_ns


def test_a_run_can_be_stopped_and_says_how_far_it_got() -> None:
    reports: list[int] = []
    with pytest.raises(InterruptedRun, match="after 5 windows") as stopped:
        run_domains(
            one_host(),
            100_000,
            on_progress=lambda sim_ns, _: reports.append(sim_ns),
            should_stop=lambda: len(reports) == 5,
        )
    assert (stopped.value.sim_ns, stopped.value.windows) == (reports[-1], 5)


def test_an_interrupt_inside_a_window_says_how_far_it_got_and_leaves_no_log(
    tmp_path: Path,
) -> None:
    class Interrupted(FakeHost):
        def take(self, from_ns: int, until_ns: int) -> list[Event]:  # type: ignore[override]
            if from_ns > 1_000:
                raise KeyboardInterrupt
            return super().take(from_ns, until_ns)  # type: ignore[return-value]

    ((_, shards),) = one_host()
    with pytest.raises(KeyboardInterrupt) as stopped:
        run([(Interrupted(1, 100, NAMES), shards)])
    assert isinstance(stopped.value, InterruptedRun)
    assert 1_000 < stopped.value.sim_ns < 2_000


def test_the_shards_of_a_host_close_in_order_of_the_plan(tmp_path: Path) -> None:
    write_log(tmp_path / "log")
    lines = (tmp_path / "log" / "faults-1.jsonl").read_text().splitlines()
    assert [json.loads(line)["source"] for line in lines[:3]] == ["guest-2", "guest-3", "nested-1"]
