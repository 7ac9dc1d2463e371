"""The filter of volumes, over all nodes at once, against a search on each node; and why no node is left."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane import volumematching
from controlplane.scheduler import explain, placement
from controlplane.scheduler.nodeinfo import NodeInfo
from controlplane.scheduler.placement import place_one
from controlplane.scheduler.plugins import default_profile
from controlplane.scheduler.plugins.volumebinding import CONFLICT, NONE_FOUND, VolumeBinding, steps
from controlplane.scheduler.podinfo import PodInfo
from controlplane.scheduler.table import NodeTable
from controlplane.store import Event, StoredObject
from pinnace import kinds
from pinnace.persistentvolumes import PodClaim
from pinnace.wellknown import BIND_COMPLETED
from tests.support.storage import claim, local_volume, storage_class, volume

NODES = ("n0", "n1", "n2", "n3")
WAITING = "WaitForFirstConsumer"


def noted(item: Any) -> Event:
    kind = next(kind for kind in kinds.ALL if kind.cls is type(item))
    row = StoredObject(kind, kind.key(item.metadata.namespace, item.metadata.name), item.SerializeToString(), 1)
    return Event(None, row, 1)


def table(*items: Any, nodes: tuple[str, ...] = NODES) -> NodeTable:
    made = NodeTable()
    for name in nodes:
        labels = frozenset({("kubernetes.io/hostname", name)})
        made.set_node(NodeInfo(name, (1000, 1 << 30, 1 << 30, 10), labels=labels))
    for item in items:
        made.volumes.note(noted(item))
    return made


def using(*names: str, ephemeral: bool = False) -> PodInfo:
    claims = tuple(PodClaim(name, name, ephemeral=ephemeral, read_only=False) for name in names)
    return PodInfo("default/web", "u", claims=claims)


VOLUMES = st.lists(st.tuples(st.sampled_from(("1Gi", "2Gi", "3Gi")), st.sets(st.sampled_from(NODES), min_size=1)), max_size=4)
CLAIMS = st.lists(st.sampled_from(("1Gi", "2Gi", "3Gi")), min_size=1, max_size=3)


@settings(max_examples=150, deadline=None)
@given(VOLUMES, CLAIMS)
def test_a_node_is_left_where_each_claim_finds_a_volume(volumes: list[tuple[str, set[str]]], sizes: list[str]) -> None:
    """In the order of their sizes, the smallest volume first, each volume once; the same volumes are reserved then."""
    made = [local_volume(f"v{n}", *nodes, size=size, storage_class="w") for n, (size, nodes) in enumerate(volumes)]
    claims = [claim(f"c{n}", size, storage_class="w") for n, size in enumerate(sizes)]
    cluster = table(storage_class("w", mode=WAITING), *made, *claims)
    pod = using(*(item.metadata.name for item in claims))
    rejected = VolumeBinding().rejects(pod, cluster, cluster.rows)
    for name in NODES:
        row = cluster.row(name)
        expected = searched(name, volumes, made, claims)
        assert (rejected is not None and bool(rejected[row])) is (expected is None)
        if expected is not None:
            found = {step.claim: step.volume for step in steps(pod, cluster, row) or ()}
            assert found == {f"default/{key}": value for key, value in expected.items()}


def searched(node: str, volumes: list[tuple[str, set[str]]], made: list[Any], claims: list[Any]) -> dict[str, str] | None:
    """The volume of each claim on one node, one after the other; None where one finds none."""
    left = [item for item, (_, nodes) in zip(made, volumes, strict=True) if node in nodes]
    found: dict[str, str] = {}
    for item in sorted(claims, key=lambda each: (each.spec.resources.requests["storage"].string, each.metadata.name)):
        best = volumematching.best(item, left)
        if best is None:
            return None
        left.remove(best)
        found[item.metadata.name] = best.metadata.name
    return found


def bound(name: str, to: str) -> Any:
    return claim(name, volumeName=to, meta={"annotations": {BIND_COMPLETED: "yes"}})


def test_reasons_are_those_of_kube_scheduler() -> None:
    """For bound volumes out of reach, and for claims without a volume to bind."""
    pod = using("data", "more")
    near = table(
        storage_class("w", mode=WAITING), local_volume("pv", "n1"), bound("data", "pv"), claim("more", storage_class="w")
    )
    found = VolumeBinding().reasons(pod, near, near.rows)
    assert {reason: int(mask.sum()) for reason, mask in found.items()} == {CONFLICT: 3, NONE_FOUND: 4}
    assert VolumeBinding().reasons(using(), near, near.rows) == {}


@pytest.mark.parametrize(
    ("items", "ephemeral", "why"),
    [
        ((), False, 'persistentvolumeclaim "data" not found'),
        ((), True, 'waiting for ephemeral volume controller to create the persistentvolumeclaim "data"'),
        ((claim("data"),), False, "pod has unbound immediate PersistentVolumeClaims"),
        ((claim("data"),), True, "PVC default/data was not created for pod default/web (pod is not owner)"),
        ((bound("data", "gone"),), False, "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)"),
    ],
)
def test_a_pod_without_its_claims_fits_nowhere(items: tuple[Any, ...], ephemeral: bool, why: str) -> None:
    """One reason for all nodes, in the message and in `kctl why`; the pod waits for changes of storage."""
    cluster, pod = table(*items), using("data", ephemeral=ephemeral)
    decision = place_one(pod, cluster, default_profile())
    assert why in decision.message
    assert decision.plugins == {"VolumeBinding"}
    verdicts = explain.verdicts(pod, cluster, default_profile())
    assert [verdict.reasons for verdict in verdicts] == [(why,)] * len(NODES)
    assert placement.rejecting(pod, cluster, default_profile(), cluster.rows) == {"VolumeBinding"}


def test_a_pod_without_claims_is_not_concerned() -> None:
    """Whatever volumes there are."""
    assert VolumeBinding().rejects(using(), table(volume("pv")), slice(0, 4)) is None
