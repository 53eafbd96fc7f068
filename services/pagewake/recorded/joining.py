"""A guest's recording on the clock of its host's, by the tokens that both tell of.

The host tells the guest of a page before the guest waits for its token, and READY before the guest
wakes it.  So the guest's clock is behind by at least the most that any token shows, and that is
what it is set to: READY often comes right before its wake, so the truth is not far from there.

Joining reads all files once more, before they are imported: what it keeps is the first line of each
kind for up to `TOKENS_MAX` tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

from pagewake.errors import DataError
from pagewake.recorded import names
from pagewake.recorded.guest import BROADCAST
from pagewake.recorded.lines import Item, Line, Wanted, read_lines
from pagewake.recorded.threads import Threads

TOKENS_MAX: Final = 100_000
"""More do not make the bound better: by then each vcpu has woken many tasks."""
COMES_AFTER: Final = {names.APF_WAIT: names.NOT_PRESENT, names.APF_WAKE: names.READY}
"""What the guest logs of a token, and what of the host comes before."""
FIRST_OF: Final[Wanted] = {
    name: names.FORMS.get(name)
    for name in (*COMES_AFTER, *COMES_AFTER.values(), names.ENTRY, names.EXIT, names.PAGE_FAULT)
}
"""Lines that tell whose recording a file is."""
_OF_GUEST: Final[Wanted] = {name: names.FORMS[name] for name in COMES_AFTER}
_OF_HOST: Final[Wanted] = {name: names.FORMS[name] for name in COMES_AFTER.values()}
Times: TypeAlias = dict[tuple[str, int], int]
"""When an event was first logged of a token."""


class Joined(NamedTuple):
    """The files of the guest, how far its clock is behind the host's, and what says so."""

    guests: frozenset[str]
    behind_ns: int
    tokens: int

    def on_host_clock(self, items: Iterator[Item]) -> Iterator[Item]:
        """Items of the guest, as if its clock were the host's."""
        return (item._replace(time_ns=item.time_ns + self.behind_ns) for item in items)


def join(files: Sequence[str], groups: Sequence[Sequence[int]] = ()) -> Joined | None:
    """How to join them; None where all are of one side.  `groups` as those of `Threads`.

    DataError where both sides are there and no token is in both, or the host's VMs are several.
    """
    guests = frozenset(name for name in files if Path(name).is_file() and _is_guest(name))
    hosts = [name for name in files if name not in guests]
    if not guests or not hosts:
        return None
    for name in hosts:
        if not Path(name).is_file():
            raise DataError(
                f"{name}: to be joined with {min(guests)}, what a guest recorded of itself, it is"
                " read twice: give a file, no pipe"
            )
    of_host = _first_times(hosts, _OF_HOST, Threads(groups))
    behind: list[int] = []
    tokens = set()
    for (event, token), guest_ns in _first_times(sorted(guests), _OF_GUEST).items():
        host_ns = of_host.get((COMES_AFTER[event], token))
        if host_ns is not None:
            behind.append(host_ns - guest_ns)
            tokens.add(token)
    if not behind:
        raise DataError(
            f"{min(guests)}: no token of this guest is in {', '.join(hosts)}, so that nothing says"
            " what its clock was then on the host's: record both at a time, of one VM"
        )
    return Joined(guests, max(behind), len(tokens))


def _is_guest(name: str) -> bool:
    """Whether the first line that tells is a guest's probe."""
    for item in read_lines(name, FIRST_OF):
        if isinstance(item, Line):
            return item.event in COMES_AFTER
    return False


def _first_times(files: Sequence[str], wanted: Wanted, threads: Threads | None = None) -> Times:
    """Of each token; of a host, `threads` are those whose lines count."""
    found: Times = {}
    for name in files:
        for item in read_lines(name, wanted):
            if not isinstance(item, Line):
                continue
            if threads is not None and not _counts(item, threads):
                continue
            token = _token(item)
            if token != BROADCAST:
                found.setdefault((item.event, token), item.time_ns)
            if len(found) >= TOKENS_MAX:
                break
    return found


def _token(line: Line) -> int:
    probed = line.event in COMES_AFTER
    found = (names.PROBED_TOKEN if probed else names.TOKEN_GVA).search(line.text)
    assert found is not None, "it has its form"
    return int(found[1], 0 if probed else 16)


def _counts(line: Line, threads: Threads) -> bool:
    """Whether it is of the one VM; tokens of several would be taken for each other's."""
    said = names.said_vcpu(line.event, line.text)
    known = threads.known(line.pid) or threads.learn(line.pid, line.tgid, line.comm, said)
    if known is not None and known.vm:
        raise several(line)
    return known is not None


def several(line: Line) -> DataError:
    """Several VMs of a host, and one guest."""
    return DataError(
        f"{line.file}:{line.number}: another VM, and nothing says which of them the guest is that"
        " recorded itself: name the vcpu threads of its VM alone, as in --vm 4711,4712"
    )
