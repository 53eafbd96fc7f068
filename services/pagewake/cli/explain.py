"""`pagewake explain`: what the words of an output mean."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Annotated

import typer
from rich.console import RenderableType
from rich.table import Table

from pagewake.cli.options import JsonOption
from pagewake.cli.output import print_json
from pagewake.cli.scenario_words import scenario_words
from pagewake.cli.screen import print_text
from pagewake.errors import ConfigError
from pagewake.observe.glossary import GLOSSARY, Word, meanings, names_of

NAMING_A_VM = ("of", "within")
"""Labels of `run` such as `within web`."""


def explain(
    word: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="WORD",
            help="As it is printed, such as untold or early ready, or written, such as zipf.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Say what a word of an output or a scenario means; without one, list those of outputs."""
    asked = " ".join(word or ())
    found = _found(asked) if asked else list(GLOSSARY)
    if not found:
        known = [name for each in GLOSSARY for name in names_of(each)]
        raise ConfigError(
            f'no output or scenario has the word "{asked}": {_nearest(asked.lower(), known)}'
        )
    if as_json:
        print_json([each._asdict() for each in found])
    else:
        print_text(_table(found, briefly=not asked))


def _found(asked: str) -> list[Word]:
    """A word of the outputs before one of scenarios; a label that names a VM by its beginning."""
    found = meanings(asked) or scenario_words(asked)
    label, _, vm = asked.partition(" ")
    return meanings(label) if not found and vm and label in NAMING_A_VM else found


def _nearest(word: str, known: list[str]) -> str:
    """At most three that are written alike; all of them would fill the screen."""
    close = get_close_matches(word, dict.fromkeys(known), n=3, cutoff=0.5)
    hint = f"nearest: {', '.join(close)}; " if close else ""
    return f"{hint}`pagewake explain` lists them all"


def _table(words: list[Word], *, briefly: bool) -> RenderableType:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    for word in words:
        table.add_row(word.name, word.text)
        if word.also and not briefly:
            table.add_row("", f"also: {', '.join(word.also)}", style="dim")
        if word.see and not briefly:
            table.add_row("", f"see: docs/{word.see}", style="dim")
    return table
