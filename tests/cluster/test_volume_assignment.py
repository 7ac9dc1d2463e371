"""Volumes and the nodes that mount or delete them: what an agent is sent, and what its reports do."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.dispatcher import reports
from pinnace import errors, kinds
from pinnace.api.v1 import nodes_pb2
from pinnace.wellknown import FINALIZER_PROVISIONER, LOCAL_PATH_PROVISIONER, PROVISIONED_BY, SELECTED_NODE
from tests.cluster.test_assignment import World
from tests.cluster.test_volume_scheduling import create, nodes
from tests.support.cluster import Cluster
from tests.support.storage import claim, local_volume, using, volume

CLAIM, VOLUME = kinds.PERSISTENT_VOLUME_CLAIM, kinds.PERSISTENT_VOLUME


def keys(changes: list[nodes_pb2.Change]) -> list[str]:
    """Those that left begin with a minus."""
    return [change.key if change.HasField("object") else f"-{change.key}" for change in changes]


def bound(name: str = "data", to: str = "pv") -> Any:
    return claim(name, volumeName=to)


def test_a_pod_comes_after_its_claims_and_their_volumes() -> None:
    """And no other claim or volume is sent; they leave with the last pod that uses them."""
    subject = using("data", nodeName="n1")
    world = World(bound(), volume("pv"), bound("other", "pw"), volume("pw"), subject)
    order = ["PersistentVolume//pv", "PersistentVolumeClaim/default/data", "Pod/default/web"]
    assert keys(world.start()) == order
    assert keys(world.put(volume("pw"))) == []
    assert keys(world.put(volume("pv", "2Gi"))) == ["PersistentVolume//pv"]
    assert sorted(keys(world.drop(subject))) == sorted(f"-{key}" for key in order)
    assert keys(world.put(volume("pv", "3Gi"))) == []


def test_a_volume_is_sent_when_its_claim_is_bound() -> None:
    """Of a pod that was put on its node without the scheduler."""
    world = World(claim("data"), volume("pv"), using("data", nodeName="n1"))
    assert keys(world.start()) == ["PersistentVolumeClaim/default/data", "Pod/default/web"]
    assert keys(world.put(bound())) == ["PersistentVolume//pv", "PersistentVolumeClaim/default/data"]


def released(name: str = "pvc-1", *, node: str = "n1", phase: str = "Released") -> Any:
    annotations = {PROVISIONED_BY: LOCAL_PATH_PROVISIONER, SELECTED_NODE: node}
    found = local_volume(name, node, meta={"annotations": annotations}, persistentVolumeReclaimPolicy="Delete")
    found.status.phase = phase
    return found


def test_a_node_gets_the_volumes_that_it_is_to_delete() -> None:
    """Also those that were released while it was down; not those of another node."""
    world = World(released("early"), released("other", node="n2"), released("used", phase="Bound"))
    assert keys(world.start()) == ["PersistentVolume//early"]
    assert keys(world.put(released("used"))) == ["PersistentVolume//used"]
    assert keys(world.drop(released("early"))) == ["-PersistentVolume//early"]


async def report(cluster: Cluster, node: str, item: Any, error: str = "") -> None:
    request = nodes_pb2.ReportStatusRequest()
    request.volumes.add(name=item.metadata.name, uid=item.metadata.uid, error=error)
    await cluster._done(lambda tx: reports.report(tx, node, request, now=cluster.clock.now()))


async def made(cluster: Cluster) -> Any:
    """A volume that was made for a claim which is gone."""
    await nodes(cluster, "n1", "n2")
    await create(cluster, claim("data", storage_class=None), using("data", nodeSelector={"kubernetes.io/hostname": "n1"}))
    pod = cluster.get(kinds.POD, "web")
    await cluster.delete(kinds.POD, "web")
    await cluster.report("n1", pod, phase="Succeeded", removed=True)
    found = cluster.get(VOLUME, cluster.get(CLAIM, "data").spec.volumeName)
    await cluster.delete(CLAIM, "data")
    return cluster.get(VOLUME, found.metadata.name)


async def test_a_volume_is_deleted_with_its_data(cluster: Cluster) -> None:
    """By the report of its own node alone, and about this volume."""
    item = await made(cluster)
    assert item.status.phase == "Released"
    await report(cluster, "n2", item)
    stranger = VOLUME.cls(metadata={"name": item.metadata.name, "uid": "other"})
    await report(cluster, "n1", stranger)
    assert cluster.get(VOLUME, item.metadata.name) is not None
    await report(cluster, "n1", item)
    assert cluster.get(VOLUME, item.metadata.name) is None


async def test_a_volume_that_an_administrator_deletes_waits_for_its_data(cluster: Cluster) -> None:
    """The finalizer of the provisioner holds it until the node has reported."""
    item = await made(cluster)
    await cluster.delete(VOLUME, item.metadata.name)
    held = cluster.get(VOLUME, item.metadata.name)
    assert list(held.metadata.finalizers) == [FINALIZER_PROVISIONER]
    await report(cluster, "n1", item)
    assert cluster.get(VOLUME, item.metadata.name) is None


async def test_a_failure_is_seen_on_the_volume(cluster: Cluster) -> None:
    """With an event; a later success deletes it all the same."""
    item = await made(cluster)
    await report(cluster, "n1", item, "the disk is read-only")
    failed = cluster.get(VOLUME, item.metadata.name)
    assert (failed.status.phase, failed.status.message) == ("Failed", "the disk is read-only")
    assert [event.message for event in cluster.events("VolumeFailedDelete")] == ["the disk is read-only"]
    await report(cluster, "n1", item)
    assert cluster.get(VOLUME, item.metadata.name) is None


async def test_a_local_volume_grows_with_its_claim(cluster: Cluster) -> None:
    """At once: the size is a number. It does not shrink, and a quota counts the request."""

    def ask(size: str) -> Any:
        return lambda item: setattr(item.spec.resources.requests["storage"], "string", size)

    await nodes(cluster, "n1")
    quota = kinds.RESOURCE_QUOTA.cls(metadata={"name": "q", "namespace": "default"})
    of_class = "local-path.storageclass.storage.k8s.io/requests.storage"
    for name, amount in (("requests.storage", "5Gi"), (of_class, "4Gi"), ("persistentvolumeclaims", "2")):
        quota.spec.hard[name].string = amount
    await create(cluster, quota, claim("data", storage_class=None), using("data"))
    await cluster.change(CLAIM, "data", ask("3Gi"))
    grown = cluster.get(CLAIM, "data")
    assert grown.status.capacity["storage"].string == "3Gi"
    assert cluster.get(VOLUME, grown.spec.volumeName).spec.capacity["storage"].string == "3Gi"
    assert [event.message for event in cluster.events("VolumeResizeSuccessful")] == ["Resize volume succeeded"]
    with pytest.raises(errors.Invalid, match="field can not be less than status"):
        await cluster.change(CLAIM, "data", ask("2Gi"))
    with pytest.raises(errors.Forbidden, match="exceeded quota: q, requested: local-path"):
        await cluster.change(CLAIM, "data", ask("4500Mi"))
    used = cluster.get(kinds.RESOURCE_QUOTA, "q").status.used
    assert {name: used[name].string for name in used} == {
        "requests.storage": "3Gi", of_class: "3Gi", "persistentvolumeclaims": "1",
    }  # fmt: skip
    await create(cluster, claim("other", "1Gi", storage_class="none"))
    with pytest.raises(errors.Forbidden, match="exceeded quota: q, requested: persistentvolumeclaims=1"):
        await create(cluster, claim("third", "1Gi", storage_class="none"))


async def test_a_namespace_is_deleted_with_its_claims(cluster: Cluster) -> None:
    """Once their pods have ended; their volumes are released."""
    await create(cluster, kinds.NAMESPACE.cls(metadata={"name": "team"}), volume("pv"))
    await create(cluster, claim("data", meta={"namespace": "team"}))
    assert cluster.get(VOLUME, "pv").status.phase == "Bound"
    await cluster.delete(kinds.NAMESPACE, "team")
    await cluster.advance(10)
    assert cluster.get(kinds.NAMESPACE, "team") is None
    assert cluster.get(VOLUME, "pv").status.phase == "Released"


async def test_a_claim_is_within_the_bounds_of_its_namespace(cluster: Cluster) -> None:
    """When it is created and when it grows; in kube-apiserver's words."""
    bounds = kinds.LIMIT_RANGE.cls(metadata={"name": "l", "namespace": "default"})
    item = bounds.spec.limits.add(type="PersistentVolumeClaim")
    item.min["storage"].string, item.max["storage"].string = "1Gi", "2Gi"
    await nodes(cluster, "n1")
    await create(cluster, bounds)
    too_small = "minimum storage usage per PersistentVolumeClaim is 1Gi, but request is 500Mi"
    with pytest.raises(errors.Forbidden, match=f'persistentvolumeclaims "data" is forbidden: {too_small}'):
        await create(cluster, claim("data", "500Mi", storage_class=None))
    await create(cluster, claim("data", "1Gi", storage_class=None), using("data"))

    def grow(item: Any) -> None:
        item.spec.resources.requests["storage"].string = "3Gi"

    with pytest.raises(errors.Forbidden, match="maximum storage usage per PersistentVolumeClaim is 2Gi, but request is 3Gi"):
        await cluster.change(CLAIM, "data", grow)
