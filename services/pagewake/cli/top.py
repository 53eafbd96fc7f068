"""`pagewake top`: runs of a cluster as they go, over MQTT.

On a terminal a view that is drawn anew and takes keys; otherwise, or with `--json`, one snapshot.
The terminal is put back whatever ends the command.
"""

from __future__ import annotations

import asyncio
import os
import sys
import termios
import tty
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.live import Live as Drawn

from pagewake.cli.cluster import settings_of
from pagewake.cli.options import JsonOption, MqttOption
from pagewake.cli.output import print_json
from pagewake.cli.screen import AS_IT_IS, print_text
from pagewake.cli.top_view import KeyCommand, RunRow, Viewer, row_of, run_parts, shown
from pagewake.cluster.clock import Clock, SystemClock
from pagewake.cluster.listener import Heard, MqttListener
from pagewake.cluster.live import TOPICS, Live
from pagewake.cluster.messages import COMMAND_TOPIC
from pagewake.cluster.mqtt_address import MqttAddress
from pagewake.errors import ConfigError

LISTEN_S = 2.5
"""For a snapshot: every service of a run under way says something in that time."""
DRAW_S = 0.25
"""Services speak once a second; a key should show its effect at once."""
ANSWER_S = 5.0
"""A host answers between two windows; one that does not by now is busy, or gone."""
READ_BYTES = 64  # of typed keys: an arrow has three bytes
KEY_NAMES = {"\x1b[A": "up", "\x1b[B": "down", "\x1bOA": "up", "\x1bOB": "down", "\t": "tab",
             "\x1b[Z": "up", "\x1b[C": "down", "\x1b[D": "up"}  # fmt: skip


def top(
    run: Annotated[
        str | None,
        typer.Argument(metavar="RUN", help="Look at this run only.", show_default=False),
    ] = None,
    mqtt: MqttOption = None,
    as_json: JsonOption = False,
) -> None:
    """Watch the runs of a cluster; keys pause, resume and stop them."""
    address = settings_of(mqtt=mqtt).mqtt_address()
    clock = SystemClock()
    if as_json or not (sys.stdin.isatty() and sys.stdout.isatty()):
        _snapshot(asyncio.run(_heard(address, run, clock)), run, as_json)
        return
    console = Console(**AS_IT_IS)
    with _keys_at_once(sys.stdin.fileno()):
        asyncio.run(_watch(address, run, console, clock))


# ---------------------------------------------------------------------------------- snapshot


async def _heard(mqtt: MqttAddress | None, run: str | None, clock: Clock) -> list[RunRow]:
    live = Live()
    heard = _feeder(live, clock)
    async with MqttListener(mqtt, TOPICS, heard, clock):
        await clock.sleep(LISTEN_S)
    return [row_of(each, clock.monotonic_s()) for each in Viewer(live, run).runs()]


def _snapshot(rows: list[RunRow], run: str | None, as_json: bool) -> None:
    if run is not None and not rows:
        raise ConfigError(f"nothing is heard of a run {run!r} over MQTT: pagewake runs list")
    if as_json:
        print_json({"runs": rows})
        return
    active = [row for row in rows if row.state not in ("ended", "left", "lost")]
    parts = [part for row in (rows if run else active) for part in run_parts(row)]
    over = len(rows) - len(active)
    if run is None and (over or not active):
        parts.append(f"{'nothing' if not active else len(active)} under way, {over} over")
    print_text(*parts)


# ---------------------------------------------------------------------------------- terminal


async def _watch(mqtt: MqttAddress | None, run: str | None, console: Console, clock: Clock) -> None:
    """Draw and obey keys until `q`."""
    live = Live()
    viewer = Viewer(live, run)
    keys: asyncio.Queue[str] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    async with MqttListener(mqtt, TOPICS, _feeder(live, clock), clock) as listener:
        loop.add_reader(sys.stdin.fileno(), _read_keys, keys)
        asking: set[asyncio.Task[None]] = set()
        try:
            with Drawn(console=console, screen=True, auto_refresh=False) as drawn:
                while True:
                    now_s = clock.monotonic_s()
                    picture = viewer.screen(now_s, _broker(listener, now_s), console.height)
                    drawn.update(picture, refresh=True)
                    order = await _next_order(viewer, keys)
                    if order is not None and order.do == "quit":
                        return
                    if order is not None:
                        task = asyncio.create_task(_ask(listener, viewer, order, clock))
                        asking.add(task)
                        task.add_done_callback(asking.discard)
        finally:
            loop.remove_reader(sys.stdin.fileno())
            for task in asking:
                task.cancel()


async def _next_order(viewer: Viewer, keys: asyncio.Queue[str]) -> KeyCommand | None:
    try:
        return viewer.press(await asyncio.wait_for(keys.get(), DRAW_S))
    except TimeoutError:
        return None


async def _ask(listener: MqttListener, viewer: Viewer, order: KeyCommand, clock: Clock) -> None:
    """Send a command and note what comes of it."""
    name = shown(order.run)
    order_id = f"top-{uuid.uuid4().hex[:12]}"
    viewer.note = f"{order.do} {name} ..."
    command = msgspec.json.encode({"id": order_id, "do": order.do})
    if not await listener.publish(COMMAND_TOPIC.format(run=order.run), command):
        viewer.note = f"{order.do} {name}: not sent, the broker does not answer"
        return
    deadline_s = clock.monotonic_s() + ANSWER_S
    while clock.monotonic_s() < deadline_s:
        run = viewer.live.runs.get(order.run)
        answer = run.answers.get(order_id) if run is not None else None
        if answer is not None:
            at = f" at {answer.at_ns / 1e9:.6f} s" if answer.at_ns is not None else ""
            what = f"done{at}" if answer.ok else shown(answer.error or "refused")
            viewer.note = f"{order.do} {name}: {what}"
            return
        await clock.sleep(DRAW_S / 2)
    viewer.note = f"{order.do} {name}: no answer within {ANSWER_S:g} s; is its host service there?"


def _feeder(live: Live, clock: Clock) -> Heard:
    return lambda topic, payload: live.feed(topic, payload, clock.monotonic_s())


def _broker(listener: MqttListener, now_s: float) -> str:
    if listener.connected:
        return f"mqtt {listener.place}"
    gone_s = now_s - listener.lost_s
    return f"mqtt {listener.place} is not answering for {gone_s:.0f} s, connecting again"


def _read_keys(keys: asyncio.Queue[str]) -> None:
    """Queue what was typed, as keys."""
    with suppress(OSError):
        for key in keys_of(os.read(sys.stdin.fileno(), READ_BYTES).decode(errors="replace")):
            keys.put_nowait(key)


def keys_of(typed: str) -> Iterator[str]:
    """Named keys by name, others as the character they are."""
    while typed:
        known = next((code for code in KEY_NAMES if typed.startswith(code)), None)
        yield KEY_NAMES[known] if known else typed[0].lower()
        typed = typed[len(known or typed[0]) :]


@contextmanager
def _keys_at_once(terminal: int) -> Iterator[None]:
    """Keys without Enter and without echo; Ctrl-C interrupts as ever, Ctrl-Z does nothing."""
    before = termios.tcgetattr(terminal)
    try:
        tty.setcbreak(terminal)
        now = termios.tcgetattr(terminal)
        now[6][termios.VSUSP] = b"\0"
        termios.tcsetattr(terminal, termios.TCSANOW, now)
        yield
    finally:
        with suppress(termios.error):
            termios.tcsetattr(terminal, termios.TCSADRAIN, before)
