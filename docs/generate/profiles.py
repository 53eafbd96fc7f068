"""reference/profiles.md: every rule switch in every kernel profile, from the tables of `kvm`."""

from __future__ import annotations

from collections.abc import Iterator

from docs.generate.markdown import code, head, table
from docs.generate.scenario import shown
from pagewake.kvm.profile import PROFILES, RELEASES, SWITCHES

ABOUT = """
Which rule is in force in which kernel. A release has the rules of its first version; fixes that a
stable release got later are set with [overrides](scenario.md#kerneloverrides-switches), where each
switch is described with the commit that it stands for. `pagewake profiles 5.4 6.12` says what
differs between two.
"""
SAME = """
These have one value in every profile; it is a choice of a build or stands for what no kernel does.
"""
ALIASES = """
Names of distributions stand for the kernel they are based on. What is known to have been brought
back to it is set and named; other backports are not.
"""


def page() -> str:
    """The whole page."""
    varying = [name for name in SWITCHES if len({p.values[name] for p in RELEASES}) > 1]
    rows = [(code(name), *_row(name)) for name in varying]
    same = [
        (code(name), code(shown(RELEASES[0].values[name])))
        for name in SWITCHES
        if name not in varying
    ]
    aliases = [
        (code(p.name), code(p.alias_of), p.description) for p in PROFILES.values() if p.alias_of
    ]
    parts = [
        head("Kernel profiles", "`kvm/profile.py` and `kvm/switches.py`", ABOUT),
        table(["switch", *(release.name for release in RELEASES)], rows),
        SAME.lstrip(),
        table(["switch", "everywhere"], same),
        "## Aliases\n",
        ALIASES.lstrip(),
        table(["alias", "of", "is"], aliases),
    ]
    return "\n".join(parts)


def _row(name: str) -> Iterator[str]:
    """A value where it changes, a ditto mark where it does not."""
    before: object = None
    for release in RELEASES:
        value = release.values[name]
        yield code(shown(value)) if value != before else "〃"
        before = value
