"""Whatever a file holds, loading it ends in a scenario or in an error meant for a person.

Scenarios are torn, shuffled and set at random: what must not happen is any other exception, or an
error that does not say where the fault is and what is wrong there.
"""

from __future__ import annotations

import contextlib
import gzip
import random
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pagewake.errors import ConfigError, DataError
from pagewake.guest_kernel.config import ScriptStep
from pagewake.scenario.library import builtin_path
from pagewake.scenario.loading import loads
from pagewake.scenario.page_trace import TraceSource
from pagewake.scenario.script import STEP_FORMS, format_step, parse_step
from pagewake.scenario.units import format_duration, format_pages, parse_duration, parse_pages
from pagewake.scenario.writing import effective_toml

TEXT = builtin_path("overcommit").read_text("utf-8")
LINES = TEXT.splitlines()
QUICK = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

NAMES_THE_KEY = r"[a-z]\w*(\.\w+)*( = .+)?: ."
IN_THE_FILE = re.compile(
    rf"scenario(:\d+){{0,2}}: (not valid TOML: .+: \".*\"\Z|{NAMES_THE_KEY})", re.DOTALL
)


@contextlib.contextmanager
def refused_by_name(setting: str = "") -> Iterator[None]:
    """What is refused inside is refused with the line and the key, or the setting, at fault."""
    message = ""
    try:
        yield
    except ConfigError as error:
        message = str(error)
    quoted = [f'--set "{line}' for line in setting.splitlines()[:1]]
    named = IN_THE_FILE.match(message) or message.startswith(tuple(quoted))
    assert named or not message, message


WHOLE = st.integers(0, (1 << 62) - 1)


@given(WHOLE)
def test_a_duration_reads_back_as_it_was_written(ns: int) -> None:
    assert parse_duration(format_duration(ns)) == ns


@given(st.integers(0, (1 << 50) - 1))
def test_a_size_reads_back_as_it_was_written(pages: int) -> None:
    assert parse_pages(format_pages(pages)) == pages


@given(st.text(max_size=12))
def test_any_text_is_a_duration_or_a_value_error(text: str) -> None:
    with contextlib.suppress(ValueError):
        assert parse_duration(text) >= 0


def steps() -> st.SearchStrategy[ScriptStep]:
    at = st.none() | WHOLE
    return st.one_of(
        st.builds(
            ScriptStep, st.just("touch"), at, page=st.integers(0, 1 << 39), write=st.booleans()
        ),
        st.builds(ScriptStep, st.sampled_from(["run", "sleep"]), at, ns=WHOLE),
        st.builds(
            ScriptStep,
            st.just("wrmsr"),
            at,
            msr=st.integers(0, (1 << 32) - 1),
            value=st.integers(0, (1 << 64) - 1),
        ),
        st.builds(
            ScriptStep,
            st.sampled_from(sorted(set(STEP_FORMS) - {"touch", "run", "sleep", "wrmsr"})),
            at,
        ),
    )


@given(steps())
def test_a_step_reads_back_as_it_was_written(step: ScriptStep) -> None:
    assert parse_step(format_step(step)) == step


@QUICK
@given(st.integers(0, len(TEXT)))
def test_a_scenario_torn_anywhere_loads_or_is_refused_by_name(length: int) -> None:
    with refused_by_name():
        loads(TEXT[:length])


@QUICK
@given(st.lists(st.integers(0, len(LINES) - 1), max_size=3), st.randoms(use_true_random=False))
def test_a_scenario_with_lines_lost_or_moved_loads_or_is_refused_by_name(
    lost: list[int], shuffle: random.Random
) -> None:
    kept = [line for number, line in enumerate(LINES) if number not in lost]
    number = shuffle.randrange(len(kept))
    kept.insert(shuffle.randrange(len(kept)), kept.pop(number))
    with refused_by_name():
        loads("\n".join(kept))


SCALARS = st.one_of(
    st.integers(-(1 << 65), 1 << 65).map(str),
    st.floats().map(repr),
    st.sampled_from(["true", "[]", "{}", '""', '"x"', "[1, [2]]", "{ a = 1 }", "1979-05-27"]),
    st.sampled_from(['"5us"', '"4KiB"', '"nvme"', '"0s"', '["touch 1"]', "nan", "-inf"]),
)


@QUICK
@given(st.sampled_from([n for n, line in enumerate(LINES) if " = " in line]), SCALARS)
def test_any_value_for_any_key_reads_back_or_is_refused_by_name(number: int, value: str) -> None:
    changed = [*LINES]
    changed[number] = f"{changed[number].partition(' = ')[0]} = {value}"
    with refused_by_name():
        scenario = loads("\n".join(changed))
        assert loads(effective_toml(scenario)) == scenario


PATHS = st.lists(
    st.sampled_from(["vm", "0", "1", "task", "host", "medium", "kernel", "apf", "limit", "script"]),
    min_size=1,
    max_size=5,
)


@QUICK
@given(PATHS, SCALARS | st.text(max_size=5))
def test_any_setting_is_taken_or_refused_by_name(path: list[str], value: str) -> None:
    setting = f"{'.'.join(path)}={value}"
    with refused_by_name(setting):
        loads(TEXT, sets=[setting])


@pytest.mark.parametrize("zipped", [False, True])
@QUICK
@given(position=st.integers(0, 400), junk=st.binary(max_size=4))
def test_a_damaged_trace_is_refused_or_read(
    tmp_path: Path, zipped: bool, position: int, junk: bytes
) -> None:
    rows = "".join(f"{n},{n * 7919 % 4096:x},{'ILSM'[n % 4]},1\n" for n in range(1, 40))
    text = f"icount,page,kind,count\n{rows}".encode()
    data = gzip.compress(text) if zipped else text
    path = tmp_path / "t"
    path.write_bytes(data[:position] + junk + data[position + len(junk) :])
    with contextlib.suppress(DataError):
        trace = TraceSource(str(path)).open()
        assert trace.read(0)[1].max() < trace.pages <= trace.rows
