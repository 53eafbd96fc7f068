"""Files to an imported directory: all are read at once, in the order of their times."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack
from heapq import merge
from itertools import pairwise
from operator import attrgetter, itemgetter
from pathlib import Path

from pagewake import __version__
from pagewake.errors import ConfigError, DataError
from pagewake.recorded.check import rules_for
from pagewake.recorded.checkable import checks_of
from pagewake.recorded.era import Era, era_of
from pagewake.recorded.joining import Joined, join
from pagewake.recorded.lines import Item, LineReader
from pagewake.recorded.log import RecordedVm, Recording, RecordingWriter, SourceFile
from pagewake.recorded.opening import Source, opened
from pagewake.recorded.placed import Span
from pagewake.recorded.stitch import (
    SYNC_FAULT_NS,
    WANTED,
    WANTED_OF_GUEST,
    WANTED_OF_HOST,
    Stitcher,
)

APART_NS = 60 * 1_000_000_000
"""Parts of one recording follow each other within moments."""
SHOWN_EVENTS = 5
SHOWN_THREADS = 10


class _File:
    """A recording's file and its reader."""

    def __init__(self, source: Source, joined: Joined | None) -> None:
        self.source = source
        self._joined = joined
        self.of_guest = joined is not None and source.name in joined.guests
        wanted = WANTED
        if joined is not None:
            wanted = WANTED_OF_GUEST if self.of_guest else WANTED_OF_HOST
        self.reader = LineReader(source.name, wanted)

    def items(self) -> Iterator[Item]:
        """Its lines; those of a guest on the clock of its host, which it is joined with."""
        if self._joined is not None and self.of_guest:
            return self._joined.on_host_clock(self._items())
        return self._items()

    def _items(self) -> Iterator[Item]:
        for block in self.source.blocks():
            yield from self.reader.feed(block)
        if self.reader.shape is None:
            raise DataError(self.reader.nothing())


def import_files(
    files: Sequence[str],
    directory: Path,
    profile: str | None = None,
    groups: Sequence[Sequence[int]] = (),
    sync_fault_ns: int = SYNC_FAULT_NS,
) -> Recording:
    """Write an imported directory; DataError if a file is no recording of KVM.

    ConfigError if one is given twice: each of its lines would be there twice.
    """
    for name, count in Counter(files).items():
        if count > 1:
            raise ConfigError(f"{name} is given {count} times: name each file once")
    joined = join(files, groups)
    guests = frozenset() if joined is None else joined.guests
    stitcher = Stitcher(groups, sync_fault_ns, guests)
    with ExitStack() as stack:
        # of lines of one time, those of the host come first
        ordered = sorted(files, key=lambda name: name in guests)
        readers = [_File(stack.enter_context(opened(name)), joined) for name in ordered]
        names = [one.source.name for one in readers]
        writer = stack.enter_context(RecordingWriter(directory, names))
        items = (one.items() for one in readers)
        for item in merge(*items, key=attrgetter("time_ns")):
            if found := stitcher.feed(item):
                writer.add(found)
        writer.add(stitcher.finish())
        if not stitcher.vms:
            raise DataError(_no_vcpu(readers, stitcher.sight.lines, stitcher.threads.left_out))
        hosts = [one for one in readers if not one.of_guest]
        writer.add(_apart(hosts, stitcher.sight.last_ns))
        era = Era(profile, "as --profile says") if profile else era_of(stitcher.sight)
        recording = _recording(stitcher, readers, era, joined)
        return writer.finish(recording)


def _recording(
    stitcher: Stitcher, files: Sequence[_File], era: Era, joined: Joined | None
) -> Recording:
    sight = stitcher.sight
    others: Counter[str] = Counter()
    for file in files:
        others.update(file.reader.others)
    counts = sight.counts
    counts["times back"] += sum(one.reader.stepped_back for one in files)
    return Recording(
        version=__version__,
        sources=[
            SourceFile(one.source.name, one.source.sha256, one.source.bytes_read) for one in files
        ],
        profile=era.profile,
        why=era.why,
        vms=[
            RecordedVm(vm.name, {str(vcpu): pid for vcpu, pid in sorted(pids.items())})
            for vm, pids in zip(stitcher.vms, stitcher.pids, strict=True)
        ],
        begin_ns=sight.begin_ns or 0,
        length_ns=sight.last_ns,
        sync_fault_ns=sight.sync_fault_ns,
        lines=dict(sorted(sight.lines.items())),
        others=dict(sorted(others.items())),
        counts=dict(sorted(counts.items())),
        joined_by=0 if joined is None else joined.tokens,
        guest_behind_ns=0 if joined is None else joined.behind_ns,
        checks=checks_of(sight, ready_by_interrupt=rules_for(era.profile).ready_by_interrupt),
    )


def _apart(files: Sequence[_File], last_ns: int) -> list[Span]:
    """Files whose times have nothing to do with each other."""
    found = []
    known = [(one.reader.began_ns, one) for one in files if one.reader.began_ns is not None]
    for (_, before), (began_ns, file) in pairwise(sorted(known, key=itemgetter(0))):
        gap_ns = began_ns - before.reader.time_ns
        if gap_ns > APART_NS:
            what = (
                f"begins {gap_ns / 1e9:.0f} s after {before.source.name} ends: other hours,"
                " or other clocks (record all of them with trace_clock mono)"
            )
            found.append(Span("clock", last_ns, last_ns, what, file.source.name, 1))
    return found


def _no_vcpu(files: Sequence[_File], lines: Counter[str], left_out: Collection[int]) -> str:
    if left_out:
        others = ", ".join(map(str, sorted(left_out)[:SHOWN_THREADS]))
        return (
            f"{files[0].source.name}:1: no line is one of the threads that --vm names; name vcpu"
            f" threads or their process: those with lines of kvm are {others}"
        )
    seen = sum((one.reader.others for one in files), lines.copy())
    most = ", ".join(f"{count} of {event}" for event, count in seen.most_common(SHOWN_EVENTS))
    return (
        f"{files[0].source.name}:1: no line is one of a vcpu thread of KVM (there are {most});"
        " record the events of kvm, as docs/how-to/record-a-host.md says"
    )
