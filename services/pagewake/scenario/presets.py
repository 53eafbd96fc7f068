"""The names a scenario may use for things other packages define: kernel profiles, swap media."""

from __future__ import annotations

from pagewake.host_memory.media import MEDIA
from pagewake.kvm import profile


def profile_names() -> tuple[str, ...]:
    """The kernel profiles, oldest first."""
    return tuple(profile.PROFILES)


def switch_names() -> tuple[str, ...]:
    """The switches that `kernel.overrides` may set."""
    return tuple(profile.SWITCHES)


def medium_names() -> tuple[str, ...]:
    """The presets of the swap device."""
    return tuple(MEDIA)
