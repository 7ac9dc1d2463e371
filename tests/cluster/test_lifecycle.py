"""What goes when something else goes: namespaces with content, dependents with owners, events with time."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane import events
from controlplane.api import verbs
from controlplane.controllers.eventttl import TTL
from pinnace import kinds
from pinnace.errors import Forbidden
from tests.support.cluster import Cluster
from tests.support.objects import config_map, make, owned_by, pod


async def test_a_namespace_takes_its_content_with_it(cluster: Cluster) -> None:
    """Terminating while something is left, then gone; other namespaces stay as they are."""
    await cluster.create(make(kinds.NAMESPACE, "shop"))
    for number in range(60):
        await cluster.store.update(
            lambda tx, name=f"c{number}": verbs.create(tx, kinds.CONFIG_MAP, config_map(name, namespace="shop"), cluster.call())
        )
    await cluster.create(config_map("c0"))
    assert await cluster.delete(kinds.NAMESPACE, "shop") is False
    await cluster.advance(1)
    assert cluster.get(kinds.NAMESPACE, "shop") is None
    assert cluster.names(kinds.CONFIG_MAP) == ["c0"]


async def test_a_namespace_waits_for_pods_that_still_run(cluster: Cluster) -> None:
    """Until their agent says that they have stopped; meanwhile nothing new may come."""
    await cluster.join("n1")
    await cluster.create(make(kinds.NAMESPACE, "shop"))
    running = await cluster.create(pod(namespace="shop"))
    await cluster.delete(kinds.NAMESPACE, "shop")
    await cluster.advance(60, beating=("n1",))
    assert cluster.get(kinds.NAMESPACE, "shop").status.phase == "Terminating"
    assert cluster.get(kinds.POD, "web", namespace="shop").metadata.deletionTimestamp.seconds
    with pytest.raises(Forbidden, match="being terminated"):
        await cluster.create(config_map(namespace="shop"))
    await cluster.report("n1", running, phase="Succeeded", removed=True)
    await cluster.advance(10, beating=("n1",))
    assert cluster.get(kinds.NAMESPACE, "shop") is None
    assert cluster.names(kinds.EVENT, namespace="shop") == []


async def test_a_finalizer_in_the_content_holds_the_namespace(cluster: Cluster) -> None:
    """Until its owner lets go."""
    await cluster.create(make(kinds.NAMESPACE, "shop"))
    await cluster.create(config_map(namespace="shop", meta={"finalizers": ["example.com/hold"]}))
    await cluster.delete(kinds.NAMESPACE, "shop")
    await cluster.advance(30)
    assert cluster.get(kinds.NAMESPACE, "shop") is not None
    await cluster.change(kinds.CONFIG_MAP, "settings", lambda found: found.metadata.ClearField("finalizers"), namespace="shop")
    await cluster.advance(6)
    assert cluster.get(kinds.NAMESPACE, "shop") is None


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
    assert verbs.FOREGROUND_FINALIZER in cluster.get(kinds.CONFIG_MAP, "owner").metadata.finalizers
    version = cluster.get(kinds.POD, "child").metadata.resourceVersion
    await cluster.advance(20, beating=("n1",))
    assert cluster.get(kinds.POD, "child").metadata.resourceVersion == version
    await cluster.report("n1", child, phase="Succeeded", removed=True)
    await cluster.advance(2, beating=("n1",))
    assert cluster.get(kinds.POD, "child") is None
    assert cluster.get(kinds.CONFIG_MAP, "owner") is None


async def test_orphans_stay_without_their_owner(cluster: Cluster) -> None:
    """Their reference to it goes with it."""
    await family(cluster)
    assert await cluster.delete(kinds.CONFIG_MAP, "owner", propagation=verbs.ORPHAN) is True
    await cluster.advance(1)
    assert cluster.names(kinds.CONFIG_MAP) == ["child"]
    assert not cluster.get(kinds.CONFIG_MAP, "child").metadata.ownerReferences


async def test_an_owner_of_an_unknown_kind_is_not_judged(cluster: Cluster) -> None:
    """It may live in a controller that we do not serve."""
    reference = {"apiVersion": "example.com/v1", "kind": "Widget", "name": "w", "uid": "u"}
    await cluster.create(config_map("child", meta={"ownerReferences": [reference]}))
    await cluster.advance(10)
    assert cluster.names(kinds.CONFIG_MAP) == ["child"]


async def test_events_are_forgotten_an_hour_after_they_last_happened(cluster: Cluster) -> None:
    """A repetition counts as new life."""
    await cluster.create(config_map())

    async def happen(reason: str) -> None:
        about = cluster.get(kinds.CONFIG_MAP, "settings")
        await cluster.store.update(lambda tx: events.record(tx, about, reason, "words", source="test", now=cluster.clock.now()))

    await happen("Once")
    await happen("Again")
    await cluster.advance(TTL / 2)
    await happen("Again")
    await cluster.advance(TTL / 2 + 100)
    assert cluster.events("Once") == []
    assert cluster.events("Again")[0].count == 2
    await cluster.advance(TTL / 2)
    assert cluster.events("Again") == []
