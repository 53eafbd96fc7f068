"""`pagewake top` without a broker: what it shows, what its keys do, how it gives up."""

from __future__ import annotations

import time

import pytest
from rich.console import Console

from pagewake.cli.top import keys_of
from pagewake.cli.top_view import KeyCommand, Viewer, row_of, run_parts
from pagewake.cluster.live import Live
from pagewake.cluster.messages import VmProgress
from tests.unit.cli.support import invoke
from tests.unit.cluster.test_live import heard, progress

SILENT_PORT = "mqtt://127.0.0.1:1"


def drawn(viewer: Viewer, *, broker: str = "mqtt here", now_s: float = 0.0) -> str:
    console = Console(width=120, height=40, color_system=None, highlight=False)
    with console.capture() as captured:
        console.print(viewer.screen(now_s, broker, 40))
    return captured.get()


def two_runs() -> Live:
    return heard(
        ("old/host/h/status", b"ended"),
        (
            "new/progress",
            progress("host", "h", speed=0.5, lag=3, window=42, at_ns=1_500_000_000),
        ),
        (
            "new/progress",
            progress("guest", "g", sleepers=2, vms_owned=8, vms=[VmProgress("db-0", 2, 1)]),
        ),
    )


def test_the_first_run_under_way_is_shown_with_all_its_figures() -> None:
    text = drawn(Viewer(two_runs()))
    for words in ("new", "running", "42", "1.500 of 2 s", "0.5", "8 VMs: 2 tasks asleep", "db-0"):
        assert words in text, text
    assert "old" in text  # to choose from


def test_lost_and_silent_services_are_said_to_be() -> None:
    live = two_runs()
    live.feed("pagewake/v1/new/guest/g/status", b"lost", 0.0)
    text = drawn(Viewer(live), now_s=30.0)
    assert "lost" in text
    assert "silent for 30 s" in text  # the host


def test_a_broker_that_is_gone_is_said_to_be() -> None:
    assert "is gone" in drawn(Viewer(two_runs()), broker="mqtt is gone")


def test_nothing_heard_yet() -> None:
    assert "nothing heard of any run yet" in drawn(Viewer(Live()))
    assert "nothing heard of mine yet" in drawn(Viewer(Live(), "mine"))


def test_pause_and_resume_are_for_the_run_that_is_looked_at() -> None:
    viewer = Viewer(two_runs())
    assert viewer.press("p") == KeyCommand("pause", "new")
    assert viewer.press("r") == KeyCommand("resume", "new")


def test_the_run_that_keys_act_on_stays_the_same_when_others_come() -> None:
    live = heard(("mine/progress", progress("host")))
    viewer = Viewer(live)
    drawn(viewer)
    live.feed("pagewake/v1/other/progress", progress("host"), 5.0)
    drawn(viewer)
    assert viewer.press("p") == KeyCommand("pause", "mine")


def test_what_is_asked_stands_on_top_of_a_low_terminal() -> None:
    viewer = Viewer(two_runs())
    viewer.press("s")
    assert "stop new where it is? y / n" in drawn(viewer).splitlines()[1]


def test_stop_is_confirmed() -> None:
    viewer = Viewer(two_runs())
    assert viewer.press("s") is None
    assert "stop new where it is? y / n" in drawn(viewer)
    assert viewer.press("x") is None
    assert viewer.press("s") is None
    assert viewer.press("y") == KeyCommand("stop", "new")


def test_what_is_over_is_not_commanded() -> None:
    viewer = Viewer(two_runs())
    viewer.press("down")
    assert viewer.press("p") is None
    assert "old is ended" in drawn(viewer)


def test_keys_choose_a_run_round_and_round() -> None:
    viewer = Viewer(two_runs())
    chosen = []
    for key in ("tab", "tab", "up", "down"):
        viewer.press(key)
        run = viewer.run()
        assert run is not None
        chosen.append(run.name)
    assert chosen == ["old", "new", "old", "new"]


def test_a_run_that_was_named_is_the_only_one() -> None:
    viewer = Viewer(two_runs(), "old")
    viewer.press("tab")
    assert [run.name for run in viewer.runs()] == ["old"]
    assert "new" not in drawn(viewer)


def test_q_quits() -> None:
    assert Viewer(Live()).press("q") == KeyCommand("quit")


def test_names_cannot_command_a_terminal() -> None:
    live = heard(("\x1b[2Jr/progress", progress(instance="[red]x\x1b]0;y\x07")))
    text = drawn(Viewer(live))
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "[red]x" in text


def test_the_slowest_host_is_how_far_a_run_is() -> None:
    live = heard(
        ("r/progress", progress("host", "a", at_ns=5)),
        ("r/progress", progress("host", "b", at_ns=3)),
    )
    row = row_of(live.runs["r"], 0.0)
    assert row.at_ns == 3
    assert len(run_parts(row)) > 1


def test_keys_come_in_any_pieces() -> None:
    assert list(keys_of("p\x1b[A\x1b[B\tQ")) == ["p", "up", "down", "tab", "q"]


def test_without_a_broker_it_gives_up_in_time(capsys: pytest.CaptureFixture[str]) -> None:
    started_s = time.monotonic()
    outcome = invoke(capsys, "top", "--mqtt", SILENT_PORT)
    assert outcome.code == 69
    assert "no MQTT broker at 127.0.0.1:1" in outcome.err
    assert time.monotonic() - started_s < 10


def test_a_wrong_address_is_usage(capsys: pytest.CaptureFixture[str]) -> None:
    outcome = invoke(capsys, "top", "--mqtt", "http://x")
    assert outcome.code == 2
    assert "PAGEWAKE_MQTT=http://x" in outcome.err
