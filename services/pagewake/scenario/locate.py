"""Finds the line of a key in the text of a TOML file.

The standard library's reader keeps no positions, and a message about a value is only half a
message without its line. This scanner follows table headers, arrays of tables, dotted keys and the
elements of arrays; what stands inside inline tables is attributed to the key that holds them. It
assumes a text that `tomllib` has already accepted.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TypeAlias

Path: TypeAlias = tuple[str | int, ...]

_TOKEN = re.compile(
    r"""
      (?P<comment>\#[^\n]*)
    | (?P<string>\"\"\"(?:\\.|[^\\])*?\"{3,5}|'''.*?'{3,5}|"(?:\\.|[^"\\\n])*"|'[^'\n]*')
    | (?P<newline>\n)
    | (?P<space>[ \t\r]+)
    | (?P<open>[\[{])
    | (?P<close>[\]}])
    | (?P<word>[A-Za-z0-9_-]+)
    | (?P<mark>.)
    """,
    re.VERBOSE | re.DOTALL,
)


def _name(kind: str, text: str) -> str:
    if kind == "string":
        return text[1:-1]
    return text


class _Scanner:
    """Walks the tokens once and notes the line where each path begins."""

    def __init__(self) -> None:
        self.lines: dict[Path, int] = {}
        self.counts: dict[Path, int] = {}
        self.table: Path = ()

    def statement(self, tokens: list[tuple[str, str, int]]) -> None:
        """One header or one key with its value."""
        if tokens[0][1] == "[":
            self._header(tokens)
        else:
            self._pair(tokens)

    def _header(self, tokens: list[tuple[str, str, int]]) -> None:
        words = [_name(kind, text) for kind, text, _ in tokens if kind in ("word", "string")]
        is_array = [text for _, text, _ in tokens[:2]] == ["[", "["]
        path: Path = ()
        for word in words[:-1]:
            path = self._latest((*path, word))
        path = (*path, words[-1])
        if is_array:
            self.lines.setdefault(path, tokens[0][2])
            index = self.counts.get(path, 0)
            self.counts[path] = index + 1
            path = (*path, index)
        self.table = path
        self.lines.setdefault(path, tokens[0][2])

    def _latest(self, path: Path) -> Path:
        count = self.counts.get(path)
        return path if count is None else (*path, count - 1)

    def _pair(self, tokens: list[tuple[str, str, int]]) -> None:
        path = self.table
        for position, (kind, text, line) in enumerate(tokens):
            if text == "=" and kind == "mark":
                self._elements(path, tokens[position + 1 :])
                return
            if kind in ("word", "string"):
                path = (*path, _name(kind, text))
                self.lines.setdefault(path, line)

    def _elements(self, path: Path, tokens: list[tuple[str, str, int]]) -> None:
        if not tokens or tokens[0][1] != "[":
            return
        depth, index, fresh = 0, 0, False
        for kind, text, line in tokens:
            depth -= kind == "close"
            if depth == 1 and fresh and text != ",":
                self.lines[(*path, index)] = line
                index, fresh = index + 1, False
            depth += kind == "open"
            fresh = fresh or (depth == 1 and (text == "," or (kind == "open" and index == 0)))


def key_lines(text: str) -> Mapping[Path, int]:
    """The line, from 1, where each table, key and array element begins."""
    scanner = _Scanner()
    statement: list[tuple[str, str, int]] = []
    line, depth = 1, 0
    for match in _TOKEN.finditer(text):
        kind, token = match.lastgroup or "mark", match.group()
        if kind == "newline" and depth == 0 and statement:
            scanner.statement(statement)
            statement = []
        elif kind not in ("space", "comment", "newline"):
            depth += (kind == "open") - (kind == "close")
            statement.append((kind, token, line))
        line += token.count("\n")
    if statement:
        scanner.statement(statement)
    return scanner.lines


def line_of(lines: Mapping[Path, int], path: Path) -> int | None:
    """The line of the nearest thing around `path` that has one."""
    for length in range(len(path), 0, -1):
        found = lines.get(path[:length])
        if found is not None:
            return found
    return None


def dotted(path: Path) -> str:
    """A path as `--set` takes it: vm.0.task.1.touch."""
    return ".".join(str(part) for part in path)
