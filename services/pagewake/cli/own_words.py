"""What pydantic finds wrong with a value, in the words of all other messages."""

from __future__ import annotations

from pydantic import ValidationError

_WORDS = {
    "int_parsing": "not a whole number; write it in digits, such as 7",
    "int_parsing_size": "more digits than a number here may have",
    "int_from_float": "not a whole number; write it in digits, such as 7",
    "float_parsing": "not a number; write it such as 0.2",
    "finite_number": "not a number; write it such as 0.2",
    "greater_than_equal": "too small; give at least {ge}",
    "greater_than": "too small; give more than {gt}",
    "literal_error": "unknown; give one of {expected}",
    "bool_parsing": "neither true nor false",
}


def own_words(error: BaseException) -> str:
    """The value of the first error, and what is wrong with it; empty if pydantic found none."""
    if not isinstance(error, ValidationError):
        return ""
    first = error.errors()[0]
    words = _WORDS.get(first["type"])
    if words is None:
        return first["msg"]
    return f"{first['input']!r} is {words.format(**first.get('ctx', {}))}"
