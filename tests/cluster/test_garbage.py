"""What goes when its owner goes: background, foreground and orphaning deletion, of any number of dependents."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.requests import verbs
from pinnace import kinds
from pinnace.clock import VirtualClock, settle
from pinnace.wellknown import FINALIZER_FOREGROUND
from tests.support.backends import Small
from tests.support.cluster import TURNS, Cluster, running
from tests.support.objects import config_map, make, owned_by, pod, runtime_class


async def family(cluster: Cluster, **reference: Any) -> Any:
    """An owner and its dependent."""
    owner = await cluster.create(config_map("owner"))
    await cluster.create(config_map("child", meta={"ownerReferences": [owned_by(owner, **reference)]}))
    return owner


async def test_dependents_go_after_their_owner(cluster: Cluster) -> None:
    """Background, the default; and theirs after them."""
    await family(cluster)
    child = cluster.get(kinds.CONFIG_MAP, "child")
    await cluster.create(config_map("grandchild", meta={"ownerReferences": [owned_by(child)]}))
    assert await cluster.delete(kinds.CONFIG_MAP, "owner") is True
    await cluster.advance(1)
    assert cluster.names(kinds.CONFIG_MAP) == []


async def test_a_dependent_born_after_its_owners_death_goes_too(cluster: Cluster) -> None:
    """Also when another object has taken the owner's name: the uid decides."""
    owner = await family(cluster)
    await cluster.delete(kinds.CONFIG_MAP, "owner")
    await cluster.create(config_map("owner"))
    await cluster.create(config_map("late", meta={"ownerReferences": [owned_by(owner)]}))
    await cluster.advance(1)
    assert cluster.names(kinds.CONFIG_MAP) == ["owner"]


async def test_one_living_owner_is_enough(cluster: Cluster) -> None:
    """Under background and foreground deletion of the other alike."""
    for how in ({}, {"propagation": verbs.FOREGROUND}):
        first, second = await cluster.create(config_map("first")), await cluster.create(config_map("second"))
        references = [owned_by(first, blockOwnerDeletion=True), owned_by(second, blockOwnerDeletion=True)]
        await cluster.create(config_map("child", meta={"ownerReferences": references}))
        await cluster.delete(kinds.CONFIG_MAP, "first", **how)
        await cluster.advance(10)
        assert cluster.names(kinds.CONFIG_MAP) == ["child", "second"]
        await cluster.delete(kinds.CONFIG_MAP, "second", **how)
        await cluster.advance(10)
        assert cluster.names(kinds.CONFIG_MAP) == []


async def test_foreground_deletion_takes_the_dependents_first(cluster: Cluster) -> None:
    """The owner stays, marked, until a running dependent has stopped."""
    await cluster.join("n1")
    owner = await cluster.create(config_map("owner"))
    child = await cluster.create(pod("child", meta={"ownerReferences": [owned_by(owner, blockOwnerDeletion=True)]}))
    assert await cluster.delete(kinds.CONFIG_MAP, "owner", propagation=verbs.FOREGROUND) is False
    await cluster.advance(20, beating=("n1",))
    assert cluster.get(kinds.POD, "child").metadata.deletionTimestamp.seconds
    assert FINALIZER_FOREGROUND in cluster.get(kinds.CONFIG_MAP, "owner").metadata.finalizers
    version = cluster.get(kinds.POD, "child").metadata.resourceVersion
    await cluster.advance(20, beating=("n1",))
    assert cluster.get(kinds.POD, "child").metadata.resourceVersion == version
    await cluster.report("n1", child, phase="Succeeded", removed=True)
    await cluster.advance(2, beating=("n1",))
    assert cluster.get(kinds.POD, "child") is None
    assert cluster.get(kinds.CONFIG_MAP, "owner") is None


async def test_orphans_stay_without_their_owner(cluster: Cluster) -> None:
    """Their reference to it goes with it; the owner waits for that."""
    await family(cluster)
    assert await cluster.delete(kinds.CONFIG_MAP, "owner", propagation=verbs.ORPHAN) is False
    await cluster.advance(1)
    assert cluster.names(kinds.CONFIG_MAP) == ["child"]
    assert not cluster.get(kinds.CONFIG_MAP, "child").metadata.ownerReferences


async def test_an_owner_of_an_unknown_kind_is_not_judged(cluster: Cluster) -> None:
    """It may live in a controller that we do not serve."""
    reference = {"apiVersion": "example.com/v1", "kind": "Widget", "name": "w", "uid": "u"}
    await cluster.create(config_map("child", meta={"ownerReferences": [reference]}))
    await cluster.advance(10)
    assert cluster.names(kinds.CONFIG_MAP) == ["child"]


async def test_a_cluster_scoped_object_with_a_namespaced_owner_stays(cluster: Cluster) -> None:
    """Such a reference cannot be resolved, so nothing follows from it; a warning says so."""
    owner = await cluster.create(config_map("owner"))
    reference = owned_by(owner)
    await cluster.create(runtime_class("sandboxed", meta={"ownerReferences": [reference]}))
    await cluster.create(make(kinds.NAMESPACE, "shop", meta={"ownerReferences": [{**reference, "uid": "gone"}]}))
    await cluster.delete(kinds.CONFIG_MAP, "owner")
    await cluster.advance(60)
    assert cluster.get(kinds.RUNTIME_CLASS, "sandboxed") is not None
    assert not cluster.get(kinds.NAMESPACE, "shop").metadata.deletionTimestamp.seconds
    told = cluster.events("OwnerRefInvalidNamespace")
    assert {(event.involvedObject.kind, event.involvedObject.name, event.type) for event in told} == {
        ("RuntimeClass", "sandboxed", "Warning"), ("Namespace", "shop", "Warning"),
    }  # fmt: skip
    assert {event.involvedObject.apiVersion for event in told} == {"node.k8s.io/v1", "v1"}


async def test_an_owner_in_another_namespace_is_none(cluster: Cluster) -> None:
    """As in Kubernetes: it is looked up in the dependent's namespace, and a warning says where it was not."""
    await cluster.create(make(kinds.NAMESPACE, "shop"))
    owner = await cluster.create(config_map("owner"))
    await cluster.create(config_map("child", namespace="shop", meta={"ownerReferences": [owned_by(owner)]}))
    await cluster.advance(1)
    assert cluster.names(kinds.CONFIG_MAP) == ["owner"]
    assert [event.involvedObject.name for event in cluster.events("OwnerRefInvalidNamespace")] == ["child"]


async def test_a_namespaced_object_goes_with_its_cluster_scoped_owner(cluster: Cluster) -> None:
    """The one direction that may cross scopes."""
    await cluster.create(runtime_class("sandboxed"))
    owner = cluster.get(kinds.RUNTIME_CLASS, "sandboxed")
    reference = {**owned_by(owner), "apiVersion": "node.k8s.io/v1"}
    await cluster.create(config_map("child", meta={"ownerReferences": [reference]}))
    await cluster.advance(1)
    assert cluster.names(kinds.CONFIG_MAP) == ["child"]
    await cluster.delete(kinds.RUNTIME_CLASS, "sandboxed")
    await cluster.advance(1)
    assert cluster.names(kinds.CONFIG_MAP) == []


MANY = 300


async def crowd(cluster: Cluster, *, size: int = 0, **reference: Any) -> Any:
    """An owner with many dependents, each of `size` bytes."""
    owner = await cluster.create(config_map("owner"))
    for number in range(MANY):
        child = config_map(f"c{number}", {"a": "x" * size}, meta={"ownerReferences": [owned_by(owner, **reference)]})
        await cluster.store.update(lambda tx, child=child: verbs.create(tx, kinds.CONFIG_MAP, child, cluster.call()))
    await settle(TURNS)
    return owner


@pytest.mark.parametrize("how", ["Background", verbs.FOREGROUND, verbs.ORPHAN])
@pytest.mark.parametrize("size", [0, 50_000])
async def test_many_dependents_fit_into_small_transactions(how: str, size: int) -> None:
    """Fifteen megabytes of them too."""
    async with running(backend=Small()) as cluster:
        await crowd(cluster, size=size, blockOwnerDeletion=True)
        await cluster.delete(kinds.CONFIG_MAP, "owner", propagation=how)
        await cluster.advance(20)
        left = cluster.names(kinds.CONFIG_MAP)
        assert len(left) == (MANY if how == verbs.ORPHAN else 0)
        assert not any(row.message.metadata.ownerReferences for row in cluster.store.rows(kinds.CONFIG_MAP))


@pytest.mark.parametrize("how", [verbs.FOREGROUND, verbs.ORPHAN])
async def test_what_was_begun_is_finished_after_a_restart(how: str) -> None:
    """The finalizer says what is left to do."""
    clock, backend = VirtualClock(), Small()
    async with running(backend=backend, clock=clock) as cluster:
        await crowd(cluster, blockOwnerDeletion=True)
        await cluster.store.update(
            lambda tx: verbs.delete(tx, kinds.CONFIG_MAP, "default", "owner", cluster.call(), propagation=how)
        )
        await settle(10)
        left = cluster.store.rows(kinds.CONFIG_MAP)
        assert any(row.message.metadata.ownerReferences for row in left)
        assert cluster.get(kinds.CONFIG_MAP, "owner") is not None
    async with running(backend=backend, clock=clock) as cluster:
        await cluster.advance(20)
        assert len(cluster.names(kinds.CONFIG_MAP)) == (MANY if how == verbs.ORPHAN else 0)
        assert cluster.get(kinds.CONFIG_MAP, "owner") is None


async def test_foreground_deletion_waits_only_for_dependents_that_block_it(cluster: Cluster) -> None:
    """The others are deleted too, without it."""
    await cluster.join("n1")
    owner = await cluster.create(config_map("owner"))
    await cluster.create(pod("child", nodeName="n1", meta={"ownerReferences": [owned_by(owner)]}))
    await cluster.delete(kinds.CONFIG_MAP, "owner", propagation=verbs.FOREGROUND)
    await cluster.advance(1)
    assert cluster.get(kinds.CONFIG_MAP, "owner") is None
    assert cluster.get(kinds.POD, "child").metadata.deletionTimestamp.seconds


async def test_a_cycle_of_owners_does_not_keep_itself(cluster: Cluster) -> None:
    """Each would wait for the other in the foreground."""
    first = await cluster.create(config_map("first"))
    block = {"blockOwnerDeletion": True}
    second = await cluster.create(config_map("second", meta={"ownerReferences": [owned_by(first, **block)]}))
    await cluster.change(
        kinds.CONFIG_MAP, "first", lambda found: found.metadata.ownerReferences.add(
            apiVersion="v1", kind="ConfigMap", name="second", uid=second.metadata.uid, blockOwnerDeletion=True
        )
    )  # fmt: skip
    await cluster.delete(kinds.CONFIG_MAP, "first", propagation=verbs.FOREGROUND)
    await cluster.advance(10)
    assert cluster.names(kinds.CONFIG_MAP) == []


@pytest.mark.parametrize("propagation", [verbs.FOREGROUND, verbs.ORPHAN, "Background"])
async def test_an_object_that_owns_itself_does_not_keep_itself(cluster: Cluster, propagation: str) -> None:
    made = await cluster.create(config_map("own"))
    await cluster.change(
        kinds.CONFIG_MAP, "own", lambda found: found.metadata.ownerReferences.add(
            apiVersion="v1", kind="ConfigMap", name="own", uid=made.metadata.uid, blockOwnerDeletion=True
        )
    )  # fmt: skip
    await cluster.delete(kinds.CONFIG_MAP, "own", propagation=propagation)
    await cluster.advance(10)
    assert cluster.names(kinds.CONFIG_MAP) == []


async def test_a_dependent_that_cannot_be_deleted_keeps_no_other(cluster: Cluster) -> None:
    """A namespace that is protected, next to one that is not."""
    await cluster.create(runtime_class("owner"))
    reference = {**owned_by(cluster.get(kinds.RUNTIME_CLASS, "owner")), "apiVersion": "node.k8s.io/v1"}
    await cluster.create(make(kinds.NAMESPACE, "shop", meta={"ownerReferences": [reference]}))
    await cluster.change(kinds.NAMESPACE, "default", lambda found: found.metadata.ownerReferences.add(**reference))
    await cluster.delete(kinds.RUNTIME_CLASS, "owner")
    await cluster.advance(10)
    assert cluster.get(kinds.NAMESPACE, "shop") is None
    assert not cluster.get(kinds.NAMESPACE, "default").metadata.deletionTimestamp.seconds


async def test_any_number_of_owners_can_be_judged() -> None:
    """In a transaction of etcd's size, and of absent ones without a search for each in every namespace."""
    async with running(backend=Small()) as cluster:
        owner = await cluster.create(config_map("owner"))
        gone = [{**owned_by(owner), "name": f"gone-{number}", "uid": f"u{number}"} for number in range(1000)]
        await cluster.create(config_map("kept", meta={"ownerReferences": [owned_by(owner), *gone]}))
        await cluster.create(config_map("dropped", meta={"ownerReferences": gone}))
        await cluster.advance(1)
        assert cluster.names(kinds.CONFIG_MAP) == ["kept", "owner"]
        assert len(cluster.get(kinds.CONFIG_MAP, "kept").metadata.ownerReferences) == 1
