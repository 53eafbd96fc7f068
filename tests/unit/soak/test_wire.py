"""The faulty wire: packets to a port are late, and some are lost; others are not touched."""

from __future__ import annotations

import struct

from tests.soak.wire import TCP, Fault, Line, concerned

PORT = 9092


def _packet(source: int, destination: int, protocol: int = TCP) -> bytes:
    head = bytes([0x45, *bytes(8), protocol, *bytes(10)])
    return head + struct.pack("!HH", source, destination)


def _line(fault: Fault) -> Line:
    line = Line(seed=1)
    line.fault, line.ports = fault, {PORT}
    return line


def test_both_directions_of_a_port_are_concerned_and_nothing_else() -> None:
    assert concerned(_packet(40_000, PORT), {PORT})
    assert concerned(_packet(PORT, 40_000), {PORT})
    assert not concerned(_packet(40_000, 1883), {PORT})
    assert not concerned(_packet(40_000, PORT, protocol=17), {PORT})
    assert not concerned(bytes([0x60]) + _packet(40_000, PORT)[1:], {PORT})


def test_what_is_slow_arrives_in_order_and_what_is_not_concerned_at_once() -> None:
    line = _line(Fault(delay_s=0.5, loss=0.0))
    slow, other = _packet(1, PORT), _packet(1, 1883)
    line.take(slow, 4, now_s=1.0)
    line.take(other, 4, now_s=1.1)
    line.take(slow + b"2", 5, now_s=1.2)
    assert line.wait_s(1.2) == 0.0
    assert list(line.due(1.2)) == [(4, other)]
    assert list(line.due(2.0)) == [(4, slow), (5, slow + b"2")]
    assert line.wait_s(2.0) is None


def test_one_in_a_hundred_is_lost_and_all_are_on_a_wire_that_is_cut() -> None:
    lossy, cut = _line(Fault(delay_s=0.0, loss=0.01)), _line(Fault(delay_s=0.0, loss=1.0))
    for _ in range(10_000):
        for line in (lossy, cut):
            line.take(_packet(1, PORT), 4, now_s=0.0)
    assert 9_850 < len(list(lossy.due(0.0))) < 9_950
    assert list(cut.due(0.0)) == []
