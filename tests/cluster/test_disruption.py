"""Many nodes that fail at once: evictions are slow, or none, for the failure may be the observer's."""

from __future__ import annotations

from controlplane import conditions
from controlplane.controllers.disruption import EvictionRates
from pinnace import kinds
from pinnace.wellknown import LABEL_ZONE, TAINT_UNREACHABLE
from tests.support.cluster import GRACE, Cluster, running
from tests.support.objects import pod


async def nodes(cluster: Cluster, *names: str, zone: str = "") -> None:
    for name in names:
        await cluster.join(name)
        if zone:
            await cluster.change(kinds.NODE, name, lambda found: found.metadata.labels.update({LABEL_ZONE: zone}))
    cluster.alive.update(names)


def lost(cluster: Cluster) -> list[str]:
    """Nodes that are NotReady."""
    every = [row.message for row in cluster.store.rows(kinds.NODE)]
    return sorted(node.metadata.name for node in every if conditions.find(node.status, "Ready").status == "Unknown")


def evicting(cluster: Cluster) -> list[str]:
    """Nodes with the taint that evicts pods."""
    every = [row.message for row in cluster.store.rows(kinds.NODE)]
    return sorted(
        node.metadata.name
        for node in every
        if any((taint.key, taint.effect) == (TAINT_UNREACHABLE, "NoExecute") for taint in node.spec.taints)
    )


async def test_nothing_is_evicted_when_every_node_falls_silent(cluster: Cluster) -> None:
    """The nodes are NotReady and get no pods, and that is all; the first that returns brings the rest their due."""
    await nodes(cluster, "n1", "n2", "n3")
    cluster.alive.clear()
    await cluster.advance(GRACE + 5)
    assert (lost(cluster), evicting(cluster)) == (["n1", "n2", "n3"], [])
    await cluster.advance(1000)
    assert evicting(cluster) == []
    cluster.alive.update(("n1", "n2"))
    await cluster.advance(2 * GRACE)
    assert (lost(cluster), evicting(cluster)) == (["n3"], ["n3"])


async def test_an_eviction_that_began_ends_when_every_node_falls_silent(cluster: Cluster) -> None:
    """The taint is removed before its pods have to go."""
    await nodes(cluster, "n1", "n2")
    await cluster.report("n1", await cluster.create(pod(nodeName="n1")))
    cluster.alive.discard("n1")
    await cluster.advance(100)
    assert evicting(cluster) == ["n1"]
    cluster.alive.clear()
    await cluster.advance(3 * GRACE)
    assert evicting(cluster) == []
    await cluster.advance(1000)
    assert not cluster.get(kinds.POD, "web").metadata.deletionTimestamp.seconds


async def test_a_small_zone_in_partial_disruption_evicts_nothing(cluster: Cluster) -> None:
    """Three of five are more than 55 percent."""
    await nodes(cluster, "n1", "n2", "n3", "n4", "n5")
    cluster.alive.intersection_update(("n4", "n5"))
    await cluster.advance(300)
    assert (lost(cluster), evicting(cluster)) == (["n1", "n2", "n3"], [])


async def test_lost_nodes_are_evicted_one_by_one() -> None:
    """At the rate of the flag, 0.1 nodes a second by default, which leaves time to notice."""
    async with running(rates=EvictionRates(normal=0.1)) as cluster:
        await nodes(cluster, *(f"n{number}" for number in range(8)))
        cluster.alive.difference_update(("n0", "n1", "n2"))
        await cluster.advance(GRACE + 2)
        assert (lost(cluster), len(evicting(cluster))) == (["n0", "n1", "n2"], 1)
        await cluster.advance(10)
        assert len(evicting(cluster)) == 2
        await cluster.advance(10)
        assert len(evicting(cluster)) == 3


async def test_a_zone_that_fails_as_a_whole_does_not_slow_another(cluster: Cluster) -> None:
    """Each has its state and its rate."""
    await nodes(cluster, "a1", "a2", "a3", zone="a")
    await nodes(cluster, "b1", "b2", "b3", zone="b")
    cluster.alive.intersection_update(("b1", "b2"))
    await cluster.advance(GRACE + 5)
    assert "b3" in evicting(cluster)
    assert len(evicting(cluster)) == 2
    await cluster.advance(40)
    assert evicting(cluster) == ["a1", "a2", "a3", "b3"]
