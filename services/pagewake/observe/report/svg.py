"""Figures of matplotlib as SVG that lives inside a page: no dates, no addresses, no fixed colours.

A colour is drawn as a placeholder and written as a CSS variable, so one picture fits a light page
and a dark one; text stays text in the page's own font. Equal figures give equal bytes.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import matplotlib as mpl
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

PIXELS_PER_INCH = 72  # points are pixels, so sizes in a style need no conversion
FONT_PX = 11  # a little below the page's own text
WIDE_PX = 820  # the column of the page
NARROW_PX = 350  # a phone held upright

FILLS = (
    *("task-1", "task-2", "task-3", "task-4", "task-5", "task-6"),
    *("blackout", "halted", "pending", "idle", "overhead", "nested", "running", "interrupt"),
    *("steal", "polling"),
    *("cost-3", "cost-2", "cost-1", "even", "pay-1", "pay-2", "pay-3"),
)
"""Colours of areas; text on each has a colour of its own, `on-` and its name."""
COLOURS = (*("ink", "faint", "line", "flight"), *FILLS, *(f"on-{name}" for name in FILLS))
PLACEHOLDERS = {name: f"#01{number:02x}fe" for number, name in enumerate(COLOURS)}
_VARIABLES = {colour: f"var(--{name})" for name, colour in PLACEHOLDERS.items()}

_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.family": ["DejaVu Sans"],
    "font.size": FONT_PX,
    "text.color": PLACEHOLDERS["ink"],
    "axes.labelcolor": PLACEHOLDERS["ink"],
    "axes.edgecolor": PLACEHOLDERS["line"],
    "axes.facecolor": "none",
    "axes.linewidth": 1.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.facecolor": "none",
    "figure.dpi": PIXELS_PER_INCH,
    "savefig.dpi": PIXELS_PER_INCH,
    "savefig.facecolor": "none",
    "xtick.color": PLACEHOLDERS["line"],
    "xtick.labelcolor": PLACEHOLDERS["ink"],
    "ytick.color": PLACEHOLDERS["line"],
    "ytick.labelcolor": PLACEHOLDERS["ink"],
    "grid.color": PLACEHOLDERS["line"],
    "grid.linewidth": 0.6,
    "path.simplify": False,
}
_NO_METADATA = {"Date": None, "Creator": None, "Format": None, "Type": None}


class Chart(NamedTuple):
    """One picture, drawn for a wide page and again for a phone."""

    wide: Markup
    narrow: Markup


def chart(name: str, label: str, draw: Callable[[int], Figure]) -> Chart:
    """`draw` gets the width in pixels; `label` is what a screen reader says."""
    return Chart(
        picture(f"{name}-wide", label, lambda: draw(WIDE_PX)),
        picture(f"{name}-narrow", label, lambda: draw(NARROW_PX)),
    )


def blank(width_px: int, height_px: int) -> Figure:
    """A figure without axes, in pixels."""
    return Figure(figsize=(width_px / PIXELS_PER_INCH, height_px / PIXELS_PER_INCH))


def panel(figure: Figure, left: float, top: float, right: float, bottom: float) -> Axes:
    """Axes at a distance in pixels from the figure's left, top, right and bottom edge."""
    width, height = figure.get_size_inches() * PIXELS_PER_INCH
    return figure.add_axes(
        (left / width, bottom / height, 1 - (left + right) / width, 1 - (top + bottom) / height)
    )


_TIP = "tip:"


def tip(text: str) -> str:
    """The `gid` of an artist that says this when it is pointed at."""
    return _TIP + text


def picture(name: str, label: str, draw: Callable[[], Figure]) -> Markup:
    """A figure as SVG; no two of one page share a `name`."""
    with _our_style(name):
        figure = draw()
        text = io.StringIO()
        FigureCanvasSVG(figure)
        figure.savefig(text, format="svg", metadata=_NO_METADATA)
    return _inlined(text.getvalue(), label)


@contextmanager
def _our_style(salt: str) -> Iterator[None]:
    """A person's own settings of matplotlib do not show in a report."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE)
        mpl.rcParams["svg.hashsalt"] = salt
        yield


def _inlined(text: str, label: str) -> Markup:
    """The element alone: nothing that names an address, and no size but the proportions."""
    text = text[text.index("<svg ") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"<style\b.*?</style>", "", text, count=1, flags=re.DOTALL)
    box = re.search(r'viewBox="[^"]*"', text)
    assert box is not None
    head = f'<svg {box[0]} role="img" aria-label="{escape(label)}">'
    text = head + text[text.index(">") + 1 :]
    text = text.replace("'DejaVu Sans'", "var(--font)")
    text = re.sub(r"#01[0-9a-f]{2}fe\b", lambda found: _VARIABLES[found[0]], text)
    text = re.sub(rf'<g id="{_TIP}([^"]*)">', r'<g class="tip"><title>\1</title>', text)
    text = re.sub(r"^ +", "", text, flags=re.MULTILINE)
    return Markup(text)  # noqa: S704 - matplotlib escapes what it writes
