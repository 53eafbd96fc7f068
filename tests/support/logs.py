"""A small log with everything a log can have: hosts, shards of both kinds, parts, a journal."""

from __future__ import annotations

from pathlib import Path

from pagewake.bus.log_dir import LogWriter
from pagewake.bus.log_lines import LoggedCommit
from pagewake.bus.log_reader import LogFile, LogProblem, LogReader
from pagewake.engine.embedded import EmbeddedOutcome
from pagewake.events.codec import APF_GUEST, APF_NESTED
from tests.support.domains import FakeHost, FakePart, FakeShard, FakeVm, run_domains

RUN_TOML = '[scenario]\nname = "small"\nseed = 1\n'


def commits_of(reader: LogReader, file: LogFile) -> list[LoggedCommit]:
    """The commits of a file in which nothing is wrong."""
    problems: list[LogProblem] = []
    commits = list(reader.scan(file, problems))
    assert not problems
    return commits


def participants(hosts: int = 2, misses: int = 3) -> list[FakePart]:
    """Per simulated host two guest shards and a nested one."""
    made: list[FakePart] = []
    for index in range(hosts):
        names = [f"h{index}-vm-{i}" for i in range(5)]
        vms = [FakeVm(1, name, misses, tick_ns=400) for name in names]
        shards = [
            (APF_GUEST, FakeShard(vms[:2])),
            (APF_GUEST, FakeShard(vms[2:4])),
            (APF_NESTED, FakeShard(vms[4:])),
        ]
        made.append((FakeHost(1, 100, names, agings=[150, 450]), shards))
    return made


def write_log(directory: Path, hosts: int = 2, misses: int = 3) -> EmbeddedOutcome:
    """Run the small run and log it."""
    with LogWriter(directory, RUN_TOML) as log:
        return run_domains(participants(hosts, misses), 50_000, log=log)
