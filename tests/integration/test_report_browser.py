"""Reports as a browser shows them: on a phone and on a desk, in the light and in the dark."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Self

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from pagewake.cli.app import call
from pagewake.cli.guard import guarded
from tests.unit.cli.support import small_scenario

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PHONE = (390, 844)
DESK = (1280, 900)
KINDS = ("run", "off", "nested", "lost", "grid")
SMALLEST_TEXT_PX = 9.0

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium here: apt-get install chromium"
)


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A report of every kind of run."""
    place = tmp_path_factory.mktemp("reports")
    small = small_scenario(place, "300ms")
    commands = {
        "run": ["run", small],
        "off": ["run", small, "--set", "kernel.apf=off"],
        "nested": ["run", "nested", "--set", "scenario.duration=150ms"],
        "lost": ["run", "row-12-ready-write-fails"],
        "grid": ["compare", small, "--axis", "kernel.apf=off,nonpv,pv"],
    }
    files = {kind: place / f"{kind}.html" for kind in commands}
    for kind, words in commands.items():
        assert guarded(partial(call, [*words, "--report", str(files[kind])])) == 0
    return files


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The distribution's Chromium."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


class Shown:
    """A page in a window, and whatever it complained of or asked the network for."""

    def __init__(
        self, browser: Browser, path: Path, size: tuple[int, int] = DESK, scheme: str = "light"
    ) -> None:
        width, height = size
        self.complaints: list[str] = []
        self.page: Page = browser.new_page(
            viewport={"width": width, "height": height},
            color_scheme="dark" if scheme == "dark" else "light",
        )
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self._requested(request.url))
        self.page.goto(path.as_uri())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.page.close()

    def _requested(self, url: str) -> None:
        if not url.startswith(("file:", "data:")):
            self.complaints.append(url)

    def ask(self, script: str) -> Any:
        """What a script finds in it."""
        return self.page.evaluate(script)

    @property
    def result(self) -> Any:
        """The JSON block, as the browser has it."""
        return json.loads(self.ask("document.getElementById('result').textContent"))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [PHONE, DESK], ids=["phone", "desk"])
@pytest.mark.parametrize("kind", KINDS)
def test_it_fits_and_is_quiet(
    kind: str, size: tuple[int, int], scheme: str, browser: Browser, pages: dict[str, Path]
) -> None:
    with Shown(browser, pages[kind], size, scheme) as shown:
        assert shown.complaints == []
        assert shown.ask("document.documentElement.scrollWidth") == size[0]
        assert shown.page.locator("#verdict").inner_text()
        pictures = shown.page.locator("svg:visible")
        assert pictures.count() >= 2
        for index in range(pictures.count()):
            box = pictures.nth(index).bounding_box()
            assert box is not None
            assert 40 < box["height"] < 2000
            assert 300 < box["width"] <= size[0]


@pytest.mark.parametrize("size", [PHONE, DESK], ids=["phone", "desk"])
@pytest.mark.parametrize("kind", KINDS)
def test_text_in_pictures_can_be_read_and_stays_inside(
    kind: str, size: tuple[int, int], browser: Browser, pages: dict[str, Path]
) -> None:
    script = """[...document.querySelectorAll('svg text')]
        .filter(text => text.checkVisibility())
        .map(text => [text.textContent, text.getBoundingClientRect()])
        .map(([text, box]) => [text, box.height, box.left, box.right])"""
    with Shown(browser, pages[kind], size) as shown:
        texts = shown.ask(script)
    assert texts
    for text, height, left, right in texts:
        assert height >= SMALLEST_TEXT_PX, text
        assert left >= 0, text
        assert right <= size[0], text


@pytest.mark.parametrize("kind", ["run", "off", "nested"])
def test_the_bar_is_what_the_json_says(kind: str, browser: Browser, pages: dict[str, Path]) -> None:
    """Widths of the bar's pieces against the shares of vcpu time."""
    script = """[...document.querySelector('figure .wide svg').querySelectorAll('path')]
        .filter(path => path.style.fill.startsWith('var(--'))
        .map(path => [path.style.fill, path.getBBox().width])
        .filter(([fill, width]) => width > 0)"""
    with Shown(browser, pages[kind]) as shown:
        pieces, result = shown.ask(script), shown.result
    drawn = sum(width for _, width in pieces)
    for name in ("blackout", "halted", "idle"):
        share = result["cpu"].get(name, 0) / sum(result["cpu"].values())
        width = sum(width for fill, width in pieces if fill == f"var(--{name})")
        assert width / drawn == pytest.approx(share, abs=0.002)


@pytest.mark.parametrize("kind", ["run", "off", "nested", "lost"])
def test_the_tables_are_what_the_json_says(
    kind: str, browser: Browser, pages: dict[str, Path]
) -> None:
    script = """Object.fromEntries([...document.querySelectorAll('table.counters')].map(table =>
        [table.caption.textContent, Object.fromEntries([...table.tBodies[0].rows].map(row =>
            [row.cells[0].textContent, row.cells[1].textContent]))]))"""
    with Shown(browser, pages[kind]) as shown:
        tables, result = shown.ask(script), shown.result
    for key, value in result.items():
        if key == "work":
            assert tables[key] == {
                name: f"{number:,}"
                for name, number in {"total": value["total"], **value["per_task"]}.items()
            }
        elif isinstance(value, dict) and value:
            numbers = {name: float(text.replace(",", "")) for name, text in tables[key].items()}
            assert numbers == value
        elif isinstance(value, int):
            assert tables["run"][key].replace(",", "") == str(value)


def test_a_grid_shows_every_point(browser: Browser, pages: dict[str, Path]) -> None:
    script = """[...document.querySelectorAll('table tbody tr')]
        .map(row => [...row.cells].map(cell => cell.textContent))"""
    with Shown(browser, pages["grid"]) as shown:
        rows, points = shown.ask(script), shown.result
    assert [row[0] for row in rows] == ["off", "nonpv", "pv"]
    assert [row[1] for row in rows] == [f"{point['work']['total']:,}" for point in points]


def test_light_and_dark_differ_in_page_and_pictures(
    browser: Browser, pages: dict[str, Path]
) -> None:
    script = """[getComputedStyle(document.body).backgroundColor,
        getComputedStyle(document.querySelector('figure svg text')).fill]"""
    with Shown(browser, pages["run"]) as light, Shown(browser, pages["run"], DESK, "dark") as dark:
        paper, ink = light.ask(script)
        dark_paper, dark_ink = dark.ask(script)
    assert len({paper, ink, dark_paper, dark_ink}) == 4
