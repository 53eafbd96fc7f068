"""A server task on its CPU: from one request to the next (`requests`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pagewake.events import types as ev
from pagewake.guest_kernel.requests import RequestStream
from pagewake.kvm.ports import Step

if TYPE_CHECKING:
    from pagewake.guest_kernel.tasks import Task
    from pagewake.guest_kernel.vcpu import GuestCpu


def next_request(cpu: GuestCpu, at_ns: int, task: Task) -> Step:
    """What the task served is done; it goes on with the next, or sleeps until that comes."""
    queue, served, stream = task.requests, task.request, task.stream
    assert queue is not None
    assert isinstance(stream, RequestStream)
    if served is not None:
        cpu.thread.note(
            ev.RequestDone, at_ns, task.name, served.number, served.arrived_ns, served.taken_ns
        )
        queue.done(served, at_ns)
        task.requests_done += 1
    request = task.request = queue.take(at_ns)
    if request is None:
        return cpu.finish(at_ns, task)
    stream.begin(request.service_ns, request.touches)
    if request.arrived_ns > at_ns:
        return cpu.sleep_until(at_ns, task, request.arrived_ns)
    return cpu.run_base(at_ns)
