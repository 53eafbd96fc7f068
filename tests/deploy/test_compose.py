"""What `deploy/compose.yaml` promises, read from the files; starting it needs Docker."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from pagewake.cluster.settings import Settings

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = ("host", "guest", "nested")
ROOT_USERS = ("root", "0", "0:0")


def properties(text: str) -> dict[str, str]:
    """`name=value` lines without comments."""
    lines = (line.strip() for line in text.splitlines())
    pairs = (line.partition("=") for line in lines if line and not line.startswith("#"))
    return {name: value for name, _, value in pairs}


def file_of(mounted: str) -> Path:
    """The file or folder that a bind mount names."""
    return (DEPLOY / mounted.partition(":")[0]).resolve()


def bind_mounts() -> list[str]:
    """Of all services."""
    volumes = [volume for service in SERVICES.values() for volume in service.get("volumes", [])]
    return [volume for volume in volumes if volume.startswith(".")]


def test_the_services_have_the_names_that_commands_use() -> None:
    assert set(SERVICES) == {*OURS, "kafka", "mosquitto", "prometheus", "grafana"}


@pytest.mark.parametrize("name", SERVICES)
class TestEveryService:
    """Bounded, watched, not root, and the same tomorrow."""

    def test_its_image_has_a_version(self, name: str) -> None:
        _, _, tag = SERVICES[name]["image"].partition(":")
        assert tag
        assert tag != "latest"

    def test_it_is_not_root(self, name: str) -> None:
        assert SERVICES[name]["user"].split(":")[0] not in ROOT_USERS

    def test_it_gains_no_privileges(self, name: str) -> None:
        assert SERVICES[name]["cap_drop"] == ["ALL"]
        assert SERVICES[name]["security_opt"] == ["no-new-privileges:true"]
        assert not SERVICES[name].get("privileged", False)

    def test_it_is_asked_for_its_health(self, name: str) -> None:
        check = SERVICES[name]["healthcheck"]
        assert check["test"][0] == "CMD"
        assert {"interval", "timeout", "retries", "start_period", "start_interval"} <= set(check)

    def test_the_oldest_docker_that_can_do_that_is_stated(self, name: str) -> None:
        assert "start_interval" in SERVICES[name]["healthcheck"]
        said = (DEPLOY / "README.md").read_text(encoding="utf-8")
        assert re.search(
            r"Docker Engine 25\.\d and Compose 2\.24\.\d .*start_interval", said, re.DOTALL
        )

    def test_it_has_limits(self, name: str) -> None:
        assert set(SERVICES[name]["deploy"]["resources"]["limits"]) == {"cpus", "memory", "pids"}

    def test_it_is_published_on_loopback_or_not_at_all(self, name: str) -> None:
        for port in SERVICES[name].get("ports", []):
            assert port.startswith("127.0.0.1:")

    def test_it_can_be_scaled(self, name: str) -> None:
        assert "container_name" not in SERVICES[name]

    def test_it_comes_back(self, name: str) -> None:
        assert SERVICES[name]["restart"] == "unless-stopped"


@pytest.mark.parametrize("name", OURS)
class TestOurServices:
    """One image, three commands."""

    def test_it_serves_what_its_name_says(self, name: str) -> None:
        assert SERVICES[name]["command"] == ["serve", name]

    def test_its_root_file_system_is_read_only(self, name: str) -> None:
        assert SERVICES[name]["read_only"] is True
        assert SERVICES[name]["tmpfs"]

    def test_more_of_it_can_be_started(self, name: str) -> None:
        assert "ports" not in SERVICES[name]
        assert "hostname" not in SERVICES[name]
        assert "PAGEWAKE_INSTANCE" not in SERVICES[name]["environment"]

    def test_its_settings_are_settings(self, name: str) -> None:
        known = {f"PAGEWAKE_{field.upper()}" for field in Settings.model_fields}
        assert set(SERVICES[name]["environment"]) <= known

    def test_it_waits_for_the_brokers(self, name: str) -> None:
        waits = {on: how["condition"] for on, how in SERVICES[name]["depends_on"].items()}
        assert waits == {"kafka": "service_healthy", "mosquitto": "service_healthy"}


def test_people_find_prometheus_and_grafana_where_they_look() -> None:
    assert SERVICES["prometheus"]["ports"] == ["127.0.0.1:9090:9090"]
    assert SERVICES["grafana"]["ports"] == ["127.0.0.1:3000:3000"]


@pytest.mark.parametrize("mounted", bind_mounts())
def test_what_is_mounted_is_there_and_read_only(mounted: str) -> None:
    assert file_of(mounted).exists()
    assert mounted.endswith(":ro")


def test_every_named_volume_is_declared() -> None:
    used = [volume for service in SERVICES.values() for volume in service.get("volumes", [])]
    names = {volume.partition(":")[0] for volume in used if not volume.startswith(".")}
    assert names == set(COMPOSE["volumes"])


def test_the_dockerfile_has_stages_and_ends_without_root() -> None:
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    bases = re.findall(r"^FROM (\S+)", text, re.MULTILINE)
    assert len(bases) == 2
    assert all(":" in base and not base.endswith(":latest") for base in bases)
    *_, user = re.findall(r"^USER (\S+)", text, re.MULTILINE)
    assert user == SERVICES["host"]["user"]
    assert 'ENTRYPOINT ["pagewake"]' in text


@pytest.mark.parametrize("copied", ["pyproject.toml", "constraints.txt", "README.md", "LICENSE"])
def test_what_the_image_is_built_from_is_not_ignored(copied: str) -> None:
    kept = (DEPLOY / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    assert f"!{copied}" in kept
    assert (ROOT / copied).is_file()


def test_prometheus_finds_every_instance_by_name() -> None:
    config = yaml.safe_load((DEPLOY / "prometheus/prometheus.yml").read_text(encoding="utf-8"))
    (job,) = [one for one in config["scrape_configs"] if one["job_name"] == "pagewake"]
    (found,) = job["dns_sd_configs"]
    assert set(found["names"]) == set(OURS)
    port = SERVICES["host"]["environment"]["PAGEWAKE_HTTP"].rpartition(":")[2]
    assert str(found["port"]) == port


def test_grafana_has_prometheus_as_its_data_source() -> None:
    provisioned = ROOT / "grafana/provisioning/datasources/prometheus.yaml"
    (source,) = yaml.safe_load(provisioned.read_text(encoding="utf-8"))["datasources"]
    assert source["url"] == "http://prometheus:9090"
    assert source["isDefault"] is True


def test_kafka_is_the_same_with_and_without_docker() -> None:
    local = properties((DEPLOY / "local/kafka.properties").read_text(encoding="utf-8"))
    variables = properties((DEPLOY / "kafka/kafka.env").read_text(encoding="utf-8"))
    there = {
        name.removeprefix("KAFKA_").lower().replace("_", "."): value
        for name, value in variables.items()
    }
    of_the_place = {"listeners", "advertised.listeners", "log.dirs", "heap.opts"}
    quorum = {"controller.quorum.voters", "controller.quorum.bootstrap.servers"}
    ignored = of_the_place | quorum
    assert {name: value for name, value in there.items() if name not in ignored} == {
        name: value for name, value in local.items() if name not in ignored
    }


def test_both_ways_run_the_same_version_of_kafka() -> None:
    pom = (DEPLOY / "local/pom.xml").read_text(encoding="utf-8")
    assert f"<version>{SERVICES['kafka']['image'].partition(':')[2]}</version>" in pom


THREE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.three.yaml").read_text(encoding="utf-8"))
BROKERS = ("kafka", "kafka-2", "kafka-3")


def variables_of(broker: str) -> dict[str, str]:
    """What a broker of three is started with; the last file or line that names one counts."""
    service = THREE["services"][broker]
    found: dict[str, str] = {}
    for file in service["env_file"]:
        found |= properties((DEPLOY / file).read_text(encoding="utf-8"))
    return found | {name: str(value) for name, value in service["environment"].items()}


def test_three_brokers_are_those_of_the_quorum() -> None:
    voters = [f"{variables_of(broker)['KAFKA_NODE_ID']}@{broker}:9093" for broker in BROKERS]
    for broker in BROKERS:
        variables = variables_of(broker)
        assert variables["KAFKA_CONTROLLER_QUORUM_VOTERS"].split(",") == voters
        assert variables["KAFKA_ADVERTISED_LISTENERS"] == f"PLAINTEXT://{broker}:9092"
        assert variables["KAFKA_BROKER_RACK"] == f"rack-{variables['KAFKA_NODE_ID']}"


def test_each_of_three_brokers_has_a_disk_of_its_own() -> None:
    disks = [THREE["services"][broker]["volumes"][0] for broker in BROKERS[1:]]
    assert disks == [f"{broker}-data:/var/lib/kafka/data" for broker in BROKERS[1:]]
    assert {disk.partition(":")[0] for disk in disks} == set(THREE["volumes"])
    for broker in BROKERS[1:]:
        assert THREE["services"][broker]["extends"] == {"file": "compose.yaml", "service": "kafka"}


@pytest.mark.parametrize("name", OURS)
def test_with_three_brokers_services_know_them_all(name: str) -> None:
    service = THREE["services"][name]
    assert service["environment"] == {
        "PAGEWAKE_KAFKA": ",".join(f"{broker}:9092" for broker in BROKERS)
    }
    assert set(service["depends_on"]) == set(BROKERS[1:])


def test_with_three_brokers_there_are_several_guest_services() -> None:
    assert THREE["services"]["guest"]["deploy"]["replicas"] > 1


def test_three_brokers_are_the_same_with_and_without_docker() -> None:
    local = properties((DEPLOY / "local/kafka.three.properties").read_text(encoding="utf-8"))
    variables = properties((DEPLOY / "kafka/three.env").read_text(encoding="utf-8"))
    there = {
        name.removeprefix("KAFKA_").lower().replace("_", "."): value
        for name, value in variables.items()
    }
    of_the_place = {"node.id", "broker.rack", "controller.quorum.voters"}
    assert {name: value for name, value in there.items() if name not in of_the_place} == {
        name: value for name, value in local.items() if name not in of_the_place
    }


@pytest.mark.skipif(shutil.which("docker") is None, reason="no docker here: install Docker")
@pytest.mark.parametrize("files", [["compose.yaml"], ["compose.yaml", "compose.three.yaml"]])
def test_compose_itself_accepts_the_files(files: list[str]) -> None:
    given = [word for file in files for word in ("-f", str(DEPLOY / file))]
    command = ["docker", "compose", *given, "config", "--quiet"]
    if subprocess.run([*command[:2], "version"], capture_output=True, check=False).returncode:
        pytest.skip("docker has no compose here: install its compose plugin")
    done = subprocess.run(command, capture_output=True, check=False, text=True)
    assert done.returncode == 0, done.stderr


def test_what_the_image_runs_is_shell(tmp_path: Path) -> None:
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    joined = re.sub(r"\\\n(\s*#.*\n)*", " ", text)
    runs = re.findall(r"^RUN (?:--\S+ +)*(.*)$", joined, re.MULTILINE)
    assert len(runs) == joined.count("RUN ")
    script = tmp_path / "runs.sh"
    script.write_text("\n".join(runs), encoding="utf-8")
    said = subprocess.run(["sh", "-n", script], capture_output=True, text=True, check=False)
    assert (said.returncode, said.stderr) == (0, "")
