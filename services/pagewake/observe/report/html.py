"""What every page is made with: its templates, and data that scripts of a page can read."""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256
from pathlib import Path

import jinja2
import msgspec
from markupsafe import Markup


def environment(*places: Path) -> jinja2.Environment:
    """Templates of these directories, then those that all pages share; a name must be given."""
    shared = Path(__file__).with_name("templates")
    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader([*places, shared]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    script = shared.joinpath("page.js").read_text("utf-8")
    digest = b64encode(sha256(script.encode()).digest()).decode()
    templates.globals.update(
        script=Markup(script),  # noqa: S704 - ours, and no other: the page names its hash
        script_source=Markup(f"'sha256-{digest}'"),  # noqa: S704 - base64
        region=_region,
    )
    return templates


def _region(label: str) -> Markup:
    """Attributes of an area that scrolls: a keyboard reaches it, a screen reader names it."""
    return Markup('class="scroll" tabindex="0" role="region" aria-label="{}"').format(label)


def json_block(value: object, *, indented: bool = True) -> Markup:
    """A JSON document that ends no script element, whatever a name in it says."""
    encoded = msgspec.json.encode(value)
    text = (msgspec.json.format(encoded, indent=1) if indented else encoded).decode()
    for mark, written in (("<", "\\u003c"), (">", "\\u003e"), ("&", "\\u0026")):
        text = text.replace(mark, written)
    return Markup(text)  # noqa: S704 - nothing is left that HTML would see
