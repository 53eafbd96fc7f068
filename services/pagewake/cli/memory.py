"""How much memory this process may still take: of the machine, its control groups, its limits."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from pathlib import Path

_GROUP_FILES = {
    "": ("memory.max", "memory.current", ""),
    "memory": ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_"),
}
"""By the controllers of a hierarchy (version 2 has none): limit, use, before names of its stat."""


def available_bytes(root: Path) -> int | None:
    """Memory that this process may still take; None where nothing says so."""
    return min(
        (*_of_machine(root / "proc/meminfo"), *_of_groups(root), *_of_process(root)), default=None
    )


def _of_machine(meminfo: Path) -> Iterator[int]:
    """Memory and swap that are free."""
    kib = {name: int(value) for name, value in _words(meminfo) if value.isdecimal()}
    if "MemAvailable:" in kib:
        yield 1024 * (kib["MemAvailable:"] + kib.get("SwapFree:", 0))


def _of_groups(root: Path) -> Iterator[int]:
    """What the limits of its control groups leave, the file cache not counted as taken."""
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, name = line.split(":", 2)
        files = _GROUP_FILES.get(controllers)
        group = root / "sys/fs/cgroup" / controllers
        if files is None:
            continue
        for part in ("", *Path(name.lstrip("/")).parts):
            group = group / part
            yield from _of_group(group, *files)


def _of_group(group: Path, limit: str, taken: str, cached: str) -> Iterator[int]:
    most, now = (_text(group / name).strip() for name in (limit, taken))
    if most.isdecimal() and now.isdecimal():
        kinds = (f"{cached}active_file", f"{cached}inactive_file")
        stat = _words(group / "memory.stat")
        yield max(0, int(most) - int(now) + sum(int(n) for kind, n in stat if kind in kinds))


def _of_process(root: Path) -> Iterator[int]:
    """What `ulimit -v` leaves."""
    most = resource.getrlimit(resource.RLIMIT_AS)[0]
    if most != resource.RLIM_INFINITY:
        for name, value in _words(root / "proc/self/status"):
            if name == "VmSize:":
                yield max(0, most - int(value) * 1024)


def _words(path: Path) -> Iterator[tuple[str, str]]:
    for line in _text(path).splitlines():
        words = line.split()
        if len(words) > 1:
            yield words[0], words[1]


def _text(path: Path) -> str:
    try:
        return path.read_text("ascii")
    except OSError:
        return ""
