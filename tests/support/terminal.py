"""A command on a terminal of its own: what it draws, and keys for it."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

PATIENCE_S = 30.0
_CODES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|[()][AB012]|[=>])")


class Terminal:
    """The process, and everything it has drawn so far."""

    def __init__(self, process: subprocess.Popen[bytes], master: int, slave: int) -> None:
        self.process = process
        self.before = termios.tcgetattr(slave)
        self._master = master
        self._slave = slave
        self._drawn = b""
        self._seen = 0
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        try:
            while chunk := os.read(self._master, 65536):
                self._drawn += chunk
        except OSError:
            pass

    @property
    def raw(self) -> bytes:
        """With all codes."""
        return self._drawn

    def modes(self) -> list[object]:
        """Of the terminal, as they are now."""
        return list(termios.tcgetattr(self._slave))

    def until(self, words: str, within_s: float = PATIENCE_S) -> str:
        """Wait for words that were drawn since the last key; all text since then."""
        deadline_s = time.monotonic() + within_s
        while True:
            text = _CODES.sub("", self._drawn[self._seen :].decode(errors="replace"))
            if words in text:
                return text
            last = re.sub(r"\s+", " ", text)[-2000:]
            assert time.monotonic() < deadline_s, f"never drawn: {words!r}; last: {last}"
            time.sleep(0.05)

    def press(self, keys: str) -> None:
        """Type."""
        self._seen = len(self._drawn)
        os.write(self._master, keys.encode())

    def close(self) -> None:
        """Whatever is left."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(30)
        os.close(self._slave)
        os.close(self._master)


@contextmanager
def on_terminal(
    *arguments: str, env: Mapping[str, str], columns: int = 120, rows: int = 40
) -> Iterator[Terminal]:
    """`pagewake ARGUMENTS` with a terminal as its stdin, stdout and stderr."""
    master, slave = pty.openpty()
    termios.tcsetwinsize(slave, (rows, columns))
    process = subprocess.Popen(
        [sys.executable, "-m", "pagewake", *arguments],
        env={**env, "TERM": "xterm-256color"},
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
        preexec_fn=_take_terminal,  # noqa: PLW1509 - one thread is enough for it
    )
    terminal = Terminal(process, master, slave)
    try:
        yield terminal
    finally:
        terminal.close()


def _take_terminal() -> None:
    """The terminal is the one that Ctrl-C comes from."""
    import fcntl  # noqa: PLC0415

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
