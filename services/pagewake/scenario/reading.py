"""Reads tables against the structs of the model, each field of which has its key, strictly.

Nothing is skipped and nothing is guessed: an unknown key, a missing one and a value its key cannot
hold are each a `BadValueError` whose `at` is the path of the culprit below the table that was read.
"""

from __future__ import annotations

import functools
import typing
from collections.abc import Mapping
from typing import Annotated, Any, NamedTuple, TypeVar, cast

import msgspec

from pagewake.errors import nearest
from pagewake.scenario.absent_keys import why_absent
from pagewake.scenario.domain_keys import DOMAIN_KEYS
from pagewake.scenario.keys import BadValueError, Key, Table, Tables, show

S = TypeVar("S", bound=msgspec.Struct)


class Field(NamedTuple):
    """One field of a struct and the key it is read from; `filled`: its default is not empty."""

    attr: str
    mark: Key | Table | Tables
    struct: type[msgspec.Struct] | None
    required: bool
    filled: bool


def _struct_in(hint: object) -> type[msgspec.Struct] | None:
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return hint
    found = (_struct_in(part) for part in typing.get_args(hint))
    return next((struct for struct in found if struct is not None), None)


@functools.cache
def fields_of(struct: type[msgspec.Struct]) -> tuple[Field, ...]:
    """The fields of a struct that are keys of the file, in the order of the model."""
    hints = typing.get_type_hints(struct, include_extras=True)
    marks = DOMAIN_KEYS[struct] if struct in DOMAIN_KEYS else _annotations(hints)
    infos = {info.name: info for info in msgspec.structs.fields(struct)}
    if struct in DOMAIN_KEYS:
        assert marks.keys() == infos.keys(), f"keys of {struct.__name__}: {marks.keys()}"
    fields: list[Field] = []
    for name, info in infos.items():
        if name not in marks:
            continue
        mark = marks[name]
        nested = None if isinstance(mark, Key) else _struct_in(hints[name])
        fields.append(Field(name, mark, nested, info.required, bool(default_of(info))))
    return tuple(fields)


def default_of(info: msgspec.structs.FieldInfo) -> object:
    """What a field holds that is not given; None if it has to be."""
    if info.default_factory is not msgspec.NODEFAULT:
        return info.default_factory()
    return None if info.default is msgspec.NODEFAULT else info.default


def _annotations(hints: Mapping[str, object]) -> Mapping[str, Key | Table | Tables]:
    """The key that each annotated field carries; the others are no keys."""
    return {
        name: typing.get_args(hint)[1]
        for name, hint in hints.items()
        if typing.get_origin(hint) is Annotated
    }


def read_struct(struct: type[S], raw: Mapping[str, object]) -> S:
    """One table as one struct; raises `BadValueError`."""
    fields = fields_of(struct)
    names = [field.mark.name for field in fields]
    for name in raw:
        if name not in names:
            hint = why_absent(name) or nearest(name, names)
            raise BadValueError(f'unknown key "{name}": {hint}', (name,))
    values: dict[str, Any] = {}
    for field in fields:
        name = field.mark.name
        if name in raw:
            values[field.attr] = _read_field(field, raw[name])
        elif field.required:
            raise BadValueError(f'the required key "{name}" is missing ({field.mark.doc})', (name,))
    return struct(**values)


def _read_field(field: Field, raw: object) -> object:
    name = field.mark.name
    try:
        if isinstance(field.mark, Key):
            return field.mark.reader.read(raw)
        struct = cast(type[msgspec.Struct], field.struct)
        if isinstance(field.mark, Table):
            return read_struct(struct, expect_table(raw, name))
        return read_tables(struct, raw, name)
    except BadValueError as error:
        raise BadValueError(str(error), (name, *error.at)) from None


def expect_table(raw: object, name: str) -> Mapping[str, object]:
    """The value as a table; raises `BadValueError`."""
    if not isinstance(raw, dict):
        raise BadValueError(f"{show(raw)} is not a table; write a [{name}] section")
    return raw


def read_tables(struct: type[S], raw: object, name: str) -> tuple[S, ...]:
    """An array of tables, at least one."""
    if not isinstance(raw, list) or not raw:
        raise BadValueError(f"{show(raw)} is not a list of tables; write [[{name}]] sections")
    items: list[S] = []
    for index, item in enumerate(raw):
        try:
            items.append(read_struct(struct, expect_table(item, name)))
        except BadValueError as error:
            raise BadValueError(str(error), (index, *error.at)) from None
    return tuple(items)


def write_struct(value: msgspec.Struct) -> dict[str, object]:
    """The table that reads back to the same struct: defaults are written, unless they are empty."""
    table: dict[str, object] = {}
    for field in fields_of(type(value)):
        held = getattr(value, field.attr)
        if held is None or (isinstance(held, list | tuple) and not (held or field.filled)):
            continue
        if isinstance(field.mark, Key):
            table[field.mark.name] = field.mark.reader.write(held)
        elif isinstance(field.mark, Table):
            table[field.mark.name] = write_struct(held)
        else:
            table[field.mark.name] = [write_struct(item) for item in held]
    return table
