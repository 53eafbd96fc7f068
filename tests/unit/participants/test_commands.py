"""Commands as messages: what is accepted, what is refused, and whom they are for."""

from __future__ import annotations

import pytest

from pagewake.errors import DataError
from pagewake.events.types import MediumChanged, VcpuOffline, VmMigrated
from pagewake.participants.commands import (
    BadCommandError,
    Order,
    decode_command,
    encode_command,
    host_of,
    id_of,
    parse_command,
    read_order,
)
from pagewake.scenario.loading import load

SCENARIO = load("natapov-2010", ["vm.0.count=3", "host.count=2"])


def test_a_message_is_an_id_and_a_command() -> None:
    payload = b'{"id": "a", "do": "pause"}'
    assert parse_command(payload) == ("a", {"do": "pause"})
    assert id_of(payload) == "a"


@pytest.mark.parametrize(
    ("payload", "error"),
    [
        (b"", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[1]", "a JSON object"),
        (b'{"do": "pause"}', "id must be a text"),
        (b'{"id": 7, "do": "pause"}', "id must be a text"),
        (b'{"id": "", "do": "pause"}', "id must be a text"),
        (b'{"id": "%b"}' % (b"x" * 200), "id must be a text"),
    ],
)
def test_what_is_no_command_is_refused(payload: bytes, error: str) -> None:
    with pytest.raises(BadCommandError, match=error):
        parse_command(payload)
    assert id_of(payload) is None


def test_a_command_becomes_the_control_event_of_the_scenario() -> None:
    order = read_order(SCENARIO, "a", {"do": "vcpu-offline", "vm": "bm-1", "vcpu": 2})
    assert order == Order("a", "vcpu-offline", VcpuOffline(0, "bm-1", 0, 2))
    order = read_order(SCENARIO, "b", {"do": "migrate", "vm": "bm-1", "pause": "2ms"})
    assert order.control == VmMigrated(0, "bm-1", 0, 2_000_000)
    order = read_order(SCENARIO, "c", {"do": "medium", "medium": "nvme", "host": 1})
    assert order.control == MediumChanged(0, "", 0, "nvme", 1)


@pytest.mark.parametrize(
    ("command", "host"),
    [
        ({"do": "vcpu-offline", "vm": "bm-0", "vcpu": 0}, 0),
        ({"do": "vcpu-offline", "vm": "bm-1", "vcpu": 0}, 1),
        ({"do": "medium", "medium": "nvme", "host": 1}, 1),
        ({"do": "medium", "medium": "nvme"}, 0),
        ({"do": "stop"}, None),
    ],
)
def test_a_command_is_for_the_host_that_it_concerns(
    command: dict[str, object], host: int | None
) -> None:
    assert host_of(SCENARIO, read_order(SCENARIO, "a", command)) == host


def test_pace_takes_a_speed_and_pause_takes_nothing() -> None:
    assert read_order(SCENARIO, "a", {"do": "pace", "speed": 2}).speed == 2.0
    for wrong in ({"do": "pace"}, {"do": "pace", "speed": "fast"}, {"do": "stop", "speed": 1}):
        with pytest.raises(BadCommandError, match="speed"):
            read_order(SCENARIO, "a", wrong)


def test_a_record_reads_back() -> None:
    record = encode_command("r", "a", {"do": "pause"})
    command = decode_command(record)
    assert (command.run, command.id, command.command) == ("r", "a", {"do": "pause"})
    with pytest.raises(DataError, match="not a command"):
        decode_command(b'{"run": "r"}')
