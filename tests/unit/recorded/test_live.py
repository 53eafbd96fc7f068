"""A growing recording: what it comes to does not depend on how it came."""

from __future__ import annotations

import gzip
from collections import Counter

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from pagewake.recorded import live as module
from pagewake.recorded.check import Breach
from pagewake.recorded.checkable import INVARIANTS
from pagewake.recorded.era import Era
from pagewake.recorded.following import Begun, Grown
from pagewake.recorded.live import LiveRecording
from pagewake.recorded.live_metrics import RecordingMetrics
from pagewake.recorded.placed import Span
from tests.support.recordings import recording

TEXT = gzip.decompress(recording("burst.txt.gz").read_bytes()).decode()
LINES = TEXT.splitlines(keepends=True)
READY = next(n for n, line in enumerate(LINES) if "async_pf_ready" in line and n > 2000)


class Told:
    """Takes what a live recording tells."""

    def __init__(self) -> None:
        self.breaches: list[Breach] = []
        self.spans: list[Span] = []
        self.eras: list[Era] = []

    def __call__(self, what: Breach | Span | Era) -> None:
        match what:
            case Breach():
                self.breaches.append(what)
            case Span():
                self.spans.append(what)
            case Era():
                self.eras.append(what)


def live(*blocks: str, told: Told | None = None) -> LiveRecording:
    made = LiveRecording("f", None, (), told or Told())
    for block in blocks:
        made.take(Grown(block))
    return made


def cut(size: int) -> list[str]:
    return ["".join(LINES[at : at + size]) for at in range(0, len(LINES), size)]


def metrics(of: LiveRecording) -> dict[str, float]:
    registry = CollectorRegistry()
    registry.register(RecordingMetrics(of, "a"))
    lines = generate_latest(registry).decode().splitlines()
    return {
        name: float(value)
        for name, value in (line.rsplit(" ", 1) for line in lines if line[0] != "#")
    }


def test_how_it_is_cut_makes_no_difference() -> None:
    whole, cut_up = live(TEXT), live(*cut(7))
    for each in (whole, cut_up):
        each.finish()
    assert metrics(whole) == metrics(cut_up)
    assert whole.reached_ns == 1_228_077_000


def test_metrics_say_what_the_lines_do() -> None:
    counts = Counter(line.split(": ")[1] for line in LINES[12:])
    shown = metrics(live(TEXT))
    labels = '{run="a",source="recording"}'
    of = 'pagewake_page_not_present_total{{delivery="{}",run="a",source="recording"}}'.format
    told = shown[of("injected")] + shown[of("halted")]
    assert told == counts["kvm_async_pf_not_present"]
    assert shown[f"pagewake_recording_passed_lines_total{labels}"] == counts["kvm_vcpu_wakeup"]
    assert shown[f"pagewake_recording_lines_total{labels}"] == 6988 - counts["kvm_vcpu_wakeup"]
    assert shown['pagewake_group_vcpus{group="vm-0",run="a",source="recording"}'] == 2
    assert not any(name.startswith("pagewake_guest_") for name in shown)


def test_what_is_in_flight_and_halted_is_shown() -> None:
    head = "  CPU 0/KVM-7  [000] d..1. 1.00000{}: kvm_{}\n".format
    one = live(
        head(1, "exit: vcpu 0 reason npf rip 0xffffffff81000000")
        + head(2, "try_async_get_page: gva = 0x5000, gfn = 0x5")
        + head(3, "async_pf_not_present: token 0x1000 gva 0x5000")
        + head(4, "inj_exception: #UD")
        + head(5, "vcpu_wakeup: wait time 5 ns, polling valid")
        + head(6, "entry: vcpu 0, rip 0x1")
    )
    in_flight = 'pagewake_host_swap_queue{medium="recorded",run="a",source="recording"}'
    assert metrics(one)[in_flight] == 1
    one.take(
        Grown("  kworker/0-9  [000] ..... 1.000009: kvm_async_pf_completed: gva 0x5000 address 0\n")
    )
    shown = metrics(one)
    assert shown[in_flight] == 0
    assert shown['pagewake_host_page_ins_total{medium="recorded",run="a",source="recording"}'] == 1


def test_a_rule_that_is_broken_is_told_and_counted() -> None:
    told = Told()
    broken = live("".join(LINES[:READY] + [LINES[READY]] * 2 + LINES[READY + 1 :]), told=told)
    assert broken.breaches.total() == len(told.breaches) > 0
    assert told.breaches[0].line in {READY + 1, READY + 2}
    rules = {breach.rule for breach in told.breaches}
    assert rules == set(broken.breaches)
    shown = metrics(broken)
    of = 'pagewake_recording_violations_total{{rule="{}",run="a",source="recording"}}'.format
    assert {rule: shown[of(rule)] for rule in INVARIANTS} == {
        rule: broken.breaches[rule] for rule in INVARIANTS
    }


def test_lost_lines_make_what_is_in_flight_unknown() -> None:
    told = Told()
    one = live("".join(LINES[:5000]), told=told)
    one.take(Begun(lost=True, torn="half a line"))
    assert [span.why for span in told.spans] == ["unreadable", "lost"]
    assert one.in_flight == 0
    one.take(Grown("".join(LINES[5200:])))
    one.finish()
    assert not told.breaches
    assert one.spans["lost"] == 1


def test_a_rotated_file_goes_on() -> None:
    told = Told()
    one = live("".join(LINES[:5000]), told=told)
    one.take(Begun(lost=False, torn=""))
    one.take(Grown("".join(LINES[5000:])))
    one.finish()
    assert {span.why for span in told.spans} == {"begin", "end"}
    assert one.lines == live(TEXT).lines


def test_the_kernel_is_told_when_it_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    told = Told()
    monkeypatch.setattr(module, "ERA_LINES", 100)
    one = live(*cut(50), told=told)
    assert one.era.profile == "6.1"
    assert LiveRecording("f", "5.8", (), told).era.profile == "5.8"


def test_vms_that_came_and_went_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "VMS_MAX", 10)
    text = "".join(
        f"  CPU 0/KVM-{pid}  ({pid})  [000] d..1. {pid}.000001: kvm_entry: vcpu 0, rip 0x1\n"
        for pid in range(1, 100)
    )
    one = live(*(line + "\n" for line in text.splitlines()))
    assert len(one.vcpus()) <= 11
    assert one.lines == 99
