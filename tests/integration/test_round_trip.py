"""A run written as a kernel's trace and imported again has the same protocol events."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeAlias

import pytest

from pagewake.recorded.check import check_recording
from pagewake.recorded.export import write_ftrace
from pagewake.recorded.importing import import_files
from pagewake.recorded.log import RecordingReader
from tests.support.exported import KERNELS, NO_POLL, SCENARIOS, SHORT
from tests.support.recordings import recording
from tests.support.round_trip import RoundTrip, recorded_facts, round_trip
from tests.support.runs import run_logged


@pytest.fixture(
    scope="module",
    params=[(name, kernel) for name in SCENARIOS for kernel in KERNELS],
    ids="-".join,
)
def trip(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> RoundTrip:
    name, kernel = request.param
    directory = tmp_path_factory.mktemp("trip")
    sets = [f"kernel.profile={kernel}", *([SHORT] if name == "web" else [])]
    return round_trip(run_logged(name, directory, *sets), kernel, directory)


def test_the_same_events_come_back(trip: RoundTrip) -> None:
    assert trip.sent
    assert trip.differences() == []


def test_they_break_no_rule(trip: RoundTrip) -> None:
    assert [str(breach) for breach in trip.breaches] == []
    assert {span.why for span in trip.spans} <= {"end"}


# ------------------------------------------------------------------------- planted in the text

Lines: TypeAlias = list[str]
RECORDINGS = ("burst.txt.gz", "seq.txt.gz", "seq.trace-cmd.txt.gz")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Lines:
    """A trace of 6.1 in which much is outstanding at once."""
    directory = tmp_path_factory.mktemp("written")
    run = run_logged("database", directory, "kernel.profile=6.1", NO_POLL, SHORT)
    write_ftrace(run.directory, directory / "trace.txt", None, None)
    return (directory / "trace.txt").read_text("utf-8").splitlines()


def breaches(lines: Lines, directory: Path) -> set[str]:
    """The rules that an edited trace breaks."""
    (directory / "edited.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    import_files([str(directory / "edited.txt")], directory / "imported", profile="6.1")
    return breaches_of(directory / "imported")


def breaches_of(imported: Path) -> set[str]:
    return {breach.rule for breach in check_recording(RecordingReader(imported)).breaches}


class Trace:
    """Where the lines of one page fault stand, of which the guest was told, in the middle of it."""

    def __init__(self, lines: Lines) -> None:
        self.lines = list(lines)
        self.started = next(
            at
            for at in range(len(lines) // 2, len(lines))
            if "not_present:" in lines[at] and "inj_exception" in lines[at + 1]
        )
        self.vcpu = lines[self.started].split("/KVM")[0]
        token = lines[self.started].split("token ")[1].split()[0]
        self.token = token
        self.ready = self._next(f"kvm_async_pf_ready: token {token} ")
        self.interrupt = self._next("vec 243", self.ready)
        self.ack = self._next("4b564d07", self.interrupt)

    def _next(self, what: str, after: int | None = None) -> int:
        start = (self.started if after is None else after) + 1
        return next(
            at
            for at in range(start, len(self.lines))
            if what in self.lines[at] and self.lines[at].startswith(self.vcpu)
        )


def ready_removed(trace: Trace) -> None:
    del trace.lines[trace.ready]


def ready_doubled(trace: Trace) -> None:
    trace.lines.insert(trace.ready, trace.lines[trace.ready])


def ready_before_its_fault(trace: Trace) -> None:
    moved = trace.lines[trace.ready : trace.interrupt + 1]
    del trace.lines[trace.ready : trace.interrupt + 1]
    before = max(at for at in range(trace.started) if "kvm_exit" in trace.lines[at]) + 1
    time = trace.lines[before].split(": ")[0].split()[-1]
    trace.lines[before:before] = [
        line.replace(line.split(": ")[0].split()[-1], time) for line in moved
    ]


def ready_of_another_token(trace: Trace) -> None:
    line = trace.lines[trace.ready]
    trace.lines[trace.ready] = line.replace(f"token {trace.token} ", "token 0x7ff000 ")


def ack_removed(trace: Trace) -> None:
    del trace.lines[trace.ack]


def ids_with_a_gap(trace: Trace) -> None:
    token = int(trace.token, 16) + (5 << 12)
    trace.lines[:] = [
        line.replace(f"token {trace.token} ", f"token {token:#x} ") for line in trace.lines
    ]


def started_twice(trace: Trace) -> None:
    at = trace.started
    again = f"token {int(trace.token, 16) + (1 << 12):#x} "
    lines = trace.lines[at - 1 : at + 1]
    trace.lines[at + 1 : at + 1] = [line.replace(f"token {trace.token} ", again) for line in lines]


def told_in_kernel_mode(trace: Trace) -> None:
    exits = max(
        at
        for at in range(trace.started)
        if "kvm_exit" in trace.lines[at] and trace.lines[at].startswith(trace.vcpu)
    )
    for at in (exits, exits + 1):
        trace.lines[at] = trace.lines[at].replace("rip 0x401853", "rip 0xffffffff81073914")


PLANTED: Mapping[Callable[[Trace], None], str] = {
    ready_removed: "I5",
    ready_doubled: "I1",
    ready_before_its_fault: "I1",
    ready_of_another_token: "I1",
    ack_removed: "ack",
    ids_with_a_gap: "token",
    started_twice: "I2",
    told_in_kernel_mode: "I4",
}
"""Edits, and the rule that each of them breaks."""


def test_nothing_is_wrong_before_an_edit(written: Lines, tmp_path: Path) -> None:
    assert breaches(written, tmp_path) == set()


@pytest.mark.parametrize("plant", PLANTED, ids=lambda plant: plant.__name__)
def test_what_is_planted_is_found(
    plant: Callable[[Trace], None], written: Lines, tmp_path: Path
) -> None:
    trace = Trace(written)
    plant(trace)
    assert PLANTED[plant] in breaches(trace.lines, tmp_path)


def test_a_65th_item_is_found(tmp_path: Path) -> None:
    run = run_logged("row-05-limit", tmp_path, "kernel.profile=6.1")
    write_ftrace(run.directory, tmp_path / "trace.txt", None, None)
    lines = (tmp_path / "trace.txt").read_text("utf-8").splitlines()
    at = next(
        at
        for at, line in enumerate(lines)
        if "kvm_try_async_get_page" in line and "not_present" not in lines[at + 1]
    )
    before = max(at for at in range(at) if "not_present" in lines[at])
    token = int(lines[before].split("token ")[1].split()[0], 16)
    head, gva = lines[at].split("kvm_try")[0], lines[at].split("gva = ")[1].split(",")[0]
    lines.insert(at + 1, f"{head}kvm_async_pf_not_present: token {token + (1 << 12):#x} gva {gva}")
    assert "I1" in breaches(lines, tmp_path)


# ------------------------------------------------------------------------- real recordings


@pytest.mark.parametrize("name", RECORDINGS)
def test_a_recording_comes_back_from_its_own_trace(name: str, tmp_path: Path) -> None:
    """By the protocol's events, with their times; bytes of addresses and minor faults are gone."""
    import_files([str(recording(name))], tmp_path / "first")
    write_ftrace(tmp_path / "first", tmp_path / "trace.txt", None, None)
    import_files([str(tmp_path / "trace.txt")], tmp_path / "second")
    first, second = (recorded_facts(tmp_path / each) for each in ("first", "second"))
    assert sum(map(len, first.values())) > 30
    assert second == first
    assert breaches_of(tmp_path / "second") == breaches_of(tmp_path / "first") == set()
