"""The trace is valid JSON, ordered and balanced on every track, and shows what the log tells."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from pagewake.errors import ConfigError, DataError
from pagewake.events import types as ev
from pagewake.timeline.chrome_trace import write_trace
from pagewake.timeline.trace_file import TASKS_FROM
from pagewake.timeline.trace_tracks import PENDING
from tests.unit.verify.story import DURATION_NS, Story, page_fault_story, write_log


def trace_of(tmp_path: Path, story: Story) -> list[dict[str, Any]]:
    out = tmp_path / "trace.json"
    write_trace(write_log(tmp_path / "log", story), out)
    events: list[dict[str, Any]] = json.loads(out.read_text("utf-8"))["traceEvents"]
    return events


def eventful_story() -> Story:
    story = page_fault_story()
    story.add(ev.VcpuHalted, vcpu=0, why="hlt")
    story.wait(1_000)
    story.add(ev.VcpuResumed, vcpu=0, why="interrupt")
    story.tell(1, 0x40, "synchronous", None)
    story.wait(300_000)
    story.add(ev.PageReady, vcpu=1, gfn=0x40, epoch=0)
    story.fault(0, 0x1000, 0x11)
    story.sleep(0, 0x1000, "task-1")
    story.add(ev.ExitRouted, vcpu=1, level=0, exit_code=0x78, route="host")
    story.wait(2_000)
    story.add(ev.ExitRouted, vcpu=1, level=0, exit_code=0x4E, route="done")
    story.add(ev.NestedVmexit, vcpu=1, level=1, exit_code=0x4E, reason="intercept")
    return story


def tracks(events: list[dict[str, Any]]) -> dict[tuple[int, int], list[dict[str, Any]]]:
    found: dict[tuple[int, int], list[dict[str, Any]]] = defaultdict(list)
    for event in events:
        if event["ph"] != "M":
            found[event["pid"], event.get("tid", -1)].append(event)
    return found


def test_time_never_goes_back_on_a_track(tmp_path: Path) -> None:
    for track in tracks(trace_of(tmp_path, eventful_story())).values():
        times = [event["ts"] for event in track]
        assert times == sorted(times)


def test_spans_are_balanced_and_nested(tmp_path: Path) -> None:
    for track in tracks(trace_of(tmp_path, eventful_story())).values():
        open_spans: list[str] = []
        for event in track:
            if event["ph"] == "B":
                open_spans.append(event["name"])
            elif event["ph"] == "E":
                assert open_spans.pop() == event["name"]
        assert open_spans == []


def test_a_vcpu_runs_halts_waits_and_runs_l2(tmp_path: Path) -> None:
    found = tracks(trace_of(tmp_path, eventful_story()))

    names = {tid: [e["name"] for e in track if e["ph"] == "B"] for (_, tid), track in found.items()}

    assert names[1] == ["running", "halted: idle", "running"]
    assert names[2] == ["running", "waiting for a page", "running", "L2"]


def test_tracks_reach_to_the_end_of_the_run(tmp_path: Path) -> None:
    found = tracks(trace_of(tmp_path, eventful_story()))

    assert found[1, 1][-1]["ts"] == DURATION_NS / 1000


def test_a_task_that_sleeps_is_a_span_that_ends(tmp_path: Path) -> None:
    spans = [e for e in trace_of(tmp_path, eventful_story()) if e["ph"] in "be"]

    ended = {e["name"]: e["args"]["ended"] for e in spans if e["ph"] == "e"}

    assert [e["name"] for e in spans if e["ph"] == "b"] == ["task-0", "task-1"]
    assert ended == {"task-0": "token", "task-1": "asleep at the end"}


def test_an_arrow_leads_from_not_present_to_ready(tmp_path: Path) -> None:
    story = page_fault_story()
    arrows = [e for e in trace_of(tmp_path, story) if e["ph"] in "stf"]

    assert [e["ph"] for e in arrows] == ["s", "t", "t", "f"]
    assert len({e["id"] for e in arrows}) == 1
    assert arrows[0]["ts"] == story.last(ev.PageNotPresent).at_ns / 1000
    assert arrows[-1]["ts"] == story.last(ev.TrapTaken).at_ns / 1000


def test_counters_follow_sleepers_and_outstanding_items(tmp_path: Path) -> None:
    events = trace_of(tmp_path, page_fault_story())
    counted = [(e["name"], e["args"][e["name"]]) for e in events if e["ph"] == "C"]

    assert counted == [("queued", 1), ("sleepers", 1), ("queued", 0), ("sleepers", 0)]


def test_the_directory_of_the_output_must_exist(tmp_path: Path) -> None:
    log = write_log(tmp_path / "log", page_fault_story())

    with pytest.raises(ConfigError, match="is no directory"):
        write_trace(log, tmp_path / "missing" / "trace.json")


def test_a_damaged_log_leaves_no_trace_behind(tmp_path: Path) -> None:
    log = write_log(tmp_path / "log", page_fault_story())
    text = (log / "journal-0.jsonl").read_bytes()
    (log / "journal-0.jsonl").write_bytes(text[:-20])

    with pytest.raises(DataError, match=r"journal-0\.jsonl:3: torn"):
        write_trace(log, tmp_path / "trace.json")
    assert [path.name for path in tmp_path.iterdir()] == ["log"]


def _silent(why: str) -> Story:
    story = Story()
    story.enable()
    story.fault(0, 0x1000, 0x11)
    story.sleep(0, 0x1000)
    story.add(ev.AreaWriteFails, vcpu=0, count=1)
    story.complete(0, 0x1000, 0x11)
    story.add(ev.ApfPresented, vcpu=0, delivery="silent", token=0x1000, gfn=0x11, why=why)
    return story


def test_no_arrow_ends_at_a_ready_that_never_came(tmp_path: Path) -> None:
    events = trace_of(tmp_path, _silent("write_failed"))
    marks = {e["name"]: e["args"] for e in events if e["ph"] == "i"}

    assert "f" not in {e["ph"] for e in events}
    assert marks["READY never came"] == {"why": "silent: the host could not write its reason"}


def test_nor_at_one_that_was_withdrawn(tmp_path: Path) -> None:
    story = page_fault_story()
    story.fault(0, 0x1000, 0x11)
    story.add(ev.ApfCleared, vcpu=0, epoch=0, tokens=[0x1000], why="msr-disable")
    events = trace_of(tmp_path, story)

    assert [e["ph"] for e in events if e["ph"] in "sf"] == ["s", "f", "s"]
    assert "READY never came" in {e["name"] for e in events}


def test_nor_at_one_whose_bringer_died(tmp_path: Path) -> None:
    story = page_fault_story()
    story.fault(0, 0x1000, 0x11)
    story.add(
        ev.UserFault, vcpu=0, gfn=0x11, token=0x1000, ring=True, accepted=True, signalled=True
    )
    story.add(ev.UserFaultLost, vcpu=0, gfn=0x11, token=0x1000)
    marks = {e["name"]: e["args"] for e in trace_of(tmp_path, story) if e["ph"] == "i"}

    assert marks["READY never came"] == {"why": "lost: who was to bring the page crashed"}
    assert "user space is told: ring" in marks


def test_a_wait_for_workers_is_a_state_until_the_queue_is_empty(tmp_path: Path) -> None:
    story = page_fault_story()
    story.fault(0, 0x1000, 0x11)
    story.add(ev.VcpuHalted, vcpu=0, why="hlt")
    begun = story.add(ev.ClearBegun, vcpu=0, tokens=[0x1000], why="cr0-pg")
    story.wait(70_000)
    story.add(ev.WorkerCompleted, vcpu=0, gfn=0x11, token=0x1000)
    story.add(ev.ApfCleared, vcpu=0, epoch=0, tokens=[0x1000], why="cr0-pg")
    spans = [e for e in trace_of(tmp_path, story) if e["ph"] == "B"]

    names = [e["name"] for e in spans if e["ts"] >= begun.at_ns / 1_000]
    assert names[-3:] == [PENDING, "waiting for workers", PENDING]


def test_interventions_are_told_in_words(tmp_path: Path) -> None:
    (mark,) = [
        e
        for e in trace_of(tmp_path, _silent("write_failed"))
        if "intervention" in e.get("args", {})
    ]
    assert mark["name"] == "the next host write to the shared area of vcpu 0 fails"
    assert mark["args"]["intervention"] == "AreaWriteFails"


def test_sleep_with_an_exception_pending_is_a_state_of_its_own(tmp_path: Path) -> None:
    story = page_fault_story()
    story.add(ev.VcpuHalted, vcpu=0, why="hlt")
    story.wait(1_000)
    story.queue(0, 0x10, "ready")
    story.wait(1_000)
    story.add(ev.VcpuResumed, vcpu=0, why="interrupt")
    states = [e["name"] for e in trace_of(tmp_path, story) if e["ph"] == "B" and e["tid"] == 1]

    assert states == ["running", "halted: idle", PENDING, "running"]


def test_every_vcpu_has_a_track_of_the_tasks_that_it_ran(tmp_path: Path) -> None:
    story = page_fault_story()
    story.tell(0, 0x40, "synchronous", None, task="worker-0")
    events = trace_of(tmp_path, story)
    ran = [e for e in events if e["ph"] == "X"]

    assert {(e["tid"], e["name"]) for e in ran} == {(TASKS_FROM, "worker-0")}
    assert ran[0]["ts"] == 0
    assert {e["args"]["name"] for e in events if e["name"] == "thread_name"} >= {"vcpu 0 tasks"}
