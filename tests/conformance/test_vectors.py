"""Every recorded vector passes, by the rules that simulations run by; what is wrong is named."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from pagewake.conformance.files import FileReport, run_files
from pagewake.errors import ConfigError, DataError
from tests.conformance import nested_vmx

VECTORS = Path(__file__).parent / "vectors"
FILES = sorted(VECTORS.glob("*.json*"))
HEADER = {"format": "apf-conformance", "version": 1, "family": "sleepers"}


def run(path: Path) -> FileReport:
    [report] = run_files([path])
    return report


def write(path: Path, *objects: object) -> Path:
    path.write_text("".join(json.dumps(each) + "\n" for each in objects))
    return path


def rows(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (VECTORS / name).read_text().splitlines()]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_vector_passes(path: Path) -> None:
    report = run(path)
    assert report.passed > 0
    assert [str(failure) for failure in report.failures] == []


def test_the_vectors_of_nested_vmx_are_what_their_truth_tables_say() -> None:
    assert (VECTORS / "nested-vmx.jsonl").read_text("utf-8").splitlines() == nested_vmx.lines()


def test_a_gzipped_file_is_read_like_a_plain_one(tmp_path: Path) -> None:
    path = tmp_path / "traps.jsonl.gz"
    path.write_bytes(gzip.compress((VECTORS / "traps.jsonl").read_bytes()))
    assert run(path).passed == run(VECTORS / "traps.jsonl").passed


def falsified(expect: dict[str, Any], key: str) -> None:
    value = expect[key]
    if isinstance(value, bool):
        expect[key] = not value
    elif isinstance(value, int):
        expect[key] = value + 1
    elif isinstance(value, str):
        expect[key] = hex(int(value, 16) ^ 1) if value.startswith("0x") else value + "?"
    else:
        expect[key] = [*value, "?"]


def steps_of(row: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = row.get("ops") or row.get("steps") or [row]
    return found


@pytest.mark.parametrize(
    "name", ["sleepers-basic", "traps", "latch", "nested-routing", "nested-vmx", "pf-interception"]
)
def test_a_falsified_expectation_fails_and_is_named(name: str, tmp_path: Path) -> None:
    original = rows(f"{name}.jsonl")
    seen: set[str] = set()
    for number, row in enumerate(original[1:], 1):
        for step in steps_of(row):
            for key in step["expect"].keys() - seen:
                seen.add(key)
                before = json.dumps(step["expect"])
                falsified(step["expect"], key)
                report = run(write(tmp_path / "v.jsonl", original[0], row))
                step["expect"] = json.loads(before)
                [failure] = report.failures
                assert failure.row == (row.get("name") or row["id"]), number
                assert failure.line == 2
                assert f"{key}: expected" in failure.detail
    assert len(seen) >= 3


@pytest.mark.parametrize("key", ["order", "token", "apf_reason_after", "ret"])
def test_every_blocking_wait_can_fail(key: str, tmp_path: Path) -> None:
    header, *original = rows("pf-interception.jsonl")
    waits = [row for row in original if row["kind"] == "blocking-wait"]
    for row in waits:
        falsified(row["expect"], key)
    report = run(write(tmp_path / "v.jsonl", header, *waits))
    assert [failure.row for failure in report.failures] == [row["id"] for row in waits]
    assert len(waits) == 3


@pytest.mark.parametrize("extra", [1, -1])
def test_a_wait_blocks_as_often_as_its_task_is_scheduled(extra: int, tmp_path: Path) -> None:
    header, *original = rows("pf-interception.jsonl")
    row = next(row for row in original if row.get("spurious_wakeups"))
    row["spurious_wakeups"] += extra
    [failure] = run(write(tmp_path / "v.jsonl", header, row)).failures
    assert "order: expected" in failure.detail


def test_a_falsified_hash_names_its_token(tmp_path: Path) -> None:
    whole = json.loads((VECTORS / "hash32.json").read_text())
    whole["vectors"][3][1] += 1
    report = run(write(tmp_path / "hash32.json", whole))
    assert report.failed == 1
    assert f"token {whole['vectors'][3][0]}" in report.failures[0].row


def test_an_expectation_that_is_left_out_fails(tmp_path: Path) -> None:
    header, row = rows("sleepers-basic.jsonl")[:2]
    del row["ops"][0]["expect"]["leaked"]
    report = run(write(tmp_path / "v.jsonl", header, row))
    assert "leaked" in report.failures[0].detail


WAIT = {"op": "wait", "task": 1, "cpu": 0, "token": 4096, "expect": {}}


def scenario(*ops: dict[str, Any], cpus: int = 1) -> dict[str, Any]:
    return {"name": "x", "cpus": cpus, "ops": list(ops)}


@pytest.mark.parametrize(
    ("lines", "place", "says"),
    [
        ([HEADER | {"family": "sleeper"}], ":1:", 'nearest is "sleepers"'),
        ([HEADER | {"version": 2}], ":1:", "version 2"),
        ([HEADER | {"format": "other"}], ":1:", "apf-conformance"),
        ([{"version": 1}], ":1:", "format"),
        ([[]], ":1:", "object"),
        ([HEADER, scenario(WAIT | {"tokn": 1})], ":2:", "tokn"),
        ([HEADER, scenario(WAIT | {"token": 1 << 32})], ":2:", "token"),
        ([HEADER, scenario(WAIT | {"token": -1})], ":2:", "token"),
        ([HEADER, scenario(WAIT | {"op": "wiat"})], ":2:", "wiat"),
        ([HEADER, scenario(WAIT | {"cpu": 1})], ":2:", "cpu 1"),
        ([HEADER, scenario() | {"cpus": 0}], ":2:", "cpus"),
        ([HEADER, scenario(), {"name": "y"}], ":3:", "cpus"),
    ],
)
def test_a_malformed_file_is_bad_data_with_its_line(
    lines: list[Any], place: str, says: str, tmp_path: Path
) -> None:
    path = write(tmp_path / "v.jsonl", *lines)
    with pytest.raises(DataError) as caught:
        run(path)
    assert f"{path}{place}" in str(caught.value)
    assert says in str(caught.value)


def test_a_task_that_waits_twice_is_bad_data(tmp_path: Path) -> None:
    state = {"leaked": 0, "fails_left": 0, "asleep": [1], "lost": []}
    slept = {"result": "slept", "table": [[112, [[4096, 0, 1]]]], **state}
    path = write(tmp_path / "v.jsonl", HEADER, scenario(WAIT | {"expect": slept}, WAIT))
    with pytest.raises(DataError, match="task 1 waits while"):
        run(path)


def test_a_spin_that_nothing_ends_is_bad_data(tmp_path: Path) -> None:
    state = {"table": [], "leaked": 0, "fails_left": -1, "asleep": [], "lost": []}
    fail = {"op": "alloc_fail", "n": -1, "expect": {"result": "ok", **state}}
    wake = {"op": "wake", "cpu": 0, "token": 1, "expect": {}}
    path = write(tmp_path / "v.jsonl", HEADER, scenario(fail, wake))
    with pytest.raises(DataError, match="nothing ends its spin"):
        run(path)


@pytest.mark.parametrize(
    "content", [b"", b"\n\n", b"{", b"\xff\xfe", b"[" * 100_000, b"\x1f\x8b\x08\x00\x00"]
)
def test_rubbish_is_bad_data(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "v.jsonl"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"v\.jsonl"):
        run(path)


@pytest.mark.parametrize(
    "content", [b"[scenario]\n", b"[]\n", b"{}\n", b"icount,page,kind,count\n"]
)
def test_another_kind_of_file_is_told_how_a_vector_file_begins(
    content: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "s.toml"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r's\.toml:1: not a vector file.*"apf-conformance"'):
        run(path)


def test_a_missing_file_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nowhere"):
        run(tmp_path / "nowhere.jsonl")
    with pytest.raises(ConfigError, match="vector file"):
        run(tmp_path)
