"""Overcommit as people say it: 1.5 means that the VMs of a host were promised 1.5 times its memory.

A factor is a way to write `host.memory`, so a scenario that it was applied to is one like any
other: its log and its effective file have the size.
"""

from __future__ import annotations

from decimal import Decimal, InvalidOperation

import msgspec

from pagewake.scenario.keys import BadValueError
from pagewake.scenario.model import Scenario
from pagewake.scenario.settings import OVERCOMMIT


def overcommitted(scenario: Scenario, factor: str) -> Scenario:
    """The scenario with `host.memory` such that its VMs see `factor` times as much.

    Of several hosts, whose VMs may differ, the one that was promised most counts; it gets whole
    pages, rounded down. Raises BadValueError for a factor that is not a number above 0, or leaves
    no page.
    """
    pages = int(promised_pages(scenario) / _number(factor))
    if pages < 1:
        raise BadValueError(f'"{factor}" leaves the host no page; for example 1.5', OVERCOMMIT)
    host = msgspec.structs.replace(scenario.host, memory_pages=pages)
    return msgspec.structs.replace(scenario, host=host)


def promised_pages(scenario: Scenario) -> int:
    """The memory that the VMs of one host see, all together."""
    promised = [0] * scenario.host.count
    for instance in scenario.instances():
        promised[instance.host] += instance.spec.memory_pages
    return max(promised)


def _number(factor: str) -> Decimal:
    """Decimal, so that a factor means the same on every machine."""
    try:
        number = Decimal(factor)
    except InvalidOperation:
        number = Decimal(0)
    if not number.is_finite() or number <= 0:
        raise BadValueError(f'"{factor}" is not a number above 0; for example 1.5', OVERCOMMIT)
    return number
