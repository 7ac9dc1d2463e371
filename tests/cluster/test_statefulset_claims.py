"""Claims of the pods of StatefulSets: their names, and when they are deleted, on virtual time."""

from __future__ import annotations

from typing import Any

import pytest

from pinnace import kinds
from tests.support.api import Api
from tests.support.cluster import Cluster
from tests.support.workloads import Agents, SettledApi, stateful_set, template

CLAIM, SET = kinds.PERSISTENT_VOLUME_CLAIM, kinds.STATEFUL_SET
SPEC = {"accessModes": ["ReadWriteOnce"], "storageClassName": "none", "resources": {"requests": {"storage": "1Gi"}}}


@pytest.fixture
def api(cluster: Cluster) -> Api:
    return SettledApi(cluster)


@pytest.fixture
async def agents(cluster: Cluster) -> Agents:
    made = Agents(cluster, "n1", "n2")
    await made.join()
    return made


def with_claims(replicas: int = 2, **rest: Any) -> dict[str, Any]:
    """Pods that have a volume `data` in their template too, which the claim replaces."""
    pods = template(volumes=[{"name": "data", "emptyDir": {}}, {"name": "other", "emptyDir": {}}])
    metadata = {"name": "data", "labels": {"tier": "db"}, "annotations": {"a": "b"}}
    claims = [{"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": SPEC}]
    more = {"template": pods, "volumeClaimTemplates": claims, "podManagementPolicy": "Parallel", **rest}
    return stateful_set(replicas=replicas, **more)


def policy(deleted: str, scaled: str) -> dict[str, Any]:
    return {"persistentVolumeClaimRetentionPolicy": {"whenDeleted": deleted, "whenScaled": scaled}}


async def start(cluster: Cluster, api: Api, agents: Agents, **rest: Any) -> None:
    """All pods run; their claims need no volumes for that here."""
    await api.create(SET, with_claims(**rest))
    await place(cluster, agents)


async def place(cluster: Cluster, agents: Agents) -> None:
    for pod in agents.pods():
        if not pod.spec.nodeName:
            await cluster._done(lambda tx, name=pod.metadata.name: _bind(tx, name))
    await agents.settle()
    await cluster.advance(15)


def _bind(tx: Any, name: str) -> None:
    pod = tx.require(kinds.POD, "default", name)
    pod.spec.nodeName = "n1"
    tx.put(kinds.POD, pod)


def claims(cluster: Cluster) -> list[str]:
    return cluster.names(CLAIM)


async def test_each_pod_has_claims_of_its_own(cluster: Cluster, api: Api, agents: Agents) -> None:
    """With labels of template and selector; the pod's volume of the template's name is the claim, other volumes stay."""
    await start(cluster, api, agents)
    assert claims(cluster) == ["data-web-0", "data-web-1"]
    made = cluster.get(CLAIM, "data-web-0")
    assert (dict(made.metadata.labels), made.metadata.annotations["a"]) == ({"tier": "db", "app": "web"}, "b")
    assert not made.metadata.ownerReferences
    volumes = {volume.name: volume.volumeSource for volume in cluster.get(kinds.POD, "web-0").spec.volumes}
    assert volumes["data"].persistentVolumeClaim.claimName == "data-web-0"
    assert volumes["other"].HasField("emptyDir")
    stored = cluster.get(SET, "web").spec
    assert stored.persistentVolumeClaimRetentionPolicy.whenDeleted == "Retain"
    assert stored.volumeClaimTemplates[0].kind == "PersistentVolumeClaim"


async def test_a_pod_that_comes_again_has_the_same_claim(cluster: Cluster, api: Api, agents: Agents) -> None:
    """Also after scaling down and up; by default claims outlive the set."""
    await start(cluster, api, agents)
    uid = cluster.get(CLAIM, "data-web-1").metadata.uid
    await api.patch(SET, "web", "MERGE", {"spec": {"replicas": 1}})
    await agents.settle()
    assert claims(cluster) == ["data-web-0", "data-web-1"]
    await api.patch(SET, "web", "MERGE", {"spec": {"replicas": 2}})
    await place(cluster, agents)
    assert cluster.get(CLAIM, "data-web-1").metadata.uid == uid
    await cluster.delete(SET, "web")
    await cluster.advance(10)
    await agents.settle()
    await cluster.advance(10)
    assert claims(cluster) == ["data-web-0", "data-web-1"]


async def test_claims_go_with_the_set(cluster: Cluster, api: Api, agents: Agents) -> None:
    """With whenDeleted: Delete; scaling keeps them."""
    await start(cluster, api, agents, **policy("Delete", "Retain"))
    owners = cluster.get(CLAIM, "data-web-0").metadata.ownerReferences
    assert [(item.kind, item.name) for item in owners] == [("StatefulSet", "web")]
    await api.patch(SET, "web", "MERGE", {"spec": {"replicas": 1}})
    await agents.settle()
    await cluster.advance(10)
    assert claims(cluster) == ["data-web-0", "data-web-1"]
    await cluster.delete(SET, "web")
    await cluster.advance(10)
    await agents.settle()
    await cluster.advance(10)
    assert claims(cluster) == []


async def test_claims_of_surplus_pods_go_with_them(cluster: Cluster, api: Api, agents: Agents) -> None:
    """With whenScaled: Delete, once the pod is gone; the same ordinal gets a new claim later."""
    await start(cluster, api, agents, **policy("Retain", "Delete"))
    uid = cluster.get(CLAIM, "data-web-1").metadata.uid
    await api.patch(SET, "web", "MERGE", {"spec": {"replicas": 1}})
    assert claims(cluster) == ["data-web-0", "data-web-1"]
    await agents.settle()
    await cluster.advance(10)
    assert claims(cluster) == ["data-web-0"]
    await api.patch(SET, "web", "MERGE", {"spec": {"replicas": 2}})
    await cluster.advance(15)
    assert cluster.get(CLAIM, "data-web-1").metadata.uid != uid
    await cluster.delete(SET, "web")
    await cluster.advance(10)
    assert "data-web-0" in claims(cluster)


async def test_a_changed_policy_holds_for_claims_that_exist(cluster: Cluster, api: Api, agents: Agents) -> None:
    """Owners are added and removed; those of others stay."""
    await start(cluster, api, agents)
    other = await cluster.create(kinds.CONFIG_MAP.cls(metadata={"name": "other", "namespace": "default"}))

    def share(item: Any) -> None:
        item.metadata.ownerReferences.add(apiVersion="v1", kind="ConfigMap", name="other", uid=other.metadata.uid)

    await cluster.change(CLAIM, "data-web-0", share)
    await api.patch(SET, "web", "MERGE", {"spec": policy("Delete", "Retain")})
    assert {item.kind for item in cluster.get(CLAIM, "data-web-0").metadata.ownerReferences} == {"ConfigMap", "StatefulSet"}
    await api.patch(SET, "web", "MERGE", {"spec": policy("Retain", "Retain")})
    assert {item.kind for item in cluster.get(CLAIM, "data-web-0").metadata.ownerReferences} == {"ConfigMap"}


async def test_a_pod_waits_for_its_claim(cluster: Cluster, api: Api) -> None:
    """Which a quota refuses; the event has the reason."""
    quota = kinds.RESOURCE_QUOTA.cls(metadata={"name": "q", "namespace": "default"})
    quota.spec.hard["persistentvolumeclaims"].string = "1"
    await cluster.create(quota)
    await api.create(SET, with_claims(replicas=2, podManagementPolicy="OrderedReady"))
    await cluster.advance(1)
    assert claims(cluster) == ["data-web-0"]
    await api.patch(SET, "web", "MERGE", {"spec": {"replicas": 0}})
    await api.create(SET, {**with_claims(replicas=1), "metadata": {"name": "next", "namespace": "default"}})
    assert any("exceeded quota: q" in event.message for event in cluster.events("FailedCreate"))
    assert cluster.get(kinds.POD, "next-0") is None
    await cluster.delete(CLAIM, "data-web-0")
    await cluster.advance(15)
    assert cluster.get(kinds.POD, "next-0") is not None
