"""Work on the machine's cores, one fresh process for each order.

Each process reports through its own pipe: news, then what came of it or the error.  A process that
ends without either is an error, not a wait for ever.  One whose parent is gone ends with its next
word.  They are spawned: a fork copies locks that threads of a library may hold.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import get_context, resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Generic, NamedTuple, TypeAlias, TypeVar

from pagewake.errors import OUT_OF_MEMORY, ConfigError, InternalError, PagewakeError, described

NEWS_EVERY_S = 0.1
"""As often as a bar is drawn."""

Key = TypeVar("Key")
Order = TypeVar("Order")
Done = TypeVar("Done")
News = TypeVar("News")
Tell: TypeAlias = Callable[[News], None]


class Ended(NamedTuple, Generic[Done]):
    """The last word of a process; `cause` is that of an error, which does not travel with it."""

    outcome: Done | PagewakeError
    cause: BaseException | None = None


class Crew(Generic[Key, Order, News, Done]):
    """The processes under way, each known by a key."""

    def __init__(self, work: Callable[[Order, Tell[News]], Done]) -> None:
        self._work = work
        self._working: dict[Connection, tuple[Key, SpawnProcess]] = {}

    def __len__(self) -> int:
        return len(self._working)

    def start(self, key: Key, order: Order) -> None:
        """Have one more process; Ctrl-C never reaches it."""
        context = get_context("spawn")
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=_serve, args=(theirs, self._work, order), daemon=True)
        resource_tracker.ensure_running()  # its start would undo the mask
        with _interruption_held():
            process.start()
            self._working[ours] = (key, process)
        theirs.close()

    def news(self) -> list[tuple[Key, News | Ended[Done]]]:
        """Wait for what processes say; `Ended` is the last of each."""
        heard: list[tuple[Key, News | Ended[Done]]] = []
        for pipe in wait(list(self._working)):
            assert isinstance(pipe, Connection)
            key, process = self._working[pipe]
            message: News | Ended[Done] = _receive(pipe, process)
            if isinstance(message, Ended):
                process.join()
                pipe.close()
                del self._working[pipe]
            heard.append((key, message))
        return heard

    def dismiss(self, is_meant: Callable[[Key], bool] = lambda _: True) -> None:
        """Kill processes that still run: those of these keys, by default all."""
        meant = {pipe: each for pipe, each in self._working.items() if is_meant(each[0])}
        for _, process in meant.values():
            process.kill()
        for pipe, (_, process) in meant.items():
            process.join()
            pipe.close()
            del self._working[pipe]


def at_times(tell: Tell[News]) -> Tell[News]:
    """Pass on what is said, but not more often than anybody looks."""
    next_s = 0.0

    def told(news: News) -> None:
        nonlocal next_s
        now_s = time.monotonic()
        if now_s >= next_s:
            next_s = now_s + NEWS_EVERY_S
            tell(news)

    return told


def outcome_of(work: Callable[[], Done]) -> Ended[Done]:
    """What comes of work, an error as a value."""
    try:
        return Ended(work())
    except PagewakeError as error:
        return Ended(error, error.__cause__)
    except BrokenPipeError:
        raise
    except MemoryError:
        return Ended(ConfigError(OUT_OF_MEMORY))
    except Exception as error:  # noqa: BLE001 - whoever asked for the work reports it
        return Ended(InternalError(f"in a run: {described(error)}"))


@contextmanager
def _interruption_held() -> Iterator[None]:
    """Ctrl-C waits until the block is done; a process started inside never sees one.

    It goes to the whole foreground group, but is the parent's business alone.  The mask is what the
    child inherits; the handler is for threads of numpy's libraries, which the mask does not cover.
    """
    arrived: list[int] = []
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    handler = signal.signal(signal.SIGINT, lambda number, _: arrived.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    if arrived:
        signal.raise_signal(signal.SIGINT)


def _receive(pipe: Connection, process: SpawnProcess) -> News | Ended[Done]:
    try:
        message: News | Ended[Done] = pipe.recv()
    except (EOFError, OSError):  # OSError: it ended in the middle of a message
        process.join()
        lost = f"a worker process ended with exit code {process.exitcode} before its run was done"
        return Ended(InternalError(f"{lost} (out of memory? fewer at a time: --jobs 1)"))
    if isinstance(message, Ended) and isinstance(message.outcome, PagewakeError):
        message.outcome.__cause__ = message.cause
    return message


def _serve(pipe: Connection, work: Callable[[Order, Tell[News]], Done], order: Order) -> None:
    """The body of a process: one order; ends quietly when the parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent's business alone
    with suppress(BrokenPipeError):
        ended = outcome_of(lambda: work(order, pipe.send))
        pipe.send(ended)
