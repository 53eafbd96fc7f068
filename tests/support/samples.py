"""Any value of any event, from the types of its fields."""

from __future__ import annotations

from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec
from hypothesis import strategies as st


def any_record(record: type[msgspec.Struct]) -> st.SearchStrategy[Any]:
    """All records of one type."""
    hints = get_type_hints(record)
    fields = {name: _any_value(hints[name]) for name in record.__struct_fields__}
    return st.builds(record, **fields)


def _any_value(hint: object) -> st.SearchStrategy[Any]:
    if hint is bool:
        return st.booleans()
    hint = getattr(hint, "__supertype__", hint)  # a NewType is what it is made of
    if hint is int:
        return st.integers(-1, 2**63 - 1)
    if hint is str:
        return st.text(st.characters(codec="utf-8"), max_size=8)
    if hint is type(None):
        return st.none()
    if hint is float:
        return st.floats(allow_nan=False, allow_infinity=False)
    if hint is Any:
        return st.one_of(st.none(), st.booleans(), st.integers(-1, 2**63 - 1))
    if get_origin(hint) is Literal:
        return st.sampled_from(get_args(hint))
    if get_origin(hint) in (Union, UnionType):
        return st.one_of([_any_value(one) for one in get_args(hint)])
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return any_record(hint)
    if get_origin(hint) is dict:
        return st.dictionaries(*map(_any_value, get_args(hint)), max_size=3)
    if get_origin(hint) is tuple:
        return st.lists(_any_value(get_args(hint)[0]), max_size=3).map(tuple)
    assert get_origin(hint) is list, hint
    return st.lists(_any_value(get_args(hint)[0]), max_size=5)
