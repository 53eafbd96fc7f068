"""Every command that the pages show is executed, and prints what they show."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from docs.build import retake
from docs.console import PAGES, README, ROOT, Console, Outcome, Page, matches, steps

from tests.support.processes import KAFKA, Cluster, needs_kafka, running

EXECUTED = [page for page in PAGES if "```console" in page.read_text("utf-8")]
ON_A_CLUSTER = [page for page in PAGES if "```console cluster" in page.read_text("utf-8")]
KINDS = {"console", "toml", "text", "mermaid"}


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix().removeprefix("docs/")


def complaints(page: Page, outcomes: list[Outcome]) -> str:
    """What the page says wrongly; empty if nothing."""
    found = []
    for before, after in zip(outcomes, [*outcomes[1:], None], strict=True):
        where = f"{page.path.name}:{before.step.at}: $ {before.step.command}"
        if not before.right:
            said, printed = "\n".join(before.step.expected), "\n".join(before.printed)
            found.append(f"{where}\nthe page says:\n{said}\nprinted:\n{printed}\n")
        asked = after is not None and after.step.command == "echo $?"
        if before.code and not asked:
            found.append(f"{where}\nexit code {before.code}, and no `echo $?` behind it\n")
    return "\n".join(found)


@pytest.mark.parametrize(
    "path",
    [pytest.param(path, marks=pytest.mark.slow if path == README else ()) for path in EXECUTED],
    ids=name_of,
)
def test_what_a_page_shows_is_what_happens(path: Path, tmp_path: Path) -> None:
    page = Page.read(path)
    assert complaints(page, Console(tmp_path).execute(page)) == ""


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Mapping[str, str]]:
    for cluster in running(tmp_path):
        yield settings_of(cluster)


def settings_of(cluster: Cluster) -> Mapping[str, str]:
    """How commands reach it, once its services are there."""
    cluster.start("host", "guest", "guest-2", "nested")
    return {name: cluster.env[name] for name in ("PAGEWAKE_KAFKA", "PAGEWAKE_MQTT")}


@pytest.mark.broker
@needs_kafka
@pytest.mark.parametrize("path", ON_A_CLUSTER, ids=name_of)
def test_what_a_page_shows_of_a_cluster_is_what_happens(
    path: Path, tmp_path: Path, services: Mapping[str, str]
) -> None:
    assert services["PAGEWAKE_KAFKA"] == KAFKA
    page = Page.read(path)
    assert complaints(page, Console(tmp_path, services).execute(page)) == ""


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_every_block_is_of_a_kind_that_is_looked_at(path: Path) -> None:
    blocks = list(Page.read(path).blocks())
    assert {block.kind for block in blocks} <= KINDS
    assert [block for block in blocks if block.kind == "console" and not steps(block)] == []
    untitled = [block.at for block in blocks if block.kind == "toml" and not block.option("title")]
    assert untitled == [], "nobody would load these"


# ------------------------------------------------------------------------------- the tester itself


def page_of(directory: Path, text: str) -> Page:
    path = directory / "page.md"
    path.write_text(textwrap.dedent(text).lstrip("\n"), "utf-8")
    return Page.read(path)


RIGHT = """
    A page.

    ```toml title=some.toml
    [scenario]
    ```

    ```console
    $ cat some.toml
    [scenario]
    $ pagewake runn
    ...
    $ echo $?
    2
    $ make no-such-target 2>&1 | grep -c 'No rule' || true
    1
    $ make clean
    ```

    ```console cluster
    $ pagewake never-executed-without-services
    ```
    """


def test_a_right_page_passes(tmp_path: Path) -> None:
    page = page_of(tmp_path, RIGHT)
    assert complaints(page, Console(tmp_path).execute(page)) == ""


@pytest.mark.parametrize(
    ("shown", "instead", "complaint"),
    [
        ("[scenario]\n    $", "[scenery]\n    $", "the page says"),
        ("    [scenario]\n    $", "    $", "the page says"),
        ("\n    2\n", "\n    0\n", "the page says"),
        ("    $ echo $?\n    2\n", "", "exit code 2"),
        ("$ make clean\n", "$ make clean\n    rm\n", "the page says"),
        ("    ...\n", "", "the page says"),
    ],
)
def test_a_page_that_says_something_else_fails(
    tmp_path: Path, shown: str, instead: str, complaint: str
) -> None:
    assert RIGHT.count(shown) == 1
    page = page_of(tmp_path, RIGHT.replace(shown, instead))
    assert complaint in complaints(page, Console(tmp_path).execute(page))


def test_a_falsified_page_is_set_right_and_a_right_one_is_left_alone(tmp_path: Path) -> None:
    right = page_of(tmp_path, RIGHT)
    text = right.path.read_text("utf-8")
    assert retake(right) == text
    falsified = page_of(tmp_path, RIGHT.replace("\n    2\n", "\n    70\n    71\n"))
    assert retake(falsified) == text


@pytest.mark.parametrize(
    ("expected", "printed", "same"),
    [
        (["a", "...", "c"], ["a", "b", "b", "c"], True),
        (["a", "...", "c"], ["a", "c"], True),
        (["..."], [], True),
        (["a", "...", "c"], ["a", "b"], False),
        (["a"], ["a", "b"], False),
        (
            ["in 4 ms (0.5 x real time), 3 events"],
            ["in 12 s (1,200 x real time), 3 events"],
            True,
        ),
        (["in 0.4 s (0.5 x real time), 3 events"], ["in 0.4 s (0.5 x real time), 4 events"], False),
        (["0.4 s"], ["0.5 s"], False),
    ],
)
def test_only_the_stated_rules_make_outputs_alike(
    expected: list[str], printed: list[str], same: bool
) -> None:
    assert matches(expected, printed) is same


def test_a_run_of_a_page_has_a_new_name_each_time(tmp_path: Path) -> None:
    text = "```console cluster run=night\n$ echo night\nnight\n$ echo night | wc -c\n6\n```\n"
    page = page_of(tmp_path, text)
    outcomes = Console(tmp_path, services={}).execute(page)
    assert [outcome.printed for outcome in outcomes] == [["night"], ["18"]]
    assert "printed:\n18" in complaints(page, outcomes)
