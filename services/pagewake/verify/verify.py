"""`verify_log`: whether a log is whole, and whether what it tells can have happened.

First integrity: a dropped, doubled, swapped, torn or edited line, by file and line. Then, from the
log alone: the windows fit, every VM's total order can be rebuilt, every invariant of semantics
11.1 holds as the run's kernel profile has it, and the digests are what `digest.txt` says.
A log that is not whole is not judged further: what is missing would look like a violation.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from pagewake.bus.log_reader import LogReader
from pagewake.bus.log_sums import DIGEST_NAME, RUN_NAME
from pagewake.errors import PagewakeError
from pagewake.events.digest import RunningDigest, combine_hosts, combine_vms
from pagewake.participants.build import host_config
from pagewake.scenario.loading import load
from pagewake.scenario.model import Scenario
from pagewake.verify.invariants import Reporter, Rules, VmChecks, rules_of
from pagewake.verify.log_run import LogRun, PlacedEvent
from pagewake.verify.vm_order import HostOrder, tasks_by_vm


@dataclass(slots=True)
class VerifyReport:
    """The findings. `digest` is recomputed; where that cannot be, it is what the log claims.

    `confirmed` says which: False for a digest that is only what the log claims.
    `problems` is everything wrong, integrity first, one line each. `ledger` counts what became of
    injected not-present events and of dummies, over all VMs (invariant I6).
    """

    digest: str = ""
    confirmed: bool = True
    events: int = 0
    problems: list[str] = field(default_factory=list)
    ledger: Counter[str] = field(default_factory=Counter)

    @property
    def ok(self) -> bool:
        return not self.problems


def verify_log(path: Path) -> VerifyReport:
    """Check a log directory; ConfigError if it is none, DataError if there is no log in it."""
    reader = LogReader(path)
    run = LogRun(reader)
    report = VerifyReport()
    scenario = _scenario(path, report) if reader.run_toml is not None else None
    if scenario is not None:
        _judge(run, scenario, report)
    integrity = [str(problem) for problem in run.integrity()]
    if integrity:
        report.problems = integrity
    if reader.sums is not None and (integrity or scenario is None):
        report.digest, report.confirmed = reader.sums.digest, False
    return report


def _scenario(path: Path, report: VerifyReport) -> Scenario | None:
    try:
        return load(str(path / RUN_NAME))
    except PagewakeError as error:
        report.problems.append(f"{RUN_NAME}: is no scenario: {error}")
        return None


def lookahead_ns(scenario: Scenario) -> int:
    """Nothing that a host of this scenario answers takes effect sooner after its cause."""
    hosts = range(scenario.host.count)
    return min(host_config(scenario, index, ()).lookahead_ns for index in hosts)


def _judge(run: LogRun, scenario: Scenario, report: VerifyReport) -> None:
    kernel = scenario.kernel
    rules = rules_of(
        kernel.switches(0),
        kernel.switches(1),
        lookahead_ns(scenario),
        kernel.guest_apf,
        acks_in_log=scenario.about.version != "0.1.0",
        clears_wait=scenario.about.version != "0.1.0",
    )
    reporter = Reporter()
    digests = [
        _judge_host(run, host, tasks_by_vm(scenario, host), rules, reporter, report)
        for host in range(scenario.host.count)
    ]
    report.digest = combine_hosts(digests)
    report.problems += run.complaints
    report.problems += [str(violation) for violation in reporter.found]
    if reporter.suppressed:
        report.problems.append(f"and {reporter.suppressed} more violations")
    _compare_digests(run.reader, digests, report)


def _judge_host(
    run: LogRun,
    host: int,
    tasks: dict[str, int],
    rules: Rules,
    reporter: Reporter,
    report: VerifyReport,
) -> str:
    """Check all VMs of one simulated host; its digest."""
    vms = {name: _VmCheck(name, rules, reporter) for name in tasks}

    def stray(placed: PlacedEvent, what: str) -> None:
        reporter.place = placed
        reporter.add("order", placed.event, what)

    order = HostOrder(tasks, vms, stray)
    for window in run.windows(host):
        order.feed(window)
    order.finish()
    for vm in vms.values():
        vm.checks.finish()
        report.events += vm.events
        report.ledger.update(vm.checks.ledger)
    digests = {name: vm.digest.hexdigest() for name, vm in vms.items()}
    report.problems += _denied(run, digests)
    return combine_vms(digests)


def _denied(run: LogRun, digests: dict[str, str]) -> list[str]:
    """Problems where a shard's own digest of a VM, said at its end, is not the log's."""
    return [
        f"{where}: ShardEnded: digest of {vm} is {said}, the log's {digests[vm]}"
        for where, ended in run.endings
        for vm, said in ended.digests.items()
        if vm in digests and said != digests[vm]
    ]


def _compare_digests(reader: LogReader, hosts: list[str], report: VerifyReport) -> None:
    sums = reader.sums
    if sums is None:
        return
    recorded = sums.host_digests
    if len(recorded) != len(hosts):
        report.problems.append(f"{DIGEST_NAME}: names {len(recorded)} hosts, not {len(hosts)}")
    pairs = [(f"host-{i}", pair) for i, pair in enumerate(zip(recorded, hosts, strict=False))]
    for name, (said, found) in [*pairs, ("run", (sums.digest, report.digest))]:
        if said != found:
            report.problems.append(f"{DIGEST_NAME}: digest of {name} is {said}, the log's {found}")


class _VmCheck:
    """Checks and digests one VM while its log is read (`VmSink`)."""

    __slots__ = ("checks", "digest", "events", "reporter")

    def __init__(self, vm: str, rules: Rules, reporter: Reporter) -> None:
        self.reporter = reporter
        self.checks = VmChecks(vm, rules, reporter)
        self.digest = RunningDigest(saved=False)
        self.events = 0

    def take(self, placed: PlacedEvent) -> None:
        self.events += 1
        self.reporter.place = placed
        self.digest.add(placed.event)
        self.checks.feed(placed.event)

    def complain(self, placed: PlacedEvent, what: str) -> None:
        self.reporter.place = placed
        self.reporter.add("order", placed.event, what)
