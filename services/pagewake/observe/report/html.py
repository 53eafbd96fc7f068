"""What every page is made with: its templates, and data that scripts of a page can read."""

from __future__ import annotations

from pathlib import Path

import jinja2
import msgspec
from markupsafe import Markup


def environment(*places: Path) -> jinja2.Environment:
    """Templates of these directories, then those that all pages share; a name must be given."""
    shared = Path(__file__).with_name("templates")
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader([*places, shared]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def json_block(value: object) -> Markup:
    """A JSON document that ends no script element, whatever a name in it says."""
    text = msgspec.json.format(msgspec.json.encode(value), indent=1).decode()
    for mark, written in (("<", "\\u003c"), (">", "\\u003e"), ("&", "\\u0026")):
        text = text.replace(mark, written)
    return Markup(text)  # noqa: S704 - nothing is left that HTML would see
