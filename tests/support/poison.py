"""Records that no run can use, of every kind that a broker takes, made like those that it can."""

from __future__ import annotations

from pagewake.events.codec import encode_commit, head_of
from pagewake.events.types import WindowOpened
from pagewake.participants.commands import encode_command

DEEP = b"[" * 3000 + b"]" * 3000
DIGITS = b"9" * 900_000
NO_TEXT = b"\xff\xfe"
KEYS = (b"\xff", b"k" * 20_000, b"a/0", b"a/" + b"9" * 1000, b"b/manifest")
"""Of records whose key says what they are."""


def _commit(run: str, source: str, seq: int = 0) -> bytes:
    (encoded,) = encode_commit(head_of(run, source), "0", seq, 0, [WindowOpened(0, 7)])
    return encoded.record


def _command(run: str, word: bytes) -> bytes:
    """A command to set the pace, with something else for the pace."""
    return encode_command(run, "poison", {"do": "pace", "speed": 7}).replace(b"7", word, 1)


def poison(run: str) -> dict[str, bytes | None]:
    """By what is wrong; nothing of it may be applied, and nothing is a reason to stop."""
    good = _commit(run, "host-0")
    deep_events = good.replace(b'"events":[', b'"events":[' + DEEP + b",")
    return {
        "nothing": None,
        "empty": b"",
        "no text": NO_TEXT,
        "no text in a name": good.replace(run.encode(), NO_TEXT),
        "no text in a version": good.replace(b'"code":"', b'"code":"' + NO_TEXT),
        "half a surrogate": good.replace(run.encode(), rb"\ud800"),
        "nested deep": DEEP,
        "objects nested deep": b'{"run":' * 3000 + b"1" + b"}" * 3000,
        "events nested deep": deep_events,
        "digits": DIGITS,
        "digits for a number": good.replace(b'"seq":0', b'"seq":' + DIGITS),
        "a number out of range": good.replace(b'"seq":0', b'"seq":1e400'),
        "another content": good.replace(b'"window":0', b'"window":1'),
        "of another run": _commit("another", "host-0"),
        "of nobody here": _commit(run, "host-77"),
        "no number for a pace": _command(run, b"NaN"),
        "a pace out of range": _command(run, b"1e999"),
        "a pace nested deep": _command(run, DEEP),
        "a pace of digits": _command(run, DIGITS),
        "no text in a command": _command(run, b'"' + NO_TEXT + b'"'),
        "a command of another run": _command("another", b"7"),
    }
