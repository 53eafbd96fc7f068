"""Custom resources as deploy/kubernetes writes them: `problem` says what is wrong with one.

Written by hand after the APIs of Strimzi 1.2.0 (`kafka.strimzi.io/v1`) and of the Prometheus
operator 0.93.0 (`monitoring.coreos.com/v1`): only the fields and the values that the manifests
use.  One that is used for the first time is refused until it is added here, after looking it up
there.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

import msgspec
from msgspec import Meta

Text: TypeAlias = Annotated[str, Meta(min_length=1)]
Texts: TypeAlias = dict[str, str]
Amount: TypeAlias = Annotated[str, Meta(pattern=r"^\d+(m|Mi|Gi)?$")]
Duration: TypeAlias = Annotated[str, Meta(pattern=r"^(\d+(ms|[smhd]))+$")]
Heap: TypeAlias = Annotated[str, Meta(pattern=r"^\d+[mg]$")]
Index: TypeAlias = Annotated[int, Meta(ge=0)]
# Lower-case letters and digits, 11 at most, says Strimzi; and a port of 9092 or above.
ListenerName: TypeAlias = Annotated[str, Meta(pattern="^[a-z0-9]+$", max_length=11)]
ListenerPort: TypeAlias = Annotated[int, Meta(ge=9092)]


class Closed(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """Takes no field but its own; what has no default is required."""


class Named(Closed):
    """The metadata of an object."""

    name: Text
    namespace: str | None = None
    labels: Texts | None = None


class Term(Closed):
    """Of a selector."""

    key: str
    operator: Literal["In"]
    values: list[str] | None = None


class Selector(Closed):
    """Of pods, by their labels."""

    match_labels: Texts | None = None
    match_expressions: list[Term] | None = None


class Resources(Closed):
    """Of a container."""

    limits: dict[str, Amount] | None = None
    requests: dict[str, Amount] | None = None


class Scram(Closed):
    """How a listener lets in, and how a user comes in."""

    type: Literal["scram-sha-512"]


class Simple(Closed):
    """Rights, as the brokers keep them."""

    type: Literal["simple"]


# -------------------------------------------------------------------------------------- Kafka


class Peer(Closed):
    """Who may reach a listener."""

    pod_selector: Selector | None = None


class Listener(Closed):
    """Where the brokers are reached."""

    name: ListenerName
    port: ListenerPort
    type: Literal["internal"]
    tls: bool
    authentication: Scram | None = None
    network_policy_peers: list[Peer] | None = None


class Brokers(Closed):
    """What all of them have in common."""

    listeners: Annotated[list[Listener], Meta(min_length=1)]
    authorization: Simple | None = None
    config: dict[str, str | int] | None = None


class UserOperator(Closed):
    """The container that makes users of KafkaUser."""

    resources: Resources | None = None


class EntityOperator(Closed):
    """The pod of it."""

    user_operator: UserOperator | None = None


class KafkaSpec(Closed):
    """Of a cluster."""

    kafka: Brokers
    entity_operator: EntityOperator | None = None


# ------------------------------------------------------------------------------ KafkaNodePool


class Volume(Closed):
    """A disk of a node."""

    type: Literal["persistent-claim"]
    id: Index
    size: Amount
    delete_claim: bool | None = None
    kraft_metadata: Literal["shared"] | None = None


class Storage(Closed):
    """The disks of a node."""

    type: Literal["jbod"]
    volumes: list[Volume] | None = None


class Spread(Closed):
    """Over what the pods are spread."""

    max_skew: int
    topology_key: str
    when_unsatisfiable: Literal["DoNotSchedule", "ScheduleAnyway"]
    label_selector: Selector | None = None


class PodTemplate(Closed):
    """What is added to each pod."""

    topology_spread_constraints: list[Spread] | None = None


class Template(Closed):
    """What is added to what Strimzi makes."""

    pod: PodTemplate | None = None


class JvmOptions(Closed, rename={"xms": "-Xms", "xmx": "-Xmx"}):
    """The heap of a node."""

    xms: Heap | None = None
    xmx: Heap | None = None


class PoolSpec(Closed):
    """Of nodes that are alike."""

    replicas: Index
    roles: list[Literal["controller", "broker"]]
    storage: Storage
    resources: Resources | None = None
    jvm_options: JvmOptions | None = None
    template: Template | None = None


# ---------------------------------------------------------------------------------- KafkaUser


class Pattern(Closed):
    """What a right is to."""

    type: Literal["topic", "group"]
    name: str | None = None
    pattern_type: Literal["literal", "prefix"] | None = None


class Acl(Closed):
    """A right."""

    resource: Pattern
    operations: list[Literal["Read", "Write", "Create", "Delete"]]


class Rights(Simple):
    """All that a user may do."""

    acls: list[Acl]


class UserSpec(Closed):
    """Of who signs in."""

    authentication: Scram | None = None
    authorization: Rights | None = None


# --------------------------------------------------------------------------------- monitoring


class Relabeling(Closed):
    """A label of every sample, from what is known of the pod."""

    source_labels: list[str] | None = None
    target_label: str | None = None


class Endpoint(Closed):
    """Where a pod is asked, and how often."""

    port: str | None = None
    interval: Duration | None = None
    scrape_timeout: Duration | None = None
    relabelings: list[Relabeling] | None = None


class MonitorSpec(Closed):
    """Which pods are asked."""

    selector: Selector
    pod_metrics_endpoints: list[Endpoint] | None = None
    job_label: str | None = None


class Rule(Closed, rename={"for_": "for"}):
    """One that records, or an alert."""

    expr: str
    record: str | None = None
    alert: str | None = None
    for_: Duration | None = None
    labels: Texts | None = None
    annotations: Texts | None = None


class Group(Closed):
    """Rules that are evaluated one after the other."""

    name: Text
    rules: list[Rule] | None = None


class RuleSpec(Closed):
    """Of a file of rules."""

    groups: list[Group] | None = None


SPECS: dict[tuple[str, str], type[Closed]] = {
    ("kafka.strimzi.io/v1", "Kafka"): KafkaSpec,
    ("kafka.strimzi.io/v1", "KafkaNodePool"): PoolSpec,
    ("kafka.strimzi.io/v1", "KafkaUser"): UserSpec,
    ("monitoring.coreos.com/v1", "PodMonitor"): MonitorSpec,
    ("monitoring.coreos.com/v1", "PrometheusRule"): RuleSpec,
}


def problem(document: dict[str, Any]) -> str:
    """The first thing that is wrong with a custom resource, and where; empty if nothing."""
    spec = SPECS[document["apiVersion"], document["kind"]]
    fields = [("apiVersion", str), ("kind", str), ("metadata", Named), ("spec", spec)]
    whole = msgspec.defstruct("Resource", fields, forbid_unknown_fields=True)
    try:
        msgspec.convert(document, whole)
    except msgspec.ValidationError as error:
        return str(error)
    return ""
