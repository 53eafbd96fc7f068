"""`pagewake plan` on the command line; nothing answers at the broker, and nobody asks it."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from pagewake.capacity.need import Basis, Need, ServiceNeed, Size, TopicNeed
from tests.unit.cli.support import invoke, small_scenario

REFERENCE = Path(__file__).parents[3] / "docs/reference/plan.md"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["no-such-scenario"], "no-such-scenario"),
        (["overcommit", "--set", "host.count=0"], "host.count"),
        (["overcommit", "--journal", "some"], "--journal some"),
        (["overcommit", "--name", "a.b"], "cannot name a run"),
        (["overcommit", "--copies", "0"], "--copies"),
        (["overcommit", "--set", "host.memory=2MiB"], "raise host.memory"),
    ],
)
def test_wrong_input_is_usage(
    capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    outcome = invoke(capsys, "plan", *arguments)
    assert (outcome.code, outcome.out) == (2, "")
    assert words in outcome.err


def test_json_has_the_keys_that_are_documented(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    outcome = invoke(capsys, "plan", small_scenario(tmp_path), "--json", "--copies", "3")
    assert outcome.code == 0, outcome.err
    found = msgspec.json.decode(outcome.out)
    need = msgspec.convert(found, Need)
    assert need.basis.exact
    assert need.windows == int(need.windows) > 0
    documented = REFERENCE.read_text("utf-8")
    printed: dict[type[msgspec.Struct], dict[str, object]] = {
        Need: found,
        TopicNeed: found["topics"][0],
        ServiceNeed: found["services"][0],
        Size: found["sizes"][0],
        Basis: found["basis"],
    }
    for kind, keys in printed.items():
        assert list(keys) == [field.name for field in msgspec.structs.fields(kind)]
        assert [key for key in keys if f"| `{key}` |" not in documented] == []


def test_a_plan_says_what_it_rests_on(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    scenario = small_scenario(tmp_path)
    outcome = invoke(capsys, "plan", scenario, "--set", "host.count=2", "--set", "vm.0.count=2")
    assert outcome.code == 0, outcome.err
    assert "small: seed 1, 2 simulated hosts, 2 VMs" in outcome.out
    assert "its amounts are exact" in outcome.out
    assert "until pagewake runs\ndelete" in outcome.out or "pagewake runs delete" in outcome.out
    assert "within a factor of" in outcome.out
    assert "2026" in outcome.out


def test_less_of_a_journal_is_less_to_keep(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    scenario = small_scenario(tmp_path)
    sizes = {
        mode: msgspec.json.decode(
            invoke(capsys, "plan", scenario, "--json", "--journal", mode).out, type=Need
        ).bytes
        for mode in ("none", "faults", "full")
    }
    assert sizes["none"] < sizes["faults"] < sizes["full"]
