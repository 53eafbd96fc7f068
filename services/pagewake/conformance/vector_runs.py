"""One row of a vector file through the code that simulations run; what differed comes back.

`hash32`, `sleepers`, `traps`, `latch`, `nested-routing`: every value is what that code decided; the
runner calls it in the order of the row.  `nested-vmx`: so too, but no simulation runs that code.
`pf-interception`: so are the branch, the addresses, the latch, and whether a task sleeps; the order
of actions around them is in `action_order.py`.
A row that asks for what the format rules out (a cpu that is not there, a task that waits twice)
raises `RowError`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from pagewake.conformance import vectors as v
from pagewake.conformance.action_order import order_of, returned, scheduled_again
from pagewake.conformance.blocking_wait import WaitingGuest
from pagewake.events.ids import Token
from pagewake.guest_kernel.apf_area import ApfArea
from pagewake.guest_kernel.sleepers import Sleepers
from pagewake.guest_kernel.traps import dispatch
from pagewake.kvm.abi import BROADCAST_TOKEN
from pagewake.kvm.gfn_hash import hash_32
from pagewake.kvm.profile import resolve
from pagewake.nested_svm.exit_codes import EXCP_PF
from pagewake.nested_svm.hypervisor import Disposition, Exit, NestedSvm
from pagewake.nested_svm.routing import Intercepts, PermissionMap
from pagewake.nested_vmx import routing as vmx

_HEX = re.compile(r"0x[0-9a-fA-F]+\Z")
_SWITCHES = resolve("2.6.38", {})


class RowError(Exception):
    """A row that the format does not allow."""


def difference(expect: v.Expect, actual: dict[str, Any], wide: Sequence[str] = ()) -> str | None:
    """The first key that differs; `wide` names quantities that may be written as hex strings."""
    for key in (*actual, *(key for key in expect if key not in actual)):
        if key not in expect:
            return f"{key}: got {_shown(actual[key])}, which the row does not expect"
        wanted = expect[key]
        if key in wide and isinstance(wanted, str) and _HEX.match(wanted):
            wanted = int(wanted, 16)
        if key not in actual:
            return f"{key}: expected {_shown(wanted)}, got nothing"
        if _shown(wanted) != _shown(actual[key]):
            return f"{key}: expected {_shown(expect[key])}, got {_shown(actual[key])}"
    return None


def _shown(value: object) -> str:
    return msgspec.json.encode(value, order="deterministic").decode()


# --------------------------------------------------------------------------- guest side


def run_hash(row: v.HashRow) -> str | None:
    bucket = hash_32(row.token, 8)
    return None if bucket == row.bucket else f"bucket: expected {row.bucket}, got {bucket}"


def run_sleepers(row: v.SleepersRow) -> str | None:
    guest = _Guest(row.cpus)
    for number, op in enumerate(row.ops, 1):
        found = difference(op.expect, guest.perform(op))
        if found is not None:
            return f"op {number}: {found}"
    return None


class _Guest:
    """A guest of the sleepers family: its table, its cpus' areas, an allocator that can fail."""

    def __init__(self, cpus: int) -> None:
        self.sleepers: Sleepers[int] = Sleepers()
        self.areas = [ApfArea() for _ in range(cpus)]
        for area in self.areas:
            area.enabled = 1
        self.fails_left = 0

    def perform(self, op: v.SleeperOp | v.Meanwhile) -> dict[str, Any]:
        """Do it; the result and the complete state afterwards."""
        if isinstance(op, v.AllocFail | v.AllocFailMeanwhile):
            self.fails_left = op.n
            result: dict[str, Any] = {"result": "ok"}
        elif op.cpu >= len(self.areas):
            message = f"cpu {op.cpu}, but the row has {len(self.areas)}"
            raise RowError(message)
        elif isinstance(op, v.Wait | v.WaitMeanwhile):
            result = self._wait(op.task, op.cpu, op.token)
        elif isinstance(op, v.CpuOffline | v.OfflineMeanwhile):
            result = self._offline(op.cpu)
        elif op.token == BROADCAST_TOKEN:
            result = self._wake_all("wake-all", op.cpu)
            if isinstance(op, v.Wake) and op.on_retry is not None:
                result["during"] = []
        else:
            result = self._wake(op.cpu, op.token, op.on_retry if isinstance(op, v.Wake) else None)
        return result | self._state()

    def _state(self) -> dict[str, Any]:
        sleepers = self.sleepers
        return {
            "table": sleepers.table(),
            "leaked": sleepers.leaked,
            "fails_left": self.fails_left,
            "asleep": sorted(sleepers.asleep),
            "lost": sorted(sleepers.lost),
        }

    def _wait(self, task: int, cpu: int, token: int) -> dict[str, Any]:
        if task in self.sleepers.asleep:
            message = f"task {task} waits while an earlier wait of it has not returned"
            raise RowError(message)
        done = self.sleepers.task_wait(task, cpu, Token(token))
        if done.slept:
            return {"result": "slept"}
        result: dict[str, Any] = {"result": "returned", "consumed": done.consumed}
        if done.victim is not None:
            result |= {"victim": done.victim, "invalid_free": True}
        return result

    def _offline(self, cpu: int) -> dict[str, Any]:
        area = self.areas[cpu]
        written = area.disable()
        result = self._wake_all("offline", cpu)
        return result | {"msr_written": written, "enabled": area.enabled}

    def _wake_all(self, name: str, cpu: int) -> dict[str, Any]:
        done = self.sleepers.wake_all(cpu)
        return {"result": name, "woke": [task for task, _ in done.woke], "dropped": done.dropped}

    def _wake(self, cpu: int, token: int, on_retry: list[v.Meanwhile] | None) -> dict[str, Any]:
        """Attempt after attempt, with what another cpu does between them."""
        during: dict[int, dict[str, Any]] = {}
        last = max((item.at for item in on_retry or ()), default=0)
        spins = 0
        while (done := self.sleepers.try_wake(cpu, Token(token), self._can_allocate)) is None:
            if self.fails_left < 0 and spins >= last:
                message = f"the wake of token {token} never finds memory, and nothing ends its spin"
                raise RowError(message)
            spins += 1
            for place, item in enumerate(on_retry or ()):
                if item.at == spins:
                    during[place] = self.perform(item)
        result: dict[str, Any] = {"result": done.kind, "spins": spins}
        if done.task is not None:
            result["task"] = done.task
        if on_retry is not None:
            result["during"] = [during[place] for place in sorted(during)]
        return result

    def _can_allocate(self) -> bool:
        if self.fails_left > 0:
            self.fails_left -= 1
            return False
        return self.fails_left == 0


def run_traps(row: v.TrapsRow) -> str | None:
    areas = [ApfArea() for _ in range(row.cpus)]
    for number, step in enumerate(row.steps, 1):
        if step.cpu >= row.cpus:
            message = f"cpu {step.cpu}, but the row has {row.cpus}"
            raise RowError(message)
        area = areas[step.cpu]
        if step.enabled is not None:
            area.enabled = step.enabled
        if step.host_reason is not None:
            area.reason = step.host_reason
        handler, value = dispatch(area, int(step.cr2, 16), int(step.error_code, 16))
        actual = {
            "handler": handler,
            "error_code" if handler == "page_fault" else "token": value,
            "reason_after": area.reason,
            "enabled_after": area.enabled,
        }
        found = difference(step.expect, actual, ("error_code",))
        if found is not None:
            return f"step {number}: {found}"
    return None


# --------------------------------------------------------------------------- host side


def run_interception(row: v.InterceptRow | v.BlockingWaitRow) -> str | None:
    if isinstance(row, v.BlockingWaitRow):
        return _run_blocking_wait(row)
    svm = NestedSvm(_SWITCHES, bool(row.npt))
    svm.apf_reason = row.apf_reason
    info1, info2 = int(row.exit_info_1, 16), int(row.exit_info_2, 16)
    done = svm.handle_exit(row.exit_code, info1, info2, 0, bool(row.pending)).interception
    assert done is not None, "the page fault handler answers every page fault"
    actual: dict[str, Any] = {"branch": done.branch, "order": order_of(done)}
    actual["unprotect"] = done.unprotect
    if done.branch == "fault":
        actual |= {"fault_address": done.address, "error_code": done.error_code}
    else:
        actual["token"] = done.address
    actual["apf_reason_after"] = svm.apf_reason
    actual["ret"] = returned(done, row.mmu_ret)
    return difference(row.expect, actual, ("fault_address",))


def _run_blocking_wait(row: v.BlockingWaitRow) -> str | None:
    """The handler's wait in a guest; the wake arrives while its task is scheduled out."""
    svm = NestedSvm(_SWITCHES)
    svm.apf_reason = row.apf_reason
    done = svm.handle_exit(EXCP_PF, 0, int(row.exit_info_2, 16)).interception
    assert done is not None, "the page fault handler answers every page fault"
    token = Token(done.address)
    guest = WaitingGuest()
    if row.early_wake:
        guest.wake(token)
    guest.wait(token)
    order = order_of(done)
    if guest.asleep:
        order.append("schedule")
        for _ in range(row.spurious_wakeups):
            order += scheduled_again(guest.asleep)
        guest.wake(token)
        order += ["woken", *scheduled_again(guest.asleep)]
    actual = {
        "order": order,
        "token": token,
        "apf_reason_after": svm.apf_reason,
        "ret": returned(done, 0),
    }
    return difference(row.expect, actual)


def run_routing(row: v.RoutingRow) -> str | None:
    svm = NestedSvm(_SWITCHES, bool(row.npt))
    svm.guest_mode = True
    svm.apf_reason = row.apf_reason
    svm.intercepts = _intercepts(row.l1, row.msr_bitmap, row.io_bitmap)
    info1, rcx = int(row.exit_info_1, 16), int(row.rcx, 16)
    first = svm.special(row.exit_code).upper()
    second = svm.intercept(row.exit_code, info1, rcx).upper()
    done = svm.handle_exit(row.exit_code, info1, 0, rcx)
    actual = {
        "special": first,
        "intercept": second,
        "final": "DONE" if done.route == "done" else "HOST",
        "l1_vmexit": done.todo == "vmexit",
        "fpu_activate": done.fpu_activate,
    }
    return difference(row.expect, actual)


def _intercepts(words: v.Words, msr: v.Map | None = None, io: v.Map | None = None) -> Intercepts:
    return Intercepts(
        words.cr, words.dr, words.exceptions, int(words.misc, 16), _map(msr), _map(io)
    )


def _map(described: v.Map | None) -> PermissionMap | None:
    if described is None:
        return None
    return PermissionMap(described.fill, dict(described.bytes), described.unreadable)


def run_latch(row: v.LatchRow) -> str | None:
    vcpu = _HostVcpu()
    for number, step in enumerate(row.steps, 1):
        found = difference(step.expect, vcpu.perform(step), ("fault_address",))
        if found is not None:
            return f"step {number}: {found}"
    return None


class _HostVcpu:
    """A virtual cpu of the latch family, with the area it shares with the outer host."""

    def __init__(self) -> None:
        self.svm = NestedSvm(_SWITCHES)
        self.area = ApfArea()
        self.left = Exit(0)

    def perform(self, step: v.Run | v.Handle | v.QueueException) -> dict[str, Any]:
        if isinstance(step, v.Run):
            return self._run(step)
        self.svm.guest_mode = step.in_l2
        self.svm.intercepts = _intercepts(step.l1)
        if isinstance(step, v.Handle):
            self.svm.npt = bool(step.npt)
            return self._handled(self.svm.handle_exit(*self.left))
        required = self.svm.queue_exception(step.vector, 0, 0)
        return {"l1_vmexit_required": required, "apf_reason": self.svm.apf_reason}

    def _run(self, step: v.Run) -> dict[str, Any]:
        svm, area = self.svm, self.area
        if step.enabled is not None:
            area.enabled = step.enabled
        left = Exit(step.exit_code, int(step.exit_info_1, 16), int(step.exit_info_2, 16))
        svm.owed = left if step.exit_required else None
        entered = not svm.exit_required
        if entered:
            if step.host_reason is not None:
                area.reason = step.host_reason
            self.left = left
            svm.latch(left.code, area.read_and_reset_reason)
        return {"entered": entered, "apf_reason": svm.apf_reason, "shared_reason": area.reason}

    def _handled(self, done: Disposition) -> dict[str, Any]:
        route = {"vmexit": "l1_vmexit", "fail_entry": "other"}.get(done.todo, done.todo)
        actual: dict[str, Any] = {"route": route}
        if done.interception is not None:
            key = "fault_address" if route == "fault" else "token"
            actual[key] = done.interception.address
        actual["apf_reason"] = self.svm.apf_reason
        return actual


# --------------------------------------------------------------------------- nested VMX


def run_vmx(row: v.VmxExitRow | v.VmxExceptionRow) -> str | None:
    l1 = row.l1
    controls = vmx.Controls(l1.exceptions, l1.pf_mask, l1.pf_match, bool(l1.hlt_exiting))
    if isinstance(row, v.VmxExitRow):
        final = vmx.route(row.exit_reason, row.vector, row.apf_reason, bool(row.ept), controls)
        return difference(row.expect, {"final": final.upper()})
    token, cr2 = int(row.token, 16), int(row.cr2, 16)
    nested_apf = bool(row.nested_apf)
    actual: dict[str, Any] = {
        "vmexit": vmx.leaves(row.vector, row.error_code, nested_apf, controls)
    }
    if actual["vmexit"]:
        actual["qualification"] = vmx.qualification(row.vector, nested_apf, token, cr2)
    return difference(row.expect, actual, ("qualification",))


RUNS: dict[str, Callable[[Any], str | None]] = {
    "hash32": run_hash,
    "sleepers": run_sleepers,
    "traps": run_traps,
    "pf-interception": run_interception,
    "latch": run_latch,
    "nested-routing": run_routing,
    "nested-vmx": run_vmx,
}
