"""What a recording says about the host and the guest that it is of, as a scenario needs it.

Of several VMs the one with the most asynchronous faults is looked at.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from pagewake.errors import DataError
from pagewake.events.types import ApfStarted, Event, MsrWritten
from pagewake.kvm.msr import MSR_KVM_ASYNC_PF_EN, decode_enable
from pagewake.recorded.figures import Figures, quantile
from pagewake.recorded.log import RecordingReader
from pagewake.recorded.summary import counted, unseen
from pagewake.verify.log_run import PlacedEvent

BLOCK_PAGES = 512
"""2 MiB: what a guest's allocator hands out in one piece, so a working set is whole blocks."""
NEAR_PAGES = 16
"""A fault so close behind an earlier one goes on with its run: twice a read-ahead of 8 pages."""
RECENT = 64
"""Faults among which it is looked for: those of many tasks that walk at a time."""
SEQUENTIAL = 0.8
"""From this share of faults that go on with a run, the pattern is a walk."""
SHARES = (0, 10, 20, 50, 100, 200, 300, 400, 500, 600, 700, 800, 900, 950, 980, 990, 995, 1000)
"""Quantiles of the device that are kept, in thousandths: closer where they rise."""
TENTHS = 10


class Switched(NamedTuple):
    """The guest turned asynchronous page faults of a vcpu off or on, as CPU hotplug does."""

    at_ns: int
    vcpu: int
    on: bool


class Evidence(NamedTuple):
    """It, and of how many faults; times in nanoseconds.

    It ends at `length_ns`, `shut` when the guest turned the last vcpu off, for it shut down there.

    `quantiles`: share in thousandths and time from submission to completion.  `tenths`: faults in
    each tenth of the recording.  `runs`: share of faults that go on with a run of pages.
    `unknown`: figures that no line of the recording would show (`recorded.summary`).
    """

    source: str
    lines: int
    profile: str
    why: str
    vm: str
    vms: int
    vcpus: int
    length_ns: int
    shut: bool
    switched: list[Switched]
    slow_ns: int
    figures: Figures
    quantiles: list[tuple[int, int]]
    tenths: list[int]
    memory_pages: int
    working_set_pages: int
    runs: float
    unknown: frozenset[str]

    @property
    def sequential(self) -> bool:
        return self.runs >= SEQUENTIAL

    @property
    def kernel_share(self) -> float:
        """Of the faults whose mode is known, those of kernel mode."""
        known = self.figures.kernel + self.figures.user
        return self.figures.kernel / known if known else 0.0


def evidence_of(reader: RecordingReader) -> Evidence:
    """Reads the directory twice; DataError where there is nothing to be learned."""
    recording = reader.recording
    faults, switched = _faults_and_switches(reader)
    vm = faults.most_common(1)[0][0]
    (threads,) = (each.vcpus for each in recording.vms if each.name == vm)
    shut_ns, kept = shut_down(switched[vm], len(threads))
    length_ns = recording.length_ns if shut_ns is None else shut_ns
    counter = counted(reader, vm, length_ns)
    if not counter.completions_ns:
        raise DataError(
            f"{reader.directory}: none of {faults[vm]} asynchronous page faults is seen to its end,"
            " so nothing is known of the device; record for longer"
        )
    figures = counter.figures(length_ns)
    rising = sorted(counter.completions_ns)
    blocks = {gfn // BLOCK_PAGES for gfn in counter.gfns}
    return Evidence(
        source=", ".join(Path(source.name).name for source in recording.sources),
        lines=sum(recording.lines.values()),
        profile=recording.profile,
        why=recording.why,
        vm=vm,
        vms=len(recording.vms),
        vcpus=len(threads),
        length_ns=length_ns,
        shut=shut_ns is not None,
        switched=kept,
        slow_ns=recording.sync_fault_ns,
        figures=figures,
        quantiles=[(share, max(1, quantile(rising, share))) for share in SHARES],
        tenths=tenths_of(counter.starts_ns, length_ns),
        memory_pages=(max(blocks) + 1) * BLOCK_PAGES,
        working_set_pages=len(blocks) * BLOCK_PAGES,
        runs=_runs(counter.gfns),
        unknown=frozenset(unseen(recording.lines)),
    )


def _faults_and_switches(
    reader: RecordingReader,
) -> tuple[Counter[str], Mapping[str, list[Switched]]]:
    """By VM: its asynchronous page faults, at least one of all, and its writes to enable them."""
    faults: Counter[str] = Counter()
    switched: defaultdict[str, list[Switched]] = defaultdict(list)
    for event in _events(reader):
        if isinstance(event, ApfStarted):
            faults[event.vm] += 1
        elif isinstance(event, MsrWritten) and event.msr == MSR_KVM_ASYNC_PF_EN and event.ok:
            on = decode_enable(event.value).enabled
            switched[event.vm].append(Switched(event.at_ns, event.vcpu, on))
    if not faults:
        raise DataError(
            f"{reader.directory}: has no asynchronous page fault, so there is nothing to fit;"
            " record for longer, or while the guest's pages are being swapped in"
        )
    return faults, switched


def shut_down(switched: list[Switched], vcpus: int) -> tuple[int | None, list[Switched]]:
    """When the guest turned off all vcpus for good, if it did; and the switches before.

    A vcpu that is turned off for good while others stay on is one that stays offline.
    """
    last = {each.vcpu: each for each in switched}
    if len(last) < vcpus or any(each.on for each in last.values()):
        return None, _changes(switched)
    shut_ns = min(each.at_ns for each in last.values())
    return shut_ns, _changes([each for each in switched if each.at_ns < shut_ns])


def _changes(switched: list[Switched]) -> list[Switched]:
    """Without what enables a vcpu that nothing turned off: its kernel starts."""
    off: set[int] = set()
    kept: list[Switched] = []
    for each in switched:
        if each.on == (each.vcpu in off):
            kept.append(each)
            off ^= {each.vcpu}
    return kept


def _events(reader: RecordingReader) -> Iterator[Event]:
    return (one.event for one in reader.found() if isinstance(one, PlacedEvent))


def tenths_of(starts_ns: Iterable[int], length_ns: int) -> list[int]:
    """How many of these instants are in each tenth of a length."""
    found = Counter(min(TENTHS - 1, at_ns * TENTHS // length_ns) for at_ns in starts_ns)
    return [found[tenth] for tenth in range(TENTHS)]


def _runs(gfns: Sequence[int]) -> float:
    recent: deque[int] = deque(maxlen=RECENT)
    going_on = 0
    for gfn in gfns:
        going_on += any(0 < gfn - before <= NEAR_PAGES for before in recent)
        recent.append(gfn)
    return going_on / len(gfns)
