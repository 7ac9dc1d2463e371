"""Warnings: what the client is told of objects that are accepted."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pinnace import kinds, wire
from pinnace.api.v1 import objects_pb2
from pinnace.kinds import Kind
from tests.support import workloads
from tests.support.api import Api, pod_manifest, sealed
from tests.support.cluster import Cluster
from tests.support.jobs import indexed, job

HIDDEN = 'spec.containers[0].env[1]: hides previous definition of "A", which may be dropped when using apply'

PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
OLD_LABEL = {"matchExpressions": [{"key": "beta.kubernetes.io/arch", "operator": "In", "values": ["-"]}]}


class Context:
    """The part of a gRPC context that answers use."""

    def __init__(self) -> None:
        self.metadata: tuple[Any, ...] = ()

    def set_trailing_metadata(self, metadata: tuple[Any, ...]) -> None:
        self.metadata = metadata

    @property
    def warnings(self) -> list[str]:
        return wire.warnings_of(self.metadata)


def container(**fields: Any) -> dict[str, Any]:
    return pod_manifest(containers=[{"name": "main", "image": "busybox", **fields}])


TWICE = container(env=[{"name": "A", "value": "1"}, {"name": "A", "value": "2"}])


@pytest.mark.parametrize(
    ("manifest", "expected"),
    [
        (pod_manifest(), []),
        (TWICE, [HIDDEN]),
        (
            container(ports=[{"containerPort": 80}, {"containerPort": 80, "name": "web"}]),
            ["spec.containers[0].ports[1]: duplicate port definition with spec.containers[0].ports[0]"],
        ),
        (
            pod_manifest(
                affinity={"podAntiAffinity": {PREFERRED: [{"weight": 1, "podAffinityTerm": {"topologyKey": "zone"}}]}},
                topologySpreadConstraints=[
                    {"maxSkew": 1, "topologyKey": "beta.kubernetes.io/os", "whenUnsatisfiable": "ScheduleAnyway"}
                ],
            ),
            [
                "spec.topologySpreadConstraints[0].topologyKey: beta.kubernetes.io/os is deprecated since v1.14; use "
                '"kubernetes.io/os" instead',
                "spec.topologySpreadConstraints[0].labelSelector: a null labelSelector results in matching no pod",
                f"spec.affinity.podAntiAffinity.{PREFERRED}[0].podAffinityTerm.labelSelector: a null labelSelector results in "
                "matching no pod",
            ],
        ),
        (container(ports=[{"containerPort": 80}, {"containerPort": 80, "protocol": "UDP"}]), []),
        (
            container(resources={"limits": {"memory": "100m"}, "requests": {"memory": "10m"}}),
            [
                'spec.containers[0].resources.limits[memory]: fractional byte value "100m" is invalid, must be an integer',
                'spec.containers[0].resources.requests[memory]: fractional byte value "10m" is invalid, must be an integer',
            ],
        ),
        (
            pod_manifest(nodeSelector={"beta.kubernetes.io/os": "linux"}),
            ['spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use "kubernetes.io/os" instead'],
        ),
        (
            pod_manifest(affinity={"nodeAffinity": {PREFERRED: [{"weight": 1, "preference": OLD_LABEL}]}}),
            [
                f"spec.affinity.nodeAffinity.{PREFERRED}[0].preference.matchExpressions[0].key: beta.kubernetes.io/arch is "
                'deprecated since v1.14; use "kubernetes.io/arch" instead',
                f"spec.affinity.nodeAffinity.{PREFERRED}[0].preference.matchExpressions[0].values[0]: - is invalid, a valid label "
                "must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an "
                "alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is "
                "'(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')",
            ],
        ),
        (pod_manifest(imagePullSecrets=[{}]), ['spec.imagePullSecrets[0].name: invalid empty name ""']),
    ],
)
async def test_a_creation_warns(cluster: Cluster, manifest: dict[str, Any], expected: list[str]) -> None:
    """In Kubernetes' words, and of nothing else."""
    context = Context()
    await cluster.api.Create(objects_pb2.WriteRequest(object=sealed(kinds.POD, manifest)), context)
    assert context.warnings == expected


async def test_each_verb_warns_of_what_it_changes(cluster: Cluster, api: Api) -> None:
    """Apply and update too; a change that leaves the spec alone says nothing."""
    item = objects_pb2.Object(apiVersion="v1", kind="Pod", json=json.dumps(TWICE).encode())
    context = Context()
    await cluster.api.Apply(objects_pb2.ApplyRequest(objects=[item, item], fieldManager="a"), context)
    assert context.warnings == [HIDDEN]
    stored = await api.get(kinds.POD, "web")
    for image, expected in (("busybox", []), ("busybox:2", [HIDDEN])):
        context = Context()
        stored.metadata.labels["image"] = "new"
        stored.spec.containers[0].image = image
        stored.metadata.resourceVersion = ""
        await cluster.api.Update(objects_pb2.WriteRequest(object=sealed(kinds.POD, stored)), context)
        assert context.warnings == expected


async def test_a_template_warns_of_its_pods(cluster: Cluster) -> None:
    """By their place in the template."""
    context = Context()
    value = {"metadata": {"name": "web"}, "template": {"spec": TWICE["spec"]}}
    await cluster.api.Create(objects_pb2.WriteRequest(object=sealed(kinds.POD_TEMPLATE, value)), context)
    assert context.warnings == [f"template.{HIDDEN}"]


@pytest.mark.parametrize(
    ("kind", "made"),
    [
        (kinds.DEPLOYMENT, workloads.deployment()), (kinds.REPLICA_SET, workloads.replica_set()),
        (kinds.DAEMON_SET, workloads.daemon_set()), (kinds.STATEFUL_SET, workloads.stateful_set()),
    ],
)  # fmt: skip
async def test_a_workload_warns_of_its_pods(cluster: Cluster, kind: Kind, made: dict[str, Any]) -> None:
    """As a template does."""
    context = Context()
    spec = {**made["spec"], "template": workloads.template(nodeSelector={"beta.kubernetes.io/os": "linux"})}
    await cluster.api.Create(objects_pb2.WriteRequest(object=sealed(kind, {**made, "spec": spec})), context)
    text = 'spec.template.spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use "kubernetes.io/os" instead'
    assert context.warnings == [text]


CRON_JOB = {"schedule": "0 0 * * *", "jobTemplate": {"spec": job()["spec"]}}


@pytest.mark.parametrize(
    ("kind", "made", "warns"),
    [
        (kinds.DEPLOYMENT, workloads.deployment("web.1"), True), (kinds.REPLICA_SET, workloads.replica_set("web.1"), True),
        (kinds.JOB, job("web.1"), True), (kinds.DEPLOYMENT, workloads.deployment("web-1"), False),
        (kinds.CRON_JOB, {"metadata": {"name": "web.1", "namespace": "default"}, "spec": CRON_JOB}, True),
        (kinds.DAEMON_SET, {**workloads.daemon_set(), "metadata": {"name": "web.1", "namespace": "default"}}, False),
    ],
)  # fmt: skip
async def test_a_name_that_pods_cannot_have_warns(cluster: Cluster, kind: Kind, made: dict[str, Any], *, warns: bool) -> None:
    """Of workloads that Kubernetes says it of, when they are created."""
    context = Context()
    await cluster.api.Create(objects_pb2.WriteRequest(object=sealed(kind, made)), context)
    text = (
        "metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; a DNS label is "
        "recommended: [must not contain dots]"
    )
    assert context.warnings == ([text] if warns else [])


async def test_a_very_large_indexed_job_warns(cluster: Cluster) -> None:
    """Above both numbers."""
    for parallelism, expected in ((10_000, 0), (10_001, 1)):
        context = Context()
        manifest = indexed(100_001, parallelism=parallelism, suspend=True)
        manifest["metadata"]["name"] = f"large-{parallelism}"
        await cluster.api.Create(objects_pb2.WriteRequest(object=sealed(kinds.JOB, manifest)), context)
        assert len(context.warnings) == expected
        assert all(text.startswith("spec: In Indexed Jobs with a number of completions higher") for text in context.warnings)


async def test_many_warnings_are_cut(cluster: Cluster) -> None:
    """So that they fit into the metadata of an answer."""
    context = Context()
    many = container(env=[{"name": "A", "value": str(number)} for number in range(500)])
    await cluster.api.Create(objects_pb2.WriteRequest(object=sealed(kinds.POD, many)), context)
    assert 10 < len(context.warnings) < 50
