"""Which kernel's rules a recording follows, by what its lines show, and why it is taken to be so.

A recording does not name its kernel.  The texts of its trace points (`tracepoints.FORMS`), their
names, and how READY is told came and went one after another: each says that the kernel is not older
than one release, or older than another.  The profile is the newest one older than all that it must
be older than; where nothing says that, the oldest that shows what this kernel shows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from pagewake.kvm.profile import RELEASES
from pagewake.recorded.sight import Sight
from pagewake.recorded.tracepoints import FORMS, NAMES, POSTED, Form, Release, release_of


class Era(NamedTuple):
    """A profile of `kvm.profile`, and the reason."""

    profile: str
    why: str


class _Bound(NamedTuple):
    """Not older than a release, or older than it, and by what that is seen."""

    release: Release
    why: str


_NOT_OLDER: Mapping[str, _Bound] = {
    "msr ack": _Bound((5, 8), "the guest writes MSR_KVM_ASYNC_PF_ACK, which 5.8 brought"),
    "msr int": _Bound((5, 8), "the guest writes MSR_KVM_ASYNC_PF_INT, which 5.8 brought"),
    "interrupt": _Bound((5, 8), "READY is followed by an interrupt, as from 5.8"),
    "as_vmexit": _Bound((4, 13), "the guest writes DELIVERY_AS_PF_VMEXIT, which 4.13 brought"),
    "kvm_async_pf_task_wait_schedule": _Bound(
        (5, 8), "the guest waits in kvm_async_pf_task_wait_schedule, which 5.8 brought"
    ),
    "broadcast": _Bound((4, 14), "a broadcast has the token 0xffffffff, as from 4.14"),
}
_OLDER: Mapping[str, _Bound] = {
    "kvm_async_pf_task_wait": _Bound(
        (5, 8), "the guest waits in kvm_async_pf_task_wait, as until 5.7"
    ),
    "exception": _Bound((5, 8), "READY is followed by an exception, as until 5.7"),
    "broadcast of 0": _Bound((4, 14), "a broadcast has the token 0, as until 4.13"),
}
_TAKEN = "6.1"
"""Where nothing tells kernels apart: the one whose recordings the checks were tried on."""


def era_of(sight: Sight) -> Era:
    """The kernel of a recording, as far as it is known by now."""
    since = [*_since(sight), *(one for sign, one in _NOT_OLDER.items() if sign in sight.signs)]
    until = [*_until(sight), *(one for sign, one in _OLDER.items() if sign in sight.signs)]
    oldest = max(since, default=None)
    newest = min(until, default=None)
    releases = {release_of(one.name): one.name for one in RELEASES}
    if newest is not None and (oldest is None or oldest.release < newest.release):
        known = max(release for release in releases if release < newest.release)
        return Era(releases[known], f"{newest.why}; the newest before that")
    if oldest is None or oldest.release <= POSTED:
        return Era(_TAKEN, f"no line tells kernels apart; {_TAKEN} is taken")
    known = min((one for one in releases if one >= oldest.release), default=max(releases))
    return Era(releases[known], f"{oldest.why}, the oldest of the profiles that may have it")


def _forms(sight: Sight) -> Iterator[tuple[str, list[Form]]]:
    """By kind of trace point: the forms that the first line of it has."""
    for name, text in sight.samples.items():
        kind = NAMES.get(name)
        if kind is None:
            continue
        forms = [one for one in FORMS[kind] if one.name == name and one.read(text) is not None]
        if forms:
            yield kind, forms


def _since(sight: Sight) -> Iterator[_Bound]:
    """Forms that came back to older kernels do not count."""
    for _, forms in _forms(sight):
        form = forms[0]
        if "also in stable" not in form.source:
            release = ".".join(map(str, form.since))
            yield _Bound(form.since, f"{form.name} has its form of {release}")


def _until(sight: Sight) -> Iterator[_Bound]:
    for kind, forms in _forms(sight):
        later = [one for one in FORMS[kind] if one.since > forms[-1].since]
        if later:
            release = ".".join(map(str, later[0].since))
            yield _Bound(later[0].since, f"{forms[-1].name} has not its form of {release}")
