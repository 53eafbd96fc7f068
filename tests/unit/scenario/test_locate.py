"""Lines of keys in TOML texts of every shape."""

from __future__ import annotations

from pagewake.scenario.locate import key_lines, line_of

TEXT = '''\
# a comment with [brackets] and = signs
top = "a # no comment [x]"
[a]
b.c = 1
"quoted key" = 2
text = """
[not.a.table]
d = 3
"""
other = \'\'\'
e = 4\'\'\'
list = [   # first
  "one",
  [2, 2],
  { three = 3 },
]
after = { x = { y = 1 } }
[[vm]]
name = "p"
[[vm.task]]
name = "q"
[[vm.task]]
name = "r"
[vm.l2]
memory = "1MiB"
[[vm]]
[[vm.task]]
name = "s"
last = 1'''


def test_every_key_is_found_at_its_line() -> None:
    lines = key_lines(TEXT)
    assert lines["top",] == 2
    assert (lines["a",], lines["a", "b", "c"], lines["a", "quoted key"]) == (3, 4, 5)
    assert (lines["a", "text"], lines["a", "other"], lines["a", "list"]) == (6, 10, 12)
    assert [lines["a", "list", index] for index in range(3)] == [13, 14, 15]
    assert lines["a", "after"] == 17
    assert (lines["vm", 0], lines["vm", 0, "name"]) == (18, 19)
    assert (lines["vm", 0, "task", 0, "name"], lines["vm", 0, "task", 1, "name"]) == (21, 23)
    assert (lines["vm", 0, "l2"], lines["vm", 0, "l2", "memory"]) == (24, 25)
    assert (lines["vm", 1, "task", 0, "name"], lines["vm", 1, "task", 0, "last"]) == (28, 29)


def test_what_only_looks_like_a_key_is_none() -> None:
    lines = key_lines(TEXT)
    assert not [path for path in lines if "d" in path or "e" in path or "not" in path]


def test_a_path_without_a_line_of_its_own_gets_that_of_what_holds_it() -> None:
    lines = key_lines(TEXT)
    assert line_of(lines, ("a", "after", "x", "y")) == 17
    assert line_of(lines, ("vm", 0, "task", 1, "missing")) == 22
    assert line_of(lines, ("nowhere",)) is None
