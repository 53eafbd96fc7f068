"""A guest with one task, which waits and is woken by the guest kernel's own functions."""

from __future__ import annotations

from pathlib import Path

from pagewake.events.ids import Token
from pagewake.guest_kernel import apf_handler
from pagewake.participants.build import build
from pagewake.participants.plan import RunPlan
from pagewake.scenario.loading import loads

USER_MODE = 3
BOOTED_NS = 1_000_000
"""The cpu is up after some microseconds, and the task runs far longer."""

GUEST = """
[scenario]
name = "blocking-wait"
duration = "1s"
[kernel]
profile = "2.6.38"
[host]
medium = "hdd-2010"
page_cluster = "off"
[[vm]]
name = "vm"
vcpus = 1
memory = "1MiB"
limit = "1MiB"
[[vm.task]]
name = "waiter"
pattern = "work"
"""


class WaitingGuest:
    """One cpu, and one task that runs on it."""

    def __init__(self) -> None:
        plan = RunPlan.of("blocking-wait", loads(GUEST, "blocking-wait.toml", Path()), shards=1)
        self.kernel = build(plan)[0].shards[0].kernels[0]
        self.kernel.vm.run(BOOTED_NS)
        [self.task] = self.kernel.tasks
        [self.cpu] = self.kernel.cpus
        assert self.cpu.curr is self.task, "the task has booted its cpu and runs"

    def wait(self, token: Token) -> None:
        """The task takes a not-present fault."""
        apf_handler.task_wait(self.cpu, BOOTED_NS, token, USER_MODE)

    def wake(self, token: Token) -> None:
        """A ready notification."""
        apf_handler.task_wake(self.cpu, BOOTED_NS, token, 0)

    @property
    def asleep(self) -> bool:
        """The task waits, and its entry is still linked."""
        linked = self.task.name in self.kernel.sleepers.asleep
        assert linked == (self.task.state == "asleep"), f"{self.task.name} is {self.task.state}"
        return linked
