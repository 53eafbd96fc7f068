"""What the tools print around an event, as patterns: who, where, when; and what is no event.

    tracefs trace, trace_pipe    `  COMM-PID   (TGID) [CPU] flags  1.000001: kvm_entry: vcpu 0`
    trace-cmd report             `  COMM-PID   [CPU]     1.000001: kvm_entry:     vcpu 0`
    trace-cmd report -l          `  COMM-PID   CPUflags  1.000001: kvm_entry:     vcpu 0`
    perf script                  `  COMM PID/TID [CPU]   1.000001: kvm:kvm_entry: vcpu 0`

The columns of tracefs are those of `kernel/trace/trace_output.c`: TGID with the option record-tgid,
four flags since 2.6.39, five with the option migrate-disable's column (5.15), six with delays.
perf prints the columns that `-F` names, in an order of its own; PID is the process, TID the thread.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

MOST_DIGITS: Final = 10  # of a number in a head; 2^32 has as many, and so have seconds since 1970


class Thread(NamedTuple):
    """What a head says before its time; `pid` is the thread, `tgid` its process."""

    comm: str
    pid: int
    tgid: int | None
    cpu: int | None


_NUMBER = rf"[0-9]{{1,{MOST_DIGITS}}}"
_HEADS = {
    "tracefs": re.compile(
        rf"\s*(?P<comm>.*?)-(?P<pid>{_NUMBER})\s+(?:\( *(?P<tgid>{_NUMBER}|-+)\)\s+)?"
        rf"\[(?P<cpu>{_NUMBER})\](?:\s+[^\s\[\]]{{4,7}})?\s*"
    ),
    "latency": re.compile(
        rf"\s*(?P<comm>.*?)-(?P<pid>{_NUMBER})\s+(?P<cpu>{_NUMBER})[^\s0-9]\S{{2,5}}\s*"
    ),
    "perf": re.compile(
        rf"\s*(?P<comm>.*?)\s+(?:(?P<tgid>{_NUMBER})/)?(?P<pid>{_NUMBER})"
        rf"(?:\s+\[(?P<cpu>{_NUMBER})\])?(?:\s+[A-Z][A-Za-z*]*)?\s*"
    ),
}
COMM_LONGEST: Final = 60  # 15 bytes, each of them `\xNN` if it is no UTF-8

QUIET: Final = re.compile(
    r"\s*(?:#.*)?"  # a header, or nothing
    r"|cpus=[0-9]+|version = [0-9]+|CPU [0-9]+ is empty"  # trace-cmd's header
    r"|\s+[0-9a-f]{4,16} .*"  # perf's call chain
    r"|\s*=> .*|.*[0-9]: <(?:user )?stack trace>"  # tracefs' call chain
    r"|.*[0-9]: \S+ <-\S+"  # the function tracer's
    r"|.*: PERF_RECORD_(?!LOST)\w+.*"  # perf's own records
)
"""Lines that are no event, and hide none."""
LOST: Final = re.compile(
    r"CPU:(?P<cpu>[0-9]{1,4}) \[(?:LOST (?P<lost>[0-9]{1,19}) EVENTS|LOST EVENTS"
    r"|(?P<dropped>[0-9]{1,19}) EVENTS DROPPED|EVENTS DROPPED)\]\s*"
    r"|(?:.*\[(?P<perf_cpu>[0-9]{1,4})\])?.*"
    r": PERF_RECORD_LOST(?:_SAMPLES)? lost (?P<perf>[0-9]{1,19})\s*"
)
OVERWRITTEN: Final = re.compile(
    r"# entries-in-buffer/entries-written: (?P<kept>[0-9]{1,19})/(?P<written>[0-9]{1,19}) .*"
)
LATENCY_FORMAT: Final = re.compile(r"# .* latency trace v.*")
MERGED: Final = re.compile(r"\s*\S+: cpus=[0-9]+")
"""The header of a report of several files: their threads have nothing to do with each other."""
COUNTED: Final = re.compile(r"[0-9]{1,20}")
"""A time without a fraction: what a clock counts that is not of nanoseconds."""
EVENT: Final = re.compile(r"\s*(?:[0-9]+ +)?(?P<name>\S+?):(?: (?P<text>.*))?")
"""What follows a head: perf adds a period, and the group to the name."""
SWALLOWED: Final = re.compile(r"\[[0-9]{3,}\].*[0-9]\.[0-9]{6,9}: |[0-9]\.[0-9]{6,9}: +\S*kvm")
"""In the text of an event: the line's end is lost, and the next one begins within it."""
SYMBOL: Final = re.compile(r"\s+ffff[0-9a-f]{12} [A-Za-z_\[]\S*(?: \([^()]*\))?$")
"""At the end of perf's text with -F ip,sym: where in the kernel it was sampled."""


def thread_of(where: str, shape: str | None) -> tuple[str, Thread] | None:
    """The shape of a head, and what it says; of the given shape if there is one."""
    for name, pattern in _HEADS.items():
        if shape in {None, name} and (found := pattern.fullmatch(where)):
            if len(found["comm"]) > COMM_LONGEST:
                return None
            said = found.groupdict()
            tgid, cpu = said.get("tgid"), said["cpu"]
            known = int(tgid) if tgid and not tgid.startswith("-") else None
            return name, Thread(found["comm"], int(found["pid"]), known, int(cpu) if cpu else None)
    return None
