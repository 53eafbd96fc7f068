"""The step language of script tasks: exact things at exact times.

    [at DURATION] STEP

`at` is simulated time: the step does not begin before it. Steps follow one another in the task;
what the task may do is what a thread of the guest may do (user and kernel mode, interrupts and
preemption off, a halt, an MSR write), so a scenario can put a page fault into the one situation
it is about (semantics 11.2).
"""

from __future__ import annotations

from typing import Any, NamedTuple

from pagewake.errors import nearest
from pagewake.guest_kernel.config import Op, ScriptStep
from pagewake.scenario import units
from pagewake.scenario.keys import BadValueError, show


class StepForm(NamedTuple):
    """How a step is written, an example of it, and what it does."""

    op: Op
    form: str
    example: str
    doc: str


STEP_FORMS: dict[str, StepForm] = {
    form.op: form
    for form in (
        StepForm("touch", "touch PAGE [read|write]", "touch 3 write", "one access to a page"),
        StepForm("run", "run DURATION", "run 50us", "compute for that much CPU time"),
        StepForm("kernel", "kernel", "kernel", "enter kernel mode (cpl 0)"),
        StepForm("user", "user", "user", "return to user mode (cpl 3)"),
        StepForm("cli", "cli", "cli", "interrupts off"),
        StepForm("sti", "sti", "sti", "interrupts on"),
        StepForm("hlt", "hlt", "hlt", "halt this vcpu until an event"),
        StepForm("wrmsr", "wrmsr MSR VALUE", "wrmsr apf-en 0x1", "write an MSR"),
        StepForm("preempt-off", "preempt-off", "preempt-off", "disable preemption"),
        StepForm("preempt-on", "preempt-on", "preempt-on", "enable preemption"),
        StepForm("cpuid", "cpuid", "cpuid", "an exit that stays in the kernel"),
        StepForm("sleep", "sleep DURATION", "sleep 1ms", "leave the run queue for that long"),
        StepForm("finish", "finish", "finish", "the task is done"),
    )
}

MSR_NUMBERS: dict[str, int] = {
    "apf-en": 0x4B564D02,
    "apf-int": 0x4B564D06,
    "apf-ack": 0x4B564D07,
}


def read_msr(raw: object) -> int:
    """An MSR by name or number; raises `BadValueError`."""
    if isinstance(raw, str):
        named = MSR_NUMBERS.get(raw)
        return _number(raw, 32, "an MSR", tuple(MSR_NUMBERS)) if named is None else named
    if isinstance(raw, int) and not isinstance(raw, bool) and 0 <= raw < 1 << 32:
        return raw
    raise BadValueError(
        f'{show(raw)} is not an MSR: write "apf-en", "apf-int", "apf-ack" or a number'
    )


def write_msr(number: int) -> str:
    """The inverse of `read_msr`."""
    return next((name for name, msr in MSR_NUMBERS.items() if msr == number), hex(number))


def _number(text: str, bits: int, what: str, names: tuple[str, ...] = ()) -> int:
    try:
        value = int(text, 16 if text.lower().startswith("0x") else 10)
    except ValueError:
        hint = f"; {nearest(text, names)}" if names else "; write for example 3 or 0x3"
        raise BadValueError(f'"{text}" is not {what}{hint}') from None
    if not 0 <= value < 1 << bits:
        raise BadValueError(f'"{text}" is not {what}: from 0 to {hex((1 << bits) - 1)}')
    return value


def _duration(text: str) -> int:
    try:
        return units.parse_duration(text)
    except ValueError as error:
        raise BadValueError(str(error)) from None


def _touch(arguments: list[str]) -> dict[str, int]:
    access = arguments[1] if len(arguments) == 2 else "read"
    if access not in ("read", "write"):
        raise BadValueError(f'"{access}" is no access: {nearest(access, ("read", "write"))}')
    return {"page": _number(arguments[0], 40, "a page number"), "write": access == "write"}


def _arguments(op: str, arguments: list[str]) -> dict[str, Any]:
    if op == "touch":
        return _touch(arguments)
    if op == "wrmsr":
        return {"msr": read_msr(arguments[0]), "value": _number(arguments[1], 64, "an MSR value")}
    return {"ns": _duration(arguments[0])} if op in ("run", "sleep") else {}


_ARGUMENT_COUNTS: dict[str, tuple[int, ...]] = {
    "touch": (1, 2), "run": (1,), "sleep": (1,), "wrmsr": (2,),
}  # fmt: skip


def parse_step(text: str) -> ScriptStep:
    """Read one step; BadValueError names the text and the valid form."""
    words = text.split()
    at_ns: int | None = None
    if words[:1] == ["at"]:
        if len(words) < 3:
            raise BadValueError(f'"{text}": after "at" come a duration and a step, "at 5ms hlt"')
        at_ns = _duration(words[1])
        words = words[2:]
    if not words:
        raise BadValueError(f'"{text}" is no step; write for example "touch 3 write"')
    form = STEP_FORMS.get(words[0])
    if form is None:
        raise BadValueError(f'"{words[0]}" in "{text}" is no step: {nearest(words[0], STEP_FORMS)}')
    if len(words) - 1 not in _ARGUMENT_COUNTS.get(form.op, (0,)):
        raise BadValueError(
            f'"{text}" is incomplete or too long: {form.form}, as in "{form.example}"'
        )
    return ScriptStep(form.op, at_ns, **_arguments(form.op, words[1:]))


def format_step(step: ScriptStep) -> str:
    """The inverse of `parse_step`."""
    words = [] if step.at_ns is None else ["at", units.format_duration(step.at_ns)]
    words.append(step.op)
    if step.op == "touch":
        words += [str(step.page), "write" if step.write else "read"]
    elif step.op == "wrmsr":
        words += [write_msr(step.msr), hex(step.value)]
    elif step.op in ("run", "sleep"):
        words.append(units.format_duration(step.ns))
    return " ".join(words)


class Steps:
    """Reader of a task's `script`: a list of steps."""

    textual = False

    def read(self, raw: object) -> tuple[ScriptStep, ...]:
        if not isinstance(raw, list) or not raw:
            raise BadValueError(
                f'{show(raw)} is not a list of steps, as in ["touch 0 write", "finish"]'
            )
        return tuple(self._step(index, item) for index, item in enumerate(raw))

    @staticmethod
    def _step(index: int, raw: object) -> ScriptStep:
        if not isinstance(raw, str):
            raise BadValueError(
                f'{show(raw)} is no step; write a string such as "touch 0"', (index,)
            )
        try:
            return parse_step(raw)
        except BadValueError as error:
            raise BadValueError(str(error), (index,)) from None

    def write(self, value: tuple[ScriptStep, ...]) -> object:
        return [format_step(step) for step in value]
