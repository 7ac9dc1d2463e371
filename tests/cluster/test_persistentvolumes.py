"""Binding of claims to volumes that administrators have made, on virtual time: which volume a claim gets, and what follows."""

from __future__ import annotations

from typing import Any

import pytest

from pinnace import errors, kinds
from pinnace.wellknown import BIND_COMPLETED, BOUND_BY_CONTROLLER
from tests.support.cluster import Cluster
from tests.support.storage import claim, storage_class, using, volume

CLAIM, VOLUME = kinds.PERSISTENT_VOLUME_CLAIM, kinds.PERSISTENT_VOLUME


def phase(cluster: Cluster, kind: Any, name: str) -> str:
    return str(cluster.get(kind, name).status.phase)


async def create(cluster: Cluster, *items: Any) -> None:
    for item in items:
        await cluster.create(item)


async def test_a_claim_and_a_volume_are_bound_to_each_other(cluster: Cluster) -> None:
    """With Kubernetes' annotations, and the volume's size and modes in the claim's status."""
    await create(cluster, volume("pv", "5Gi", modes=("ReadWriteOnce", "ReadOnlyMany")), claim("data", "1Gi"))
    bound, used = cluster.get(CLAIM, "data"), cluster.get(VOLUME, "pv")
    assert (bound.status.phase, bound.spec.volumeName, bound.status.capacity["storage"].string) == ("Bound", "pv", "5Gi")
    assert list(bound.status.accessModes) == ["ReadWriteOnce", "ReadOnlyMany"]
    assert (used.status.phase, used.spec.claimRef.name, used.spec.claimRef.uid) == ("Bound", "data", bound.metadata.uid)
    assert {BIND_COMPLETED, BOUND_BY_CONTROLLER} <= set(bound.metadata.annotations)
    assert BOUND_BY_CONTROLLER in used.metadata.annotations


@pytest.mark.parametrize(
    ("volumes", "wanted"),
    [
        ([volume("big", "9Gi"), volume("small", "2Gi"), volume("tiny", "500Mi")], "small"),
        ([volume("exact", "2Gi"), volume("shared", "1Gi", modes=("ReadWriteOnce", "ReadWriteMany"))], "exact"),
        ([volume("other", storage_class="fast"), volume("mine", "3Gi")], "mine"),
        ([volume("modes", modes=("ReadOnlyMany",)), volume("mine", "3Gi")], "mine"),
        ([volume("block", volumeMode="Block", local={"path": "/b"}, nodeAffinity=None), volume("mine", "3Gi")], "mine"),
        ([volume("taken", claimRef={"namespace": "default", "name": "other"}), volume("mine", "3Gi")], "mine"),
        ([volume("small", "1Gi"), volume("kept", "9Gi", claimRef={"namespace": "default", "name": "data"})], "kept"),
    ],
    ids=["size", "fewest modes", "class", "modes", "volume mode", "reserved for another", "reserved"],
)
async def test_the_best_volume_is_chosen(cluster: Cluster, volumes: list[Any], wanted: str) -> None:
    """Reserved for the claim; else of its class and mode, with the fewest access modes, and the smallest that is enough."""
    for item in volumes:
        if item.spec.volumeMode == "Block":
            item.spec.nodeAffinity.required.nodeSelectorTerms.add().matchExpressions.add(key="a", operator="Exists")
    await create(cluster, *volumes, claim("data", "1Gi"))
    assert cluster.get(CLAIM, "data").spec.volumeName == wanted


async def test_a_selector_chooses_by_labels(cluster: Cluster) -> None:
    """A volume without the labels stays free."""
    selecting = claim("data", selector={"matchLabels": {"disk": "ssd"}})
    await create(cluster, volume("plain"), volume("ssd", "7Gi", meta={"labels": {"disk": "ssd"}}), selecting)
    assert cluster.get(CLAIM, "data").spec.volumeName == "ssd"
    assert phase(cluster, VOLUME, "plain") == "Available"


async def test_a_claim_waits_for_a_volume(cluster: Cluster) -> None:
    """With an event, and is bound once there is one."""
    await create(cluster, claim("data", "2Gi"), volume("small", "1Gi"))
    assert (phase(cluster, CLAIM, "data"), phase(cluster, VOLUME, "small")) == ("Pending", "Available")
    assert "no persistent volumes available for this claim and no storage class is set" in {
        event.message for event in cluster.events("FailedBinding")
    }
    await create(cluster, volume("enough", "2Gi"))
    assert cluster.get(CLAIM, "data").spec.volumeName == "enough"


async def test_a_claim_can_name_its_volume(cluster: Cluster) -> None:
    """It waits for that one alone, and does not take one that does not fit."""
    await create(cluster, volume("other"), claim("data", volumeName="mine"))
    assert phase(cluster, CLAIM, "data") == "Pending"
    await create(cluster, volume("mine", "500Mi"))
    assert phase(cluster, CLAIM, "data") == "Pending"
    assert cluster.events("VolumeMismatch")[0].message == 'Cannot bind to requested volume "mine": requested PV is too small'
    await create(cluster, claim("next", "100Mi", volumeName="mine"))
    assert phase(cluster, CLAIM, "next") == "Bound"
    assert BOUND_BY_CONTROLLER not in cluster.get(CLAIM, "next").metadata.annotations


async def test_retained_volumes_are_released_and_stay(cluster: Cluster) -> None:
    """Another claim of the same name does not get the data of the first; without claimRef the volume is free again."""
    await create(cluster, volume("pv"), claim("data"))
    await cluster.delete(CLAIM, "data")
    assert cluster.get(CLAIM, "data") is None
    assert phase(cluster, VOLUME, "pv") == "Released"
    await create(cluster, claim("data"))
    assert phase(cluster, CLAIM, "data") == "Pending"
    await cluster.change(VOLUME, "pv", lambda item: item.spec.ClearField("claimRef"))
    assert phase(cluster, CLAIM, "data") == "Bound"


async def test_a_claim_whose_volume_is_gone_is_lost(cluster: Cluster) -> None:
    """For good, with an event."""
    await create(cluster, volume("pv"), claim("data"))
    await cluster.delete(VOLUME, "pv")
    assert phase(cluster, VOLUME, "pv") == "Bound"
    await cluster.change(VOLUME, "pv", lambda item: item.metadata.ClearField("finalizers"))
    assert phase(cluster, CLAIM, "data") == "Lost"
    assert [event.reason for event in cluster.events("ClaimLost")] == ["ClaimLost"]


async def test_what_nothing_can_delete_is_failed(cluster: Cluster) -> None:
    """A volume of an administrator's with the policy Delete."""
    await create(cluster, volume("pv", persistentVolumeReclaimPolicy="Delete"), claim("data"))
    await cluster.delete(CLAIM, "data")
    assert phase(cluster, VOLUME, "pv") == "Failed"
    assert "no deletable volume plugin matched" in cluster.events("VolumeFailedDelete")[0].message


async def test_a_claim_in_use_is_deleted_after_its_pods(cluster: Cluster) -> None:
    """A pod that has no node, or has ended, does not keep it."""
    await cluster.join("n1", meta={"labels": {"kubernetes.io/hostname": "n1"}})
    await create(cluster, volume("pv"), claim("data"), using("data"))
    made = cluster.get(kinds.POD, "web")
    assert made.spec.nodeName == "n1"
    await cluster.delete(CLAIM, "data")
    assert cluster.get(CLAIM, "data").metadata.deletionTimestamp.seconds
    await cluster.report("n1", made, phase="Succeeded")
    assert cluster.get(CLAIM, "data") is None
    assert phase(cluster, VOLUME, "pv") == "Released"


async def test_claims_without_a_class_get_the_default_one(cluster: Cluster) -> None:
    """The newest of several; also those that were there before it."""
    await cluster.delete(kinds.STORAGE_CLASS, "local-path")
    await create(cluster, claim("early", storage_class=None), claim("none", storage_class=""))
    assert not cluster.get(CLAIM, "early").spec.HasField("storageClassName")
    await create(cluster, storage_class("slow", default=True))
    assert cluster.get(CLAIM, "early").spec.storageClassName == "slow"
    assert cluster.get(CLAIM, "none").spec.storageClassName == ""
    await cluster.advance(10)
    await create(cluster, storage_class("fast", default=True), claim("late", storage_class=None))
    assert cluster.get(CLAIM, "late").spec.storageClassName == "fast"


async def test_only_expandable_claims_grow(cluster: Cluster) -> None:
    """By their class, once bound; nothing else of the spec changes."""

    def grow(item: Any) -> None:
        item.spec.resources.requests["storage"].string = "2Gi"

    await create(cluster, storage_class("fixed"), volume("pv", "1Gi", storage_class="fixed"), claim(storage_class="fixed"))
    with pytest.raises(errors.Forbidden, match="must support resize"):
        await cluster.change(CLAIM, "data", grow)
    await cluster.change(kinds.STORAGE_CLASS, "fixed", lambda item: setattr(item, "allowVolumeExpansion", True))
    await cluster.change(CLAIM, "data", grow)
    assert "waiting for an external controller to expand this PVC" in cluster.events("ExternalExpanding")[0].message
    with pytest.raises(errors.Invalid, match="spec is immutable after creation"):
        await cluster.change(CLAIM, "data", lambda item: item.spec.accessModes.append("ReadOnlyMany"))
