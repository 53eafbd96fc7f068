"""What a snapshot is made of.

A class whose objects are part of a participant's state derives from `Saved`.  Pure or compiled
(`make compiled`), its objects pickle by their attributes; a class that leaves some of them out, or
keeps what can be made anew, has its own `__getstate__`.
"""

from __future__ import annotations

from typing import Final

from mypy_extensions import mypyc_attr


@mypyc_attr(serializable=True, allow_interpreted_subclasses=True, acyclic=True)
class Saved:
    """Part of what a snapshot holds; see the module."""

    __slots__ = ()


CORE: Final = "compiled" if hasattr(Saved, "__mypyc_attrs__") else "pure"
"""Which of the two runs; what one pickles the other does not read."""


def attributes(instance: object) -> list[str]:
    """Names of the attributes that objects of this class may have, those of its bases included."""
    kind = type(instance)
    compiled: tuple[str, ...] | None = getattr(kind, "__mypyc_attrs__", None)
    if compiled is not None:
        return [name for name in compiled if name != "__dict__"]
    return [name for base in kind.__mro__ for name in getattr(base, "__slots__", ())]
