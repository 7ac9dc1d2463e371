"""`kctl describe` of claims, volumes and storage classes: kubectl's lines."""

from __future__ import annotations

from typing import Any

from cli.commands import describe
from pinnace import kinds
from tests.support.kctlserver import Server
from tests.support.objects import make
from tests.support.storage import claim, local_volume, storage_class, using, volume


def lines(item: Any, *others: Any) -> list[str]:
    kind = next(kind for kind in kinds.ALL if kind.cls is type(item))
    return [line.rstrip() for line in describe.describe(Server(item, *others), kind, item).splitlines()]


def test_a_claim_names_its_volume_and_pods() -> None:
    """With size and modes of the volume, once it is bound."""
    item = claim("data", volumeName="pv", storage_class="fast", meta={"finalizers": ["kubernetes.io/pvc-protection"]})
    item.status.phase = "Bound"
    item.status.capacity["storage"].string = "5Gi"
    item.status.accessModes.extend(["ReadOnlyMany", "ReadWriteOnce"])
    assert lines(item, using("data", name="b"), using("data", name="a"), using("other", name="c")) == [
        "Name:          data",
        "Namespace:     default",
        "StorageClass:  fast",
        "Status:        Bound",
        "Volume:        pv",
        "Labels:        <none>",
        "Annotations:   <none>",
        "Finalizers:    [kubernetes.io/pvc-protection]",
        "Capacity:      5Gi",
        "Access Modes:  RWO,ROX",
        "VolumeMode:    Filesystem",
        "Used By:       a",
        "               b",
        "Events:        <none>",
    ]


def test_a_volume_shows_nodes_and_source() -> None:
    """And the claim that has it."""
    item = local_volume("pv", "n1", "n2", claimRef={"namespace": "default", "name": "data"})
    item.status.phase = "Available"
    found = lines(item)
    assert found[4:9] == [
        "StorageClass:",
        "Status:            Available",
        "Claim:             default/data",
        "Reclaim Policy:    Retain",
        "Access Modes:      RWO",
    ]
    assert found[11:] == [
        "Node Affinity:",
        "  Required Terms:",
        "    Term 0:        kubernetes.io/hostname in [n1, n2]",
        "Message:",
        "Source:",
        "    Type:  LocalVolume (a persistent volume backed by local storage on a node)",
        "    Path:  /data/pv",
        "Events:    <none>",
    ]
    assert "    HostPathType:" in lines(volume("pw"))
    assert "    Server:    files" in lines(volume("px", nfs={"server": "files", "path": "/srv"}))


def test_a_class_says_whether_it_is_the_default() -> None:
    """With its modes."""
    found = lines(storage_class("slow", default=True, allowVolumeExpansion=True, parameters={"b": "2", "a": "1"}))
    assert found[0:2] == ["Name:                  slow", "IsDefaultClass:        Yes"]
    assert "Parameters:            a=1,b=2" in found
    assert "AllowVolumeExpansion:  True" in found
    assert "VolumeBindingMode:     Immediate" in found


def test_a_stateful_set_lists_the_claims_of_its_pods() -> None:
    """Below each other; a set without claims has none."""
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "2Gi"}}, "storageClassName": "fast"}
    template = {"metadata": {"name": "data", "labels": {"a": "b"}}, "spec": spec}
    pods = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "main", "image": "x"}]}}
    body = {"selector": {"matchLabels": {"a": "b"}}, "template": pods, "volumeClaimTemplates": [template]}
    found = lines(make(kinds.STATEFUL_SET, "db", spec=body))
    assert found[found.index("Volume Claims:") :] == [
        "Volume Claims:",
        "  Name:          data",
        "  StorageClass:  fast",
        "  Labels:        a=b",
        "  Annotations:   <none>",
        "  Capacity:      2Gi",
        "  Access Modes:  [ReadWriteOnce]",
        "Events:          <none>",
    ]
    del body["volumeClaimTemplates"]
    assert "Volume Claims:" in " ".join(lines(make(kinds.STATEFUL_SET, "db", spec=body)))
