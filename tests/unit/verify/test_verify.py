"""`verify_log` names what is wrong with a log by file and line, and accepts a truthful one."""

from __future__ import annotations

import gzip
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pagewake.engine.run import run_scenario
from pagewake.errors import ConfigError
from pagewake.events import types as ev
from pagewake.participants import participant
from pagewake.participants.closing import shard_ended
from pagewake.scenario.loading import load
from pagewake.verify.verify import verify_log
from tests.unit.verify.story import (
    DURATION_NS,
    VM,
    Story,
    digest_of,
    page_fault_story,
    write_log,
)


def problems_of(directory: Path) -> list[str]:
    return verify_log(directory).problems


def test_a_truthful_log_is_clean(tmp_path: Path) -> None:
    story = page_fault_story()

    report = verify_log(write_log(tmp_path / "log", story))

    assert report.problems == []
    assert report.ok
    assert report.digest == digest_of(story.events)
    assert report.events == len(story.events)


def test_the_ledger_says_what_became_of_the_not_present(tmp_path: Path) -> None:
    ledger = verify_log(write_log(tmp_path / "log", page_fault_story())).ledger

    assert (ledger["injected"], ledger["woken_token"], ledger["asleep"]) == (1, 1, 0)


@pytest.mark.parametrize(
    "edges_ns", [(DURATION_NS,), (1_000, 2_000, 1_604_000, DURATION_NS)], ids=["one", "four"]
)
def test_where_windows_end_changes_nothing(tmp_path: Path, edges_ns: tuple[int, ...]) -> None:
    report = verify_log(write_log(tmp_path / "log", page_fault_story(), edges_ns=edges_ns))

    assert report.problems == []


def test_a_compressed_log_is_read_alike(tmp_path: Path) -> None:
    log = write_log(tmp_path / "log", page_fault_story())
    plain = log / "journal-0.jsonl"
    (log / "journal-0.jsonl.gz").write_bytes(gzip.compress(plain.read_bytes()))
    plain.unlink()

    assert problems_of(log) == []


# ------------------------------------------------------------------------------ integrity


def lines_of(log: Path, name: str) -> list[bytes]:
    return (log / name).read_bytes().splitlines(keepends=True)


@pytest.mark.parametrize("name", ["journal-0.jsonl", "faults-0.jsonl", "apf.guest-0.jsonl"])
def test_a_dropped_line_is_named(tmp_path: Path, name: str) -> None:
    log = write_log(tmp_path / "log", page_fault_story())
    lines = lines_of(log, name)
    (log / name).write_bytes(b"".join([lines[0], *lines[2:]]))

    (problem,) = problems_of(log)

    assert problem.startswith(f"{name}:2: dropped")


@pytest.mark.parametrize("name", ["journal-0.jsonl", "faults-0.jsonl", "apf.guest-0.jsonl"])
def test_a_doubled_line_is_named(tmp_path: Path, name: str) -> None:
    log = write_log(tmp_path / "log", page_fault_story())
    lines = lines_of(log, name)
    (log / name).write_bytes(b"".join([lines[0], lines[0], *lines[1:]]))

    (problem,) = problems_of(log)

    assert problem.startswith(f"{name}:2: doubled")


@pytest.mark.parametrize("name", ["journal-0.jsonl", "faults-0.jsonl", "apf.guest-0.jsonl"])
def test_swapped_lines_are_named(tmp_path: Path, name: str) -> None:
    log = write_log(tmp_path / "log", page_fault_story())
    lines = lines_of(log, name)
    (log / name).write_bytes(b"".join([lines[1], lines[0], *lines[2:]]))

    (problem,) = problems_of(log)

    assert problem.startswith(f"{name}:1: swapped")


def test_a_torn_line_is_named(tmp_path: Path) -> None:
    log = write_log(tmp_path / "log", page_fault_story())
    text = (log / "journal-0.jsonl").read_bytes()
    (log / "journal-0.jsonl").write_bytes(text[:-20])

    (problem,) = problems_of(log)

    assert problem.startswith("journal-0.jsonl:3: torn")


def test_an_edited_line_is_named(tmp_path: Path) -> None:
    log = write_log(tmp_path / "log", page_fault_story())
    text = (log / "journal-0.jsonl").read_bytes()
    (log / "journal-0.jsonl").write_bytes(text.replace(b'"task":"task-0"', b'"task":"task-1"', 1))

    (problem,) = problems_of(log)

    assert problem.startswith("journal-0.jsonl:1: edited")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    log = write_log(tmp_path / "log", page_fault_story())
    (log / "journal-0.jsonl").unlink()

    assert problems_of(log)[0].startswith("journal-0.jsonl: missing")


def test_a_directory_that_is_not_there_is_a_mistake_of_the_user(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nowhere does not exist: name a log directory"):
        verify_log(tmp_path / "nowhere")


def test_of_a_log_that_is_not_whole_only_that_is_said(tmp_path: Path) -> None:
    story = page_fault_story()
    story.change(ev.ExceptionQueued, shadow=True)
    log = write_log(tmp_path / "log", story)
    lines = lines_of(log, "journal-0.jsonl")
    (log / "journal-0.jsonl").write_bytes(b"".join(lines[1:]))

    report = verify_log(log)

    assert not report.ok
    assert len(report.problems) == 1
    assert report.digest == digest_of(story.events)


# ------------------------------------------------------------------------------ meaning


def test_a_violation_names_file_and_line(tmp_path: Path) -> None:
    story = page_fault_story()
    bad = story.change(ev.ExceptionQueued, shadow=True)

    (problem,) = problems_of(write_log(tmp_path / "log", story))

    assert problem.startswith(
        "journal-0.jsonl:2: I4: ready token 0x0 queued in an interrupt shadow"
    )
    assert f"n={bad.n} at {bad.at_ns} ns, {VM}/vcpu 0" in problem


def test_a_violation_by_the_host_names_its_file(tmp_path: Path) -> None:
    story = page_fault_story()
    story.wait(1_000)
    story.add(ev.PageReady, vcpu=0, gfn=0x99, epoch=0)

    (problem,) = problems_of(write_log(tmp_path / "log", story))

    assert problem.startswith("apf.guest-0.jsonl:3: page-in: answer for gfn 0x99")


def test_an_event_that_is_missing_leaves_a_gap_that_is_named(tmp_path: Path) -> None:
    story = page_fault_story()
    at = story.events.index(story.last(ev.TrapTaken))
    told = [*story.events[:at], *story.events[at + 1 :]]

    problems = problems_of(write_log(tmp_path / "log", story, part_of=told))

    after = story.events[at + 1]
    assert problems[0].startswith("journal-0.jsonl:3: order: n=")
    assert (
        f"missing: nothing that the host sent fills the gap (TaskWoken n={after.n}" in problems[0]
    )


def test_a_number_that_comes_twice_is_named(tmp_path: Path) -> None:
    story = page_fault_story()
    twice = msgspec.structs.replace(story.events[-1], n=story.events[-2].n)
    told = [*story.events[:-1], twice]

    problems = problems_of(write_log(tmp_path / "log", story, part_of=told))

    assert f"n={twice.n} comes again" in problems[0]


def test_a_delivery_without_a_place_is_named(tmp_path: Path) -> None:
    story = page_fault_story()
    extra = ev.FramesGranted(at_ns=story.last(ev.PageReady).at_ns + 5, vm=VM, n=0, frames=3)
    told = sorted([*story.events, extra], key=lambda event: event.at_ns)

    problems = problems_of(write_log(tmp_path / "log", story, part_of=told))

    assert "FramesGranted" in problems[0]
    assert "took no number, but was due" in problems[0]


def test_deliveries_of_one_instant_take_their_numbers_control_first(tmp_path: Path) -> None:
    story = page_fault_story()
    story.wait(1_000)
    story.add(ev.NmiArrived, vcpu=1)
    story.add(ev.FramesGranted, frames=2)
    story.wait(1_000)
    story.add(ev.TaskMoved, vcpu=0, task="task-0", to=1, why="idle")
    told = list(story.events)
    told[-3], told[-2] = told[-2], told[-3]

    assert problems_of(write_log(tmp_path / "log", story, part_of=told)) == []


def test_what_comes_after_the_last_event_was_consumed(tmp_path: Path) -> None:
    story = page_fault_story()
    story.wait(1_000)
    story.add(ev.FramesGranted, frames=2)

    report = verify_log(write_log(tmp_path / "log", story))

    assert report.problems == []
    assert report.events == len(story.events)


def frozen_story() -> Story:
    story = page_fault_story()
    story.wait(1_000)
    story.add(ev.TaskFinished, vcpu=0, task="worker-0")
    return story


def test_what_reaches_a_frozen_vm_does_not_count(tmp_path: Path) -> None:
    story = frozen_story()
    late = ev.AgePages(at_ns=story.at_ns + 10, vm=VM, n=0, gfns=[1])
    answer = ev.PagesAged(at_ns=story.at_ns + 10, vm=VM, n=0, accessed=[], dirty=[])

    report = verify_log(write_log(tmp_path / "log", story, part_of=[*story.events, late, answer]))

    assert report.problems == []
    assert report.events == len(story.events)


def test_a_digest_that_is_not_the_logs_is_named(tmp_path: Path) -> None:
    log = write_log(tmp_path / "log", page_fault_story(), digest="0" * 64)

    (problem,) = problems_of(log)

    assert problem.startswith("digest.txt: digest of run is 0000")


def test_an_event_outside_of_its_window_is_named(tmp_path: Path) -> None:
    story = page_fault_story()
    late = story.last(ev.PageNotPresent)

    problems = problems_of(write_log(tmp_path / "log", story, postponed=late))

    assert problems[0].startswith(
        f"faults-0.jsonl:3: window: PageNotPresent n={late.n} of {VM} at {late.at_ns} ns "
        "is outside of its window 2"
    )


def test_an_event_of_an_unknown_vm_is_named(tmp_path: Path) -> None:
    story = page_fault_story()
    stranger = ev.TaskFinished(at_ns=2_000_000, vm="vm-9", n=1, vcpu=0, task="t")

    problems = problems_of(write_log(tmp_path / "log", story, part_of=[*story.events, stranger]))

    assert problems[0] == (
        "journal-0.jsonl:3: order: is of no VM of this host "
        "(TaskFinished n=1 at 2000000 ns, vm-9/vcpu 0)"
    )


# ------------------------------------------------------------------------------ what shards say


def test_a_digest_that_a_shard_did_not_come_to_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = "0" * 64

    def lie(*arguments: Any) -> list[ev.ShardEnded]:
        return [
            msgspec.structs.replace(ended, digests=dict.fromkeys(ended.digests, said))
            for ended in shard_ended(*arguments)
        ]

    monkeypatch.setattr(participant, "shard_ended", lie)
    run_scenario(load("row-06-two-completions"), log_dir=tmp_path / "log")
    (problem,) = problems_of(tmp_path / "log")
    assert re.match(rf"journal-0\.jsonl:\d+: ShardEnded: digest of \S+ is {said}, ", problem)


def test_a_window_that_closes_with_an_instant_inside_it_is_named(tmp_path: Path) -> None:
    edges_ns = (1_000, DURATION_NS)
    log = write_log(tmp_path / "log", page_fault_story(), edges_ns=edges_ns, next_ns=1_000)

    (problem,) = problems_of(log)

    assert problem == (
        f"faults-0.jsonl:2: window: next_ns 1000 of guest-0 lies before the end of the window "
        f"that it closes, {DURATION_NS}"
    )
