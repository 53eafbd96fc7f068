"""Entry of the `pagewake` command.

Nothing heavy is imported before the guard stands, so that Ctrl-C during start-up is an
interruption like any other.
"""

from __future__ import annotations

import codecs
import os
import signal
import sys

from pagewake.cli.guard import guarded
from pagewake.cli.plain import asks_for_ascii, spell


def main() -> int:
    """Run the command line of this process; returns its exit code.

    numpy starts a thread for every further core when it is imported, for linear algebra, of which
    there is none here.
    """
    _settle_streams()
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    return guarded(_run_app)


def _run_app() -> None:
    from pagewake.cli.app import call  # noqa: PLC0415 - see the head of this file

    call()


def _settle_streams() -> None:
    """What is written reads in any encoding, and a write to a closed stdout fails.

    Files must not take the place of a closed stream: that of stderr becomes the null device, that
    of stdout the null device for reading, which no result can be written to.

    SIGTERM and SIGHUP unwind like Ctrl-C, so that nothing half-written is left; nor does a second
    Ctrl-C interrupt the unwinding.
    """
    codecs.register_error("spell", spell)
    encoding = "ascii" if asks_for_ascii() else None
    for name, mode in (("stdout", os.O_RDONLY), ("stderr", os.O_WRONLY)):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, mode), "w", encoding="utf-8"))
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(encoding=encoding, errors="spell")
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _terminate)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)


def _interrupt(number: int, _frame: object) -> None:
    signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def _terminate(number: int, _frame: object) -> None:
    raise SystemExit(128 + number)
