"""errata/: a page for every defect of the gallery, from `errata/entries/` and the runs themselves.

A drawing shows both runs of a defect over the same stretch of simulated time, as reports draw them.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path

from markupsafe import escape

from docs.generate.markdown import MADE, code, head, table
from pagewake.errata.absent import ABSENT
from pagewake.errata.entry import Entry, Setting, entries, shown
from pagewake.errata.signs import Sign, beside
from pagewake.errata.trial import Ran, Trial, line_of, seen_by, try_out
from pagewake.events.types import Event
from pagewake.kvm.profile import RELEASES
from pagewake.observe.report import svg
from pagewake.observe.report.colours import TASK_COLOURS
from pagewake.observe.report.durations import Durations
from pagewake.observe.report.recorder import Best, VmRecorder
from pagewake.observe.report.svg import WIDE_PX, picture
from pagewake.observe.report.timeline import Timeline
from pagewake.observe.report.timeline_chart import STATES, legend, shown_marks, timeline_figure
from pagewake.scenario.units import parse_duration
from pagewake.timeline.on_cpu import guest_of
from pagewake.verify.log_run import PlacedEvent

STYLE = Path(svg.__file__).parent / "templates" / "page.css"
SOURCE = "`services/pagewake/errata/entries/`"
ABOUT = """
Defects of asynchronous page faults, from the mailed series of 2010 to kernels of today. Each is run
twice, by the rules of a kernel that had it and with the one switch that mends it; the lines of the
log on its page are those of these runs. `pagewake errata N` does the same in a terminal, and
`pagewake errata --all` for all of them; it exits with 1 if one does not break or is not mended.
`--log DIR` keeps both logs, for `report`, `trace` and `verify`.

A letter says how something is known, as on the page of rules: read in source (**S**), in a commit
or mail (**C**), checked in one of them (**V**), read on a web page (**W**), in a survey (**R**),
derived from source and not observed (**D**), from memory (**M**). What was derived and never
reported is said to be.
"""
BY_KERNEL = """
What breaks where its scenario is run by the rules of each [profile](../reference/profiles.md).
`pagewake errata --profile rhel8` lists those of one kernel, what came back to it from later ones
considered. What a VMM decides has no row.
"""
READ_ON = """
In the drawings: a bar for each vcpu with the tasks that ran below it, lines of tokens from the
fault to READY (an arrowhead; a cross where the guest waits for one that never comes), and above
them how many tasks are asleep. Both runs are drawn over the same time.
"""


def pages() -> dict[str, str]:
    """The text of every page, by its path below docs/."""
    written = {f"errata/{trial.entry.name.lower()}.md": _page(trial) for trial in _trials()}
    return {"errata/index.md": _index(), **written}


def drawings() -> dict[str, str]:
    """Every drawing, by its path below docs/."""
    return {f"errata/{trial.entry.name.lower()}.svg": _drawing(trial) for trial in _trials()}


@functools.cache
def _trials() -> list[Trial]:
    return [try_out(entry) for entry in entries()]


def _index() -> str:
    rows = [
        (
            _link(entry),
            entry.title,
            entry.kernels,
            code(f"{entry.switch} = {shown(entry.after)}"),
        )
        for entry in entries()
    ]
    listed = table(["", "defect", "kernels", "mended by"], rows)
    met = table(
        ["symptom", "reported", ""],
        [(each.symptom, each.reported, _link(each)) for each in entries()],
    )
    parts = [head("Errata", SOURCE, ABOUT), READ_ON.strip() + "\n", listed]
    parts += ["## As users met them\n", met]
    parts += ["## Which kernel has which\n", BY_KERNEL.strip() + "\n", _by_kernel()]
    parts += ["## Not here\n", _absent()]
    return "\n".join(parts)


def _absent() -> str:
    present = {each.id for each in entries()}
    assert present.isdisjoint(number for number, *_ in ABSENT), "an entry is said to be absent"
    rows = [
        (f"D{number}", what, ", ".join(map(code, ids.split(", "))), why)
        for number, ids, what, why in ABSENT
    ]
    return table(["", "defect", "commits", "why it is not run"], rows)


def _by_kernel() -> str:
    """The releases in which a defect breaks; what a kernel does not decide has no row."""
    seen = [(each, list(_seen(each))) for each in entries()]
    rows = [(_link(each), *marks) for each, marks in seen if any(marks)]
    return table(["", *(release.name for release in RELEASES)], rows)


def _seen(entry: Entry) -> Iterator[str]:
    """By release; those with the same rules run once."""
    found: dict[object, str] = {}
    for release in RELEASES:
        rules = (entry.since and release.name, *release.values.values())
        if rules not in found:
            found[rules] = "x" if seen_by(entry, release.name) else ""
        yield found[rules]


def _link(entry: Entry) -> str:
    return f"[{entry.name}]({entry.name.lower()}.md)"


def _page(trial: Trial) -> str:
    entry = trial.entry
    facts = [
        ("symptom", entry.symptom),
        ("kernels", entry.kernels),
        ("years", entry.years),
        ("commits", ", ".join(map(code, entry.commits))),
        ("known", entry.known),
        ("reported", entry.reported),
    ]
    parts = [
        f"# {entry.name}: {entry.title}\n\n{MADE.format(source=SOURCE)}\n",
        table(["", ""], facts),
        entry.story.strip() + "\n",
        f"![Both runs: what the vcpus and tasks did]({entry.name.lower()}.svg)\n",
        *_marks(trial.before),
        f"`pagewake errata {entry.id}` runs it: {_ran(entry)}.\n",
        *_run("Before", entry, entry.before, trial.before.broken, entry.broken),
        *_run("After", entry, entry.after, trial.after.mended, entry.mended),
    ]
    return "\n".join(parts)


def _marks(ran: Ran) -> Iterator[str]:
    """What is done to the VM, by its number in the drawing."""
    marks = [mark for _, mark in shown_marks(timeline_of(ran))]
    if marks:
        told = (f"{n}: {mark.words}, at {mark.at_ns / 1e6:g} ms" for n, mark in enumerate(marks, 1))
        yield f"Numbers in the drawing: {'; '.join(told)}.\n"


def _ran(entry: Entry) -> str:
    changed = f"; {', '.join(map(code, entry.sets))}" if entry.sets else ""
    kind = "built-in scenario" if entry.is_builtin else "scenario"
    return f"{kind} `{entry.scenario}`, profile `{entry.profile}`{changed}"


def _run(
    title: str, entry: Entry, value: Setting, seen: Sequence[Event], sign: Sign
) -> Iterator[str]:
    assert seen, f"{entry.name} is not what it says: {title}"
    yield f"## {title}: {entry.switch} = {shown(value)}\n"
    yield sign.says[0].upper() + sign.says[1:] + ":\n"
    yield "\n".join(["```text", *map(line_of, seen), *beside(sign), "```\n"])


# ------------------------------------------------------------------------------- the drawing

SMALLER = (
    (r'<g id="[^"]*">', "<g>"),
    (r"(\.\d)\d+", r"\1"),
    (r" *\n(?=[CLMQz]|\")", " "),
    (r' transform="rotate\(-0[^"]*"', ""),
    (r"<defs>\s*</defs>\n", ""),
)
"""What is left out of a drawing: nobody sees a tenth of a pixel."""
PATH = re.compile(r'<path d="([^"]*)" (.*/>)')
_TITLE_PX = 22
_LEGEND_PX = 26


def _drawing(trial: Trial) -> str:
    """One SVG with both timelines, that stands alone: its colours come along."""
    entry = trial.entry
    ran = {"before": trial.before, "after": trial.after}
    lines = [timeline_of(each) for each in ran.values()]
    from_ns = min(line.zoomed().from_ns for line in lines)
    until_ns = max(line.zoomed().until_ns for line in lines)
    if entry.drawn:
        from_ns, until_ns = map(parse_duration, entry.drawn)
    lines = [line._replace(from_ns=from_ns, until_ns=until_ns) for line in lines]
    top = 0
    parts: list[str] = []
    for (which, one), stretch in zip(ran.items(), lines, strict=True):
        value = entry.before if which == "before" else entry.after
        parts.append(_text(8, top + 15, f"{which}: {entry.switch} = {shown(value)}", "bold"))
        drawn = _picture(f"{entry.name}-{which}", stretch, one)
        height = _height(drawn)
        top += _TITLE_PX
        box = f'<svg y="{top}" width="{WIDE_PX}" height="{height}" '
        parts.append(drawn.replace("<svg ", box, 1))
        top += height
    parts += _legend(lines, top)
    inside = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="0 0 {WIDE_PX} {top + _LEGEND_PX}" font-family="sans-serif" font-size="12">\n'
        f"<style>{colours_of(inside)}</style>\n{inside}\n</svg>\n"
    )


def timeline_of(ran: Ran) -> Timeline:
    """The timeline of a run's one VM."""
    (instance,) = ran.scenario.instances()
    best = Best()
    recorder = VmRecorder(
        instance.name, 1, best, Durations(), Durations(), guest_of(ran.scenario, instance)
    )
    for event in ran.events:
        recorder.take(PlacedEvent(event, "", 0))
    recorder.close(ran.end_ns)
    assert best.timeline is not None
    return best.timeline


def _picture(name: str, line: Timeline, ran: Ran) -> str:
    names = [task.name for vm in ran.scenario.vms for task in vm.tasks]
    colours = dict(zip(names, TASK_COLOURS, strict=False))
    drawn = str(picture(name, name, lambda: timeline_figure(line, colours, WIDE_PX)))
    for pattern, instead in SMALLER:
        drawn = re.sub(pattern, instead, drawn)
    return "\n".join(_merged(drawn.split("\n")))


def _merged(lines: Sequence[str]) -> Iterator[str]:
    """Paths of one style that stand together as one path."""
    for style, together in groupby(lines, key=lambda line: PATH.sub(r"\2", line)):
        several = list(together)
        drawn = [found[1] for line in several if (found := PATH.fullmatch(line))]
        if drawn:
            yield f'<path d="{" ".join(drawn)}" {style}'
        else:
            yield from several


def _height(drawn: str) -> int:
    found = re.search(r'viewBox="0 0 \S+ ([\d.]+)"', drawn)
    assert found is not None
    return round(float(found[1]))


def _legend(lines: Sequence[Timeline], top: int) -> Iterator[str]:
    shown_states = {colour for line in lines for colour, _ in legend(line)}
    left = 50
    for colour, name in STATES.items():
        if colour in shown_states:
            yield f'<rect x="{left}" y="{top + 6}" width="11" height="11" fill="var(--{colour})"/>'
            yield _text(left + 16, top + 16, name)
            left += 34 + 7 * len(name)


def _text(x: int, y: int, text: str, weight: str = "normal") -> str:
    return f'<text x="{x}" y="{y}" font-weight="{weight}" fill="var(--ink)">{escape(text)}</text>'


def colours_of(inside: str) -> str:
    """The colours that a drawing uses, for light pages and dark ones."""
    used = dict.fromkeys(re.findall(r"var\((--[\w-]+)\)", inside))
    light, _, dark = STYLE.read_text("utf-8").partition("@media (prefers-color-scheme: dark)")
    return (
        f":root{{{_written(light, used)}}}"
        f"@media (prefers-color-scheme: dark){{:root{{{_written(dark, used)}}}}}"
    )


def _written(style: str, used: Mapping[str, None]) -> str:
    """What the first rule of a style declares of them."""
    root = style[style.index(":root {") : style.index("}")]
    declared = dict(re.findall(r"(--[\w-]+): ([^;]+);", root))
    return "".join(f"{name}:{declared[name]};" for name in used if name in declared)
