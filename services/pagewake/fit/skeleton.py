"""The text of a scenario that is fitted to a recording: every line says where it comes from.

Two things no recording of a host shows: how long the guest computes between two faults, which is
found by trying (`calibration`), and how much of what it touches is resident, which only says how
many touches go by between them.
"""

from __future__ import annotations

import json
import re
from textwrap import wrap

from pagewake.fit.evidence import BLOCK_PAGES, Evidence
from pagewake.guest_kernel.config import KernelCosts
from pagewake.kvm.config import HostCosts
from pagewake.scenario.units import format_duration, format_pages

WIDTH = 100
RESIDENT_SHARE = 2
"""The limit is this part of the working set: not seen, and any other only changes `touch`."""
SECTION_NUM, SECTION_DEN = 1618, 1000
"""Kernel sections per touch: the golden ratio falls into step with no multiple of a touch."""
PARALLELISM = 64
"""The recorded times have their wait in the queue in them, so requests need not queue again."""
HZ = 250
SLOWED = {
    "kernel.costs": (KernelCosts(), ("tick_ns", "trap_ns", "context_switch_ns", "irq_ns")),
    "host.costs": (HostCosts(), ("exit_ns", "entry_ns", "fault_ns", "first_touch_ns", "wake_ns")),
}
"""Times of a CPU, which a slower one takes longer for; the rest is in the device's times."""


def path_ns() -> int:
    """What the costs of this model make of the way from a fault to telling the guest."""
    costs = HostCosts()
    return costs.exit_ns + costs.fault_ns + costs.entry_ns


def slowness(evidence: Evidence) -> int:
    """How many times longer the host took for that way than the costs of this model say."""
    p50_ns = evidence.figures.submission.p50_ns
    return 1 if p50_ns is None else max(1, round(p50_ns / path_ns()))


class Draft:
    """Lines of TOML, each with a remark on its right, or above where there is no room."""

    def __init__(self) -> None:
        self._lines: list[str] = []

    def head(self, text: str) -> None:
        self._lines += ["", text] if self._lines else [text]

    def say(self, remark: str) -> None:
        self._lines += [f"# {line}" for line in wrap(remark, WIDTH - 2)]

    def give(self, key: str, value: object, remark: str) -> None:
        line = f"{key} = {_toml(value)}"
        if len(line) + len(remark) + 4 <= WIDTH:
            self._lines.append(f"{line}  # {remark}")
        else:
            self.say(remark)
            self._lines.append(line)

    def rows(self, key: str, rows: list[str]) -> None:
        self._lines += [f"{key} = [", *(f"  {row}," for row in rows), "]"]

    @property
    def text(self) -> str:
        return "\n".join(self._lines) + "\n"


def _toml(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else json.dumps(value, ensure_ascii=False)


def skeleton(evidence: Evidence, touch_ns: int) -> str:
    """The whole file; `touch_ns`: how long the guest computes between two touches."""
    draft = Draft()
    _about(draft, evidence)
    _kernel(draft, evidence)
    _costs(draft, evidence)
    _host(draft, evidence)
    _vm(draft, evidence)
    _task(draft, evidence, touch_ns)
    _hotplug(draft, evidence)
    return draft.text


def _about(draft: Draft, evidence: Evidence) -> None:
    figures = evidence.figures
    draft.say(f"Fitted to {evidence.source}: {evidence.lines:,} lines of {evidence.vm}.")
    if evidence.vms > 1:
        draft.say(f"It is the VM of the {evidence.vms} there with the most asynchronous faults.")
    draft.head("[scenario]")
    stem = re.sub(r"[^A-Za-z0-9_-]+", "-", evidence.source.split(",")[0].split(".")[0]).strip("-")
    draft.give("name", f"fit-{stem or 'recording'}", "of the recording's name")
    draft.give("seed", 1, "a fit is one run; other seeds say how much of it is chance")
    length = format_duration(evidence.length_ns // 1000 * 1000)
    until = "until the guest turned the last vcpu off" if evidence.shut else "to the last"
    draft.give("duration", length, f"from the first of {evidence.lines:,} lines {until}")
    tenths = ", ".join(f"{count:,}" for count in evidence.tenths)
    draft.say(f"{figures.started:,} asynchronous faults; by tenths of that time: {tenths}")


def _kernel(draft: Draft, evidence: Evidence) -> None:
    draft.head("[kernel]")
    draft.give("profile", evidence.profile, evidence.why)
    draft.give("hz", HZ, "not seen; CONFIG_HZ of most distributions")


def _costs(draft: Draft, evidence: Evidence) -> None:
    factor, stage = slowness(evidence), evidence.figures.submission
    if factor == 1:
        return
    for index, (table, (costs, names)) in enumerate(SLOWED.items()):
        draft.head(f"[{table}]")
        if not index:
            draft.say(
                f"The median of {stage.count:,} faults took {format_duration(stage.p50_ns or 0)} "
                f"from not present until the guest was told, where the defaults make "
                f"{format_duration(path_ns())} of it: a CPU {factor} times slower."
            )
        for name in names:
            default_ns = getattr(costs, name)
            remark = f"{format_duration(default_ns)} times {factor}"
            draft.give(name.removesuffix("_ns"), format_duration(default_ns * factor), remark)


def _host(draft: Draft, evidence: Evidence) -> None:
    draft.head("[host]")
    draft.give("page_cluster", "off", "the faults are those that waited, whatever came beside them")
    draft.head("[host.medium]")
    draft.say(
        f"From not present to completed, of {evidence.figures.completion.count:,} faults: this "
        "share of them took at most so long."
    )
    rows = rising(evidence.quantiles)
    draft.rows(
        "quantiles",
        [f"[{share / 1000:g}, {_toml(format_duration(time_ns))}]" for share, time_ns in rows],
    )
    draft.give("parallelism", PARALLELISM, "the times have the wait in the device's queue in them")


def rising(quantiles: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Without rows inside a stretch of one time, which say nothing."""
    kept = [
        row
        for before, row, behind in zip(quantiles, quantiles[1:], quantiles[2:], strict=False)
        if not before[1] == row[1] == behind[1]
    ]
    return [quantiles[0], *kept, quantiles[-1]]


def _vm(draft: Draft, evidence: Evidence) -> None:
    draft.head("[[vm]]")
    draft.give("name", "vm", "any")
    draft.give("vcpus", evidence.vcpus, f"threads of {evidence.vm} that ran as vcpus")
    memory = format_pages(evidence.memory_pages)
    draft.give("memory", memory, "up to the last 2 MiB in which a fault waited")
    limit = format_pages(max(BLOCK_PAGES, evidence.working_set_pages // RESIDENT_SHARE))
    draft.give("limit", limit, "not seen: half of what is used; memory.max of its cgroup, if known")


def _task(draft: Draft, evidence: Evidence, touch_ns: int) -> None:
    figures = evidence.figures
    waited = figures.started + figures.synchronous.count
    draft.head("[[vm.task]]")
    draft.give("name", "walker", "any")
    tasks = max(1, figures.outstanding_max_vm)
    draft.give("count", tasks, f"faults outstanding at a time, at most, of {figures.started:,}")
    runs = f"{evidence.runs:.0%} of {waited:,} faults that waited are just behind an earlier one"
    draft.give("pattern", "sequential" if evidence.sequential else "random", runs)
    pages = evidence.working_set_pages
    if evidence.sequential:
        draft.give("private", True, "walks that keep apart: one memory would make one walk of them")
        pages = -(-pages // tasks)
    size = format_pages(pages)
    each = f", over {tasks}" if evidence.sequential else ""
    draft.give("working_set", size, f"the pieces of 2 MiB in which {waited:,} faults waited{each}")
    draft.give("populated", True, "what faults was swapped out, so it had been written")
    draft.give("access", "mixed", "reads and writes were seen")
    writes = round(figures.writes / figures.started, 3)
    draft.give("write_share", writes, f"{figures.writes:,} of {figures.started:,} faults")
    touch = format_duration(touch_ns)
    draft.give("touch", touch, f"by trying: gives the {figures.started:,} faults of that time")
    share = evidence.kernel_share
    if 0 < share < 1:
        period_ns = touch_ns * SECTION_NUM // SECTION_DEN
        for_ns = max(1, round(period_ns * share))
        known = figures.kernel + figures.user
        remark = f"{figures.kernel:,} of {known:,} faults were of kernel mode ({share:.1%})"
        draft.give("kernel_for", format_duration(for_ns), remark)
        draft.give("kernel_every", format_duration(max(1, period_ns - for_ns)), "and the rest not")


def _hotplug(draft: Draft, evidence: Evidence) -> None:
    for switched in evidence.switched:
        draft.head("[[event]]")
        draft.give("at", format_duration(switched.at_ns), "a write of MSR_KVM_ASYNC_PF_EN")
        draft.give("do", "vcpu-online" if switched.on else "vcpu-offline", "which hotplug does")
        draft.give("vm", "vm-0", "the one above")
        draft.give("vcpu", switched.vcpu, "whose thread wrote it")
