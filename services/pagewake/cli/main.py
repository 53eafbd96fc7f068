"""Entry of the `pagewake` command.

Nothing heavy is imported before the guard stands, so that Ctrl-C during start-up is an
interruption like any other.
"""

from __future__ import annotations

import os
import signal
import sys

from pagewake.cli.guard import guarded


def main() -> int:
    """Run the command line of this process; returns its exit code."""
    _settle_streams()
    return guarded(_run_app)


def _run_app() -> None:
    from pagewake.cli.app import call  # noqa: PLC0415 - see the head of this file

    call()


def _settle_streams() -> None:
    """Closed streams become the null device; what an encoding cannot say becomes a question mark.

    SIGTERM and SIGHUP unwind like Ctrl-C, so that nothing half-written is left; nor does a second
    Ctrl-C interrupt the unwinding.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115, PTH123
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _terminate)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)


def _interrupt(number: int, _frame: object) -> None:
    signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def _terminate(number: int, _frame: object) -> None:
    raise SystemExit(128 + number)
