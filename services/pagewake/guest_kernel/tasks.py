"""Tasks of a guest: what they do, and where they stand.

Those of one `group` are threads of one process: they have their page table in common.

A stream task runs an access stream (`streams.py`), possibly with kernel-mode sections; a script
task does exact things at exact times; a task with `inner` is a vcpu thread of a nested guest, run
by the hypervisor this guest is (`nested_svm`).  A task with `requests` is one of the servers of
that queue (`requests.py`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal

from mypy_extensions import mypyc_attr

from pagewake.guest_kernel.config import KernelSections, ScriptStep
from pagewake.guest_kernel.requests import Request, Requests
from pagewake.guest_kernel.streams import AccessStream, WorkStream
from pagewake.simtime.state import Saved

State = Literal["new", "runnable", "sleeping", "asleep", "halting", "finished", "killed"]
"""`sleeping`: by its own timer; `asleep`: in the sleeper hash; `halting`: sti;hlt in task_wait."""


@mypyc_attr(allow_interpreted_subclasses=True)
class InnerVcpuPort(Saved, ABC):
    """A vcpu of a nested guest (`nested_svm`), as the task that is its thread sees it."""

    __slots__ = ()

    @abstractmethod
    def ran(self, ran_ns: int) -> None:
        """The thread consumed this much CPU time."""


@mypyc_attr(allow_interpreted_subclasses=True)
class Task(Saved):
    """One schedulable entity."""

    __slots__ = (
        "base_gfn",
        "cpl",
        "cpu",
        "cpu_ns",
        "group",
        "if_flag",
        "index",
        "inner",
        "left_ns",
        "level",
        "name",
        "pc",
        "pinned",
        "preempt_count",
        "request",
        "requests",
        "requests_done",
        "script",
        "sections",
        "start_ns",
        "state",
        "stream",
        "touch_ns",
        "touches_memory",
        "vruntime",
        "weight",
        "work_step_ns",
    )

    def __init__(
        self,
        index: int,
        name: str,
        group: str,
        cpu: int,
        *,
        stream: AccessStream | None = None,
        script: tuple[ScriptStep, ...] = (),
        inner: InnerVcpuPort | None = None,
        requests: Requests | None = None,
        pinned: bool = False,
        weight: int = 1024,
        start_ns: int = 0,
        sections: KernelSections | None = None,
        base_gfn: int = 0,
        touch_ns: int = 100,
        work_step_ns: int = 0,
        level: int = 1,
    ) -> None:
        self.index = index
        self.level = level
        self.name = name
        self.group = group
        self.cpu = cpu
        self.stream = stream
        self.script = script
        self.inner = inner
        self.requests = requests
        self.request: Request | None = None
        self.requests_done = 0
        self.pinned = pinned
        self.weight = weight
        self.start_ns = start_ns
        self.sections = sections
        self.base_gfn = base_gfn
        self.touch_ns = touch_ns
        computes = isinstance(stream, WorkStream) or (requests is not None and not requests.touches)
        self.touches_memory = not computes
        self.work_step_ns = work_step_ns
        self.state: State = "new"
        self.vruntime = 0
        self.cpu_ns = 0
        self.cpl = 0 if inner is not None else 3
        self.if_flag = True
        self.preempt_count = 0
        self.pc = 0
        self.left_ns = 0

    def section_left_ns(self) -> int | None:
        """CPU time until the next change between user and kernel mode; None without sections."""
        sections = self.sections
        if sections is None:
            return None
        phase = self.cpu_ns % (sections.every_ns + sections.for_ns)
        if phase < sections.every_ns:
            return sections.every_ns - phase
        return sections.every_ns + sections.for_ns - phase

    def enter_section(self) -> None:
        """Set the privilege level by where the task stands between its kernel sections."""
        sections = self.sections
        if sections is not None:
            kernel = self.cpu_ns % (sections.every_ns + sections.for_ns) >= sections.every_ns
            self.cpl = 0 if kernel else 3
            self.preempt_count = 1 if kernel and sections.no_preempt else 0

    @property
    def touches(self) -> int:
        """Touches of memory that are done."""
        if self.stream is not None:
            return self.stream.touches
        return sum(step.op == "touch" for step in self.script[: self.pc])

    @property
    def ends(self) -> bool:
        """Given time, it finishes."""
        if self.requests is not None:
            return self.requests.ends
        return self.stream is None or self.stream.remaining_ns() is not None

    @property
    def work(self) -> int:
        """Increments a work task has counted."""
        return self.cpu_ns // self.work_step_ns if self.work_step_ns else 0
