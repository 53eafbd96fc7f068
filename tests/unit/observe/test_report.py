"""The page of a run: what it claims, what it holds, and that it needs nothing but itself."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from base64 import b64encode
from collections.abc import Sequence
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pagewake.cli import report as command
from pagewake.events import types as ev
from pagewake.events.ids import Token
from pagewake.observe.counter import ResultCounter
from pagewake.observe.progress import Share, TaskProgress
from pagewake.observe.report.charts import shortened
from pagewake.observe.report.durations import EDGES_NS, Durations
from pagewake.observe.report.grids import Point, heats, in_groups, measured, ordered
from pagewake.observe.report.live import DETAIL_MAX, _flat, live
from pagewake.observe.report.overview import COLUMNS, FIRST_NS, Overview
from pagewake.observe.report.page import page_of_grid, page_of_log
from pagewake.observe.report.progress import VMS_MAX, progress_tables
from pagewake.observe.report.reading import read_log
from pagewake.observe.report.recorder import STRETCH_NS, Best, VmRecorder
from pagewake.observe.report.replaying import FILE, command_of
from pagewake.observe.report.svg import FILLS
from pagewake.observe.report.timeline import Flight, Span, Timeline
from pagewake.observe.report.timeline_chart import _thinned
from pagewake.observe.report.verdict import verdict, worries
from pagewake.observe.report.words import GLUE, duration, on_axis, percent, short
from pagewake.observe.result import RunFacts, RunResult
from pagewake.scenario.loading import load, loads
from pagewake.scenario.writing import effective_toml
from pagewake.verify.log_run import PlacedEvent
from tests.support.runs import run_logged
from tests.unit.cli.support import SERVICES, SMALL, Outcome, invoke, small_scenario
from tests.unit.verify.story import page_fault_story, write_log

EMPTY = """
[scenario]
name = "empty"
duration = "5ms"
[host]
medium = "nvme"
[[vm]]
name = "vm"
vcpus = 1
memory = "1MiB"
limit = "1MiB"
[[vm.task]]
name = "worker"
pattern = "work"
"""


SERVED = EMPTY.replace('name = "empty"', 'name = "served"').replace(
    'pattern = "work"',
    'pattern = "requests"\nworking_set = "64KiB"\nrate = 10000\nservice = "20us"\n'
    "touches_per_request = 2",
)


def plain(text: str) -> str:
    """With spaces that break."""
    return text.replace(GLUE, " ")


class Page(HTMLParser):
    """A page taken apart: every tag with its attributes, the texts, the JSON block."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self._block: list[str] | None = None
        self.scripts: dict[str | None, str] = {}
        self._of: str | None = None
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "script":
            self._block = []
            self._of = dict(attrs).get("id")

    def handle_endtag(self, tag: str) -> None:
        if tag == "script" and self._block is not None:
            self.scripts[self._of] = "".join(self._block)
            self._block = None

    def handle_data(self, data: str) -> None:
        if self._block is not None:
            self._block.append(data)
        elif data.strip():
            self.texts.append(plain(data.strip()))

    @property
    def result(self) -> Any:
        """What the block says."""
        return json.loads(self.scripts["result"])

    def has(self, text: str) -> bool:
        """Some piece of text is, or holds, this."""
        return any(text in piece for piece in self.texts)


def reported(capsys: pytest.CaptureFixture[str], out: Path, *arguments: str) -> tuple[Page, Any]:
    """`pagewake run ... --report`: the page, and the result on stdout."""
    outcome = invoke(capsys, "run", *arguments, "--report", str(out), "--json")
    assert outcome.code == 0, outcome.err
    return Page(out.read_text("utf-8")), json.loads(outcome.out)


def without_wall_time(printed: dict[str, Any]) -> dict[str, Any]:
    """A result as its page has it."""
    return {key: value for key, value in printed.items() if key not in ("wall_s", "jobs")}


def result_of(**changes: Any) -> RunResult:
    """A result in which nothing happened, but for `changes`."""
    facts = RunFacts("s", 1, "2.6.38", "pv", 1_000_000_000, 0.5, 9, "00ff", 1, "0.1.0")
    nothing = ResultCounter().finish(facts, [])
    return msgspec.structs.replace(nothing, **changes)


def faults(**delivered: int) -> dict[str, int]:
    """`not_present` of a result."""
    return {"injected": 0, "halted": 0, "untold": 0, "synchronous": 0, **delivered}


# ---------------------------------------------------------------------------------- the page


def test_the_page_holds_what_run_json_prints(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page, printed = reported(capsys, tmp_path / "out.html", small_scenario(tmp_path))

    assert page.result == without_wall_time(printed)
    assert page.has(printed["digest"])
    assert page.has("All ")
    assert {path.name for path in tmp_path.iterdir()} == {"out.html", "small.toml"}


def test_a_run_and_its_log_give_the_same_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = str(tmp_path / "log")
    reported(capsys, tmp_path / "a.html", small_scenario(tmp_path), "--log", log)
    assert invoke(capsys, "report", log, "-o", str(tmp_path / "b.html")).code == 0
    reported(capsys, tmp_path / "c.html", small_scenario(tmp_path))

    pages = {(tmp_path / f"{name}.html").read_bytes() for name in "abc"}
    assert len(pages) == 1


def test_every_figure_of_the_result_stands_under_its_key(tmp_path: Path) -> None:
    run = run_logged("row-02-kernel-fault", tmp_path)
    page = Page(page_of_log(run.directory))

    elsewhere = {"progress", "per_vm", "per_group", "latency", "expected"}
    for key, value in without_wall_time(msgspec.to_builtins(run.result)).items():
        if key in elsewhere:
            continue
        assert key in page.texts, key
        if isinstance(value, dict):
            names = {"total", *value["per_task"]} if key == "work" else set(value)
            assert names <= set(page.texts), key


def test_the_same_log_gives_the_same_bytes_in_every_process(tmp_path: Path) -> None:
    log = run_logged("row-17-l2-shadowed", tmp_path).directory
    here = page_of_log(log)
    script = "import sys; from pathlib import Path\n"
    script += "from pagewake.observe.report.page import page_of_log\n"
    script += "sys.stdout.buffer.write(page_of_log(Path(sys.argv[1])).encode())"
    done = subprocess.run(
        [sys.executable, "-c", script, str(log)],
        env={"PYTHONPATH": str(SERVICES), "PYTHONHASHSEED": "7", "HOME": str(tmp_path)},
        capture_output=True,
        check=True,
    )

    assert done.stdout == here.encode()
    assert page_of_log(log) == here


@pytest.mark.parametrize("name", ["row-17-l2-shadowed", "row-03-kernel-fault-irqs-off"])
def test_a_page_names_no_address_and_runs_no_script_but_its_own(name: str, tmp_path: Path) -> None:
    text = page_of_log(run_logged(name, tmp_path).directory)
    page = Page(text)

    assert re.findall(r"https?:|\bwww\.|@import", text) == []
    assert re.findall(r"url\((?!#)", text) == []
    for tag, attributes in page.tags:
        assert not any(name.startswith("on") for name in attributes)
        for key in ("src", "href", "xlink:href", "action", "data"):
            assert (attributes.get(key) or "#").startswith(("#", "data:,")), (tag, attributes)
    data = {"type": "application/json"}
    scripts = [attributes for tag, attributes in page.tags if tag == "script"]
    assert scripts == [data | {"id": "timeline-data"}, data | {"id": "result"}, {}]
    policy = next(a["content"] for _, a in page.tags if a.get("http-equiv"))
    assert policy is not None
    digest = b64encode(sha256(page.scripts[None].encode()).digest()).decode()
    assert policy.startswith("default-src 'none';")
    assert policy.endswith(f"script-src 'sha256-{digest}'")


EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(2)> $x$ & more"


def test_what_a_scenario_says_is_only_ever_text(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = SMALL.format(duration="20ms").replace("one VM, a worker and a faulter", EVIL)
    (tmp_path / "evil.toml").write_text(text, "utf-8")
    page, _ = reported(capsys, tmp_path / "out.html", str(tmp_path / "evil.toml"))
    names = [tag for tag, _ in page.tags]

    assert page.texts.count(EVIL) == 1
    assert page.has(f'description = "{EVIL}"')
    assert (names.count("script"), names.count("img")) == (3, 0)


def test_nor_is_a_name_in_a_result_or_a_picture(tmp_path: Path) -> None:
    """Scenarios cannot have such names, but a page does not rely on it."""
    run = run_logged("row-01-user-fault", tmp_path)
    work = msgspec.structs.replace(run.result.work, per_task={EVIL: 1})
    evil = msgspec.structs.replace(
        run.result, scenario=EVIL, work=work, unresolved=1, unresolved_tasks=[EVIL]
    )
    point = Point({"axis": EVIL}, evil)
    grid = page_of_grid([point, point], read_log(run.directory).scenario, EVIL)
    for page in (Page(page_of_log(run.directory, evil)), Page(grid)):
        names = [tag for tag, _ in page.tags]
        assert (names.count("script"), names.count("img")) == (len(page.scripts), 0)
        assert len(page.scripts) <= 3
        assert EVIL in json.dumps(page.result)
        assert page.has(EVIL)


# ---------------------------------------------------------------------------------- kinds of runs


def test_a_run_in_which_no_page_is_absent(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty.toml").write_text(EMPTY, "utf-8")
    page, printed = reported(capsys, tmp_path / "out.html", str(tmp_path / "empty.toml"))

    assert printed["wait_sim_seconds"] is None
    assert page.has("No touch found its page in swap: there was nothing to tell the guest.")
    assert page.has("No task was woken and no vcpu stood still for a page.")


def test_a_run_without_asynchronous_page_faults(tmp_path: Path) -> None:
    (tmp_path / "small.toml").write_text(SMALL.format(duration="100ms"), "utf-8")
    run = run_logged(str(tmp_path / "small.toml"), tmp_path, "kernel.apf=off")
    told = read_log(run.directory)
    page = Page(page_of_log(run.directory))

    assert run.result.not_present["synchronous"] == told.reasons["synchronous", "off"] > 0
    assert page.has("With asynchronous page faults off, all")
    assert told.blacked_out.total > 0
    assert told.timeline is not None
    assert {"running", "waiting for a page"} <= {span.state for span in told.timeline.spans}


def test_a_nested_run_shows_where_its_exits_went(tmp_path: Path) -> None:
    run = run_logged("row-17-l2-shadowed", tmp_path)
    told = read_log(run.directory)
    page = Page(page_of_log(run.directory))

    by_route = dict.fromkeys(run.result.exits, 0)
    for (_, _, route), number in told.routes.items():
        by_route[route] += number
    assert by_route == run.result.exits
    assert page.has("Where nested exits went")
    assert page.has("NPF")
    assert page.has("of nested guests")


def test_a_task_that_nobody_will_wake_is_named(tmp_path: Path) -> None:
    page = Page(page_of_log(run_logged("row-12-ready-write-fails", tmp_path).directory))

    assert page.has("nobody will wake vm-0/toucher-0")


def test_a_run_whose_guests_end_early_ends_where_they_do(tmp_path: Path) -> None:
    run = run_logged("trace-sqlite", tmp_path)

    told = read_log(run.directory)
    assert told.result == msgspec.structs.replace(run.result, wall_s=0.0, jobs=None)
    assert told.result.sim_ns < told.scenario.duration_ns


def test_several_hosts_add_up(tmp_path: Path) -> None:
    text = SMALL.format(duration="50ms").replace("[host]\n", "[host]\ncount = 2\n")
    (tmp_path / "two.toml").write_text(text.replace("vcpus = 2", "count = 3\nvcpus = 2"), "utf-8")
    run = run_logged(str(tmp_path / "two.toml"), tmp_path)

    found = read_log(run.directory).result
    assert found == msgspec.structs.replace(run.result, wall_s=0.0, jobs=None)
    assert found.shards == 2


def test_a_grid_has_every_point(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "grid.html"
    scenario = small_scenario(tmp_path)
    arguments = ("compare", scenario, "--axis", "kernel.apf=off,pv", "--set", "scenario.seed=3")
    outcome = invoke(capsys, *arguments, "--report", str(out), "--json")
    page = Page(out.read_text("utf-8"))

    assert outcome.code == 0, outcome.err
    assert page.result == [without_wall_time(point) for point in json.loads(outcome.out)]
    assert page.has("kernel.apf=pv against off: vm/")
    assert page.has(f"{page.result[1]['work']['total']:,}")
    assert page.has(f"pagewake compare {scenario} --axis kernel.apf=off,pv --set scenario.seed=3")


# ---------------------------------------------------------------------------------- the file


def refused(outcome: Outcome, why: str) -> None:
    """Exit code 2, nothing printed as a result."""
    assert (outcome.code, outcome.out) == (2, "")
    assert why in outcome.err


def test_a_place_that_cannot_be_written_is_refused_before_the_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scenario = small_scenario(tmp_path)
    missing = str(tmp_path / "missing" / "out.html")
    refused(invoke(capsys, "run", scenario, "--report", missing), "does not exist")
    refused(invoke(capsys, "run", scenario, "--report", str(tmp_path)), "is a directory")
    axis = ("compare", scenario, "--axis", "kernel.apf=off,pv")
    refused(invoke(capsys, *axis, "--report", missing), "does not exist")
    log = tmp_path / "log"
    inside = ("run", scenario, "--log", str(log), "--report", str(log / "out.html"))
    refused(invoke(capsys, *inside), "lies inside the log")
    assert [path.name for path in tmp_path.iterdir()] == ["small.toml"]


def test_a_log_is_reported_only_where_there_is_a_directory(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = write_log(tmp_path / "log", page_fault_story())
    out = str(tmp_path / "missing" / "out.html")
    refused(invoke(capsys, "report", str(log), "-o", out), "does not exist")


def test_nothing_half_written_is_left(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    log = write_log(tmp_path / "log", page_fault_story())
    (tmp_path / "out.html").write_text("<!DOCTYPE html> the last one", "utf-8")

    def full(path: Path, page: str) -> None:
        path.write_text(page[:100], "utf-8")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(command, "_fill", full)
    outcome = invoke(capsys, "report", str(log), "-o", str(tmp_path / "out.html"))

    refused(outcome, "cannot be written: No space left on device")
    assert (tmp_path / "out.html").read_text("utf-8") == "<!DOCTYPE html> the last one"
    assert {path.name for path in tmp_path.iterdir()} == {"log", "out.html"}


def test_a_damaged_log_has_no_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = write_log(tmp_path / "log", page_fault_story())
    text = (log / "journal-0.jsonl").read_bytes()
    (log / "journal-0.jsonl").write_bytes(text[:-20])
    outcome = invoke(capsys, "report", str(log), "-o", str(tmp_path / "out.html"))

    assert outcome.code == 65
    assert "journal-0.jsonl:3: torn" in outcome.err
    assert not (tmp_path / "out.html").exists()


def test_the_libraries_are_loaded_for_a_report_only() -> None:
    script = "import sys, pagewake.cli.app\n"
    script += "print([name for name in ('matplotlib', 'jinja2') if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={"PYTHONPATH": str(SERVICES)},
        capture_output=True,
        check=True,
    )
    assert done.stdout == b"[]\n"


# ---------------------------------------------------------------------------------- the verdict


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "No touch found its page in swap: there was nothing to tell the guest."),
        (
            {"apf": "off", "not_present": faults(synchronous=2), "cpu": {"blackout": 1, "idle": 1}},
            (
                "With asynchronous page faults off, all 2 faults on absent pages held their vcpu"
                " until the page was there; the vcpus stood still for a page 50 % of their time."
            ),
        ),
        (
            {"apf": "nonpv", "not_present": faults(halted=1), "cpu": {"halted": 1, "task:a": 3}},
            (
                "With a guest that takes no part in the protocol, the one fault on an absent page"
                " halted its vcpu; the vcpus stood still for a page 25 % of their time."
            ),
        ),
        (
            {"not_present": faults(injected=3, halted=1), "cpu": {"task:a": 1}},
            (
                "Of 4 faults on absent pages 3 (75 %) were told to the guest and 1 (25 %) halted"
                " their vcpu; no vcpu ever stood still for a page."
            ),
        ),
        (
            {"exits": {"host": 3, "continue": 0, "done": 1}, "by_event": {"NestedVmexit": 2}},
            (
                "No touch found its page in swap: there was nothing to tell the guest; 4 exits"
                " of nested guests were routed, and their hypervisors got 2 #VMEXITs."
            ),
        ),
    ],
)
def test_the_verdict_says_what_was_counted(changes: dict[str, Any], said: str) -> None:
    assert plain(verdict(result_of(**changes))) == said


def test_what_went_wrong_is_said() -> None:
    assert list(worries(result_of())) == []
    wrong = result_of(by_event={"TaskKilled": 2, "ProtocolFault": 1})
    assert list(worries(wrong)) == [
        "2 tasks killed by a token that they could not know.",
        "1 protocol fault.",
    ]


# ---------------------------------------------------------------------------------- its parts


@pytest.mark.parametrize(
    ("sets", "command_line"),
    [
        ((), "pagewake run row-01-user-fault --seed 1"),
        (
            ("scenario.duration=5ms", "kernel.apf=off"),
            (
                "pagewake run row-01-user-fault --seed 1 --set scenario.duration=5ms"
                " --set kernel.apf=off"
            ),
        ),
    ],
)
def test_a_built_in_scenario_is_run_again_by_name(sets: tuple[str, ...], command_line: str) -> None:
    assert command_of(load("row-01-user-fault", sets)) == command_line


def test_any_other_scenario_is_run_again_from_its_text() -> None:
    scenario = loads(SMALL.format(duration="5ms"), "small.toml", Path())
    assert command_of(scenario) == f"pagewake run {FILE}"
    again = loads(effective_toml(scenario), FILE, Path())
    assert effective_toml(again) == effective_toml(scenario)


def test_durations_fall_into_bins_of_a_tenth_of_a_decade() -> None:
    times = Durations()
    assert times.span() is None
    for took_ns in (0, 1_000_000, 1_000_001, 1_258_924, 1_258_925, 10**15):
        times.add(took_ns)
    first = EDGES_NS.index(1_000_000)

    assert times.total == 6
    assert times.counts(first, first + 2) == [3, 1]
    assert times.span() == (0, len(EDGES_NS) - 1)


def _slept_at(*instants_ns: int) -> list[PlacedEvent]:
    return [
        PlacedEvent(
            ev.TaskSlept(at_ns=at_ns, vm="v", n=n + 1, vcpu=0, task=f"t-{n}", token=Token(n)), "", 0
        )
        for n, at_ns in enumerate(instants_ns)
    ]


def _best_of(*vms: list[PlacedEvent], end_ns: int = 1_000_000_000) -> Timeline:
    best = Best()
    for number, placed in enumerate(vms):
        recorder = VmRecorder(f"v-{number}", number, best, Durations(), Durations())
        for one in placed:
            recorder.take(one)
        recorder.close(end_ns)
    assert best.timeline is not None
    return best.timeline


def test_the_stretch_is_the_one_with_the_most_in_it() -> None:
    ms = 1_000_000
    found = _best_of(
        _slept_at(5 * ms, 450 * ms, 470 * ms, 545 * ms, 700 * ms), _slept_at(450 * ms, 451 * ms)
    )

    assert (found.vm, found.happened) == ("v-0", 3)
    assert (found.from_ns, found.until_ns) == (450 * ms, 550 * ms)


def test_of_equal_stretches_the_earliest_is_shown() -> None:
    ms = 1_000_000
    found = _best_of(_slept_at(300 * ms), _slept_at(200 * ms), _slept_at(200 * ms))

    assert (found.vm, found.from_ns) == ("v-1", 110 * ms)


def test_a_short_run_is_shown_whole() -> None:
    found = _best_of(_slept_at(1_000, 9_000), end_ns=10_000)
    assert (found.from_ns, found.until_ns, found.happened) == (0, 10_000, 2)


def test_a_gap_of_any_length_costs_no_time() -> None:
    found = _best_of(_slept_at(0, 10**15, 10**15 + 1), end_ns=10**18)
    assert found.happened == 2
    assert found.from_ns <= 10**15 < found.until_ns


def _timeline(spans: list[Span], flights: list[Flight]) -> Timeline:
    return Timeline("v", 0, STRETCH_NS, len(spans), spans, flights, [(0, 0)], [0], 0, complete=True)


def test_a_short_burst_is_shown_close() -> None:
    whole = _timeline([Span(0, "running", 0, STRETCH_NS)], [Flight(0, 50_000_000, 51_000_000)])
    shown = whole.zoomed()

    assert shown.from_ns < 50_000_000
    assert shown.until_ns > 51_000_000
    assert shown.until_ns - shown.from_ns < 2_000_000


def test_a_full_stretch_has_a_readable_part() -> None:
    step = 100_000
    flights = [Flight(0, at, at + step // 2) for at in range(0, STRETCH_NS, step)]
    part = _timeline([], flights).busiest()

    assert part is not None
    inside = [one for one in flights if part.from_ns <= one.from_ns < part.until_ns]
    assert 0 < len(inside) <= 80
    assert _timeline([], flights[:20]).busiest() is None


@pytest.mark.parametrize(
    ("part", "whole", "said"),
    [
        (0, 0, "0 %"),
        (1, 3, "33.3 %"),
        (1, 10**6, "<0.1 %"),
        (10**6 - 1, 10**6, ">99.9 %"),
        (5, 5, "100 %"),
    ],
)
def test_a_share_is_not_rounded_away(part: int, whole: int, said: str) -> None:
    assert plain(percent(part, whole)) == said


@pytest.mark.parametrize(
    ("value_s", "said"), [(0, "0 s"), (1e-3, "1 ms"), (0.0329, "32.9 ms"), (2e-9, "2 ns")]
)
def test_a_duration_has_a_readable_unit(value_s: float, said: str) -> None:
    assert plain(duration(value_s)) == said


def test_of_too_many_sleepers_the_highest_of_each_column_is_drawn() -> None:
    whole = _timeline([], [])
    steps = [(at, at // 1_000 % 2) for at in range(0, STRETCH_NS // 2, 1_000)]
    thinned = _thinned(steps, whole)

    assert len(thinned) <= 801
    assert {number for _, number in thinned[:-1]} == {1}
    assert thinned[-1][1] == steps[-1][1]
    assert thinned == sorted(thinned)
    assert _thinned(steps[:10], whole) == steps[:10]


def test_a_flight_knows_when_its_page_was_there(tmp_path: Path) -> None:
    """The guest learns of it later, at its next exit."""
    run = run_logged("row-01-user-fault", tmp_path)
    timeline = read_log(run.directory).timeline
    assert timeline is not None
    (flight,) = timeline.flights
    (completed,) = run.of(ev.WorkerCompleted)
    assert flight.arrived_ns == completed.at_ns
    assert flight.until_ns is not None
    assert flight.from_ns < completed.at_ns < flight.until_ns


# ---------------------------------------------------------------------------------- what is lost


def test_a_ready_that_never_came_is_drawn_and_said(tmp_path: Path) -> None:
    log = run_logged("row-12-ready-write-fails", tmp_path).directory
    told, page = read_log(log), Page(page_of_log(log))
    assert told.timeline is not None
    (flight,) = told.timeline.flights

    assert flight.lost
    assert [(one.vm, one.vcpu, one.why) for one in told.lost] == [("vm-0", 0, flight.never)]
    assert told.lost[0].reason == "write_failed"
    assert page.has("READY never came for 1 token that the guest was told of: silent")
    assert page.has("the next host write to the shared area of vcpu 0 fails")
    assert page.has("task other")
    assert page.has("one of several tasks")
    assert page.has("a task slept once, to the end, so that its vcpu could go on")
    assert ("p", {"class": "verdict bad", "id": "verdict"}) in page.tags


def test_tokens_withdrawn_by_a_migration_are_said_and_are_not_bad(tmp_path: Path) -> None:
    page = Page(page_of_log(run_logged("row-11-migrate-sleepers", tmp_path).directory))

    assert page.has("cancelled: the VM was migrated; broadcasts woke 4 tasks instead")
    assert ("p", {"class": "verdict", "id": "verdict"}) in page.tags


def test_requests_have_a_table_and_a_picture_of_latencies(tmp_path: Path) -> None:
    (tmp_path / "served.toml").write_text(SERVED, "utf-8")
    run = run_logged(str(tmp_path / "served.toml"), tmp_path)
    (found,) = run.result.latency.values()
    page = Page(page_of_log(run.directory))

    assert found.p99_ns is not None
    assert page.has("How long requests took")
    assert page.has(f"{found.count:,}")
    assert page.has(plain(duration(found.p99_ns / 1e9)))


def test_what_is_expected_of_requests_is_held_against_what_came(tmp_path: Path) -> None:
    expect = '\n[[expect]]\nof = "vm/worker"\np99 = "1ns"\nthroughput = 1\n'
    (tmp_path / "served.toml").write_text(SERVED + expect, "utf-8")
    page = Page(page_of_log(run_logged(str(tmp_path / "served.toml"), tmp_path).directory))

    assert page.has("What the scenario expects is not met: p99 of vm/worker.")
    assert {"met", "not met"} <= set(page.texts)
    assert ("p", {"class": "verdict bad", "id": "verdict"}) in page.tags


def test_a_vcpu_that_sleeps_with_an_exception_pending_is_named(tmp_path: Path) -> None:
    log = run_logged("row-14-hlt-completion", tmp_path).directory
    page = Page(page_of_log(log))
    (one,) = read_log(log).pending

    assert one.until_ns - one.from_ns > 17_000_000
    assert page.has("Vcpu 0 of vm-0 slept in HLT with an exception pending, for 17.3 ms")
    assert page.has("but one slept in HLT with an exception pending")


def test_with_the_fix_of_2012_no_exception_is_slept_upon(tmp_path: Path) -> None:
    fixed = "kernel.overrides.present_makes_runnable=true"
    log = run_logged("row-14-hlt-completion", tmp_path, fixed).directory
    assert read_log(log).pending == []


def test_a_run_in_which_all_is_well_has_no_bad_verdict(tmp_path: Path) -> None:
    page = Page(page_of_log(run_logged("row-01-user-fault", tmp_path).directory))
    assert ("p", {"class": "verdict", "id": "verdict"}) in page.tags


# ---------------------------------------------------------------------------------- the whole run


def test_an_overview_adds_up_however_long_the_run_is() -> None:
    overview = Overview()
    overview.add_vcpu(0)
    end_ns = 977 * FIRST_NS * 100
    for at_ns in range(0, end_ns, end_ns // 977):
        overview.state(0, "running", at_ns, at_ns + end_ns // 977)
        overview.ran(0, "worker-0", at_ns, at_ns + end_ns // 977 // 2)
    overview.sleepers(end_ns // 2, 3)
    overview.sleepers(end_ns // 2 + 1, 0)
    overview.close(end_ns)
    states, tasks = overview.shares(0)

    columns = -(-end_ns // overview.width_ns)
    assert COLUMNS // 2 < columns <= COLUMNS
    assert states["running"][0] == 1000
    assert sum(states["running"][1::2]) == columns
    share = sum(value * times for value, times in batched(tasks["worker-0"])) / columns
    assert share == pytest.approx(500, abs=5)
    asleep = [value for value, times in batched(overview.asleep()) for _ in range(times)]
    assert max(asleep) == 3
    assert asleep.index(3) == end_ns // 2 // overview.width_ns


def batched(numbers: list[int]) -> list[tuple[int, int]]:
    """The runs (value, times) of a packed list."""
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def test_l2_counts_for_itself_in_an_overview() -> None:
    overview = Overview()
    overview.add_vcpu(0)
    overview.state(0, "L2", 10_000, 60_000)
    overview.state(0, "running", 0, 100_000)
    overview.close(100_000)
    states, _ = overview.shares(0)

    sums = {kind: sum(v * n for v, n in batched(runs)) for kind, runs in states.items()}
    assert sums == {"nested": 50_000, "running": 50_000}


def test_running_ends_where_an_l2_begins() -> None:
    spans = [Span(0, "running", 0, 100), Span(0, "L2", 10, 20), Span(0, "L2", 30, 40)]
    flat = sorted((one.from_ns, one.until_ns, one.state) for one in _flat(spans))

    assert [edges[:2] for edges in flat] == [(0, 10), (10, 20), (20, 30), (30, 40), (40, 100)]


def test_a_page_carries_as_much_detail_as_it_can() -> None:
    step = STRETCH_NS // DETAIL_MAX // 2
    spans = [Span(0, "running", at, at + step) for at in range(0, STRETCH_NS, step)]
    whole = _timeline(spans, [])
    shown = whole._replace(from_ns=STRETCH_NS // 2, until_ns=STRETCH_NS // 2 + 1_000_000)
    data: Any = live(whole, shown, None, {})

    assert data["shown"] == [shown.from_ns, shown.until_ns]
    assert 0 < data["from"] < shown.from_ns < shown.until_ns < data["until"] < STRETCH_NS
    assert len(data["vcpus"][0]["spans"]) <= 3 * DETAIL_MAX


@pytest.mark.parametrize(
    ("values_s", "said"),
    [
        ([0.0, 5e-5, 1e-4], ["0 µs", "50 µs", "100 µs"]),
        ([0.09175, 0.0918], ["91.75 ms", "91.80 ms"]),
        ([2.0, 2.5], ["2.0 s", "2.5 s"]),
    ],
)
def test_ticks_share_a_unit_and_differ(values_s: list[float], said: list[str]) -> None:
    assert [plain(text) for text in on_axis(values_s)] == said


# ---------------------------------------------------------------------------------- grids


def _grid_of(*axes: dict[str, str], touches: Sequence[int]) -> list[Point]:
    return [
        Point(
            point,
            result_of(
                progress={
                    "vm-0/t-0": TaskProgress(number, None, 0, None, 1, None, None, ends=False)
                },
                cpu={"task:t": 999, "blackout": 1},
            ),
        )
        for point, number in zip(axes, touches, strict=True)
    ]


def test_points_stand_in_groups_by_what_matters_most() -> None:
    axes = [{"size": size, "apf": apf} for size in ("1GiB", "2GiB") for apf in ("off", "pv")]
    points = _grid_of(*axes, touches=[100, 900, 110, 990])

    assert ordered(points) == ["apf", "size"]
    assert [(one.heading, one.label, one.number) for one in in_groups(points)] == [
        ("apf = off", "1GiB", 0),
        ("", "2GiB", 2),
        ("apf = pv", "1GiB", 1),
        ("", "2GiB", 3),
    ]


def test_long_labels_keep_both_ends() -> None:
    labels = [f"vm.0.limit=1536MiB, {'x' * 60}, {apf}" for apf in ("off", "pv")]
    cut = [shortened(label, 350) for label in labels]

    assert all(len(text) < len(label) for text, label in zip(cut, labels, strict=True))
    assert cut[0].startswith("vm.0.limit=1536MiB")
    assert [text[-5:] for text in cut] == [", off", "x, pv"]
    assert shortened("off", 350) == "off"


def test_two_axes_make_a_heat_map() -> None:
    axes = [{"size": size, "apf": apf} for size in ("1GiB", "2GiB") for apf in ("off", "pv")]
    points = _grid_of(*axes, touches=[100, 900, 110, 990])
    (heat,) = heats(points, measured(points))

    assert (heat.name, heat.across, heat.down) == ("vm/t: touches", "apf", "size")
    assert [row for row, _ in heat.rows] == ["1GiB", "2GiB"]
    shades = [cell.shade for _, cells in heat.rows for cell in cells if cell is not None]
    assert shades == [0, 4, 0, 4]
    assert heats(points[:2], measured(points[:2])) == []
    alike = _grid_of(*axes, touches=[1000, 1001, 1003, 1002])
    (heat,) = heats(alike, measured(alike))
    assert {cell.shade for _, cells in heat.rows for cell in cells if cell is not None} == {0}


def test_slim_shares_have_numbers(tmp_path: Path) -> None:
    points = _grid_of({"a": "1"}, {"a": "2"}, touches=[1, 2])
    page = Page(page_of_grid(points, load("row-01-user-fault"), "again"))
    assert page.has("0.1 %")
    assert page.has("blacked out for a page")


# ---------------------------------------------------------------------------------- progress


def test_how_far_tasks_came_stands_on_the_page(tmp_path: Path) -> None:
    run = run_logged("trace-sqlite", tmp_path)
    (kinds,) = progress_tables(run.result)
    assert run.result.progress is not None
    page = Page(page_of_log(run.directory))

    assert kinds.headings[:4] == ["tasks", "number", "touches", "touches/s"]
    touches = sum(task.touches for task in run.result.progress.values())
    assert page.has(f"{touches:,}") or page.has(plain(short(touches)))
    assert any("the last at" in cell for row in kinds.rows for cell in row)


def test_of_many_vms_those_that_stood_still_most_are_named() -> None:
    shares = {
        f"vm-{number}": Share(cpu={"task:t": 100 - number, "blackout": number})
        for number in range(VMS_MAX + 5)
    }
    (table,) = progress_tables(result_of(per_vm=shares))

    assert [row[0] for row in table.rows][:2] == [f"vm-{VMS_MAX + 4}", f"vm-{VMS_MAX + 3}"]
    assert len(table.rows) == VMS_MAX
    assert plain(table.note).endswith("the other 5 VMs stood still 0 % to 4 % of their time.")


# ---------------------------------------------------------------------------------- contrast

AA = 4.5
"""Of WCAG 2.2, success criterion 1.4.3, for text of any size."""


def _colours() -> list[dict[str, str]]:
    """The variables of the light scheme, and of the dark one."""
    css = (SERVICES / "pagewake/observe/report/templates/page.css").read_text("utf-8")
    blocks = re.findall(r":root \{([^}]*)\}", css)
    return [dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})\b", block)) for block in blocks]


def _luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    """The ratio that WCAG defines."""
    low, high = sorted((_luminance(one), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_text_can_be_read_on_every_colour(scheme: int) -> None:
    colours = _colours()[scheme]
    pairs = [(f"on-{name}", name) for name in FILLS]
    pairs += [("ink", ground) for ground in ("paper", "raised", "warn-paper")]
    pairs += [("faint", ground) for ground in ("paper", "raised")]
    pairs += [("ink", f"heat-{shade}") for shade in range(3)]
    pairs += [(f"on-heat-{shade}", f"heat-{shade}") for shade in (3, 4)]

    assert {pair for pair in pairs if contrast(colours[pair[0]], colours[pair[1]]) < AA} == set()
