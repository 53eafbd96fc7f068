"""Every kind of event becomes its control event, and is listed."""

from __future__ import annotations

from typing import Any

import pytest

from pagewake.events import types as ev
from pagewake.participants.commands import RUN_COMMANDS
from pagewake.scenario.interventions import (
    COMMAND_ONLY,
    EVENT_KINDS,
    EventsReader,
    describe_events,
    event_table,
    read_event,
)
from pagewake.scenario.keys import BadValueError
from tests.support.abi import MSR_EN

AT = {"at": "1ms"}
ON_VCPU = {**AT, "vm": "bm-0", "vcpu": 1}
HEAD: dict[str, Any] = {"at_ns": 1_000_000, "n": 0}
VCPU: dict[str, Any] = {**HEAD, "vm": "bm-0", "vcpu": 1}

EXAMPLES: list[tuple[dict[str, object], ev.Control]] = [
    ({**ON_VCPU, "do": "vcpu-offline"}, ev.VcpuOffline(**VCPU)),
    ({**ON_VCPU, "do": "vcpu-online"}, ev.VcpuOnline(**VCPU)),
    (
        {**AT, "do": "migrate", "vm": "bm-0", "pause": "2us"},
        ev.VmMigrated(**HEAD, vm="bm-0", pause_ns=2_000),
    ),
    (
        {**AT, "do": "restore", "vm": "bm-0", "saves": ["en", "lapic"], "pause": "2us"},
        ev.VmRestored(**HEAD, vm="bm-0", saves=["en", "lapic"], pause_ns=2_000),
    ),
    (
        {**AT, "do": "new-kernel", "vm": "bm-0", "how": "crash", "for": "2us"},
        ev.KernelReplaced(**HEAD, vm="bm-0", how="crash", for_ns=2_000),
    ),
    (
        {**AT, "do": "fail-allocations", "vm": "bm-0", "where": "guest", "count": 3},
        ev.AllocationFails(**HEAD, vm="bm-0", where="guest", count=3),
    ),
    (
        {**AT, "do": "alloc-fails", "vm": "bm-0", "where": "host", "count": -1},
        ev.AllocationFails(**HEAD, vm="bm-0", where="host", count=-1),
    ),
    (
        {**AT, "do": "medium", "medium": "nvme", "host": 0},
        ev.MediumChanged(**HEAD, vm="", medium="nvme", host=0),
    ),
    (
        {**ON_VCPU, "do": "msr-write", "msr": "apf-en", "value": 0},
        ev.MsrWriteRequested(**VCPU, msr=MSR_EN, value=0),
    ),
    ({**ON_VCPU, "do": "area-write-fails", "count": 2}, ev.AreaWriteFails(**VCPU, count=2)),
    (
        {**AT, "do": "worker-gup-fails", "vm": "bm-0"},
        ev.WorkerGupFails(**HEAD, vm="bm-0", count=-1),
    ),
    ({**ON_VCPU, "do": "vcpu-reset"}, ev.VcpuReset(**VCPU)),
    ({**ON_VCPU, "do": "cr0-pg"}, ev.Cr0PgToggled(**VCPU)),
    ({**ON_VCPU, "do": "user-exit", "for": "2us"}, ev.LeftForUserspace(**VCPU, for_ns=2_000)),
    ({**ON_VCPU, "do": "smi", "for": "2us"}, ev.SmiArrived(**VCPU, for_ns=2_000)),
    ({**ON_VCPU, "do": "nmi", "faults": True}, ev.NmiArrived(**VCPU, faults=True)),
    ({**ON_VCPU, "do": "irq"}, ev.IrqArrived(**VCPU)),
    (
        {**ON_VCPU, "do": "vcpu-stall", "for": "3us", "where": "latch"},
        ev.VcpuStalled(**VCPU, for_ns=3_000, where="latch"),
    ),
    ({**ON_VCPU, "do": "registers-set"}, ev.RegistersSet(**VCPU)),
    (
        {**AT, "do": "handler-crash", "vm": "bm-0", "for": "2ms", "keeps": True},
        ev.HandlerCrashed(**HEAD, vm="bm-0", for_ns=2_000_000, keeps=True),
    ),
    ({**ON_VCPU, "do": "lapic", "on": False}, ev.LapicSwitched(**VCPU, on=False)),
]


@pytest.mark.parametrize(("table", "control"), EXAMPLES, ids=[str(t["do"]) for t, _ in EXAMPLES])
def test_an_event_becomes_its_control_event(table: dict[str, object], control: ev.Control) -> None:
    event = read_event(table)
    assert (event.at_ns, event.control) == (1_000_000, control)
    assert read_event({**AT, **event_table(event)}) == event


def test_every_kind_has_an_example_and_every_control_event_a_kind() -> None:
    assert {table["do"] for table, _ in EXAMPLES} == set(EVENT_KINDS)
    assert {kind.struct for kind in EVENT_KINDS.values()} == set(ev.CONTROL)


def test_the_msr_value_may_be_left_to_the_guest() -> None:
    event = read_event({**ON_VCPU, "do": "msr-write", "msr": "apf-en"})
    assert event.control == ev.MsrWriteRequested(**VCPU, msr=MSR_EN)
    assert EventsReader().write((event,)) == [{**ON_VCPU, "do": "msr-write", "msr": "apf-en"}]


def test_a_snapshot_holds_everything_unless_it_says_what() -> None:
    event = read_event({**AT, "do": "restore", "vm": "bm-0"})
    saves = ["regs", "lapic", "int", "en", "events", "mp_state"]
    assert event.control == ev.VmRestored(**HEAD, vm="bm-0", saves=saves)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("saves", "says"),
    [("en", "not a list"), (["en", "ack"], "no saved state"), (["en", "en"], "twice")],
)
def test_what_a_snapshot_cannot_hold_is_refused(saves: object, says: str) -> None:
    with pytest.raises(BadValueError, match=says):
        read_event({**AT, "do": "restore", "vm": "bm-0", "saves": saves})


def test_the_listing_names_everything_that_can_be_done() -> None:
    listed = describe_events()
    assert [item["name"] for item in listed] == [*EVENT_KINDS, *COMMAND_ONLY]
    assert all(item["description"] for item in listed)


def test_the_keys_of_commands_are_those_that_a_service_reads() -> None:
    read = {kind.__name__.lower(): [*kind.__struct_fields__] for kind in RUN_COMMANDS}
    assert read == {do: [*kind.keys] for do, kind in COMMAND_ONLY.items()}
    listed = {item["name"]: item["keys"] for item in describe_events()}
    assert {do: listed[do] for do in COMMAND_ONLY} == {
        do: kind.keys for do, kind in COMMAND_ONLY.items()
    }
