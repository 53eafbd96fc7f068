"""What a key of a scenario file may hold: one reader per kind of value, both ways.

The model annotates each of its fields with a `Key`, so names, kinds, limits and documentation of
the file format have one home: loading, `--set`, the effective scenario of a log and the reference
listing all walk these annotations. A reader turns the TOML value into base units or raises
`BadValueError`, whose text names the offending value and a valid one; `write` is its inverse.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

from pagewake.errors import nearest
from pagewake.scenario import units

T = TypeVar("T")
LARGEST_PAGES = 1 << 31
"""8 TiB: a page number fits 31 bits, as streams of touches keep it."""
OFF = -1
"""Instead of a number, where a key may be "off"."""


class BadValueError(ValueError):
    """A value that its key cannot hold; `at` is the path below the key, for lists and tables."""

    def __init__(self, text: str, at: tuple[str | int, ...] = ()) -> None:
        super().__init__(text)
        self.at = at


class Reader(Protocol[T]):
    """Both directions between a TOML value and the model's value."""

    @property
    def textual(self) -> bool:
        """On a command line the value is taken literally, never parsed as TOML."""

    def read(self, raw: object) -> T:
        """The model's value; raises `BadValueError`."""

    def write(self, value: T) -> object:
        """The TOML value that reads back to the same."""


class Key(NamedTuple):
    """One key: its name in the file, what it holds, and a line of documentation."""

    name: str
    reader: Reader[Any]
    doc: str


class Table(NamedTuple):
    """A key that is a table of its own, described by the annotated struct."""

    name: str
    doc: str


class Tables(NamedTuple):
    """A key that is an array of tables, each described by the annotated struct."""

    name: str
    doc: str


def show(raw: object) -> str:
    """A TOML value as a person wrote it, short."""
    if isinstance(raw, bool):
        return str(raw).lower()
    if isinstance(raw, str):
        return f'"{raw}"' if len(raw) < 80 else f'"{raw[:76]}..."'
    if isinstance(raw, dict):
        return "a table"
    if isinstance(raw, list):
        return "a list"
    return str(raw)


def _text(raw: object, what: str, example: str) -> str:
    if not isinstance(raw, str):
        raise BadValueError(f'{show(raw)} is not {what}; write a string such as "{example}"')
    return raw


class Duration:
    """A string with a time unit; nanoseconds in the model."""

    textual = True

    def __init__(self, minimum_ns: int = 0) -> None:
        self.minimum_ns = minimum_ns

    def read(self, raw: object) -> int:
        try:
            value = units.parse_duration(_text(raw, "a duration", "5us"))
        except ValueError as error:
            raise BadValueError(str(error)) from None
        if value < self.minimum_ns:
            least = units.format_duration(self.minimum_ns)
            raise BadValueError(f'{show(raw)} is too short: at least "{least}"')
        return value

    def write(self, value: int) -> object:
        return units.format_duration(value)


class Size:
    """A string with a size unit, a multiple of the page; pages in the model.

    Frame numbers have 31 bits where replacement keeps them, so nothing is larger than 8 TiB.
    """

    textual = True

    def __init__(self, minimum_pages: int = 1) -> None:
        self.minimum_pages = minimum_pages

    def read(self, raw: object) -> int:
        try:
            value = units.parse_pages(_text(raw, "a size", "512MiB"))
        except ValueError as error:
            raise BadValueError(str(error)) from None
        if value < self.minimum_pages:
            least = units.format_pages(self.minimum_pages)
            raise BadValueError(f'{show(raw)} is too small: at least "{least}"')
        if value > LARGEST_PAGES:
            most = units.format_pages(LARGEST_PAGES)
            raise BadValueError(f'{show(raw)} is too large: at most "{most}"')
        return value

    def write(self, value: int) -> object:
        return units.format_pages(value)


class Integer:
    """A whole number within bounds."""

    textual = False

    def __init__(self, minimum: int, maximum: int | None = None) -> None:
        self.minimum = minimum
        self.maximum = maximum

    def read(self, raw: object) -> int:
        if isinstance(raw, bool) or not isinstance(raw, int):
            raise BadValueError(f"{show(raw)} is not {self._range()}")
        if raw < self.minimum or (self.maximum is not None and raw > self.maximum):
            limit = self.minimum if raw < self.minimum else self.maximum
            raise BadValueError(f"{raw} is out of range: {self._range()}; nearest is {limit}")
        return raw

    def _range(self) -> str:
        if self.maximum is None:
            return f"a whole number from {self.minimum} up"
        return f"a whole number from {self.minimum} to {self.maximum}"

    def write(self, value: int) -> object:
        return value


class IntegerOrOff(Integer):
    """A whole number within bounds, or "off", which is `OFF` in the model."""

    def read(self, raw: object) -> int:
        return OFF if raw == "off" else super().read(raw)

    def _range(self) -> str:
        return f'{super()._range()}, or "off"'

    def write(self, value: int) -> object:
        return "off" if value == OFF else value


class Number:
    """A number within bounds, whole or not."""

    textual = False

    def __init__(self, minimum: float, maximum: float) -> None:
        self.minimum = minimum
        self.maximum = maximum

    def read(self, raw: object) -> float:
        span = f"a number from {self.minimum:g} to {self.maximum:g}"
        if isinstance(raw, bool) or not isinstance(raw, (int, float)):
            raise BadValueError(f"{show(raw)} is not {span}")
        if not self.minimum <= raw <= self.maximum:
            limit = self.maximum if raw > self.maximum else self.minimum
            raise BadValueError(f"{raw} is out of range: {span}; nearest is {limit:g}")
        return float(raw)

    def write(self, value: float) -> object:
        return value


class Rate(Number):
    """Events per simulated second: a number, or a string such as "100/s"."""

    def __init__(self, least: float = 0.0) -> None:
        super().__init__(least, 1e7)

    def read(self, raw: object) -> float:
        if isinstance(raw, str):
            try:
                raw = units.parse_rate(raw)
            except ValueError as error:
                raise BadValueError(str(error)) from None
        return super().read(raw)


class Flag:
    """`true` or `false`."""

    textual = False

    def read(self, raw: object) -> bool:
        if not isinstance(raw, bool):
            raise BadValueError(f"{show(raw)} is neither true nor false")
        return raw

    def write(self, value: bool) -> object:
        return value


class Text:
    """A string, possibly of a certain form."""

    textual = True

    def __init__(self, pattern: str = "", form: str = "text") -> None:
        self.pattern = pattern
        self.form = form

    def read(self, raw: object) -> str:
        value = _text(raw, self.form, "bm")
        if self.pattern and re.fullmatch(self.pattern, value) is None:
            raise BadValueError(f"{show(raw)} is not {self.form}")
        return value

    def write(self, value: str) -> object:
        return value


class Texts:
    """A list of strings."""

    textual = False

    def __init__(self, what: str) -> None:
        self.one = Text("", f"a {what}")
        self.what = what

    def read(self, raw: object) -> tuple[str, ...]:
        if not isinstance(raw, list):
            raise BadValueError(f"{show(raw)} is not a list, with a string for each {self.what}")
        return tuple(self.one.read(each) for each in raw)

    def write(self, value: tuple[str, ...]) -> object:
        return list(value)


class Choice:
    """One of some names; a callable when the names belong to another package."""

    textual = True

    def __init__(
        self,
        what: str,
        options: Sequence[str] | Callable[[], Iterable[str]],
        hint: Callable[[str, Iterable[str]], str] = nearest,
    ) -> None:
        self.what = what
        self.options = options
        self.hint = hint

    def names(self) -> list[str]:
        """The valid names, in the order in which they are listed."""
        return list(self.options() if callable(self.options) else self.options)

    def read(self, raw: object) -> str:
        names = self.names()
        value = _text(raw, f"a {self.what}", names[0])
        if value not in names:
            raise BadValueError(f"{show(raw)} is no {self.what}: {self.hint(value, names)}")
        return value

    def write(self, value: str) -> object:
        return value


class Choices:
    """Several of some names, each once; their order counts."""

    textual = False

    def __init__(self, what: str, names: Sequence[str]) -> None:
        self.one = Choice(what, names)

    def read(self, raw: object) -> list[str]:
        if not isinstance(raw, list):
            raise BadValueError(f"{show(raw)} is not a list of {', '.join(self.one.names())}")
        found = [self.one.read(each) for each in raw]
        for each in found:
            if found.count(each) > 1:
                raise BadValueError(f"{show(each)} stands there twice")
        return found

    def write(self, value: list[str]) -> object:
        return value
