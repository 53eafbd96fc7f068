"""Errors of a command become a line on stderr and an exit code, never a traceback.

Exit codes (design, "Command line"): 0 ok, 1 a check failed, 2 usage or configuration, 65 bad input
data, 69 broker unreachable or refusing, 70 internal error, 130 interrupted.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress

from pagewake.errors import OUT_OF_MEMORY, ConfigError, InternalError, PagewakeError, described

INTERRUPTED = 130  # 128 + SIGINT, as shells report it


class InterruptedRunError(Exception):
    """Ctrl-C during a run; the message says how far it got."""


def guarded(command: Callable[[], object]) -> int:
    """Run `command`; its errors become a line on stderr and an exit code, never a traceback."""
    try:
        command()
    except SystemExit as stop:
        return _stopped(stop.code)
    except (KeyboardInterrupt, InterruptedRunError) as stop:
        complain(str(stop) or "interrupted")
        return INTERRUPTED
    except PagewakeError as error:
        complain(f"error: {error}")
        return error.exit_code
    except MemoryError:
        complain(f"error: {OUT_OF_MEMORY}")
        return ConfigError.exit_code
    except OSError as error:
        return _refused(error) if error.filename else _internal(error)
    except Exception as error:  # noqa: BLE001 - the last resort, reported as such
        return _internal(error)
    return 0


def _stopped(code: object) -> int:
    """The command line library ends everything by SystemExit, interruption too."""
    if code == INTERRUPTED:
        complain("interrupted")
    return code if isinstance(code, int) else int(code is not None)


def _refused(error: OSError) -> int:
    """The system will not have a name that was given: it is too long, or access is denied."""
    if os.environ.get("PAGEWAKE_DEBUG") == "1":
        traceback.print_exception(error)
    complain(f"error: {error.filename}: {error.strerror}; name another one, or allow access to it")
    return ConfigError.exit_code


def _internal(error: Exception) -> int:
    """Report an error that only a defect of pagewake can raise."""
    complain(f"internal error: {described(error)}")
    return InternalError.exit_code


def complain(message: str) -> None:
    """Write one line to stderr, headed by the name of the program."""
    with suppress(OSError):
        sys.stderr.write(f"pagewake: {message}\n")
        sys.stderr.flush()
