"""What goes with time or with its namespace: content of a deleted namespace, events."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane import conditions, events, resources
from controlplane.controllers.eventttl import TTL
from controlplane.requests import verbs
from controlplane.resources.plugin import DELETE, Attributes, BasePlugin
from controlplane.store import Tx
from pinnace import kinds
from pinnace.clock import settle
from pinnace.errors import Forbidden
from tests.support.backends import Small
from tests.support.cluster import TURNS, Cluster, running
from tests.support.objects import config_map, make, pod


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
    with pytest.raises(Forbidden, match="because it is being terminated") as refused:
        await cluster.create(config_map(namespace="shop"))
    assert [(cause.field, cause.reason) for cause in refused.value.causes] == [("metadata.namespace", "NamespaceTerminating")]
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


async def test_a_terminating_namespace_says_what_keeps_it(cluster: Cluster) -> None:
    """Conditions and messages as in Kubernetes, with counts; what is in order is told too."""
    await cluster.create(make(kinds.NAMESPACE, "shop"))
    for name in ("one", "two"):
        await cluster.create(config_map(name, namespace="shop", meta={"finalizers": ["example.com/hold"]}))
    await cluster.delete(kinds.NAMESPACE, "shop")
    await cluster.advance(2)
    found = cluster.get(kinds.NAMESPACE, "shop")
    told = {item.type: item.message for item in found.status.conditions if item.status == "True"}
    assert told == {
        "NamespaceContentRemaining": "Some resources are remaining: configmaps. has 2 resource instances",
        "NamespaceFinalizersRemaining": "Some content in the namespace has finalizers remaining: example.com/hold in 2 resource instances",
    }
    assert [(item.type, item.reason, item.message) for item in found.status.conditions if item.status == "False"] == [
        ("NamespaceDeletionDiscoveryFailure", "ResourcesDiscovered", "All resources successfully discovered"),
        ("NamespaceDeletionGroupVersionParsingFailure", "ParsedGroupVersions", "All legacy kube types successfully parsed"),
        (
            "NamespaceDeletionContentFailure",
            "ContentDeleted",
            "All content successfully deleted, may be waiting on finalization",
        ),
    ]


async def test_pods_of_a_namespace_go_before_all_else(cluster: Cluster) -> None:
    """Whatever keeps them; the conditions name nothing else meanwhile. Source: the conformance test of OrderedNamespaceDeletion."""
    await cluster.join("n1")
    cluster.alive.add("n1")
    await cluster.create(make(kinds.NAMESPACE, "shop"))
    await cluster.create(config_map(namespace="shop"))
    held = await cluster.create(pod("held", namespace="shop", nodeName="n1", meta={"finalizers": ["example.com/hold"]}))
    runs = await cluster.create(pod("runs", namespace="shop", nodeName="n1"))
    await cluster.delete(kinds.NAMESPACE, "shop")
    await cluster.advance(10)
    assert all(cluster.get(kinds.POD, name, namespace="shop").metadata.deletionTimestamp.seconds for name in ("held", "runs"))
    assert not cluster.get(kinds.CONFIG_MAP, "settings", namespace="shop").metadata.deletionTimestamp.seconds
    content = conditions.find(cluster.get(kinds.NAMESPACE, "shop").status, "NamespaceContentRemaining")
    assert content.message == "Some resources are remaining: pods. has 2 resource instances"
    for item in (runs, held):
        await cluster.report("n1", item, phase="Succeeded", removed=True)
    await cluster.advance(10)
    assert cluster.names(kinds.POD, namespace="shop") == ["held"]
    finalizers = conditions.find(cluster.get(kinds.NAMESPACE, "shop").status, "NamespaceFinalizersRemaining")
    assert (
        finalizers.message == "Some content in the namespace has finalizers remaining: example.com/hold in 1 resource instances"
    )
    assert cluster.names(kinds.CONFIG_MAP, namespace="shop")
    await cluster.change(kinds.POD, "held", lambda item: item.metadata.ClearField("finalizers"), namespace="shop")
    await cluster.advance(10)
    assert cluster.get(kinds.NAMESPACE, "shop") is None


class Guarded(BasePlugin):
    """Refuses the deletion of some objects."""

    def validate(self, tx: Tx, request: Attributes) -> None:
        if request.operation == DELETE and request.message.metadata.name.startswith("guarded"):
            raise Forbidden("it is guarded")


@pytest.mark.parametrize("count", [1, 200])
async def test_content_that_cannot_be_deleted_keeps_no_other(count: int) -> None:
    """Any number of it, and first in order; the condition names it, and it is not tried all the time."""
    registry = resources.built_in()
    registry.plugins = (*registry.plugins, Guarded())
    async with running(registry=registry) as cluster:
        await cluster.create(make(kinds.NAMESPACE, "shop"))
        names = [f"guarded-{number:03}" for number in range(count)]
        for name in (*names, "other", "zebra"):
            await cluster.create(config_map(name, namespace="shop"))
        await cluster.delete(kinds.NAMESPACE, "shop")
        await cluster.advance(10)
        assert cluster.names(kinds.CONFIG_MAP, namespace="shop") == names
        found = cluster.get(kinds.NAMESPACE, "shop")
        condition = conditions.find(found.status, "NamespaceDeletionContentFailure")
        assert (condition.status, condition.reason) == ("True", "ContentDeletionFailed")
        assert condition.message == "Failed to delete all resource types, 1 remaining: configmaps guarded-000: it is guarded"
        await cluster.advance(60)
        assert cluster.get(kinds.NAMESPACE, "shop").metadata.resourceVersion == found.metadata.resourceVersion


async def test_a_namespace_waits_for_finalizers_of_its_spec(cluster: Cluster) -> None:
    """Ours goes when the content has gone; another is its owner's to remove, by the subresource finalize."""
    mine = "example.com/mine"
    await cluster.create(make(kinds.NAMESPACE, "shop", spec={"finalizers": [mine]}))
    await cluster.create(config_map(namespace="shop"))
    await cluster.delete(kinds.NAMESPACE, "shop")
    await cluster.advance(10)
    found = cluster.get(kinds.NAMESPACE, "shop")
    assert (list(found.spec.finalizers), cluster.names(kinds.CONFIG_MAP)) == ([mine], [])
    del found.spec.finalizers[:]
    await cluster.store.update(lambda tx: verbs.update_subresource(tx, kinds.NAMESPACE, "finalize", found, cluster.call()))
    await settle(TURNS)
    assert cluster.get(kinds.NAMESPACE, "shop") is None


async def test_a_namespace_with_large_content_fits_into_small_transactions() -> None:
    """As do pods with large annotations, which are marked before they are removed."""
    async with running(backend=Small()) as cluster:
        await cluster.join("n1")
        cluster.alive.add("n1")
        await cluster.create(make(kinds.NAMESPACE, "shop"))
        for number in range(20):
            meta = {"annotations": {"a": "x" * 200_000}}
            await cluster.create(pod(f"p{number}", namespace="shop", nodeName="n1", meta=meta))
        await cluster.delete(kinds.NAMESPACE, "shop")
        await cluster.advance(1)
        every = [row.message for row in cluster.store.rows(kinds.POD, "shop")]
        assert len(every) == 20
        assert all(item.metadata.deletionTimestamp.seconds for item in every)


async def test_the_count_of_an_event_saturates(cluster: Cluster) -> None:
    """A client may have stored the highest number that the field holds."""
    about = await cluster.create(config_map())

    async def happen() -> None:
        await cluster.store.update(
            lambda tx: events.record(tx, about, "Often", "words", source="test", now=cluster.clock.now())
        )

    await happen()
    [event] = cluster.events("Often")

    def raise_count(item: Any) -> None:
        item.count = 2**31 - 1

    await cluster.change(kinds.EVENT, event.metadata.name, raise_count)
    await happen()
    assert cluster.events("Often")[0].count == 2**31 - 1


async def test_a_step_of_the_clock_deletes_no_event(cluster: Cluster) -> None:
    """In either direction: an hour is an hour that passed."""
    about = await cluster.create(config_map())
    await cluster.store.update(lambda tx: events.record(tx, about, "Once", "words", source="test", now=cluster.clock.now()))
    await settle(TURNS)
    for step in (2 * TTL, -4 * TTL):
        cluster.clock.step(step)
        await cluster.advance(TTL * 0.45)
        assert len(cluster.events("Once")) == 1
    await cluster.advance(TTL * 0.2)
    assert cluster.events("Once") == []
