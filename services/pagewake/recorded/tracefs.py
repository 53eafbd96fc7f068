"""How tracefs prints the file `trace`, by kernel: its head, and what stands before an event's name.

Sources: `kernel/trace/trace.c` and `trace_output.c` of 2.6.39 and of today, the legends between as
mails and recordings have them; the commits stand with the columns that they brought.
"""

from __future__ import annotations

from typing import NamedTuple

from pagewake.recorded.tracepoints import POSTED, Release

_NO_FLAGS = """\
#           TASK-PID    CPU#    TIMESTAMP  FUNCTION
#              | |       |          |         |
"""
_FOUR_FLAGS = """\
#                          {pad}  _-----=> irqs-off
#                          {pad} / _----=> need-resched
#                          {pad}| / _---=> hardirq/softirq
#                          {pad}|| / _--=> preempt-depth
#                          {pad}||| /     delay
#           TASK-PID {tgid}CPU#  ||||    TIMESTAMP  FUNCTION
#              | |   {bar}  |   ||||       |         |
"""
_WIDE_PIDS = """\
#                            {pad}  _-----=> irqs-off
#                            {pad} / _----=> need-resched
#                            {pad}| / _---=> hardirq/softirq
#                            {pad}|| / _--=> preempt-depth
#                            {pad}||| /     delay
#           TASK-PID  {tgid} CPU#  ||||   TIMESTAMP  FUNCTION
#              | |    {bar}   |   ||||      |         |
"""
_FIVE_FLAGS = """\
#                            {pad}  _-----=> irqs-off
#                            {pad} / _----=> need-resched
#                            {pad}| / _---=> hardirq/softirq
#                            {pad}|| / _--=> preempt-depth
#                            {pad}||| / _-=> migrate-disable
#                            {pad}|||| /     delay
#           TASK-PID  {tgid} CPU#  |||||  TIMESTAMP  FUNCTION
#              | |    {bar}   |   |||||     |         |
"""


class Columns(NamedTuple):
    """The file as kernels from `since` on print it, until the next ones.

    `tgid_width` 0: they cannot print thread groups.  `flags` are those of a line with interrupts
    on, `masked` with interrupts off and the CPU held: of a build that counts preemption only where
    distributions have had it switchable (PREEMPT_DYNAMIC).
    """

    since: Release
    legend: str
    pid_width: int
    tgid_width: int = 0
    flags: str = ""
    masked: str = ""

    def head(self, entries: int, cpus: int, *, tgids: bool) -> str:
        """What stands before the first line."""
        counts = f"# entries-in-buffer/entries-written: {entries}/{entries}   #P:{cpus}\n#\n"
        width = self.tgid_width + 5 if tgids else 2
        legend = self.legend.format(
            pad=" " * width,
            tgid=f"{'   TGID   ' if self.tgid_width == 5 else '     TGID   '}"[:width],
            bar=f"{'     |    ' if self.tgid_width == 5 else '       |    '}"[:width],
        )
        return f"# tracer: nop\n#\n{counts if self.flags else ''}{legend}"

    def before(self, comm: str, pid: int, tgid: int | None, cpu: int, *, masked: bool) -> str:
        """What stands before the time of a line; `tgid` None: they are not recorded."""
        group = "" if tgid is None else f"({tgid:{self.tgid_width}d}) "
        flags = self.masked if masked else self.flags
        return f"{comm:>16}-{pid:<{self.pid_width}d} {group}[{cpu:03d}] {flags}{' ' * bool(flags)}"


COLUMNS: tuple[Columns, ...] = (
    Columns(POSTED, _NO_FLAGS, 5),
    Columns((3, 3), _FOUR_FLAGS, 5, 0, "....", "d..."),  # 3.3, from memory
    Columns((4, 13), _FOUR_FLAGS, 5, 5, "....", "d..."),  # option record-tgid, from memory
    Columns((5, 10), _WIDE_PIDS, 7, 7, "....", "d..."),  # 795d6379a47b
    Columns((5, 15), _FIVE_FLAGS, 7, 7, ".....", "d..1."),  # 54357f0c9149
    Columns(
        (5, 18),  # 289e7b0f7eb4
        _FIVE_FLAGS.replace("irqs-off", "irqs-off/BH-disabled"),
        7,
        7,
        ".....",
        "d..1.",
    ),
)


def columns_of(release: Release) -> Columns:
    """The columns that a kernel prints."""
    return next(columns for columns in reversed(COLUMNS) if columns.since <= release)


def time_of(at_ns: int) -> str:
    """Seconds and microseconds, rounded as the kernel rounds: order is kept, if not strictly."""
    microseconds = (at_ns + 500) // 1000
    return f"{microseconds // 1_000_000:5d}.{microseconds % 1_000_000:06d}"
