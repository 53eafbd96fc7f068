"""While a long trace is read, a terminal shows how far it is, and nothing else does."""

from __future__ import annotations

from pathlib import Path

import pytest

from pagewake.cli import progress
from pagewake.cli.progress import Reading, reading


def shown(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], size: int) -> str:
    monkeypatch.setattr(progress, "SHOW_AFTER_S", 0.0)
    monkeypatch.setattr(progress, "REDRAW_S", 0.0)
    with reading() as on_read:
        for done in (0, 1_000_000, 2_000_000):
            on_read(Path("far/program.trace"), done, size)
    return capsys.readouterr().err


@pytest.mark.parametrize(("size", "far"), [(8_000_000, "2.0/8.0 MB"), (0, "2.0/? MB")])
def test_a_terminal_sees_the_file_and_how_far_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], size: int, far: str
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    text = shown(monkeypatch, capsys, size)
    assert "reading program.trace" in text
    assert far in text


def test_off_a_terminal_nothing_is_drawn(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert shown(monkeypatch, capsys, 8_000_000) == ""


def test_a_short_read_needs_no_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    short = Reading()
    short.report(Path("t"), 10, 10)
    assert short._bar is None
