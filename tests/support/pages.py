"""A page table for access streams, which a test fills."""

from __future__ import annotations

from pagewake.kvm.page_table import Pages


class PageView(Pages):
    """`pages` gfns, all mapped or none; no bit is set."""

    __slots__ = ()

    def __init__(self, pages: int, mapped: int = 1) -> None:
        self.base = 0
        self.mapped = bytearray([mapped]) * pages
        self.accessed = bytearray(pages)
        self.dirty = bytearray(pages)
