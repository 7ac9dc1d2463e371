"""Claims that wait for their first consumer: the scheduler chooses node and volume together, on virtual time."""

from __future__ import annotations

from typing import Any

import pytest

from pinnace import codec, errors, kinds
from pinnace.wellknown import ANNOTATION_LOCAL_PATH, SELECTED_NODE
from tests.support import objects
from tests.support.cluster import Cluster
from tests.support.storage import claim, local_volume, storage_class, using, volume

CLAIM, VOLUME, POD = kinds.PERSISTENT_VOLUME_CLAIM, kinds.PERSISTENT_VOLUME, kinds.POD
WAITING = "WaitForFirstConsumer"


async def nodes(cluster: Cluster, *names: str, **rest: Any) -> None:
    for name in names:
        await cluster.join(name, meta={"labels": {"kubernetes.io/hostname": name}}, **rest)
        await cluster.change(kinds.NODE, name, _with_local_path)
        cluster.alive.add(name)


def _with_local_path(node: Any) -> None:
    node.metadata.annotations[ANNOTATION_LOCAL_PATH] = "/var/lib/pinnace/local-volumes"


async def create(cluster: Cluster, *items: Any) -> None:
    for item in items:
        await cluster.create(item)


def node_of(cluster: Cluster, pod: str = "web") -> str:
    return str(cluster.get(POD, pod).spec.nodeName)


def why(cluster: Cluster, pod: str = "web") -> str:
    conditions = cluster.get(POD, pod).status.conditions
    return next((item.message for item in conditions if item.type == "PodScheduled"), "")


async def test_a_volume_is_made_on_the_node_of_the_pod(cluster: Cluster) -> None:
    """For a claim of the default class, once a pod uses it; the pod is bound after its claim."""
    await nodes(cluster, "n1")
    await create(cluster, claim("data", storage_class=None))
    assert cluster.get(CLAIM, "data").status.phase == "Pending"
    assert cluster.events("WaitForFirstConsumer")[0].message == "waiting for first consumer to be created before binding"
    await create(cluster, using("data"))
    bound = cluster.get(CLAIM, "data")
    made = cluster.get(VOLUME, bound.spec.volumeName)
    assert (bound.status.phase, made.status.phase, node_of(cluster)) == ("Bound", "Bound", "n1")
    assert made.metadata.name == f"pvc-{bound.metadata.uid}"
    assert made.spec.persistentVolumeSource.local.path == f"/var/lib/pinnace/local-volumes/{made.metadata.name}"
    [term] = made.spec.nodeAffinity.required.nodeSelectorTerms
    assert (term.matchExpressions[0].key, list(term.matchExpressions[0].values)) == ("kubernetes.io/hostname", ["n1"])
    assert made.spec.persistentVolumeReclaimPolicy == "Delete"
    assert [event.reason for event in cluster.events("ProvisioningSucceeded")] == ["ProvisioningSucceeded"]


async def test_a_second_pod_goes_where_the_volume_is(cluster: Cluster) -> None:
    """Although another node is emptier; where that node takes no pods, the message names both reasons."""
    await nodes(cluster, "n1", "n2")
    await create(cluster, claim("data", storage_class=None), using("data", name="one", nodeSelector=on("n2")))
    await create(cluster, using("data", name="two"))
    assert node_of(cluster, "two") == "n2"
    await cluster.change(kinds.NODE, "n2", lambda item: setattr(item.spec, "unschedulable", True))
    await create(cluster, using("data", name="three"))
    reasons = "1 node(s) had volume node affinity conflict, 1 node(s) were unschedulable"
    assert why(cluster, "three") == f"0/2 nodes are available: {reasons}."
    await cluster.change(kinds.NODE, "n2", lambda item: setattr(item.spec, "unschedulable", False))
    assert node_of(cluster, "three") == "n2"


def on(node: str) -> dict[str, str]:
    return {"kubernetes.io/hostname": node}


async def test_the_node_is_chosen_among_those_of_free_volumes(cluster: Cluster) -> None:
    """The smallest volume that a node of the pod's choice can reach; a pod without such a node waits for a volume."""
    await nodes(cluster, "n1", "n2")
    await create(cluster, storage_class("local", mode=WAITING))
    await create(cluster, local_volume("far", "n1", storage_class="local"))
    await create(cluster, local_volume("big", "n2", size="5Gi", storage_class="local"))
    await create(cluster, claim("data", storage_class="local"), claim("more", storage_class="local"))
    await create(cluster, using("data", nodeSelector=on("n2")))
    assert (node_of(cluster), cluster.get(CLAIM, "data").spec.volumeName) == ("n2", "big")
    await create(cluster, using("more", name="next", nodeSelector=on("n2")))
    reasons = "1 node(s) didn't find available persistent volumes to bind, 1 node(s) didn't match Pod's node affinity/selector"
    assert why(cluster, "next") == f"0/2 nodes are available: {reasons}."
    await create(cluster, local_volume("late", "n2", storage_class="local"))
    assert (node_of(cluster, "next"), cluster.get(CLAIM, "more").spec.volumeName) == ("n2", "late")
    assert cluster.get(VOLUME, "far").status.phase == "Available"


async def test_two_claims_of_a_pod_get_two_volumes(cluster: Cluster) -> None:
    """A node with one volume is not enough for both."""
    await nodes(cluster, "n1", "n2")
    await create(cluster, storage_class("local", mode=WAITING), local_volume("only", "n1", storage_class="local"))
    for name in ("a", "b"):
        await create(cluster, local_volume(f"two-{name}", "n2", storage_class="local"), claim(name, storage_class="local"))
    await create(cluster, using("a", "b"))
    assert node_of(cluster) == "n2"
    assert {cluster.get(CLAIM, name).spec.volumeName for name in ("a", "b")} == {"two-a", "two-b"}


@pytest.mark.parametrize(
    ("claims", "message"),
    [
        ([], 'persistentvolumeclaim "data" not found'),
        ([claim("data")], "pod has unbound immediate PersistentVolumeClaims"),
        ([claim("data", storage_class="none")], "pod has unbound immediate PersistentVolumeClaims"),
    ],
    ids=["missing", "unbound", "no class"],
)
async def test_a_pod_waits_for_its_claims(cluster: Cluster, claims: list[Any], message: str) -> None:
    """The message is kube-scheduler's; the pod is placed once the claim is bound."""
    await nodes(cluster, "n1")
    await create(cluster, *claims, using("data"))
    assert why(cluster) == f"0/1 nodes are available: {message}."
    await create(cluster, volume("pv", storage_class="none"), volume("pw"))
    if not claims:
        await create(cluster, claim("data"))
    assert node_of(cluster) == "n1"


async def test_one_pod_at_a_time_has_a_read_write_once_pod_claim(cluster: Cluster) -> None:
    """Another waits until the first is gone, on whichever node."""
    await nodes(cluster, "n1", "n2")
    await create(cluster, volume("pv", modes=("ReadWriteOncePod",)), claim("data", modes=("ReadWriteOncePod",)))
    await create(cluster, using("data", name="one"), using("data", name="two"))
    reason = "2 node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode"
    assert (bool(node_of(cluster, "one")), why(cluster, "two")) == (True, f"0/2 nodes are available: {reason}.")
    first = cluster.get(POD, "one")
    await cluster.delete(POD, "one")
    await cluster.report(first.spec.nodeName, first, phase="Succeeded", removed=True)
    assert node_of(cluster, "two")


async def test_topologies_of_a_class_bound_where_volumes_are_made(cluster: Cluster) -> None:
    """On no other node, although both could."""
    await nodes(cluster, "n1", "n2")
    allowed = [{"matchLabelExpressions": [{"key": "kubernetes.io/hostname", "values": ["n2"]}]}]
    await create(cluster, storage_class("here", provisioner="pinnace.dev/local-path", mode=WAITING, allowedTopologies=allowed))
    await create(cluster, claim("data", storage_class="here"), using("data"))
    assert node_of(cluster) == "n2"


async def test_a_waiting_pod_keeps_its_place(cluster: Cluster) -> None:
    """While an external provisioner makes the volume, no other pod takes the room that the pod needs."""
    await nodes(cluster, "n1", cpu="1")
    await create(cluster, storage_class("slow", provisioner="example.com/slow", mode=WAITING))
    await create(cluster, claim("data", storage_class="slow"))
    first = using("data")
    first.spec.containers[0].resources.requests["cpu"].string = "700m"
    await create(cluster, first)
    chosen = cluster.get(CLAIM, "data")
    assert (chosen.metadata.annotations[SELECTED_NODE], node_of(cluster)) == ("n1", "")
    assert "'example.com/slow'" in cluster.events("ExternalProvisioning")[0].message
    await create(cluster, objects.pod("other", objects.container(requests={"cpu": "700m"})))
    assert node_of(cluster, "other") == ""
    ref = {"namespace": "default", "name": "data", "uid": chosen.metadata.uid}
    await create(cluster, local_volume("made", "n1", storage_class="slow", claimRef=ref))
    await cluster.advance(5)
    assert (node_of(cluster), node_of(cluster, "other")) == ("n1", "")


SMALL = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}


def ephemeral(**template: Any) -> dict[str, Any]:
    return {"ephemeral": {"volumeClaimTemplate": {"spec": SMALL, **template}}}


async def test_an_ephemeral_volume_has_a_claim_of_its_own(cluster: Cluster) -> None:
    """Named after pod and volume, owned by the pod, and deleted with it; a claim of that name of anyone else's is not used."""
    await nodes(cluster, "n1")
    volumes = [{"name": "scratch", **ephemeral()}]
    await create(cluster, objects.pod("web", volumes=volumes), claim("two-scratch"), objects.pod("two", volumes=volumes))
    made = cluster.get(CLAIM, "web-scratch")
    pod = cluster.get(POD, "web")
    assert (made.metadata.ownerReferences[0].uid, made.status.phase, node_of(cluster)) == (pod.metadata.uid, "Bound", "n1")
    assert "was not created for pod default/two (pod is not owner)" in why(cluster, "two")
    await cluster.delete(POD, "web")
    await cluster.report("n1", pod, phase="Succeeded", removed=True)
    await cluster.advance(5)
    assert cluster.get(CLAIM, "web-scratch") is None


@pytest.mark.shows(
    "spec.volumes[].ephemeral.volumeClaimTemplate.metadata.{labels,annotations}",
    "spec.volumes[].ephemeral.volumeClaimTemplate.spec.{accessModes,storageClassName,volumeMode,volumeName}",
    "spec.volumes[].ephemeral.volumeClaimTemplate.spec.resources.{requests,limits}",
    "spec.volumes[].ephemeral.volumeClaimTemplate.spec.selector.matchLabels",
    "spec.volumes[].ephemeral.volumeClaimTemplate.spec.selector.matchExpressions[].{key,operator,values}",
)
async def test_the_claim_of_an_ephemeral_volume_is_that_of_its_template(cluster: Cluster) -> None:
    """With labels and annotations, and every field of the spec."""
    selector = {"matchLabels": {"a": "b"}, "matchExpressions": [{"key": "c", "operator": "In", "values": ["d"]}]}
    spec = {
        "accessModes": ["ReadOnlyMany"], "resources": {"requests": {"storage": "1Gi"}, "limits": {"storage": "2Gi"}},
        "storageClassName": "slow", "volumeMode": "Block", "volumeName": "pv", "selector": selector,
    }  # fmt: skip
    metadata = {"labels": {"e": "f"}, "annotations": {"g": "h"}}
    await create(cluster, objects.pod("web", volumes=[{"name": "v", **ephemeral(spec=spec, metadata=metadata)}]))
    made = cluster.get(CLAIM, "web-v")
    assert codec.encode(made)["spec"] == spec
    assert (dict(made.metadata.labels), made.metadata.annotations["g"]) == ({"e": "f"}, "h")


OWNER = {"apiVersion": "v1", "kind": "Pod", "name": "a", "uid": "b", "controller": True, "blockOwnerDeletion": True}
MANAGED = {
    "manager": "a", "operation": "Update", "apiVersion": "v1", "time": "2026-01-01T00:00:00Z", "fieldsType": "FieldsV1",
    "fieldsV1": {"f:spec": {}}, "subresource": "status",
}  # fmt: skip
REFUSED = {
    "name": "a", "generateName": "a", "namespace": "default", "selfLink": "a", "uid": "a", "resourceVersion": "1", "generation": 1,
    "creationTimestamp": "2026-01-01T00:00:00Z", "deletionTimestamp": "2026-01-01T00:00:00Z", "deletionGracePeriodSeconds": 1,
    "finalizers": ["a/b"], "ownerReferences": [OWNER], "managedFields": [MANAGED],
}  # fmt: skip


@pytest.mark.shows(
    "spec.volumes[].ephemeral.volumeClaimTemplate.metadata.{name,generateName,namespace,selfLink,uid,resourceVersion,generation}",
    "spec.volumes[].ephemeral.volumeClaimTemplate.metadata.{creationTimestamp,deletionTimestamp,deletionGracePeriodSeconds}",
    "spec.volumes[].ephemeral.volumeClaimTemplate.metadata.{finalizers,ownerReferences,managedFields}",
    "spec.volumes[].ephemeral.volumeClaimTemplate.metadata.ownerReferences[].{apiVersion,kind,name,uid,controller}",
    "spec.volumes[].ephemeral.volumeClaimTemplate.metadata.ownerReferences[].blockOwnerDeletion",
    "spec.volumes[].ephemeral.volumeClaimTemplate.metadata.managedFields[].{manager,operation,apiVersion,time,fieldsType}",
    "spec.volumes[].ephemeral.volumeClaimTemplate.metadata.managedFields[].{fieldsV1,subresource}",
    refused="the template's metadata are labels and annotations",
)
@pytest.mark.parametrize("field", REFUSED)
async def test_a_template_has_no_other_metadata(cluster: Cluster, field: str) -> None:
    """Each is refused by name, as in Kubernetes."""
    subject = objects.pod("web", volumes=[{"name": "v", **ephemeral(metadata={field: REFUSED[field]})}])
    with pytest.raises(errors.Invalid) as caught:
        await cluster.create(subject)
    [cause] = caught.value.causes
    assert cause.field == f"spec.volumes[0].ephemeral.volumeClaimTemplate.metadata.{field}"
    assert cause.message == "Forbidden: cannot be set for an ephemeral volume"


async def test_a_claim_that_is_chosen_for_a_lost_node_is_chosen_again(cluster: Cluster) -> None:
    """The node went before its volume was made."""
    await nodes(cluster, "n1")
    chosen = claim("data", storage_class=None, meta={"annotations": {SELECTED_NODE: "gone"}})
    await create(cluster, chosen, using("data"))
    await cluster.advance(20)
    assert 'node "gone" not found' in cluster.events("ProvisioningFailed")[0].message
    assert node_of(cluster) == "n1"
