"""What a guest recorded of itself: probes on its waits and wakes."""

from __future__ import annotations

from pathlib import Path

import pytest

from pagewake.errors import DataError
from pagewake.events import types as ev
from pagewake.events.ids import Token
from pagewake.recorded.check import RecordedChecks, check_recording
from pagewake.recorded.importing import import_files
from pagewake.recorded.log import RecordingReader
from pagewake.recorded.summary import counted, summary_lines
from pagewake.recorded.timeline import write_timeline
from pagewake.verify.log_run import PlacedEvent

NEW, OLD = "kvm_async_pf_task_wait_schedule", "kvm_async_pf_task_wait"
WAITED = f"apf_wait_ret: (__kvm_handle_async_pf+0x5a/0xa0 <- {NEW})"

SWITCHED_IN = (
    "sched_switch: prev_comm=a prev_pid=7 prev_prio=120 prev_state=S ==>"
    " next_comm=worker next_pid=50 next_prio=120"
)


def wait(token: int, function: str = NEW) -> str:
    return f"apf_wait: ({function}+0x0/0x1b0) token={token:#x}"


def wake(token: int) -> str:
    return f"apf_wake: (kvm_async_pf_task_wake+0x0/0x150) token={token}"


def text(*lines: tuple[int, int, str]) -> str:
    """Lines of threads on CPUs, 100 us apart, as tracefs prints them."""
    return "".join(
        f"{'worker-' + str(pid) if pid else '<idle>-0':>16} [{cpu:03}] d..1."
        f" {5 + number / 10_000:12.6f}: {what}\n"
        for number, (pid, cpu, what) in enumerate(lines)
    )


def imported(folder: Path, *texts: str) -> RecordingReader:
    for number, one in enumerate(texts):
        (folder / f"g{number}").write_text(one)
    import_files([str(folder / f"g{number}") for number in range(len(texts))], folder / "log")
    return RecordingReader(folder / "log")


def events(reader: RecordingReader) -> list[ev.Event]:
    return [one.event for one in reader.found() if isinstance(one, PlacedEvent)]


def checked(reader: RecordingReader) -> RecordedChecks:
    return check_recording(reader)


def test_a_task_sleeps_until_the_wake_of_its_token(tmp_path: Path) -> None:
    lines = text((50, 1, wait(0x1001)), (0, 1, wake(0x1001)), (50, 1, WAITED))
    reader = imported(tmp_path, lines)
    task = "worker-50"
    assert events(reader) == [
        ev.TaskSlept(0, "vm-0", 1, 1, task, Token(0x1001)),
        ev.TaskWoken(100_000, "vm-0", 2, 1, task, Token(0x1001), "token", 100_000),
    ]
    assert checked(reader).breaches == []
    recording = reader.recording
    assert (recording.vms[0].vcpus, recording.profile) == ({"1": 0}, "5.8")
    assert NEW in recording.why
    assert [one.name for one in recording.checks if one.possible] == ["sleepers"]
    figures = counted(reader).figures()
    assert (figures.waits.count, figures.waits.max_ns, figures.unslept) == (1, 100_000, 0)
    ((name, what),) = summary_lines(figures, reader.recording.lines)
    assert (name, what.startswith("p50 100 us")) == ("waits", True)
    write_timeline(reader, tmp_path / "trace.json")
    assert "0x1001" in (tmp_path / "trace.json").read_text()


def test_perf_and_trace_cmd_print_the_same_events(tmp_path: Path) -> None:
    perf = (
        f"worker 50/50 [001] 5.000000: pagewake:apf_wait: (ffffffff8106a0f0) token={0x1001}\n"
        "swapper 0/0 [001] 5.000100: pagewake:apf_wake: (ffffffff8106a2b0) token=0x1001\n"
    )
    trace_cmd = (
        "cpus=2\n          worker-50    [001]     5.000000: apf_wait:             "
        f"({NEW}+0x0) token=4097\n"
        "          <idle>-0     [001]     5.000100: apf_wake:             "
        "(kvm_async_pf_task_wake+0x0) token=0x1001\n"
    )
    (tmp_path / "a").mkdir()
    assert events(imported(tmp_path / "a", perf)) == events(imported(tmp_path, trace_cmd)) != []


def test_a_wake_before_its_wait_leaves_a_dummy(tmp_path: Path) -> None:
    lines = text(
        (50, 0, wait(0x1000)), (0, 0, wake(0x1000)), (50, 0, WAITED),
        (0, 1, wake(0x2000)), (51, 0, wait(0x2000)), (51, 0, WAITED),
    )  # fmt: skip
    reader = imported(tmp_path, lines)
    assert events(reader)[2:] == [
        ev.DummyInserted(300_000, "vm-0", 3, 1, Token(0x2000)),
        ev.DummyConsumed(400_000, "vm-0", 4, 0, "worker-51", Token(0x2000)),
    ]
    assert checked(reader).breaches == []
    assert counted(reader).figures().unslept == 1


def test_at_the_beginning_a_wake_is_of_a_task_asleep_until_its_wait_comes(tmp_path: Path) -> None:
    lines = text((0, 0, wake(0x1000)), (0, 0, wake(0x2000)), (50, 0, wait(0x2000)))
    reader = imported(tmp_path, lines)
    assert [type(event).__name__ for event in events(reader)] == ["DummyInserted", "DummyConsumed"]
    checks = checked(reader)
    assert checks.breaches == []
    assert [(span.why, span.what) for span in checks.spans] == [
        ("begin", "1 task was asleep as it began, whose wake came later")
    ]


def test_a_broadcast_wakes_what_its_cpu_put_into_the_table(tmp_path: Path) -> None:
    lines = text((50, 0, wait(0x1000)), (51, 1, wait(0x1001)), (0, 1, wake(0xFFFFFFFF)))
    reader = imported(tmp_path, lines)
    (woken,) = (one for one in events(reader) if isinstance(one, ev.TaskWoken))
    assert (woken.task, woken.how) == ("worker-51", "broadcast")
    (span,) = checked(reader).spans
    assert (span.why, span.line, span.what) == ("end", 1, "1 task is asleep for a page as it ends")


def test_a_cpu_that_goes_offline_wakes_without_a_probe(tmp_path: Path) -> None:
    lines = text((0, 1, wake(0x5001)), (50, 0, wait(0x1000)), (50, 0, WAITED))
    (_, woken) = events(imported(tmp_path, lines))
    assert isinstance(woken, ev.TaskWoken)
    assert woken.how == "offline"


def rounds(first: int, many: int) -> list[tuple[int, int, str]]:
    """Waits of other tasks from their beginning to their return."""
    found = []
    for number in range(first, first + many):
        token, pid = (number << 12), 100 + number
        found += [(pid, 0, wait(token)), (0, 0, wake(token)), (pid, 0, WAITED)]
    return found


WRONG = {
    "a lost wake-up": (
        text((50, 0, wait(0x1000)), (0, 0, wake(0x1000)), *rounds(2, 8)),
        1, "worker-50 sleeps on token 0x1000, which was woken at",
    ),
    "woken twice, of which one waits": (
        text((50, 0, wait(0x1000)), (0, 0, wake(0x1000)), (50, 0, WAITED), (0, 0, wake(0x1000))),
        4, "token 0x1000 is woken twice: its wait was over",
    ),
    "woken twice, of which none waits": (
        text(*rounds(1, 1), (0, 0, wake(0x2000)), (0, 0, wake(0x2000))),
        5, "token 0x2000 is woken twice: a dummy stands",
    ),
    "two wait": (
        text(*rounds(2, 1), (50, 0, wait(0x1000)), (51, 0, wait(0x1000))),
        5, "worker-51 waits for token 0x1000, where worker-50 sleeps",
    ),
    "waits again": (
        text(*rounds(1, 1), (50, 0, wait(0x1000))),
        4, "token 0x1000 is waited for twice: its wait was over",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("lines", "line", "what"), WRONG.values(), ids=WRONG)
def test_what_no_guest_does_is_a_violation(
    tmp_path: Path, lines: str, line: int, what: str
) -> None:
    (breach,) = checked(imported(tmp_path, lines)).breaches
    assert (breach.rule, breach.line) == ("sleepers", line)
    assert breach.what.startswith(what)


@pytest.mark.parametrize(
    "goes_on",
    [
        (50, 0, WAITED),
        (50, 1, wake(0x9001)),
        (7, 0, SWITCHED_IN),
    ],
    ids=["returned", "interrupted", "switched in"],
)  # fmt: skip
def test_a_task_that_goes_on_is_not_lost(tmp_path: Path, goes_on: tuple[int, int, str]) -> None:
    lines = text((50, 0, wait(0x1000)), (0, 0, wake(0x1000)), *rounds(2, 8), goes_on)
    assert checked(imported(tmp_path, lines)).breaches == []


def test_behind_lost_lines_the_table_is_unknown(tmp_path: Path) -> None:
    before = text((50, 0, wait(0x1000)), (0, 0, wake(0x1000)), (50, 0, WAITED))
    after = text((0, 0, wake(0x1000))).replace("5.000000", "6.000000")
    checks = checked(imported(tmp_path, f"{before}CPU:0 [LOST 3 EVENTS]\n{after}"))
    assert checks.breaches == []
    assert [span.why for span in checks.spans] == ["lost", "begin"]


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    reader = imported(tmp_path, text((50, 0, wait(0x1000, OLD))))
    assert reader.recording.profile == "5.4"
    (check,) = (one for one in reader.recording.checks if one.name == "sleepers")
    assert (check.possible, check.heard) == (False, False)
    assert check.why.startswith("no apf_wake, no apf_wait_ret or sched_switch lines")


def test_a_guest_needs_the_column_of_cpus(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="g0:1: apf_wait without its CPU"):
        imported(tmp_path, "worker 50/50 5.000000: pagewake:apf_wait: (ffff) token=4097\n")
