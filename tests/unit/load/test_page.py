"""The page of a load test stands alone and says what was measured."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import msgspec
import pytest

from pagewake.load.measured import LoadResult, Regression
from pagewake.load.page import page_of
from tests.unit.load.support import measured, result

SEVERAL = result(measured(64), measured(256, rate=1800.0), measured(1024, rate=1850.0, cpu=110.0))


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.json = ""
        self._inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self._inside = dict(attrs).get("id") == "result"

    def handle_endtag(self, tag: str) -> None:
        self._inside = False

    def handle_data(self, data: str) -> None:
        self.json += data * self._inside


def read(page: str) -> _Reader:
    reader = _Reader()
    reader.feed(page)
    return reader


def test_it_has_curves_a_table_and_the_result_itself() -> None:
    page = page_of(SEVERAL)
    reader = read(page)
    assert reader.tags.count("svg") == 2 * 4  # wide and narrow
    assert "Knee at 256 vcpus" in page
    assert "1,850" in page
    assert msgspec.json.decode(reader.json, type=LoadResult) == SEVERAL


def test_nothing_is_fetched() -> None:
    page = page_of(SEVERAL)
    assert not re.search(r"(?:src|href)\s*=\s*[\"'](?!data:|#)", page)
    assert not re.search(r"https?://", page)


def test_equal_results_give_equal_bytes() -> None:
    assert page_of(SEVERAL) == page_of(SEVERAL)


@pytest.mark.parametrize("few", [result(), result(measured()), result(measured(cpu=None))])
def test_little_is_enough(few: LoadResult) -> None:
    assert read(page_of(few)).json


def test_what_got_worse_and_an_interruption_are_said() -> None:
    found = Regression(64, "faults_per_s", 1000.0, 500.0, 0.5)
    page = page_of(msgspec.structs.replace(SEVERAL, regressions=[found], interrupted=True))
    assert "64 vcpus: faults_per_s 1000 → 500 (50 % worse)" in page
    assert "interrupted" in page
