"""When a service is ready, when it should be started anew, and what it answers over HTTP."""

from __future__ import annotations

import asyncio

import pytest

from pagewake.cluster.health import LOOP_S, Health, verdict
from pagewake.cluster.http_server import HttpServer, Reply
from pagewake.errors import ConfigError
from tests.support.clock import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def health(clock: FakeClock) -> Health:
    health = Health(list, dict, clock)
    health.ready = True
    return health


class TestReadiness:
    def test_not_before_the_group_is_joined(self, health: Health) -> None:
        health.ready = False
        assert health.problems() == ["not connected yet"]

    def test_not_while_kafka_is_silent(self, health: Health, clock: FakeClock) -> None:
        assert health.kafka_is_silent("a:1")
        clock.advance(7.0)
        assert not health.kafka_is_silent("a:1")
        assert health.problems() == ["kafka at a:1 has not answered for 7 s"]
        assert health.kafka_answers() == 7.0
        assert health.problems() == []

    def test_runs_that_were_broken_off_are_named_and_no_reason(self, clock: FakeClock) -> None:
        health = Health(list, lambda: {"r": "a gap"}, clock)
        health.ready = True
        reply = verdict(health.problems(), health.notes())
        assert reply == Reply("200 OK", b"ok\nrun r was broken off: a gap\n")

    def test_kafka_that_was_never_silent_has_been_so_for_no_time(self, health: Health) -> None:
        assert health.kafka_answers() == 0.0


class TestLife:
    def test_a_loop_that_stands_still_is_stuck_after_a_while(
        self, health: Health, clock: FakeClock
    ) -> None:
        clock.advance(LOOP_S - 1)
        assert health.stuck() == []
        clock.advance(1)
        assert health.stuck() == ["the loop has stood still for 30 s"]
        health.beat()
        assert health.stuck() == []

    def test_nobody_is_stuck_who_waits_for_kafka(self, health: Health, clock: FakeClock) -> None:
        clock.advance(10 * LOOP_S)
        health.kafka_is_silent("a:1")
        assert health.stuck() == []

    def test_nobody_is_stuck_who_has_not_joined(self, health: Health, clock: FakeClock) -> None:
        health.ready = False
        clock.advance(10 * LOOP_S)
        assert health.stuck() == []


class TestPages:
    def test_a_verdict_is_ok_or_one_problem_a_line(self) -> None:
        assert verdict([]) == Reply("200 OK", b"ok\n")
        assert verdict(["a", "b"]) == Reply("503 Service Unavailable", b"a\nb\n")

    def test_notes_stand_behind_the_verdict(self) -> None:
        assert verdict([], ["n"]) == Reply("200 OK", b"ok\nn\n")
        assert verdict(["a"], ["n"]) == Reply("503 Service Unavailable", b"a\nn\n")

    async def asked(self, server: HttpServer, request: bytes) -> tuple[bytes, bytes]:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(request)
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        writer.close()
        return head, body

    async def test_a_page_is_served_by_its_path(self) -> None:
        server = HttpServer({"/a": lambda: Reply("200 OK", b"yes\n"), "/b": lambda: verdict([])})
        await server.start("127.0.0.1:0")
        try:
            head, body = await self.asked(server, b"GET /a?x=1 HTTP/1.1\r\n")
            assert (head.split(b"\r\n")[0], body) == (b"HTTP/1.1 200 OK", b"yes\n")
            head, body = await self.asked(server, b"HEAD /a HTTP/1.1\r\n")
            assert b"Content-Length: 4" in head
            assert body == b""
            for request in (b"GET /nothing HTTP/1.1\r\n", b"\r\n", b"\xff\xfe\r\n"):
                head, body = await self.asked(server, request)
                assert head.startswith(b"HTTP/1.1 404")
                assert body == b"try /a or /b\n"
        finally:
            await server.stop()

    @pytest.mark.parametrize("address", ["nonsense", "127.0.0.1:x", "127.0.0.1:99999999"])
    async def test_an_address_where_nobody_can_listen_is_named(self, address: str) -> None:
        with pytest.raises(ConfigError, match="PAGEWAKE_HTTP"):
            await HttpServer({}).start(address)
