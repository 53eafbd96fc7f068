"""Messages in, runs out: what is known of a cluster from MQTT alone."""

from __future__ import annotations

import msgspec

from pagewake.cluster.live import ANSWERS_MAX, RUNS_MAX, SERVICES_MAX, SILENT_S, Live
from pagewake.cluster.messages import Progress, VmProgress
from pagewake.cluster.settings import ServiceKind
from pagewake.participants.commands import Answer


def progress(service: ServiceKind = "guest", instance: str = "a", **more: object) -> bytes:
    values: dict[str, object] = {
        "service": service,
        "instance": instance,
        "state": "running",
        "window": 7,
        "at_ns": 1_000_000_000,
        "duration_ns": 2_000_000_000,
        "paused": False,
        "events": 3,
        "sources": ["guest-0"],
        "waits_for": [],
    }
    return msgspec.json.encode(msgspec.convert(values | more, Progress))


def heard(*messages: tuple[str, bytes], at_s: float = 0.0) -> Live:
    live = Live()
    for topic, payload in messages:
        live.feed(f"pagewake/v1/{topic}", payload, at_s)
    return live


def test_a_status_and_a_progress_make_one_service() -> None:
    live = heard(("r/guest/a/status", b"joined"), ("r/progress", progress()))
    (service,) = live.runs["r"].services.values()
    assert (service.service, service.instance, service.status) == ("guest", "a", "running")
    assert service.progress is not None
    assert service.progress.window == 7


def test_a_message_of_an_older_service_is_understood() -> None:
    told = msgspec.json.decode(progress())
    for added in (
        "lag",
        "speed",
        "cpu_s",
        "memory_bytes",
        "sleepers",
        "halted",
        "vms",
        "vms_owned",
    ):
        del told[added]
    live = heard(("r/progress", msgspec.json.encode(told)))
    assert live.runs["r"].sums().vms == 0


def test_what_makes_no_sense_changes_nothing() -> None:
    live = heard(
        ("r/progress", b"{"),
        ("r/progress", progress().replace(b"guest", b"ghost")),
        ("r/guest/a/status", b"dancing"),
        ("r/guest/a/status", b"\xff"),
        ("r/ghost/a/status", b"joined"),
        ("r/command/reply", b"[]"),
    )
    assert live.runs == {}


def test_a_last_will_is_the_word_of_a_run_nobody_else_has() -> None:
    live = heard(("r/host/a/status", b"running"), ("r/host/a/status", b"lost"))
    assert live.runs["r"].word == "lost"
    assert not live.runs["r"].active


def test_a_successor_takes_the_place_of_who_was_lost() -> None:
    live = heard(("r/host/a/status", b"lost"), ("r/host/b/status", b"running"))
    assert live.runs["r"].word == "running"
    assert [each.instance for each in live.runs["r"].in_order()] == ["b", "a"]


def test_a_word_that_was_taken_back_takes_the_run_with_it() -> None:
    live = heard(("r/host/a/status", b"ended"), ("r/host/a/status", b""))
    assert live.runs == {}


def test_runs_under_way_come_first() -> None:
    live = heard(("old/host/a/status", b"ended"), ("new/host/a/status", b"running"))
    assert [run.name for run in live.in_order()] == ["new", "old"]


def test_runs_do_not_change_places_while_they_go() -> None:
    live = heard(("a/progress", progress()), ("b/progress", progress()))
    before = [run.name for run in live.in_order()]
    for name in ("a", "b", "a"):
        live.feed(f"pagewake/v1/{name}/progress", progress(), 7.0)
        assert [run.name for run in live.in_order()] == before


def test_a_service_that_never_gave_figures_is_silent_from_its_first_word() -> None:
    live = heard(("r/host/a/status", b"running"), ("r/host/b/status", b"ended"), at_s=10.0)
    said, over = live.runs["r"].services.values()
    assert said.silent_s(10.0 + SILENT_S) == SILENT_S
    assert over.silent_s(10.0 + SILENT_S) == 0


def test_vms_of_all_shards_the_worst_first() -> None:
    live = heard(
        ("r/progress", progress(vms=[VmProgress("x", 1, 0)], sleepers=5, halted=2, vms_owned=9)),
        ("r/progress", progress(instance="b", vms=[VmProgress("y", 3, 1)], sleepers=3, halted=1)),
    )
    sums = live.runs["r"].sums()
    assert (sums.sleepers, sums.halted, sums.vms) == (8, 3, 9)
    assert [vm.vm for vm in sums.most] == ["y", "x"]


def test_a_service_that_says_nothing_for_long_is_silent_until_it_ends() -> None:
    live = heard(("r/progress", progress()), at_s=10.0)
    (service,) = live.runs["r"].services.values()
    assert service.silent_s(10.0 + SILENT_S - 0.1) == 0
    assert service.silent_s(30.0) == 20
    live.feed("pagewake/v1/r/guest/a/status", b"ended", 30.0)
    assert service.silent_s(99.0) == 0


def test_answers_are_kept_by_id_and_bounded() -> None:
    live = heard(("r/progress", progress()))
    for number in range(ANSWERS_MAX + 1):
        answer = msgspec.json.encode(Answer(f"{number}", ok=True))
        live.feed("pagewake/v1/r/command/reply", answer, 0.0)
    assert len(live.runs["r"].answers) == ANSWERS_MAX
    assert f"{ANSWERS_MAX}" in live.runs["r"].answers


def test_nobody_fills_the_memory() -> None:
    live = Live()
    for number in range(RUNS_MAX + 10):
        live.feed(f"pagewake/v1/r{number}/host/a/status", b"running", float(number))
    for number in range(SERVICES_MAX + 10):
        live.feed(f"pagewake/v1/last/host/i{number}/status", b"running", 1e9)
    assert len(live.runs) == RUNS_MAX
    assert len(live.runs["last"].services) == SERVICES_MAX
