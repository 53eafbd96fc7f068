"""The small HTTP server of a service, in its own event loop: a page is read and the line closed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeAlias

from pagewake.errors import ConfigError

# For a request line, and for taking an answer: who asks is a probe or a scraper nearby.
REQUEST_S = 5.0
TEXT = "text/plain; version=0.0.4; charset=utf-8"


class Reply(NamedTuple):
    """A status line and a body of text."""

    status: str
    body: bytes


Pages: TypeAlias = Mapping[str, Callable[[], Reply]]


class HttpServer:
    """Serves `pages` by path; `port` is known once it is started."""

    def __init__(self, pages: Pages) -> None:
        self.port = 0
        self._pages = pages
        self._server: asyncio.Server | None = None

    async def start(self, address: str) -> None:
        """Listen on `host:port`; port 0 takes any.  ConfigError if that cannot be."""
        host, _, port = address.rpartition(":")
        try:
            self._server = await asyncio.start_server(
                self._serve, host.strip("[]") or "127.0.0.1", int(port)
            )
        except (OSError, ValueError, OverflowError) as error:
            raise ConfigError(
                f"PAGEWAKE_HTTP={address}: cannot listen there ({error}): give HOST:PORT, "
                f"port 0 for any"
            ) from None
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Close the listener."""
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await asyncio.wait_for(reader.readline(), REQUEST_S)
            words = head.decode(errors="replace").split()
            status, body = self.answer(words[1].partition("?")[0] if len(words) > 1 else "")
            writer.write(
                f"HTTP/1.1 {status}\r\nContent-Type: {TEXT}\r\n"
                f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
                + (b"" if words[:1] == ["HEAD"] else body)
            )
            await asyncio.wait_for(writer.drain(), REQUEST_S)
        except (OSError, TimeoutError, ValueError):
            pass
        finally:
            writer.close()

    def answer(self, path: str) -> Reply:
        """A page, or the names of those that there are."""
        page = self._pages.get(path)
        if page is None:
            *some, last = self._pages
            return Reply("404 Not Found", f"try {', '.join(some)} or {last}\n".encode())
        return page()
