"""`--set a.b=c` and `--axis a.b=c,d`: values of a scenario changed from the command line.

A path goes through tables by name and through arrays by number, as in vm.0.task.1.touch=5us. What
it names is checked when the scenario is read; here only the way there is.
"""

from __future__ import annotations

import tomllib
from typing import Any, TypeAlias

import msgspec

from pagewake.errors import ConfigError, nearest
from pagewake.scenario.absent_keys import why_absent
from pagewake.scenario.keys import Key, Tables, show
from pagewake.scenario.locate import Path, dotted
from pagewake.scenario.media import EMPIRICAL
from pagewake.scenario.model import Scenario
from pagewake.scenario.reading import Field, fields_of

Holder: TypeAlias = dict[str, Any] | list[Any]
MEDIUM: Path = ("host", "medium")
OVERCOMMIT: Path = ("overcommit",)
"""No key of the file: a factor, which becomes `host.memory` once the VMs are known."""


FORMS = {
    "--set": "key=value, for example host.medium=nvme",
    "--axis": "key=a,b with the values to compare, for example host.medium=nvme,hdd-2010",
}


def split_assignment(option: str, text: str) -> tuple[Path, str]:
    """Path and value text of one `--set` or `--axis` argument."""
    name, equals, value = text.partition("=")
    if len(text.splitlines()) > 1:
        first = text.splitlines()[0]
        raise ConfigError(f'{option} "{first}...": write key=value in one line, without a break')
    parts = [part.strip() for part in name.split(".")]
    if not equals or not all(parts):
        raise ConfigError(f'{option} "{text}": write {FORMS[option]}')
    return tuple(
        int(part) if part.isdecimal() and part.isascii() else part for part in parts
    ), value.strip()


def assign(document: dict[str, Any], path: Path, value: str, origin: str) -> None:
    """Changes one value of a scenario as read by tomllib; `origin` goes into messages."""
    holder: Holder = document
    for depth in range(1, len(path)):
        holder = _below(holder, path[:depth], origin, path)
    _check_step(holder, path, origin, path)
    if path == MEDIUM and value == EMPIRICAL:
        _check_empirical(holder, origin)
        return
    parsed = parse_value(path, value, origin)
    if isinstance(holder, list):
        holder[int(path[-1])] = parsed
    else:
        holder[str(path[-1])] = parsed


def _check_empirical(holder: Holder, origin: str) -> None:
    """ConfigError unless the file's own medium is one with quantiles, which is kept."""
    medium = holder.get("medium") if isinstance(holder, dict) else None
    if not (isinstance(medium, dict) and "quantiles" in medium):
        raise ConfigError(
            f'{origin}: host.medium: "{EMPIRICAL}" is the medium of a scenario that has "quantiles"'
            f" there, which this one has not: give a preset, or host.medium.quantiles=[...]"
        )


def _below(holder: Holder, path: Path, origin: str, whole: Path) -> Holder:
    """The table or list at `path`, made if it is a table that the file leaves out."""
    _check_step(holder, path, origin, whole)
    below: object
    if isinstance(holder, list):
        below = holder[int(path[-1])]
    else:
        name = str(path[-1])
        if path == MEDIUM and isinstance(holder.get(name), str):
            holder[name] = {"base": holder[name]}
        if name not in holder:
            field_at(path, origin)
        below = holder.setdefault(name, {})
    if not isinstance(below, (dict, list)):
        raise ConfigError(
            f"{origin}: {dotted(path)} is {show(below)}, there is nothing below it; "
            f"nearest is {dotted(path)}"
        )
    return below


def _check_step(holder: Holder, path: Path, origin: str, whole: Path) -> None:
    """ConfigError unless the last part of `path`, on the way of `whole`, is in what holds it."""
    where, part = dotted(path[:-1]), path[-1]
    if isinstance(holder, dict):
        if isinstance(part, int):
            hint = nearest(str(part), holder)
            raise ConfigError(f"{origin}: {where or 'a scenario'} is a table, not a list: {hint}")
    elif not isinstance(part, int):
        meant = dotted(_numbered(holder, path, whole))
        raise ConfigError(f"{origin}: {where} is a list; say which one by its number: {meant}")
    elif part >= len(holder):
        last = f"nearest is {where}.{len(holder) - 1}" if holder else "the list is empty"
        raise ConfigError(f"{origin}: there is no {where}.{part}; {last}")


def _numbered(holder: list[Any], path: Path, whole: Path) -> Path:
    """The path that was meant: a name stands where the number should, or the number is missing."""
    part, below = path[-1], whole[len(path) :]
    names = [item.get("name") for item in holder if isinstance(item, dict)]
    index = names.index(part) if part in names else 0
    is_name = part in names or (below and not _is_key(path))
    return (*path[:-1], index, *(() if is_name else (part,)), *below)


def _is_key(path: Path) -> bool:
    try:
        field_at(path, "")
    except ConfigError:
        return False
    return True


def field_at(path: Path, origin: str) -> Field | None:
    """The key a path names, None where the format leaves names free; ConfigError if none."""
    struct: type[msgspec.Struct] = Scenario
    field: Field | None = None
    for depth, part in enumerate(path):
        if isinstance(part, int):
            continue
        fields = {item.mark.name: item for item in fields_of(struct)}
        if part not in fields:
            where = dotted(path[: depth + 1])
            hint = _where_it_is(part) if depth == 0 else why_absent(part)
            hint = hint or nearest(part, fields)
            raise ConfigError(f'{origin}: unknown key "{where}": {hint}')
        field = fields[part]
        if field.struct is None or not fields_of(field.struct):
            return field if depth == len(path) - 1 else None
        struct = field.struct
    return field


def _where_it_is(name: str) -> str:
    """A hint for a key that was given without its table; empty if no table has it."""
    places = [
        f'"{table.mark.name}{".0" if isinstance(table.mark, Tables) else ""}.{name}"'
        for table in fields_of(Scenario)
        if table.struct is not None
        and any(field.mark.name == name for field in fields_of(table.struct))
    ]
    return f"did you mean {' or '.join(places)}?" if places else ""


def parse_value(path: Path, text: str, origin: str) -> object:
    """The value as TOML would give it; unquoted text where the key holds text."""
    field = field_at(path, origin)
    quoted = text[:1] in ('"', "'", "{", "[")
    if field is not None and isinstance(field.mark, Key) and field.mark.reader.textual:
        if not quoted:
            return text
    elif field is not None and not isinstance(field.mark, Key) and not quoted:
        raise ConfigError(f"{origin}: {dotted(path)} is a table; name a key below it")
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except RecursionError:
        raise ConfigError(f"{origin}: lists are nested too deep to be read") from None
    except ValueError:  # TOMLDecodeError, or a number beyond all digits
        if quoted:
            raise ConfigError(f"{origin}: {text} is not a valid TOML value") from None
        return text


def _split_values(text: str) -> list[str]:
    """At commas outside of brackets and quotes."""
    values, depth, quote, current = [], 0, "", ""
    for letter in text:
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "\"'":
            quote = letter
        depth += (letter in "[{") - (letter in "]}") if not quote else 0
        if letter == "," and depth == 0 and not quote:
            values.append(current.strip())
            current = ""
        else:
            current += letter
    return [*values, current.strip()]


def parse_axis(text: str) -> tuple[str, list[str]]:
    """Key and values of one `--axis kernel.apf=off,nonpv,pv`; ConfigError for a bad one."""
    path, listed = split_assignment("--axis", text)
    origin = f'--axis "{text}"'
    field = None if path == OVERCOMMIT else field_at(path, origin)
    if field is not None and not isinstance(field.mark, Key):
        raise ConfigError(f"{origin}: {dotted(path)} is a table; name a key below it")
    values = _split_values(listed)
    if not all(values):
        raise ConfigError(f"{origin}: a value is empty; write {dotted(path)}=A,B,C")
    repeated = [value for value in values if values.count(value) > 1]
    if repeated:
        raise ConfigError(f'{origin}: the value "{repeated[0]}" is there twice')
    return dotted(path), values
