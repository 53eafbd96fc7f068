"""Page faults as perf, ftrace and users of userfaultfd print them.

- `perf trace -F all`: time in milliseconds, and where the fault was, as an address or as a file and
  an offset in it, each of which is a page of its own;
- `perf script` of page-faults recorded with -d, with the columns event and addr; the tracepoints
  exceptions:page_fault_user and page_fault_kernel and kvm:kvm_page_fault, from perf, trace-cmd or
  tracefs, which also say whether it was a write (bit 1 of the error code);
- `UFFD_EVENT_PAGEFAULT` with flags and address, as the example of userfaultfd(2) prints it, behind
  a time in seconds if there is one; and QEMU's trace event postcopy_ram_fault_thread_request.

Lines without a fault are skipped.  A fault is the first access, or one after the page was taken
away: what hits in memory is in no such recording.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from pagewake.scenario.trace_formats.blocks import PAGE_SHIFT, TraceBlock
from pagewake.scenario.trace_formats.timed import (
    Access,
    Spaces,
    WrongLineError,
    accesses,
    nanoseconds,
)

_WRITE = 2  # of an x86 error code: PFERR_WRITE_MASK
_UFFD_WRITES = 3  # UFFD_PAGEFAULT_FLAG_WRITE and _WP
_NS_PER_MS = 1_000_000

_PERF_TRACE = re.compile(rb"\s*(\d+)\.(\d{3}) \(")
_WHERE = re.compile(rb"(?:(.*)@)?0x([0-9a-f]{1,16}) \([^()]{1,3}\)\s*")
_SOFTWARE = re.compile(
    rb"(?:page-|minor-|min-|major-|maj-)?faults(?::\w+)?:\s+([0-9a-f]{1,16})(.*)"
)
_ANOTHER_ADDRESS = re.compile(rb"(?:^|\s)[0-9a-f]{4,16}(?=\s|$)")
_EXCEPTION = re.compile(
    rb"page_fault_(?:user|kernel): address=(?:0x)?([0-9a-f]{1,16}) ip=\S+"
    rb" error_code=(?:0x)?([0-9a-f]+)"
)
_KVM = re.compile(
    rb"kvm_page_fault: (?:vcpu \d+ rip \S+ )?address (?:0x)?([0-9a-f]{1,16})"
    rb" error_code (?:0x)?([0-9a-f]+)"
)
_TIME = re.compile(rb"\s(\d+\.\d+):\s")
_UFFD_ADDRESS = re.compile(rb"\b(?:address|addr|HVA)\s*[=:-]\s*(?:0x)?([0-9a-fA-F]{1,16})\b")
_UFFD_FLAGS = re.compile(rb"\bflags\s*[=:]\s*(?:0x)?([0-9a-fA-F]+)\b|\brw: (Write)")
_UFFD_TIME = re.compile(rb"\s*(?:\[\s*)?(?:\d+@)?(\d+\.\d+)[\]:\s]")


def perf_trace(name: str, begun: bytes, chunks: Iterator[bytes]) -> Iterator[TraceBlock]:
    """`perf trace -F all`."""
    return accesses(name, begun, chunks, _PerfTrace())


class _PerfTrace:
    def __init__(self) -> None:
        self._page = Spaces().page

    def __call__(self, line: bytes) -> Access | None:
        head, fault, rest = line.partition(b"fault [")
        if not fault:
            return None
        time = _PERF_TRACE.match(head)
        where = _WHERE.fullmatch(rest.rpartition(b"] => ")[2])
        if not time or not where:
            raise WrongLineError(
                "not a fault as perf trace -F all prints it: record with --no-syscalls and without"
                " --verbose, which leaves out addresses"
            )
        file = where[1] or b""
        space = b"" if file.startswith((b"//anon", b"[")) else file
        time_ns = (int(time[1]) * 1000 + int(time[2])) * (_NS_PER_MS // 1000)
        return Access(time_ns, self._page(space, int(where[2], 16)), write=False)


def events(name: str, begun: bytes, chunks: Iterator[bytes]) -> Iterator[TraceBlock]:
    """`perf script`, and the same tracepoints of trace-cmd or tracefs."""
    return accesses(name, begun, chunks, _event)


def _event(line: bytes) -> Access | None:
    for mark, read in _EVENTS.items():
        if mark in line:
            time = _TIME.search(line)
            page, write = read(line)
            return Access(nanoseconds(time[1]) if time else None, page, write)
    return None


def _software(line: bytes) -> tuple[int, bool]:
    found = _SOFTWARE.search(line)
    if not found or (found[2].strip() and not _ANOTHER_ADDRESS.search(found[2])):
        raise WrongLineError(
            "a fault without the address of its page: record with -d, and print it with"
            " perf script -F comm,tid,time,event,addr"
        )
    return int(found[1], 16) >> PAGE_SHIFT, False


def _tracepoint(pattern: re.Pattern[bytes]) -> Callable[[bytes], tuple[int, bool]]:
    def read(line: bytes) -> tuple[int, bool]:
        found = pattern.search(line)
        if not found:
            raise WrongLineError("not a fault with address and error code: print all its fields")
        return int(found[1], 16) >> PAGE_SHIFT, bool(int(found[2], 16) & _WRITE)

    return read


_EVENTS: dict[bytes, Callable[[bytes], tuple[int, bool]]] = {
    b"page_fault_user:": _tracepoint(_EXCEPTION),
    b"page_fault_kernel:": _tracepoint(_EXCEPTION),
    b"kvm_page_fault:": _tracepoint(_KVM),
    b"faults:": _software,
}


def userfaults(name: str, begun: bytes, chunks: Iterator[bytes]) -> Iterator[TraceBlock]:
    """Logs of userfaultfd."""
    return accesses(name, begun, chunks, _userfault)


def _userfault(line: bytes) -> Access | None:
    if b"UFFD_EVENT_PAGEFAULT" not in line and b"fault_thread_request" not in line:
        return None
    address = _UFFD_ADDRESS.search(line)
    if not address:
        raise WrongLineError(
            'not a fault such as "1.000345 UFFD_EVENT_PAGEFAULT flags = 1; address = 7fd30106c000"'
        )
    time, flags = _UFFD_TIME.match(line), _UFFD_FLAGS.search(line)
    write = bool(flags and (flags[2] or int(flags[1], 16) & _UFFD_WRITES))
    return Access(nanoseconds(time[1]) if time else None, int(address[1], 16) >> PAGE_SHIFT, write)
