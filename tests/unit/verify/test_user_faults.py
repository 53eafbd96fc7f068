"""Pages that user space brings: what `verify` asks of those who are told (semantics 6.1)."""

from __future__ import annotations

import pytest

from pagewake.events import types as ev
from tests.unit.verify.story import Story, named

RING = {"user_apf": "ring", "user_apf_room": 2}


def told(story: Story, token: int, *, ring: bool = True, accepted: bool = True) -> ev.UserFault:
    return story.add(
        ev.UserFault, vcpu=0, gfn=token >> 12, token=token, ring=ring, accepted=accepted,
        signalled=ring,
    )  # fmt: skip


def taken(story: Story, token: int, **more: object) -> ev.PageRequested:
    return story.add(ev.PageRequested, vcpu=0, gfn=token >> 12, epoch=0, token=token, **more)


def done(story: Story, token: int) -> ev.WorkerCompleted:
    return story.add(ev.WorkerCompleted, vcpu=0, gfn=token >> 12, token=token)


def bad(story: Story, apf: str = "ring") -> list[int]:
    return named(story, "user", **{**RING, "user_apf": apf})


def test_told_taken_and_done_is_right() -> None:
    story = Story()
    for token in (0x1000, 0x2000, 0x3000):
        told(story, token)
        taken(story, token)
        done(story, token)

    assert bad(story) == []


def test_a_ring_holds_so_many_entries_and_then_it_is_an_exit() -> None:
    story = Story()
    told(story, 0x1000)
    told(story, 0x2000)
    told(story, 0x3000, ring=False)
    assert bad(story) == []

    over = told(story, 0x4000)
    assert bad(story) == [over.n]


def test_an_exit_while_the_ring_has_room_is_named() -> None:
    story = Story()
    early = told(story, 0x1000, ring=False)

    assert bad(story) == [early.n]
    assert bad(story, apf="exit") == []


def test_what_is_taken_makes_room_and_what_is_withdrawn_does_not() -> None:
    story = Story()
    told(story, 0x1000)
    told(story, 0x2000)
    story.add(ev.ApfCleared, vcpu=0, epoch=0, tokens=[0x1000, 0x2000], why="msr-disable")
    told(story, 0x3000, ring=False)
    taken(story, 0x1000)
    told(story, 0x4000)

    assert bad(story) == []


def test_an_entry_of_the_ring_is_accepted_as_it_is_written() -> None:
    story = Story()
    refused = told(story, 0x1000, accepted=False)

    assert bad(story) == [refused.n]


def test_taking_a_fault_twice_is_named() -> None:
    story = Story()
    told(story, 0x1000)
    taken(story, 0x1000)
    again = taken(story, 0x1000)

    assert bad(story) == [again.n]


def test_completing_what_nobody_took_is_named() -> None:
    story = Story()
    told(story, 0x1000)
    early = done(story, 0x1000)

    assert bad(story) == [early.n]


def test_what_a_crash_lost_stays_lost() -> None:
    story = Story()
    told(story, 0x1000)
    taken(story, 0x1000)
    story.add(ev.UserFaultLost, vcpu=0, gfn=1, token=0x1000)
    assert bad(story) == []

    back = done(story, 0x1000)
    assert bad(story) == [back.n]


def test_only_what_was_taken_can_be_lost() -> None:
    story = Story()
    told(story, 0x1000)
    lost = story.add(ev.UserFaultLost, vcpu=0, gfn=1, token=0x1000)

    assert bad(story) == [lost.n]


@pytest.mark.parametrize(
    ("event", "keys"), [(ev.VmMigrated, {}), (ev.KernelReplaced, {"how": "hibernate"})]
)
def test_with_new_vcpus_rings_are_empty_and_tokens_start_again(
    event: type[ev.Control], keys: dict[str, str]
) -> None:
    story = Story()
    told(story, 0x1000)
    told(story, 0x2000)
    story.add(event, **keys)
    told(story, 0x1000)
    taken(story, 0x1000)  # that of before: an entry of a ring that is gone
    told(story, 0x2000)

    assert bad(story) == []


def test_a_kernel_that_another_starts_has_the_vcpus_it_had() -> None:
    story = Story()
    told(story, 0x1000)
    story.add(ev.KernelReplaced, how="kexec")
    taken(story, 0x1000)
    done(story, 0x1000)

    assert bad(story) == []


def test_a_second_fault_of_the_page_is_in_the_hash_and_a_refusal_may_be() -> None:
    story = Story()
    story.add(ev.ApfStarted, vcpu=0, gfn=1, outcome="queued", token=0x1000)
    story.add(ev.ApfStarted, vcpu=0, gfn=1, outcome="duplicate", token=0x2000)
    story.add(ev.ApfStarted, vcpu=0, gfn=1, outcome="limit", token=0x3000)
    assert named(story, "I2", **RING) == []
    assert named(story, "I2") == [3]

    other = story.add(ev.ApfStarted, vcpu=0, gfn=2, outcome="duplicate", token=0x4000)
    assert named(story, "I2", **RING) == [other.n]
