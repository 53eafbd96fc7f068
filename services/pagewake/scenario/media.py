"""`host.medium`: a preset by name, or a table that starts from a preset or from nothing.

The distributions themselves, and the sources of the presets, are in `host_memory.media`.
"""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any

import msgspec

from pagewake.host_memory import media
from pagewake.scenario.keys import BadValueError, Choice, Duration, Flag, Integer, Key, Number
from pagewake.scenario.presets import medium_names
from pagewake.scenario.quantiles import Quantiles, Rows
from pagewake.scenario.reading import expect_table, read_struct, write_struct
from pagewake.scenario.units import format_duration

PRESET = Choice("medium", medium_names)
BLANK = media.uniform_medium(1, 0, 1)
"""What a table without a preset changes: one request at a time, no transfer, no time of its own."""
EMPIRICAL = "empirical"
"""The name of a medium with quantiles; as a value of `host.medium`: that of the file."""


class Medium(msgspec.Struct, frozen=True, kw_only=True):
    """A swap device as the scenario says it; None = as in the preset `base`."""

    base: Annotated[str | None, Key("base", PRESET, "preset that the other keys change")] = None
    latency_ns: Annotated[int | None, Key("latency", Duration(1), "mean access time")] = None
    jitter_ns: Annotated[int | None, Key("jitter", Duration(), "as much shorter or longer")] = None
    transfer_ns: Annotated[int | None, Key("transfer", Duration(), "of each page")] = None
    parallelism: Annotated[
        int | None,
        Key("parallelism", Integer(1, 65536), "requests served at a time; without `base`: 1"),
    ] = None
    synchronous: Annotated[
        bool | None, Key("synchronous", Flag(), "completes in submission, as zram does")
    ] = None
    ratio: Annotated[
        float | None,
        Key(
            "ratio",
            Number(1.0, 1_000.0),
            "pages of a synchronous medium in one page of `host.memory`; zram: 2; else none",
        ),
    ] = None

    quantiles: Annotated[
        Rows | None,
        Key("quantiles", Quantiles(), 'access times measured, `[[0, "80us"], [1, "3ms"]]`'),
    ] = None
    write_quantiles: Annotated[
        Rows | None, Key("write_quantiles", Quantiles(), "those of writes, if they differ")
    ] = None

    @property
    def name(self) -> str:
        """The preset's name if it is one unchanged, `empirical` with quantiles, else `custom`."""
        if self.quantiles or self.write_quantiles:
            return EMPIRICAL
        changed = any(name != "base" for name in write_struct(self))
        return "custom" if changed or self.base is None else self.base

    def device(self) -> media.Medium:
        """The device that the host simulates."""
        preset = BLANK if self.base is None else media.MEDIA[self.base]
        if self.synchronous or preset.synchronous:
            return media.synchronous_medium(
                self.latency_ns or preset.cost_ns,
                name=self.name,
                ratio_milli=self._ratio_milli(preset.ratio_milli),
            )
        changes: dict[str, Any] = {"name": self.name, **self._access()}
        if self.transfer_ns is not None:
            changes["transfer_ns_per_page"] = self.transfer_ns
        if self.parallelism is not None:
            changes["parallelism"] = self.parallelism
        return dataclasses.replace(preset, **changes)

    def _access(self) -> dict[str, media.AccessTime]:
        """The access times that are not those of the preset."""
        found: dict[str, media.AccessTime] = {}
        if self.latency_ns is not None:
            jitter_ns = self.jitter_ns or 0
            access = media.Uniform(self.latency_ns - jitter_ns, self.latency_ns + jitter_ns)
            found = {"read": access, "write": access}
        if self.quantiles is not None:
            measured = media.Empirical.of(self.quantiles)
            found = {"read": measured, "write": measured}
        if self.write_quantiles is not None:
            found["write"] = media.Empirical.of(self.write_quantiles)
        return found

    def _ratio_milli(self, default: int) -> int:
        return default if self.ratio is None else round(self.ratio * 1000)


class MediumReader:
    """Reads a medium: the name of a preset, or a table."""

    textual = True

    def __init__(self, name: str = "host.medium") -> None:
        self.name = name

    def read(self, raw: object) -> Medium:
        if isinstance(raw, str):
            return Medium(base=PRESET.read(raw))
        medium = read_struct(Medium, expect_table(raw, self.name))
        _check(medium)
        return medium

    def write(self, value: Medium) -> object:
        table = write_struct(value)
        return value.base if list(table) == ["base"] else table


def _check(medium: Medium) -> None:
    _check_access(medium)
    synchronous = medium.synchronous
    if medium.base is not None:
        if synchronous is not None and synchronous != media.MEDIA[medium.base].synchronous:
            raise BadValueError(
                f'"{medium.base}" cannot be changed in this; leave out "base"', ("synchronous",)
            )
        synchronous = media.MEDIA[medium.base].synchronous
    if synchronous:
        for name in ("jitter", "transfer", "parallelism", "quantiles", "write_quantiles"):
            if name in write_struct(medium):
                raise BadValueError(
                    f'a synchronous medium has only "latency", its cost, and "ratio"; no "{name}"',
                    (name,),
                )
    elif medium.ratio is not None:
        raise BadValueError(
            'only a synchronous medium lies in memory: base = "zram" or synchronous = true',
            ("ratio",),
        )


def _check_access(medium: Medium) -> None:
    """One way, and one only, to say how long an access takes."""
    latency_ns = medium.latency_ns
    if latency_ns is None:
        if medium.base is None and medium.quantiles is None:
            raise BadValueError(
                'one of "base" (a preset), "latency" and "quantiles" must be given', ("latency",)
            )
        if medium.jitter_ns is not None:
            raise BadValueError('"jitter" needs "latency" beside it', ("jitter",))
    elif medium.quantiles is not None:
        raise BadValueError(
            f'"{format_duration(latency_ns)}" is given and "quantiles" too: leave one of them out',
            ("latency",),
        )
    elif (medium.jitter_ns or 0) >= latency_ns:
        most = format_duration(latency_ns - 1)
        raise BadValueError(
            f'"{format_duration(medium.jitter_ns or 0)}" is not below the latency, so no shortest '
            f'time is known; at most "{most}"',
            ("jitter",),
        )
