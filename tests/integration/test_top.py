"""`pagewake top` on a terminal: keys command a running run, and the terminal is put back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from tests.support.control import until_status
from tests.support.processes import (
    MQTT,
    Brokers,
    Cluster,
    needs_kafka,
    needs_mqtt,
    needs_own_mosquitto,
    new_run,
    running,
    until_under_way,
)
from tests.support.terminal import Terminal, on_terminal

pytestmark = [pytest.mark.broker, needs_kafka, needs_mqtt]
LONG = ("--set", "scenario.duration=10m")
LEFT_ALTERNATE_SCREEN, CURSOR_SHOWN = b"\x1b[?1049l", b"\x1b[?25h"


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    yield from running(tmp_path, mqtt=MQTT)


def under_way(cluster: Cluster) -> str:
    run = new_run()
    cluster.start("host", "guest")
    cluster.submit(run, "overcommit", *LONG)
    until_under_way(run)
    until_status(run, "host/host", "running")
    return run


def put_back(terminal: Terminal) -> bool:
    return (
        terminal.modes() == terminal.before
        and LEFT_ALTERNATE_SCREEN in terminal.raw
        and CURSOR_SHOWN in terminal.raw[terminal.raw.rindex(LEFT_ALTERNATE_SCREEN) - 64 :]
    )


def test_keys_pause_resume_stop_and_quit(cluster: Cluster) -> None:
    run = under_way(cluster)
    with on_terminal("top", run, env=cluster.env) as terminal:
        text = terminal.until("24 VMs")
        assert run in text
        assert "guest-0" in text
        terminal.press("p")
        terminal.until(f"pause {run}: done")
        until_status(run, "host/host", "paused")
        terminal.until("paused")
        terminal.press("r")
        terminal.until(f"resume {run}: done")
        until_status(run, "host/host", "running")
        terminal.press("s")
        terminal.until("y / n")
        terminal.press("n")
        terminal.until("not stopped")
        terminal.press("s")
        terminal.until("y / n")
        terminal.press("y")
        until_status(run, "host/host", "ended")
        terminal.press("q")
        assert terminal.process.wait(30) == 0
        assert put_back(terminal)


def test_ctrl_c_ends_it_with_130_and_puts_the_terminal_back(cluster: Cluster) -> None:
    run = under_way(cluster)
    with on_terminal("top", env=cluster.env) as terminal:
        terminal.until(run)
        terminal.press("\x03")
        assert terminal.process.wait(30) == 130
        assert put_back(terminal)


def test_without_a_terminal_one_snapshot_is_printed(cluster: Cluster) -> None:
    run = under_way(cluster)
    printed = cluster.run("top", run)
    assert printed.returncode == 0, printed.stderr
    assert printed.stdout.startswith(f"{run}  running")
    assert "\x1b" not in printed.stdout
    (row,) = msgspec.json.decode(cluster.run("top", run, "--json").stdout)["runs"]
    assert (row["run"], row["vms_owned"]) == (run, 24)
    assert {service["service"] for service in row["services"]} == {"host", "guest"}
    assert all(service["speed"] > 0 for service in row["services"])
    assert cluster.run("top", "no-such-run").returncode == 2


@needs_own_mosquitto
def test_a_broker_that_is_lost_meanwhile_is_said_and_found_again(tmp_path: Path) -> None:
    brokers = Brokers(tmp_path / "brokers")
    brokers.up()
    try:
        env = Cluster(tmp_path, mqtt=brokers.mqtt).env
        with on_terminal("top", env=env) as terminal:
            terminal.until("nothing heard of any run yet")
            brokers.kill("mosquitto")
            terminal.until("is not answering for")
            terminal.press("x")
            brokers.up()
            terminal.until(f"mqtt {brokers.mqtt.removeprefix('mqtt://')}  ", within_s=60)
            terminal.press("q")
            assert terminal.process.wait(30) == 0
    finally:
        brokers.down()
