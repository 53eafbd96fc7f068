"""The reference is what the code says; names and links on the other pages are real."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
import typer
from docs.build import DIRECTORY, generated
from docs.console import MARKDOWN, ROOT
from docs.generate import errata, events, metrics, scenario
from docs.wrap import rewrapped, too_wide

from pagewake.cli.app import COMMANDS, app, command_of
from pagewake.events.types import EVENTS
from pagewake.kvm.switches import SWITCHES

PACKAGE = ROOT / "services" / "pagewake"
SOURCE = "\n".join(path.read_text("utf-8") for path in sorted(PACKAGE.rglob("*.py")))
GENERATED = generated()
WRITTEN = {os.path.relpath(path, DIRECTORY): path.read_text("utf-8") for path in MARKDOWN}
ALL = {**WRITTEN, **GENERATED}
INLINE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")


def prose(text: str) -> str:
    """Without the fenced blocks, which are looked at elsewhere."""
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("name", sorted(GENERATED))
def test_a_generated_page_is_what_the_code_says_now(name: str) -> None:
    now = (DIRECTORY / name).read_text("utf-8")
    assert now == GENERATED[name], f"docs/{name} is out of date: make generated"


def test_drawings_of_defects_are_what_their_runs_give_now() -> None:
    kept = {
        f"errata/{path.name}": path.read_text("utf-8")
        for path in (DIRECTORY / "errata").glob("*.svg")
    }
    assert sorted(kept) == sorted(drawings := errata.drawings()), "make generated"
    assert [name for name in kept if kept[name] != drawings[name]] == [], "make generated"


def test_pages_of_defects_that_are_gone_are_gone() -> None:
    kept = {f"errata/{path.name}" for path in (DIRECTORY / "errata").glob("*.md")}
    assert kept <= GENERATED.keys()


def test_the_reference_leaves_nothing_out() -> None:
    assert [kind for kind in EVENTS if f"### {kind.__name__}\n" not in events.page()] == []
    assert [name for name in SWITCHES if f"| `{name}` |" not in scenario.page()] == []
    assert len(metrics.series()) > 30
    assert all(each.text for each in metrics.series())


def test_pages_are_in_the_index() -> None:
    pages = [name for name in ALL if name != "index.md" and not name.startswith("..")]
    for name in pages:
        numbered = re.match(r"(decisions|errata)/d?\d", name)
        index = f"{numbered[1]}/index.md" if numbered else "index.md"
        assert f"({name.removeprefix(index.removesuffix('index.md'))})" in ALL[index], name


def test_decisions_are_numbered_and_say_why_what_and_what_follows() -> None:
    decisions = sorted(name for name in ALL if name.startswith("decisions/0"))
    for number, name in enumerate(decisions, 1):
        text = ALL[name]
        assert name.startswith(f"decisions/{number:04}-")
        assert text.startswith(f"# {number:04}: ")
        parts = ("**Context.**", "**Decision.**", "**Consequences.**")
        assert [part for part in parts if text.count(part) != 1] == [], name
        assert len(text.splitlines()) <= 40, f"{name} is no record, it is a page"


@pytest.mark.parametrize("name", sorted(ALL))
def test_prose_is_no_wider_than_code(name: str) -> None:
    assert too_wide(ALL[name]) == [], "make format wraps it"


@pytest.mark.parametrize("name", sorted(ALL))
def test_links_lead_somewhere(name: str) -> None:
    at = (DIRECTORY / name).parent
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(ALL[name])):
        assert "://" not in target, "pages need nothing from outside"
        file, _, anchor = target.partition("#")
        path = (at / file).resolve() if file else DIRECTORY / name
        assert path.exists(), target
        if anchor:
            assert anchor in anchors(path), target


def anchors(path: Path) -> list[str]:
    titles = re.findall(r"^#+ (.+)$", path.read_text("utf-8"), re.MULTILINE)
    return [re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles]


@pytest.mark.parametrize("name", sorted(WRITTEN))
def test_commands_in_the_text_exist(name: str) -> None:
    group = typer.main.get_command(app)
    for code in INLINE.findall(prose(WRITTEN[name])):
        words = code.split()
        if words[0] == "make" and len(words) > 1:
            makefile = (ROOT / "Makefile").read_text("utf-8")
            assert re.search(rf"^{words[1]}:", makefile, re.MULTILINE), code
        if words[0] != "pagewake" or len(words) == 1:
            continue
        command = group
        for word in words[1:]:
            inner = {name: command_of(name) for name in COMMANDS if name == word}
            if command is not group:
                inner = getattr(command, "commands", {})
            command = inner.get(word, command)
        assert command is not group or words[1].startswith("-"), code
        options = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in words if word.startswith("-")} <= options, code


PRESENT = sorted(WRITTEN.keys() - {"../CHANGELOG.md"})  # names what is gone, too


@pytest.mark.parametrize("name", PRESENT)
def test_metrics_events_classes_and_paths_in_the_text_exist(name: str) -> None:
    series = "\n".join(GENERATED.values())
    for code in INLINE.findall(prose(WRITTEN[name])):
        if re.fullmatch(r"pagewake_\w+", code):
            assert f"`{code}`" in series, code
        if re.fullmatch(r"(services|deploy|grafana|schemas|tests|docs)/[\w./-]+", code):
            assert (ROOT / code).exists(), code
        if re.fullmatch(r"([A-Z][a-z0-9]+){2,}", code):
            assert f"### {code}\n" in series or f"\nclass {code}(" in SOURCE, code


def test_panels_that_the_dashboard_page_names_are_there() -> None:
    boards = {}
    for path in sorted((ROOT / "grafana" / "dashboards").glob("*.json")):
        board = json.loads(path.read_text("utf-8"))
        boards[board["title"].removeprefix("pagewake: ")] = {
            panel.get("title") for panel in board["panels"]
        }
    text = prose(WRITTEN["how-to/read-the-dashboards.md"])
    named = re.findall(r"\*([\w ]+)\*, \"([^\"]+)\"", " ".join(text.split()))
    assert len(named) > 10
    assert [(board, panel) for board, panel in named if panel not in boards.get(board, ())] == []


def test_every_rule_is_where_the_page_says() -> None:
    text = WRITTEN["explanation/where-rules-live.md"]
    cells = re.findall(r"^\|.*\| ((?:`[\w/.]+`(?:, )?)+) \|$", text, re.MULTILINE)
    named = [path for cell in cells for path in re.findall(r"`([\w/.]+)`", cell)]
    assert len(named) > 50
    assert [path for path in named if not (PACKAGE / path).exists()] == []


def test_wrapping_breaks_neither_code_nor_targets_nor_what_a_line_means() -> None:
    words = "word " * 19
    page = (
        f"# {words * 2}\n\n- {words}`a b c` [d e](f.md) - 1. {words}\n  more\n\n| {words * 2} |\n"
    )
    lines = rewrapped(page).splitlines()
    assert lines[0] == f"# {words * 2}".rstrip() or lines[0] == f"# {words * 2}"
    assert lines[2] == f"- {words.rstrip()}"
    assert lines[3].startswith("  `a b c` [d e](f.md) - 1. word")
    assert lines[-1] == f"| {words * 2} |"
    assert too_wide(page) == [page.splitlines()[2]]
    assert too_wide(rewrapped(page)) == []
