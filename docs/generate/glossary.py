"""reference/glossary.md: the words of outputs, from observe/glossary.py."""

from __future__ import annotations

from docs.generate.markdown import head, table
from pagewake.observe.glossary import GLOSSARY, Word

ABOUT = """
The words that `run`, `compare`, `report`, `load`, `plan` and `top` print. `pagewake explain WORD`
says the same in a terminal.
"""


def page() -> str:
    """The whole page."""
    rows = [
        (word.name, word.text, ", ".join(word.also), _link(word))
        for word in sorted(GLOSSARY, key=lambda word: word.name.lower())
    ]
    return f"{head('Glossary', '`observe/glossary.py`', ABOUT)}\n" + table(
        ["word", "is", "also", "see"], rows
    )


def _link(word: Word) -> str:
    name = word.see.rpartition("/")[2].removesuffix(".md")
    return f"[{name}](../{word.see})" if word.see else ""
