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
from pagewake.load.page import page_of
from tests.unit.cli.support import small_scenario
from tests.unit.load.support import measured, result

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
KINDS = ("run", "off", "nested", "lost", "grid", "load", "trace")
MOVING = ("run", "nested", "lost")
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
        "grid": [
            *("compare", small, "--axis", "vm.0.limit=16MiB,12MiB"),
            *("--axis", "kernel.apf=off,nonpv,pv", "--set", "scenario.duration=50ms"),
        ],
    }
    commands["trace"] = ["trace-info", "builtin:sort", "--limit", "4MiB"]
    files = {kind: place / f"{kind}.html" for kind in commands}
    for kind, words in commands.items():
        assert guarded(partial(call, [*words, "--report", str(files[kind])])) == 0
    files["load"] = place / "load.html"
    files["load"].write_text(page_of(result(measured(64), measured(1024, rate=1800.0))), "utf-8")
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
    for key in ("progress", "per_vm", "per_group", "latency", "expected"):
        del result[key]
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
    script = """[...document.querySelectorAll('table.points tbody tr')]
        .map(row => [...row.cells].map(cell => cell.textContent))"""
    with Shown(browser, pages["grid"]) as shown:
        rows, points = shown.ask(script), shown.result
    assert [row[:2] for row in rows] == [
        [limit, apf] for limit in ("16MiB", "12MiB") for apf in ("off", "nonpv", "pv")
    ]
    for row, point in zip(rows, points, strict=True):
        assert f"{point['work']['total']:,}" in row


def test_light_and_dark_differ_in_page_and_pictures(
    browser: Browser, pages: dict[str, Path]
) -> None:
    script = """[getComputedStyle(document.body).backgroundColor,
        getComputedStyle(document.querySelector('figure svg text')).fill]"""
    with Shown(browser, pages["run"]) as light, Shown(browser, pages["run"], DESK, "dark") as dark:
        paper, ink = light.ask(script)
        dark_paper, dark_ink = dark.ask(script)
    assert len({paper, ink, dark_paper, dark_ink}) == 4


# ---------------------------------------------------------------------------------- moving about

VIEW = "figure.live .view"


def _where(shown: Shown) -> tuple[float, float]:
    """From when until when the timeline shows the run."""
    found = shown.ask("(t => [t.from, t.until])(document.querySelector('figure.live').timeline)")
    return found[0], found[1]


def _ticks(shown: Shown) -> list[str]:
    return [str(text) for text in shown.page.locator(f"{VIEW} text.tick").all_inner_texts()]


@pytest.mark.parametrize("kind", MOVING)
def test_what_is_pointed_at_says_its_value(
    kind: str, browser: Browser, pages: dict[str, Path]
) -> None:
    with Shown(browser, pages[kind]) as shown:
        shown.page.locator(VIEW).scroll_into_view_if_needed()
        box = shown.page.locator(f"{VIEW} svg").bounding_box()
        assert box is not None
        shown.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] - 75)
        text = shown.page.locator(".pointed").inner_text()
        assert text.startswith("at ")
        assert "vcpu " in text
        assert any(unit in text for unit in (" s", " ms", " µs"))
        assert shown.complaints == []


@pytest.mark.parametrize("kind", ["run", "grid", "load"])
def test_pieces_of_charts_say_their_value(
    kind: str, browser: Browser, pages: dict[str, Path]
) -> None:
    with Shown(browser, pages[kind]) as shown:
        wide = "[...document.querySelectorAll('.wide .tip')].findIndex(e => e.getBBox().width > 5)"
        piece = shown.page.locator(".wide .tip").nth(shown.ask(wide))
        piece.hover(force=True)
        assert any(digit in shown.page.locator(".pointed").inner_text() for digit in "0123456789")
        assert shown.ask("document.querySelectorAll('.tip > title').length") == 0


def test_keys_and_buttons_move_and_the_axis_follows(
    browser: Browser, pages: dict[str, Path]
) -> None:
    with Shown(browser, pages["run"]) as shown:
        first, ticks = _where(shown), _ticks(shown)
        shown.page.locator(VIEW).focus()
        shown.page.keyboard.press("0")
        assert _where(shown) == (0, shown.result["sim_ns"])
        assert _ticks(shown) != ticks
        shown.page.keyboard.press("+")
        low, high = _where(shown)
        assert high - low == pytest.approx(shown.result["sim_ns"] / 2)
        shown.page.keyboard.press("ArrowRight")
        assert _where(shown)[0] == pytest.approx(low + (high - low) / 5)
        shown.page.keyboard.press("ArrowLeft")
        shown.page.keyboard.press("-")
        assert _where(shown) == (0, shown.result["sim_ns"])
        shown.page.keyboard.press("Home")
        assert _where(shown) == first
        shown.page.get_by_role("button", name="zoom in").click()
        assert _where(shown)[1] - _where(shown)[0] < first[1] - first[0]
        assert " of " in shown.page.locator(".readout").inner_text()
        assert shown.complaints == []


def test_wheel_drag_and_double_click(browser: Browser, pages: dict[str, Path]) -> None:
    with Shown(browser, pages["run"]) as shown:
        view = shown.page.locator(VIEW)
        view.scroll_into_view_if_needed()
        box = view.bounding_box()
        assert box is not None
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        first = _where(shown)
        shown.page.mouse.dblclick(x, y)
        closer = _where(shown)
        assert closer[1] - closer[0] < first[1] - first[0]
        shown.page.mouse.down()
        shown.page.mouse.move(x - 60, y, steps=3)
        shown.page.mouse.up()
        moved = _where(shown)
        assert moved[0] > closer[0]
        assert moved[1] - moved[0] == pytest.approx(closer[1] - closer[0])
        scrolled = shown.ask("scrollY")
        shown.page.keyboard.down("Control")
        shown.page.mouse.wheel(0, 120)
        shown.page.keyboard.up("Control")
        shown.page.wait_for_function(
            "length => (t => t.until - t.from > length)"
            "(document.querySelector('figure.live').timeline)",
            arg=moved[1] - moved[0],
        )
        assert shown.ask("scrollY") == scrolled


def test_two_fingers_zoom(browser: Browser, pages: dict[str, Path]) -> None:
    script = """(from, to) => {
        const view = document.querySelector('figure.live .view');
        const box = view.getBoundingClientRect();
        view.setPointerCapture = () => {};
        const send = (type, id, x) => view.dispatchEvent(new PointerEvent(type, {
            pointerId: id, pointerType: 'touch', clientX: box.x + x, clientY: box.y + 20,
            bubbles: true}));
        send('pointerdown', 1, 150); send('pointerdown', 2, 200);
        send('pointermove', 2, 300); send('pointerup', 1, 150); send('pointerup', 2, 300);
    }"""
    with Shown(browser, pages["run"], PHONE) as shown:
        first = _where(shown)
        shown.ask(f"({script})()")
        closer = _where(shown)
    assert closer[1] - closer[0] == pytest.approx((first[1] - first[0]) / 3)


def test_a_ready_that_never_came_has_a_cross(browser: Browser, pages: dict[str, Path]) -> None:
    with Shown(browser, pages["lost"]) as shown:
        waits = shown.ask("document.querySelector('figure.live').timeline.vcpus[0].waits")
        assert [(wait["lost"], wait["never"]) for wait in waits] == [
            (1, "silent: the host could not write its reason")
        ]
        cross = shown.page.locator(f"{VIEW} path[style*='--blackout'][style*='2.4']")
        assert "m0 -8" in (cross.get_attribute("d") or "")
        assert "1" in shown.page.locator(f"{VIEW} text.tip").all_text_contents()


@pytest.mark.parametrize("kind", KINDS)
def test_what_scrolls_can_be_reached_by_keyboard(
    kind: str, browser: Browser, pages: dict[str, Path]
) -> None:
    script = """[...document.querySelectorAll('*')]
        .filter(e => getComputedStyle(e).overflowX === 'auto' && e.scrollWidth > e.clientWidth)
        .map(e => [e.className, e.tabIndex, e.getAttribute('role'), e.getAttribute('aria-label')])
    """
    with Shown(browser, pages[kind], PHONE) as shown:
        found = shown.ask(script)
        for name, tab, role, label in found:
            assert (tab, role) == (0, "region"), name
            assert label
        if found:
            first = shown.page.locator("[role=region][tabindex='0']:visible").first
            first.focus()
            shown.page.keyboard.press("Shift+Tab")
            shown.page.keyboard.press("Tab")
            outline = "getComputedStyle(document.activeElement).outlineStyle"
            assert shown.ask(outline) == "solid"


@pytest.mark.parametrize("kind", KINDS)
def test_tab_stops_at_no_area_that_needs_no_scroll(
    kind: str, browser: Browser, pages: dict[str, Path]
) -> None:
    areas = """[...document.querySelectorAll('.scroll')].filter(e => e.checkVisibility())
        .map(e => [e.getAttribute('aria-label'), e.tabIndex, e.scrollWidth > e.clientWidth])
    """
    for size in (DESK, PHONE):
        with Shown(browser, pages[kind], size) as shown:
            shown.page.wait_for_timeout(100)
            found = shown.ask(areas)
        assert [name for name, tab, scrolls in found if (tab == 0) != scrolls] == []


def test_keys_reach_the_values_of_the_timeline_and_leave_it(
    browser: Browser, pages: dict[str, Path]
) -> None:
    """What a pointer hears, in the line that is spoken; no key but Tab is needed to get out."""
    with Shown(browser, pages["lost"]) as shown:
        view, line = shown.page.locator(VIEW), shown.page.locator(".readout")
        view.focus()
        before = line.text_content()
        shown.page.keyboard.press("Shift+ArrowRight")
        first = line.text_content() or ""
        assert first.startswith("at ")
        assert "vcpu 0: " in first
        assert shown.page.locator(f"{VIEW} .cursor").count() == 2
        shown.page.keyboard.press("Shift+ArrowDown")
        shown.page.keyboard.press("Shift+ArrowRight")
        assert "READY never came: silent" in (line.text_content() or "")
        shown.page.keyboard.press("Escape")
        assert line.text_content() == before
        assert shown.page.locator(f"{VIEW} .cursor").count() == 0
        shown.page.keyboard.press("Shift+Tab")
        assert shown.ask("document.activeElement.tagName") == "BUTTON"
        assert not shown.complaints


def test_forced_colours_keep_the_keys_to_the_pictures(
    browser: Browser, pages: dict[str, Path]
) -> None:
    with Shown(browser, pages["run"]) as shown:
        colours = "[...document.querySelectorAll('.legend .swatch')]"
        colours += ".map(e => getComputedStyle(e).backgroundColor)"
        before = shown.ask(colours)
        shown.page.emulate_media(forced_colors="active", color_scheme="light")
        assert len(set(before)) > 1
        assert shown.ask(colours) == before


CONTRASTS = r"""(() => {
    const parse = (text) => text.match(/[\d.]+/g).map(Number);
    const linear = (part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
    const luminance = ([r, g, b]) => [[r, 0.2126], [g, 0.7152], [b, 0.0722]]
        .reduce((sum, [part, weight]) => sum + weight * linear(part / 255), 0);
    const contrast = (one, other) => {
        const [low, high] = [luminance(one), luminance(other)].sort((a, b) => a - b);
        return (high + 0.05) / (low + 0.05);
    };
    const ground = (element) => {
        for (let e = element; e; e = e.parentElement) {
            const [r, g, b, a = 1] = parse(getComputedStyle(e).backgroundColor);
            if (a === 1) return [r, g, b];
        }
        return null;
    };
    const filled = (e) => e instanceof SVGGeometryElement && getComputedStyle(e).fill !== 'none';
    const found = [];
    for (const text of document.querySelectorAll('svg text')) {
        if (!text.checkVisibility() || !text.textContent.trim()) continue;
        text.scrollIntoView({ block: 'center' });
        const box = text.getBoundingClientRect();
        const below = document.elementsFromPoint(box.x + 2, box.y + box.height / 2).find(filled);
        const behind = below ? parse(getComputedStyle(below).fill) : ground(text.closest('div'));
        const ratio = contrast(parse(getComputedStyle(text).fill), behind);
        found.push([text.textContent, ratio]);
    }
    const texts = 'p, li, td, th, b, small, button, summary, figcaption, span, code';
    for (const e of document.querySelectorAll(texts)) {
        if (!e.checkVisibility() || !e.textContent.trim()) continue;
        const ratio = contrast(parse(getComputedStyle(e).color), ground(e));
        found.push([e.textContent.slice(0, 40), ratio]);
    }
    return found;
})()"""
"""Every visible text, and the contrast to what it lies on."""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("kind", KINDS)
def test_text_stands_out_from_what_it_stands_on(
    kind: str, scheme: str, browser: Browser, pages: dict[str, Path]
) -> None:
    """Contrast as rendered, of text on the piece of a chart or the box that it lies on."""
    with Shown(browser, pages[kind], DESK, scheme) as shown:
        found = shown.ask(CONTRASTS)
    assert len(found) > 20
    assert [text for text, ratio in found if ratio < 4.5] == []


def test_without_scripts_the_pictures_are_there(browser: Browser, pages: dict[str, Path]) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(pages["lost"].as_uri())
    assert page.locator("figure.still svg:visible").count() > 0
    assert page.locator("figure.live").is_hidden()
    context.close()


def test_labels_on_a_phone_are_whole(browser: Browser, pages: dict[str, Path]) -> None:
    with Shown(browser, pages["grid"], PHONE) as shown:
        texts = shown.page.locator(".narrow svg text").all_text_contents()
    assert not any("…" in text for text in texts)
    assert {"off", "nonpv", "pv"} <= set(texts) or {"16MiB", "12MiB"} <= set(texts)
