"""A host's and its guest's recording, joined: what a run says on both sides comes back as one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from pagewake.errors import DataError
from pagewake.events import types as ev
from pagewake.recorded.check import Breach, check_recording
from pagewake.recorded.export import write_ftrace
from pagewake.recorded.importing import import_files
from pagewake.recorded.log import RecordingReader
from pagewake.verify.log_run import PlacedEvent
from tests.support.exported import NO_POLL
from tests.support.runs import LoggedRun, run_logged

GUEST_BEGINS_NS = 1_000_000_000
"""What the guest's clock says as the run begins, where the host's says 0."""
IN_WAIT = "(kvm_async_pf_task_wait_schedule+0x0/0x1b0)"
IN_WAKE = "(kvm_async_pf_task_wake+0x0/0x150)"
RETURNED = "(__kvm_handle_async_pf+0x5a/0xa0 <- kvm_async_pf_task_wait_schedule)"
WAITS = (ev.TaskSlept, ev.DummyConsumed)
WAKES = (ev.TaskWoken, ev.DummyInserted)
KERNELS = ("2.6.39", "5.4", "6.1")


class Sides(NamedTuple):
    run: LoggedRun
    host: list[str]
    guest: list[str]


def probed(run: LoggedRun, begin_ns: int) -> list[str]:
    """What probes in the guest of this run would have printed; who is woken goes on at once."""
    threads: dict[str, int] = {}
    lines = []

    def say(event: ev.Event, cpu: int, task: str | None, what: str) -> None:
        pid = threads.setdefault(task, 800 + len(threads)) if task else 0
        comm = f"task-{pid}" if pid else "<idle>-0"
        seconds = (begin_ns + event.at_ns) / 1e9
        lines.append(f"{comm:>16} [{cpu:03}] d..1. {seconds:12.6f}: {what}")

    for event in run.events:
        if isinstance(event, WAITS):
            say(event, event.vcpu, event.task, f"apf_wait: {IN_WAIT} token={event.token}")
        if isinstance(event, WAKES):
            cpu = event.token & 0xFFF
            say(event, cpu, None, f"apf_wake: {IN_WAKE} token={event.token}")
        if isinstance(event, ev.TaskWoken | ev.DummyConsumed):
            say(event, event.vcpu, event.task, f"apf_wait_ret: {RETURNED}")
    return lines


@pytest.fixture(scope="module", params=KERNELS)
def sides(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Sides:
    directory = tmp_path_factory.mktemp("sides")
    sets = [f"kernel.profile={request.param}", NO_POLL, "scenario.duration=20ms", "vm.0.count=1"]
    run = run_logged("database", directory, *sets)
    write_ftrace(run.directory, directory / "host.txt", request.param, None)
    host = (directory / "host.txt").read_text().splitlines()
    return Sides(run, host, probed(run, GUEST_BEGINS_NS))


class Import(NamedTuple):
    reader: RecordingReader
    breaches: list[Breach]


def imported(directory: Path, host: Sequence[str], guest: Sequence[str]) -> Import:
    files = []
    for name, lines in (("guest.txt", guest), ("host.txt", host)):
        (directory / name).write_text("".join(f"{line}\n" for line in lines))
        files.append(str(directory / name))
    import_files(files, directory / "log")
    reader = RecordingReader(directory / "log")
    return Import(reader, check_recording(reader).breaches)


def facts(events: Sequence[ev.Event]) -> list[tuple[str, int, int]]:
    """What sleeps and wakes there were, by token and in order."""
    return sorted(
        (type(one).__name__, one.token, one.n) for one in events if isinstance(one, WAITS + WAKES)
    )


def test_both_sides_come_back_in_one_order(sides: Sides, tmp_path: Path) -> None:
    reader, breaches = imported(tmp_path, sides.host, sides.guest)
    assert [str(one) for one in breaches] == []
    recording = reader.recording
    assert GUEST_BEGINS_NS <= -recording.guest_behind_ns <= GUEST_BEGINS_NS + 5_000
    told = {one.token for one in sides.run.of(ev.PageNotPresent) if one.delivery == "injected"}
    assert recording.joined_by == len(told) > 300
    events = [one.event for one in reader.found() if isinstance(one, PlacedEvent)]
    assert [one[:2] for one in facts(events)] == [one[:2] for one in facts(sides.run.events)]
    n_of = {one.token: one.n for one in events if isinstance(one, ev.ApfPresented)}
    assert all(one.n > n_of[one.token] for one in events if isinstance(one, WAKES))
    possible = {one.name for one in recording.checks if one.possible}
    assert possible >= {"I1", "I5", "sleepers", "wake"}


def test_where_the_host_s_ends_nothing_is_missing(sides: Sides, tmp_path: Path) -> None:
    host = sides.host[: line_of(sides.host, "kvm_async_pf_ready")]
    reader, breaches = imported(tmp_path, host, sides.guest)
    assert [one for one in breaches if one.rule == "wake"] == []
    assert reader.recording.joined_by < len(sides.guest) / 4


def line_of(lines: Sequence[str], what: str) -> int:
    """One in the middle."""
    return next(at for at in range(len(lines) // 2, len(lines)) if what in lines[at])


def wake_removed(host: list[str], guest: list[str]) -> None:
    del guest[line_of(guest, "apf_wake")]


def ready_removed(host: list[str], guest: list[str]) -> None:
    del host[line_of(host, "kvm_async_pf_ready")]


def fault_removed(host: list[str], guest: list[str]) -> None:
    token = int(guest[line_of(guest, "apf_wait: ")].rpartition("=")[2])
    host[:] = [line for line in host if f"token {token:#x} " not in line]


EDITS: dict[str, tuple[Callable[[list[str], list[str]], None], str]] = {
    "a wake is missing": (wake_removed, "woke nobody, and a later one has"),
    "a READY is missing": (ready_removed, "is woken, whose READY the host has not sent"),
    "nobody was told": (fault_removed, "of which the host told nobody"),
}


@pytest.mark.parametrize(("edit", "what"), EDITS.values(), ids=EDITS)
def test_what_one_side_tells_the_other_does(
    sides: Sides, tmp_path: Path, edit: Callable[[list[str], list[str]], None], what: str
) -> None:
    host, guest = list(sides.host), list(sides.guest)
    edit(host, guest)
    found = [one for one in imported(tmp_path, host, guest).breaches if one.rule == "wake"]
    assert what in found[0].what


# ------------------------------------------------------------------------------ refused

HOST = """\
 CPU 0/KVM-7 [000] 5.000001: kvm_exit: reason PF rip 0x401853 info 1 0
 CPU 0/KVM-7 [000] 5.000002: kvm_async_pf_not_present: token 0x1000 gva 0x5130000
 CPU 0/KVM-7 [000] 5.000003: kvm_inj_exception: #PF (0x0)
"""
OTHER_VM = HOST.replace("KVM-7", "KVM-9")
GUEST = f" a-50 [000] 1.0001: apf_wait: {IN_WAIT} token=4096\n".replace("1.0001", "1.000100")


@pytest.mark.parametrize(
    ("host", "guest", "what"),
    [
        (HOST, GUEST.replace("4096", "8192"), "no token of this guest is in"),
        (HOST + OTHER_VM.replace("5.", "6."), GUEST, "another VM, and nothing says which"),
    ],
    ids=["no token in common", "two VMs"],
)
def test_what_cannot_be_joined_is_refused(tmp_path: Path, host: str, guest: str, what: str) -> None:
    with pytest.raises(DataError, match=what):
        imported(tmp_path, host.splitlines(), guest.splitlines())


def test_one_of_several_vms_is_named(tmp_path: Path) -> None:
    (tmp_path / "host").write_text(HOST + OTHER_VM.replace("5.", "6."))
    (tmp_path / "guest").write_text(GUEST)
    files = [str(tmp_path / name) for name in ("host", "guest")]
    recording = import_files(files, tmp_path / "log", groups=[[7]])
    assert (recording.joined_by, recording.guest_behind_ns) == (1, 4_000_002_000 - 100_000)


def test_a_pipe_cannot_be_read_twice(tmp_path: Path) -> None:
    (tmp_path / "guest").write_text(GUEST)
    with pytest.raises(DataError, match="it is read twice: give a file, no pipe"):
        import_files(["-", str(tmp_path / "guest")], tmp_path / "log")


def test_both_sides_in_one_file_have_one_clock_too_few(tmp_path: Path) -> None:
    (tmp_path / "both").write_text(GUEST + HOST)
    with pytest.raises(DataError, match="kvm_exit among lines of the other side"):
        import_files([str(tmp_path / "both")], tmp_path / "log")


def test_a_guest_may_have_guests_of_its_own(tmp_path: Path) -> None:
    reader, _ = imported(tmp_path, HOST.splitlines(), (GUEST + HOST).splitlines())
    assert (reader.recording.lines["kvm_exit"], reader.recording.others["kvm_exit"]) == (1, 1)
