"""`pagewake import`, and what verify, report and trace make of what it wrote."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from tests.support.recordings import recording
from tests.unit.cli.support import invoke

BURST = str(recording("burst.txt.gz"))


def edited(directory: Path) -> str:
    """The recording with a READY doubled."""
    lines = gzip.decompress(Path(BURST).read_bytes()).decode("utf-8").split("\n")
    at = next(at for at, line in enumerate(lines) if "kvm_async_pf_ready: token 0x8a001" in line)
    place = directory / "edited.txt"
    place.write_text("\n".join([*lines[: at + 1], *lines[at:]]), "utf-8")
    return str(place)


def test_the_json_tells_what_was_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outcome = invoke(capsys, "import", BURST, "-o", str(tmp_path / "log"), "--json")
    assert outcome.code == 0, outcome.err
    told = json.loads(outcome.out)
    assert (told["profile"], told["vcpus"], told["violations"]) == ("6.1", 2, [])
    assert told["vms"] == [{"name": "vm-0", "vcpus": {"0": 121, "1": 122}}]
    assert told["events"]["ApfStarted"] == told["lines"]["kvm_async_pf_not_present"]
    assert {check["name"] for check in told["checks"] if not check["possible"]} == {
        "sleepers",
        "page-in",
    }


def test_a_violation_is_named_by_every_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, log = edited(tmp_path), str(tmp_path / "log")
    outcome = invoke(capsys, "import", source, "-o", log)
    assert outcome.code == 1
    breach = "presented, but token 0x8a001 is not queued (vm-0/vcpu 1)"
    assert f"{source}:3130: I1: {breach}" in outcome.err
    outcome = invoke(capsys, "verify", log)
    assert outcome.code == 1
    assert f"{source}:3130: I1: {breach}" in outcome.err


def test_verify_says_what_it_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "log"
    assert invoke(capsys, "import", BURST, "-o", str(log)).code == 0
    outcome = invoke(capsys, "verify", str(log))
    assert (outcome.code, outcome.out) == (0, "recording: 794 events, no violation\n")
    records = next(log.glob("recorded.jsonl*"))
    records.write_bytes(records.read_bytes()[:-100])
    outcome = invoke(capsys, "verify", str(log))
    assert outcome.code == 1
    assert "recorded.jsonl: torn" in outcome.err
    told = json.loads(invoke(capsys, "verify", str(log), "--json").out)
    assert (told["ok"], len(told["problems"])) == (False, 1)


def test_a_profile_that_is_known_better_is_taken(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ("import", BURST, "--json", "--profile", "5.10", "-o", str(tmp_path / "log"))
    assert json.loads(invoke(capsys, *command).out)["profile"] == "5.10"
    outcome = invoke(capsys, "import", BURST, "-o", str(tmp_path / "no"), "--profile", "5.100")
    assert outcome.code == 2
    assert '--profile: unknown kernel "5.100"' in outcome.err
    assert not (tmp_path / "no").exists()


def test_a_fault_is_synchronous_from_so_many_ms_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    faults = [
        json.loads(invoke(capsys, *command, "-o", str(tmp_path / command[-1])).out)["events"]
        for command in (("import", BURST, "--json", "--sync-ms", ms) for ms in ("0.3", "3", "300"))
    ]
    numbers = [events.get("SyncFault", 0) for events in faults]
    assert numbers[0] > numbers[1] > numbers[2]


def test_a_vm_is_the_threads_that_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ("import", BURST, "--json", "--vm", "121", "--vm", "122")
    vms = json.loads(invoke(capsys, *command, "-o", str(tmp_path / "log")).out)["vms"]
    assert [vm["vcpus"] for vm in vms] == [{"1": 122}, {"0": 121}]
    outcome = invoke(capsys, "import", BURST, "-o", str(tmp_path / "no"), "--vm", "CPU 0")
    assert outcome.code == 2
    assert "--vm: CPU 0 is no list of thread ids" in outcome.err


def test_what_stands_there_is_not_written_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.txt").write_text("mine", "utf-8")
    outcome = invoke(capsys, "import", BURST, "-o", str(tmp_path))
    assert outcome.code == 2
    assert str(tmp_path) in outcome.err
    assert [place.name for place in tmp_path.iterdir()] == ["mine.txt"]


def test_the_page_tells_the_time_of_the_recording(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log, page = str(tmp_path / "log"), tmp_path / "page.html"
    assert invoke(capsys, "import", BURST, "-o", log).code == 0
    assert invoke(capsys, "report", log, "-o", str(page)).code == 0
    text = page.read_text("utf-8")
    assert "async page faults gained this guest about" in text
    assert ">time since the recording began<" in text
    assert ">simulated time<" not in text


def test_the_trace_has_a_flight_per_page_in(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log, place = str(tmp_path / "log"), tmp_path / "trace.json"
    outcome = invoke(capsys, "import", BURST, "-o", log, "--json")
    started = json.loads(outcome.out)["events"]["ApfStarted"]
    assert invoke(capsys, "trace", log, "-o", str(place)).code == 0
    marks = json.loads(place.read_text("utf-8"))["traceEvents"]
    assert sum(mark["ph"] == "s" for mark in marks) == started
