"""What the repository cites stands where it says: rules, design, invariants, gaps, commits.

One form each.  A rule of KVM is cited by section, `semantics` and its number: more numbers may
follow after a comma, "and" or "to", each with a note in parentheses.  The design is cited by
heading, as in `design, "Windows"`.  Both documents are pages of `docs/explanation/`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from docs.console import ROOT

from pagewake.kvm.switches import SWITCHES
from pagewake.scenario.library import builtin_names

EXPLANATION = ROOT / "docs" / "explanation"
SEMANTICS = (EXPLANATION / "semantics.md").read_text("utf-8")
DESIGN = (EXPLANATION / "design.md").read_text("utf-8")
PACKAGE = ROOT / "services" / "pagewake"
SUFFIXES = {".py", ".toml", ".md", ".json", ".yaml", ".yml", ".html"}
NOT_OURS_TO_CHANGE = (ROOT / "tests" / "compat", ROOT / "tests" / "conformance" / "vectors")
"""Recorded: logs of released versions, vectors."""

_GAP = r"[\s#\\|]+"  # a citation may go on in the next line, also of a comment or a TOML string
_NUMBER = r"(?<![\w.])\d+(?:\.\d+)?(?!\d|\.\d)"
_ITEM = rf"{_NUMBER}(?:{_GAP}\([^()]*\))?"
_LINK = rf"(?:,{_GAP}and|,|{_GAP}and|{_GAP}to){_GAP}"
RULE = re.compile(rf"\bsemantics\b({_GAP}{_ITEM}(?:{_LINK}{_ITEM})*)?", re.IGNORECASE)
HEADING = re.compile(rf'\bdesign\b(?:,{_GAP}"([^"]+)")?', re.IGNORECASE)
SECTION = re.compile(rf"\bsections?{_GAP}{_NUMBER}", re.IGNORECASE)
NAME = re.compile(r"(?<![\w.-])[IG]\d(?![\w.-])")
COMMIT = re.compile(
    r"\b(?<!address = )(?<!page-faults: )(?<![0-9a-f]-)"
    r"(?=[0-9a-f]*[a-f])(?=[0-9a-f]*[0-9])[0-9a-f]{11,12}\b(?!-[0-9a-f])"
)
"""An abbreviated id; the addresses in samples of traces are none."""

TAGGED = re.compile(rf"({COMMIT.pattern}),\s\*\*([A-Z])\*\*")
"""A commit with the tag that says how it is known, as text beside a rule writes it."""


def sections(text: str) -> set[str]:
    """The numbers that headings begin with: `## 3. ...`, `### 3.4 ...`."""
    return set(re.findall(r"^#{2,3} (\d+(?:\.\d+)?)\.? ", text, re.MULTILINE))


def headings(text: str) -> set[str]:
    return set(re.findall(r"^#+ (.+)$", text, re.MULTILINE))


def named(text: str) -> set[str]:
    """I1 to I7 and G0 to G9: the headings that define them."""
    return set(re.findall(r"^#### ([IG]\d): ", text, re.MULTILINE))


def commits(text: str) -> list[list[str]]:
    """The rows of the table of commits: kernel, id, title, tag, rule, switch."""
    table = text[text.index("\n## 14. ") :]
    rows = re.findall(r"^\| (.+) \|$", table, re.MULTILINE)
    return [re.split(r" \| ?", row) for row in rows if COMMIT.search(row)]


def cited(found: str) -> list[str]:
    """The numbers of a citation, without its notes."""
    return re.findall(_NUMBER, re.sub(r"\([^()]*\)", "", found))


def wrong(text: str, prose: bool = False) -> Iterator[str]:
    """What of `text` leads nowhere; in prose `semantics` and `design` are words, too."""
    for match in RULE.finditer(text):
        missing = [each for each in cited(match[1] or "") if each not in sections(SEMANTICS)]
        yield from (f"{line(text, match)}: no section {each} in the semantics" for each in missing)
    for match in HEADING.finditer(text):
        heading = re.sub(_GAP, " ", match[1] or "")
        if heading and heading not in headings(DESIGN):
            yield f'{line(text, match)}: no "{heading}" in the design'
    for match in NAME.finditer(text):
        if match[0] not in named(SEMANTICS):
            yield f"{line(text, match)}: no {match[0]} in the semantics"
    if not prose:
        yield from unfinished(text)


def unfinished(text: str) -> Iterator[str]:
    """Citations of another form than the one, which nothing could resolve."""
    for pattern, what in (
        (RULE, "semantics without a section"),
        (HEADING, "design without a heading"),
    ):
        for match in pattern.finditer(text):
            if match[1] is None:
                yield f"{line(text, match)}: {what}"
    for match in SECTION.finditer(text):
        yield f"{line(text, match)}: a section of what?"


def unknown_commits(text: str) -> Iterator[str]:
    """Ids that are not in the table; an abbreviated one is there in full."""
    known = [row[1].removesuffix(" +") for row in commits(SEMANTICS)]
    for match in COMMIT.finditer(text):
        if not any(commit.startswith(match[0]) for commit in known):
            yield f"{line(text, match)}: no {match[0]} among the commits"


def line(text: str, match: re.Match[str]) -> str:
    return f"line {text.count(chr(10), 0, match.start()) + 1}"


def files(*directories: str) -> list[Path]:
    found = (path for each in directories for path in sorted((ROOT / each).rglob("*")))
    return [
        path
        for path in found
        if path.suffix in SUFFIXES
        and path != Path(__file__)
        and not any(path.is_relative_to(each) for each in NOT_OURS_TO_CHANGE)
    ]


def everywhere() -> Iterator[tuple[Path, str]]:
    for path in files("services", "tests", "grafana", "deploy", "schemas", "docs"):
        yield path, path.read_text("utf-8")
    yield ROOT / "README.md", (ROOT / "README.md").read_text("utf-8")


def test_every_citation_resolves() -> None:
    problems = [
        f"{path.relative_to(ROOT)}: {problem}"
        for path, text in everywhere()
        for problem in wrong(text, prose=path.suffix == ".md")
    ]
    assert problems == []


def test_the_two_documents_are_cited_at_all() -> None:
    texts = [text for path, text in everywhere() if path.suffix == ".py"]
    rules = {
        number for text in texts for match in RULE.finditer(text) for number in cited(match[0])
    }
    assert len(rules & sections(SEMANTICS)) > 30
    assert len({match[1] for text in texts for match in HEADING.finditer(text)}) > 12


def test_every_commit_in_code_and_pages_has_its_row() -> None:
    problems = [
        f"{path.relative_to(ROOT)}: {problem}"
        for path in [*files("services", "docs"), ROOT / "README.md"]
        for problem in unknown_commits(path.read_text("utf-8"))
    ]
    assert problems == []


@pytest.mark.parametrize("row", commits(SEMANTICS), ids=lambda row: row[1])
def test_a_commit_has_title_evidence_and_rules_that_exist(row: list[str]) -> None:
    _, _, title, tag, rules, switches = row
    assert title
    assert re.fullmatch(r"\*\*[SCVTWRDM]\*\*", tag)
    assert set(re.findall(_NUMBER, rules)) <= sections(SEMANTICS)
    assert set(re.findall(r"`(\w+)`", switches)) <= SWITCHES.keys()
    assert set(re.findall(r"\bW\d+\b", switches)) <= set(
        re.findall(r"^\| (W\d+)", SEMANTICS, re.MULTILINE)
    )


def test_a_commit_stands_in_the_table_once() -> None:
    ids = [row[1].removesuffix(" +") for row in commits(SEMANTICS)]
    assert len(ids) > 50
    assert sorted(set(ids)) == sorted(ids)


def test_a_commit_has_one_tag_everywhere() -> None:
    tags = {row[1].removesuffix(" +"): row[3].strip("*") for row in commits(SEMANTICS)}
    beside = TAGGED.findall(SEMANTICS)
    assert len(beside) > 10
    assert [(commit, tag) for commit, tag in beside if tags[commit] != tag] == []


def test_the_history_leaves_tags_to_the_table_of_commits() -> None:
    """But that of a release that was not confirmed."""
    history = SEMANTICS[SEMANTICS.index("\n## 6. ") : SEMANTICS.index("\n## 7. ")]
    rows = re.findall(r"^\| (.+) \|$", history, re.MULTILINE)
    assert len(rows) > 30
    assert [row for row in rows if "**" in row.partition(" | ")[2]] == []


def test_every_switch_is_beside_a_commit() -> None:
    """But `preempt`, a choice of a build."""
    named = {name for row in commits(SEMANTICS) for name in re.findall(r"`(\w+)`", row[5])}
    where = "semantics 14 (commits): the last column of its commit's row names it"
    assert SWITCHES.keys() - named == {"preempt"}, where


def test_sections_that_the_semantics_names_are_its_own() -> None:
    inside = re.findall(
        rf"\b[Ss]ections?\s({_NUMBER}(?:(?:,\s|\sand\s|,\sand\s|\sto\s){_NUMBER})*)", SEMANTICS
    )
    numbers = {number for found in inside for number in cited(found)}
    assert len(numbers) > 20
    assert numbers - sections(SEMANTICS) == set()


def test_every_switch_is_under_the_rule_it_changes() -> None:
    """Also `preempt`, a choice of a build: whoever reads a switch finds its rule."""
    rules = SEMANTICS[: SEMANTICS.index("\n## 12. ")]
    missing = [name for name in SWITCHES if f"`{name}`" not in rules]
    assert missing == [], "the text of its rule in semantics.md names it, in sections 1 to 11"


def test_files_and_scenarios_of_the_semantics_exist() -> None:
    code = re.findall(r"(?<!`)`([\w/.-]+)`(?!`)", SEMANTICS)
    packages = {path.name for path in PACKAGE.iterdir() if path.is_dir()}
    paths = [name for name in code if name.split("/")[0] in packages and "/" in name]
    rows = [name for name in code if re.fullmatch(r"row-\d\d-[\w-]*\w", name)]
    assert len(paths) > 30
    assert [name for name in paths if not (PACKAGE / name).exists()] == []
    assert len(rows) > 3
    assert set(rows) <= set(builtin_names())


class TestTheChecker:
    @pytest.mark.parametrize(
        "text",
        [
            "semantics 3.4",
            "(semantics 3.1 to 3.5)",
            "Semantics 3.6 (worker), 3.7 (completion), and 11.1",
            "# as in semantics\n# 3.9, 3.10",
            '(design, "Windows")',
            '# (design,\n# "Who owns which\n# state")',
            "I1, G9; 0xI8 and G10 are no names",
        ],
    )
    def test_right_ones_pass(self, text: str) -> None:
        assert list(wrong(text)) == []

    @pytest.mark.parametrize(
        ("text", "problem"),
        [
            ("a\nsemantics 3.99", "line 2: no section 3.99 in the semantics"),
            ("semantics 3.4 to 3.88", "line 1: no section 3.88 in the semantics"),
            ("semantics 3.6 (worker),\n3.77 (x)", "line 1: no section 3.77 in the semantics"),
            ("semantics section 3", "line 1: semantics without a section"),
            ("from section 6", "line 1: a section of what?"),
            ('design, "Windmills"', 'line 1: no "Windmills" in the design'),
            ("design section 4", "line 1: design without a heading"),
            ("(design, Recovery)", "line 1: design without a heading"),
            ("I8 holds", "line 1: no I8 in the semantics"),
        ],
    )
    def test_wrong_ones_are_found(self, text: str, problem: str) -> None:
        assert problem in list(wrong(text))

    def test_in_prose_the_words_are_words(self) -> None:
        assert list(wrong("by design, the semantics differ in section 3", prose=True)) == []
        assert list(wrong("semantics 3.99", prose=True)) != []

    def test_commits(self) -> None:
        assert list(unknown_commits("631bc4878220 and af585b921e5 of 122789420615")) == []
        assert list(unknown_commits("x\n0123456789ab")) == [
            "line 2: no 0123456789ab among the commits"
        ]
