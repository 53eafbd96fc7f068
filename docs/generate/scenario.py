"""reference/scenario.md: every key of a scenario file, from the annotations of the model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from docs.generate.markdown import code, head, prose, table, toml
from pagewake.host_memory.media import MEDIA
from pagewake.kvm.profile import PROFILES, SWITCHES
from pagewake.kvm.switches import Switch
from pagewake.scenario import keys
from pagewake.scenario.checks import KEYS_OF_PATTERNS
from pagewake.scenario.interventions import COMMAND_ONLY, EVENT_KINDS, EventsReader
from pagewake.scenario.media import Medium, MediumReader
from pagewake.scenario.model import Scenario, Task
from pagewake.scenario.overrides import OverridesReader
from pagewake.scenario.quantiles import Quantiles
from pagewake.scenario.reading import Field, default_of, fields_of
from pagewake.scenario.script import STEP_FORMS, Steps
from pagewake.scenario.spread import SpreadReader
from pagewake.scenario.units import format_duration, format_pages

ABOUT = """
A scenario is one TOML file. What is not listed here is refused, with file, line and the nearest
valid key. `--set vm.0.limit=64MiB` changes one value; `vm.0` is the first `[[vm]]`, `vm.0.task.1`
its second task.

- A *duration* is a string with one of the units `ns`, `us`, `ms`, `s`, `m`, `h`.
- A *size* is a string with one of the units `B`, `KiB`, `MiB`, `GiB`, `TiB`, a multiple of the
  4 KiB page.
- A *rate* is a number of events per simulated second, or a string such as `"100/s"`.
"""
COMMANDS = """
A running cluster takes the same as commands over MQTT, on `pagewake/v1/RUN/command`: a JSON object
with `do`, its keys, and an `id` of one's own instead of `at`. The answer, on `command/reply` below
the same topic, has that `id`. What only a command can do:
"""
OVERRIDES = """
Single rules on top of the profiles: `overrides = { preempt = true }` for all levels,
`overrides = { l1 = { nested_fix = "2020" } }` for one. Cited is the patch or commit a switch stands
for. *posted-v7* has the defaults; the values of each profile: [profiles](profiles.md).
"""


def page() -> str:
    """The whole page."""
    sources = "`scenario/model.py`, `scenario/domain_keys.py` and `kvm/switches.py`"
    parts = [head("Scenario file", sources, ABOUT)]
    parts += list(_sections(Scenario, ""))
    parts += ["## `[[event]]`\n", "Interventions at an instant: `at` (a duration) and `do`.\n"]
    parts += [_events()]
    parts += [COMMANDS.lstrip(), _commands()]
    parts += ["## `[kernel.overrides]`: switches\n", OVERRIDES.lstrip(), _switches()]
    parts += ["## Kernel profiles\n", _profiles()]
    return "\n".join(parts)


def _sections(struct: type[msgspec.Struct], path: str) -> Iterator[str]:
    rows: list[tuple[str, ...]] = []
    inner: list[tuple[str, str, type[msgspec.Struct]]] = []
    for field in fields_of(struct):
        at = f"{path}.{field.mark.name}".lstrip(".")
        if isinstance(field.mark, keys.Key):
            rows.append(_key(struct, field))
            continue
        assert field.struct is not None
        shape = f"[[{at}]]" if isinstance(field.mark, keys.Tables) else f"[{at}]"
        inner.append((shape, field.mark.doc, field.struct))
    if path:
        yield table(["key", "holds", "default", "is"], rows)
    if any(field.mark.name == "medium" for field in fields_of(struct)):
        yield from _medium(path)
    if any(field.mark.name == "script" for field in fields_of(struct)):
        yield from _script()
    for shape, doc, each in inner:
        yield f"## `{shape}`\n"
        yield f"{doc[0].upper()}{doc[1:]}.\n"
        yield from _sections(each, shape.strip("[]"))


def _key(struct: type[msgspec.Struct], field: Field) -> tuple[str, ...]:
    assert isinstance(field.mark, keys.Key)
    info = next(each for each in msgspec.structs.fields(struct) if each.name == field.attr)
    default = "**required**" if info.required else _default(field.mark.reader, default_of(info))
    text = field.mark.doc + (_patterns(field.mark.name) if struct is Task else "")
    return code(field.mark.name), holds(field.mark.reader), default, text


def _patterns(name: str) -> str:
    """Which tasks have this key, if not all."""
    only = KEYS_OF_PATTERNS.get(name, ())
    return f" ({', '.join(code(pattern) for pattern in only)})" if only else ""


def _default(reader: Any, value: object) -> str:  # noqa: ANN401
    if value is None or value in ("", ()):
        return ""
    written = reader.write(value)
    return code(toml(written)) if written not in ({}, []) else ""


def holds(reader: object) -> str:
    """What a key may hold, in words."""
    match reader:
        case keys.Duration():
            least = f", at least {format_duration(reader.minimum_ns)}" if reader.minimum_ns else ""
            return f"duration{least}"
        case keys.Size():
            return f"size, at least {format_pages(reader.minimum_pages)}"
        case keys.IntegerOrOff():
            return f"integer from {reader.minimum:,} to {reader.maximum:,}, or `off`"
        case keys.Integer():
            most = "" if reader.maximum is None else f" to {reader.maximum:,}"
            return f"integer from {reader.minimum:,}{most or ' up'}"
        case keys.Rate():
            return "rate"
        case keys.Number():
            return f"number from {reader.minimum:g} to {reader.maximum:g}"
        case keys.Flag():
            return "`true` or `false`"
        case keys.Choice() if reader.names() == list(PROFILES):
            return "[a profile](#kernel-profiles)"
        case keys.Choice():
            return ", ".join(code(name) for name in reader.names())
        case keys.Choices():
            return f"list of {holds(reader.one)}"
        case keys.Text():
            return reader.form
        case _:
            return _SPECIAL.get(type(reader), "text")


_SPECIAL: Mapping[type[object], str] = {
    MediumReader: "name of a preset, or a table",
    OverridesReader: "table of switches",
    EventsReader: "tables",
    Quantiles: "list of `[share, duration]`",
    Steps: "list of steps",
    SpreadReader: "duration, or `exponential` and the mean",
}


def _medium(path: str) -> Iterator[str]:
    yield f"### `[{path}.medium]`\n"
    yield f'{prose(Medium)} A preset\'s name alone is enough: `medium = "nvme"`.\n'
    rows = [_key(Medium, field) for field in fields_of(Medium)]
    yield table(["key", "holds", "default", "is"], rows)
    yield "Presets, with the source of their figures (*chosen*: era knowledge, not measured):\n"
    presets = [
        (
            code(name),
            "synchronous" if medium.synchronous else f"{medium.parallelism} at a time",
            code(format_duration(medium.min_service_ns or medium.cost_ns)),
            medium.source,
        )
        for name, medium in MEDIA.items()
    ]
    yield table(["preset", "requests", "shortest", "source"], presets)


def _script() -> Iterator[str]:
    yield "### Steps of a script\n"
    yield "`[at DURATION] STEP`: with `at`, the step does not begin before that instant.\n"
    forms = [(code(form.form), code(form.example), form.doc) for form in STEP_FORMS.values()]
    yield table(["step", "example", "does"], forms)


def _events() -> str:
    rows = []
    for do, kind in EVENT_KINDS.items():
        listed = [f"{code(each.key.name)} ({each.about})" for each in kind.keys]
        rows.append((code(do), ", ".join(listed), kind.doc))
    return table(["do", "keys", "does"], rows)


def _commands() -> str:
    rows = [
        (code(do), ", ".join(f"{code(name)} ({doc})" for name, doc in kind.keys.items()), kind.doc)
        for do, kind in COMMAND_ONLY.items()
    ]
    return table(["do", "keys", "does"], rows)


def _switches() -> str:
    rows = [
        (
            code(name),
            ", ".join(code(shown(value)) for value in switch.values),
            code(shown(switch.default)),
            switch.description,
            switch.introduced,
            _relaxed(switch),
        )
        for name, switch in SWITCHES.items()
    ]
    heads = ["switch", "values", "default", "is", "from", "relaxes invariants"]
    return table(heads, rows)


def _relaxed(switch: Switch) -> str:
    """The invariants it relaxes, and at which of its values."""
    if not switch.relaxes:
        return ""
    values = " or ".join(code(shown(value)) for value in switch.relaxing)
    return f"{', '.join(switch.relaxes)} at {values}"


def _profiles() -> str:
    return table(
        ["profile", "alias of", "is"],
        [
            (code(name), code(profile.alias_of), profile.description)
            for name, profile in PROFILES.items()
        ],
    )


def shown(value: object) -> str:
    """As a scenario file has it; masks in hexadecimal."""
    if isinstance(value, int) and not isinstance(value, bool):
        return hex(value)
    return toml(value)
