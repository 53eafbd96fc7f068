"""Dashboards and rules over real services: a real Prometheus scrapes three runs, and every query of
every panel and every rule has data."""

from __future__ import annotations

import asyncio
import math
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from http.client import HTTPConnection
from pathlib import Path
from socket import socket
from time import time
from typing import Any, NamedTuple
from urllib.parse import urlencode

import msgspec
import pytest
import yaml

from pagewake.bus.kafka import KafkaBus, KafkaSettings
from pagewake.participants.commands import encode_command
from pagewake.participants.plan import topic_name
from tests.deploy.dashboards import PROMETHEUS, marks, queries, rules, selectors
from tests.support.processes import KAFKA, Cluster, needs_kafka, new_run, running, until

PROGRAM = shutil.which("prometheus") or ""
pytestmark = [
    pytest.mark.broker,
    pytest.mark.slow,
    needs_kafka,
    pytest.mark.skipif(
        not PROGRAM,
        reason="no prometheus: apt-get install --no-install-recommends prometheus",
    ),
]

SERVICES = ("host", "guest", "nested")
DURATIONS = {"natapov-2010": "600s", "nested": "20s", "overcommit": "20s"}  # longer than the tests
SYNCHRONOUS = (0.0, 1.0, 0.0)  # shares of their page faults, in guest mode
DONE_TO_RUNS = ("Interventions", "Paused", "Ends")
STEP_S = 5
LOOKED_BACK_S = 180
OF_RECORDINGS = 'source="recording"'
WITHIN_S = 150.0


class Answered(NamedTuple):
    """A query, its series and the samples in them that are numbers."""

    where: str
    expr: str
    series: int
    samples: int


class Prometheus:
    """A server of its own on loopback, with the repository's rules and scrape configuration."""

    def __init__(self, directory: Path, ports: dict[str, int]) -> None:
        self.port = free_port()
        self._log = (directory / "prometheus.log").open("wb")
        config = directory / "prometheus.yml"
        config.write_text(yaml.safe_dump(self._configured(ports)), encoding="utf-8")
        self.process = subprocess.Popen(
            [
                PROGRAM,
                f"--config.file={config}",
                f"--storage.tsdb.path={directory / 'data'}",
                f"--web.listen-address=127.0.0.1:{self.port}",
            ],
            stderr=self._log,
            stdout=self._log,
        )

    def _configured(self, ports: dict[str, int]) -> dict[str, Any]:
        """The repository's, with ports of processes in place of names in the DNS."""
        text = (PROMETHEUS / "prometheus.yml").read_text(encoding="utf-8")
        config: dict[str, Any] = yaml.safe_load(text)
        config["global"] |= {"scrape_interval": "1s", "scrape_timeout": "1s"}
        config["global"]["evaluation_interval"] = "1s"
        config["rule_files"] = [str(PROMETHEUS / found) for found in config["rule_files"]]
        (job,) = [one for one in config["scrape_configs"] if one["job_name"] == "pagewake"]
        del job["dns_sd_configs"], job["relabel_configs"]
        job["static_configs"] = [
            {"targets": [f"127.0.0.1:{port}"], "labels": {"service": name}}
            for name, port in ports.items()
        ]
        config["scrape_configs"] = [job]
        return config

    def stop(self) -> None:
        """End it and wait."""
        self.process.terminate()
        self.process.wait(30)
        self._log.close()

    def ask(self, path: str, **parameters: object) -> Any:
        """The data of an answer of the API."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", f"/api/v1/{path}?{urlencode(parameters)}")
            answer = msgspec.json.decode(connection.getresponse().read())
        finally:
            connection.close()
        assert answer["status"] == "success", (parameters, answer)
        return answer["data"]

    def is_ready(self) -> bool:
        """Whether it answers at all."""
        try:
            return bool(self.ask("query", query="1"))
        except (OSError, msgspec.DecodeError):
            return False

    def over_time(self, where: str, expr: str) -> Answered:
        """As a panel asks over a range."""
        end_s = time()
        asked = {"start": end_s - LOOKED_BACK_S, "end": end_s, "step": STEP_S}
        found = self.ask("query_range", query=expr, **asked)["result"]
        return Answered(where, expr, len(found), numbers(one["values"] for one in found))

    def now(self, where: str, expr: str) -> Answered:
        """As a table asks."""
        found = self.ask("query", query=expr)["result"]
        return Answered(where, expr, len(found), numbers([one["value"]] for one in found))

    def firing(self, *severities: str) -> set[str]:
        """Names of alerts that fire."""
        return {
            alert["labels"]["alertname"]
            for alert in self.ask("alerts")["alerts"]
            if alert["state"] == "firing" and alert["labels"]["severity"] in severities
        }


class Observed(NamedTuple):
    """Three runs under way, and who watches them."""

    cluster: Cluster
    prometheus: Prometheus
    runs: list[str]


def free_port() -> int:
    """One that nobody listens on."""
    with socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def numbers(series: Iterable[list[list[Any]]]) -> int:
    """Samples that are no NaN."""
    return sum(not math.isnan(float(value)) for values in series for _, value in values)


def all_panels(prometheus: Prometheus) -> list[Answered]:
    """Every query of every panel, as the panel asks."""
    return [
        (prometheus.now if asked.instant else prometheus.over_time)(asked.where, asked.expr)
        for asked in queries()
    ]


def all_recorded(prometheus: Prometheus) -> list[Answered]:
    """The expression of every recording rule, and what it recorded."""
    recorded = [rule for rule in rules() if not rule.is_alert]
    return [prometheus.now(rule.name, rule.expr) for rule in recorded] + [
        prometheus.over_time(f"{rule.name}, recorded", rule.name) for rule in recorded
    ]


def all_read_by_alerts(prometheus: Prometheus) -> list[Answered]:
    """Every selector of every alert: an alert itself has no data as long as all is well.

    Not those of `pagewake watch`, which is no service of a cluster.
    """
    return [
        prometheus.over_time(rule.name, selector.prettify())
        for rule in rules()
        if rule.is_alert
        for selector in selectors(rule.expr)
        if OF_RECORDINGS not in selector.prettify()
    ]


def marks_of_runs(prometheus: Prometheus) -> list[Answered]:
    """What panels mark of what was done to runs."""
    return [prometheus.over_time(name, marks()[name]) for name in DONE_TO_RUNS]


def other_marks(prometheus: Prometheus) -> list[Answered]:
    """The rest; a replay is too short to be seen here, so what it is read from."""
    asked = marks() | {"Replays": "pagewake_replaying"}
    return [
        prometheus.over_time(name, expr) for name, expr in asked.items() if name not in DONE_TO_RUNS
    ]


def told(answers: list[Answered]) -> str:
    """A table of all."""
    width = max(len(answer.where) for answer in answers)
    lines = [
        f"{where:{width}} {series:6} {samples:7}  {' '.join(expr.split())}"
        for where, expr, series, samples in answers
    ]
    return "\n".join([f"{'':{width}} series samples", *lines, ""])


def until_all_have_data(answers: Any, prometheus: Prometheus) -> list[Answered]:
    """Ask again until no query is without data; fails naming those that are."""
    latest: list[Answered] = []

    def all_have() -> bool:
        latest[:] = answers(prometheus)
        return all(answer.samples for answer in latest)

    try:
        until(all_have, "all have data", WITHIN_S)
    except AssertionError:
        empty = [answer for answer in latest if not answer.samples]
        pytest.fail(f"without data:\n{told(empty)}")
    sys.stdout.write(told(latest))
    return latest


async def write(run: str, record: bytes) -> None:
    """To the run's first host."""
    async with KafkaBus(KafkaSettings(bootstrap=KAFKA)) as bus:
        await (await bus.send(topic_name(run, "faults"), 0, record))


def write_what_is_no_record(run: str) -> None:
    asyncio.run(write(run, b"no record"))


def tell(run: str, **command: object) -> None:
    """As the command over MQTT does."""
    asyncio.run(write(run, encode_command(run, new_run(), command)))


@pytest.fixture(scope="module")
def observed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Observed]:
    directory = tmp_path_factory.mktemp("observed")
    for cluster in running(directory):
        cluster.start(*SERVICES)
        ports = {name: cluster.until_said(name, "serving")["http"] for name in SERVICES}
        prometheus = Prometheus(directory, ports)
        try:
            until(prometheus.is_ready, "Prometheus answers")
            runs = [new_run() for _ in DURATIONS]
            for run, (scenario, duration) in zip(runs, DURATIONS.items(), strict=True):
                cluster.submit(run, scenario, "--set", f"scenario.duration={duration}")
            yield Observed(cluster, prometheus, runs)
        finally:
            prometheus.stop()


def test_every_panel_has_data(observed: Observed) -> None:
    answers = until_all_have_data(all_panels, observed.prometheus)
    assert len(answers) == len(queries())


def test_every_recording_rule_has_data(observed: Observed) -> None:
    write_what_is_no_record(observed.runs[0])  # nothing is rejected in normal runs
    until_all_have_data(all_recorded, observed.prometheus)


def test_numbers_are_those_of_the_runs(observed: Observed) -> None:
    asked = f'run=~"{"|".join(observed.runs)}"'
    query = f'run_why:pagewake_page_synchronous:ratio1m{{why="guest_mode", {asked}}}'
    expected = dict(zip(observed.runs, SYNCHRONOUS, strict=True))

    def shares() -> dict[str, float]:
        found = observed.prometheus.ask("query", query=query)["result"]
        return {one["metric"]["run"]: float(one["value"][1]) for one in found}

    until(lambda: shares() == expected, f"shares are {expected}", WITHIN_S)


def test_nothing_that_is_critical_fires_in_normal_runs(observed: Observed) -> None:
    assert observed.prometheus.firing("critical") == set()


def test_what_is_done_to_runs_is_marked(observed: Observed) -> None:
    published, nested, _ = observed.runs
    observed.cluster.submit(new_run(), "overcommit", "--set", "scenario.duration=400ms")
    tell(published, do="migrate", vm="bm-0", pause="1ms")
    tell(nested, do="pause")
    until_all_have_data(marks_of_runs, observed.prometheus)
    tell(nested, do="resume")


async def lose_a_topic(run: str) -> None:
    async with KafkaBus(KafkaSettings(bootstrap=KAFKA)) as bus:
        await bus.delete_topics([topic_name(run, "apf.guest")])


def test_alerts_fire_for_a_dead_service_a_lost_log_and_a_foreign_record(observed: Observed) -> None:
    prometheus = observed.prometheus
    written_to, _, harmed = observed.runs
    write_what_is_no_record(written_to)
    asyncio.run(lose_a_topic(harmed))
    until(lambda: "PagewakeRunBrokenOff" in prometheus.firing("critical"), "it fires", WITHIN_S)
    observed.cluster.kill("guest", signal.SIGKILL)
    expected = {"PagewakeServiceDown", "PagewakeShardMissing", "PagewakeRecordsRejected"}
    until(
        lambda: prometheus.firing("critical", "warning") >= expected,
        f"{expected} fire",
        WITHIN_S,
    )
    until_all_have_data(all_read_by_alerts, prometheus)
    until_all_have_data(other_marks, prometheus)
