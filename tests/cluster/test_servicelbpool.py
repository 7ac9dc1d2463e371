"""Services of type LoadBalancer: their addresses and the nodes that answer for them, on virtual time."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest

from controlplane import resources
from controlplane.controllers.addresspool import AddressPool
from controlplane.controllers.runner import Moment
from controlplane.controllers.servicelbpool import ServiceLoadBalancers
from controlplane.requests import verbs
from controlplane.serviceranges import AddressRange, ServiceRanges, pool_range
from controlplane.store import Tx
from pinnace import kinds
from pinnace.clock import settle
from pinnace.errors import Invalid
from tests.support.cluster import TURNS, Cluster, running
from tests.support.readcounts import CountingReads
from tests.support.servicepods import Backends, service

FIRST, SECOND, THIRD = "192.0.2.64", "192.0.2.65", "192.0.2.66"
SIX, POOL = "2001:db8::10", [FIRST, SECOND, "2001:db8::10"]
DUAL = ServiceRanges((AddressRange("10.96.0.0/24"), AddressRange("fd00::/112")))
FINALIZER, NODE = "service.kubernetes.io/load-balancer-cleanup", "pinnace.dev/announced-by"


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    async with running(pool=["192.0.2.64-192.0.2.66"]) as made:
        yield made


@pytest.fixture
async def backends(cluster: Cluster) -> Backends:
    made = Backends(cluster)
    await made.join("n1", "n2", "n3")
    for name in ("n1", "n2", "n3"):
        await cluster.beat(name)
    return made


def balanced(name: str = "web", **spec: Any) -> Any:
    return service(name, type="LoadBalancer", **spec)


def addresses(cluster: Cluster, name: str = "web") -> list[str]:
    return [entry.ip for entry in cluster.get(kinds.SERVICE, name).status.loadBalancer.ingress]


def announcer(cluster: Cluster, name: str = "web") -> str:
    return str(cluster.get(kinds.SERVICE, name).metadata.annotations.get(NODE, ""))


async def claim(cluster: Cluster, node: str, address: str) -> None:
    def change(tx: Tx) -> None:
        item = tx.require(kinds.NODE, "", node)
        item.status.addresses.add(type="InternalIP", address=address)
        verbs.update_status(tx, kinds.NODE, item, cluster.call())

    await cluster.store.update(change)
    await settle(TURNS)


def reasons(cluster: Cluster, name: str = "web") -> list[str]:
    every = [row.parse() for row in cluster.store.rows(kinds.EVENT, "default")]
    mine = [event for event in every if event.involvedObject.name == name and event.involvedObject.kind == "Service"]
    return sorted(event.reason for event in mine)


async def test_a_service_gets_an_address_of_the_pool(cluster: Cluster, backends: Backends) -> None:
    """With the finalizer and the events of Kubernetes' service controller."""
    await cluster.create(balanced())
    found = cluster.get(kinds.SERVICE, "web")
    [entry] = found.status.loadBalancer.ingress
    assert (entry.ip, entry.ipMode, list(found.metadata.finalizers)) == (FIRST, "VIP", [FINALIZER])
    assert reasons(cluster) == ["EnsuredLoadBalancer", "EnsuringLoadBalancer"]
    assert announcer(cluster) in ("n1", "n2", "n3")
    version = found.metadata.resourceVersion
    await cluster.advance(120, beating=("n1", "n2", "n3"))
    assert cluster.get(kinds.SERVICE, "web").metadata.resourceVersion == version


async def test_no_address_is_given_twice(cluster: Cluster, backends: Backends) -> None:
    """Services that come at the same time get different ones; those for which none is left wait, and get one that is released."""
    await asyncio.gather(*(cluster.create(balanced(f"s{number}")) for number in range(5)))
    await settle(TURNS)
    given = {f"s{number}": addresses(cluster, f"s{number}") for number in range(5)}
    assert sorted(found for ips in given.values() for found in ips) == [FIRST, SECOND, THIRD]
    waiting = [name for name, ips in given.items() if not ips]
    assert len(waiting) == 2
    for name in waiting:
        assert reasons(cluster, name) == ["SyncLoadBalancerFailed"]
    [text] = {event.message for event in cluster.events("SyncLoadBalancerFailed")}
    assert text == "Error syncing load balancer: failed to ensure load balancer: the pool has no free IPv4 address"
    released = next(name for name, ips in given.items() if ips)
    await cluster.delete(kinds.SERVICE, released)
    await settle(TURNS)
    assert cluster.get(kinds.SERVICE, released) is None
    assert sum(len(addresses(cluster, name)) for name in waiting) == 1


async def test_a_service_may_want_an_address(cluster: Cluster, backends: Backends) -> None:
    """One of the pool that no other Service has; it may want another one later."""
    await cluster.create(balanced("one", loadBalancerIP=SECOND))
    assert addresses(cluster, "one") == [SECOND]
    await cluster.create(balanced("two", loadBalancerIP=SECOND))
    await cluster.create(balanced("three", loadBalancerIP="198.51.100.1"))
    assert (addresses(cluster, "two"), addresses(cluster, "three")) == ([], [])
    prefix = "Error syncing load balancer: failed to ensure load balancer: requested address"
    assert {event.message for event in cluster.events("SyncLoadBalancerFailed")} == {
        f"{prefix} {SECOND} is in use by Service default/one", f"{prefix} 198.51.100.1 is not in the pool",
    }  # fmt: skip
    await cluster.change(kinds.SERVICE, "one", lambda item: setattr(item.spec, "loadBalancerIP", THIRD))
    await settle(TURNS)
    assert (addresses(cluster, "one"), addresses(cluster, "two")) == ([THIRD], [SECOND])


async def test_the_address_of_a_node_is_given_to_no_service(cluster: Cluster, backends: Backends) -> None:
    """Another node would announce it. A Service keeps what it has, though a node claims it later."""
    await cluster.create(balanced("kept", loadBalancerIP=SECOND))
    await claim(cluster, "n1", FIRST)
    await claim(cluster, "n2", SECOND)
    await cluster.create(balanced("other"))
    await cluster.create(balanced("stated", loadBalancerIP=FIRST))
    await settle(TURNS)
    assert (addresses(cluster, "kept"), addresses(cluster, "other"), addresses(cluster, "stated")) == ([SECOND], [THIRD], [])
    [event] = cluster.events("SyncLoadBalancerFailed")
    assert event.message.endswith(f"requested address {FIRST} is in use by node n1")


async def test_a_reconciliation_does_not_compare_with_all_addresses_of_nodes(cluster: Cluster, backends: Backends) -> None:
    """Nodes are listed once, for the one that announces; whether a node has an address costs a lookup."""
    await cluster.create(balanced())
    controller = ServiceLoadBalancers(AddressPool([pool_range(f"{FIRST}-{THIRD}")]))
    now = Moment(cluster.time.now(), cluster.time.now())

    def reads(tx: Tx) -> Counter[tuple[str, str]]:
        counting = CountingReads(tx)
        controller.reconcile(counting.tx, "default/web", now)
        return counting.calls

    assert cluster.store.view(reads)["list_untracked", "Node"] == 1


async def test_one_address_in_two_forms_is_one() -> None:
    """Of IPv6, which may be written in capitals and with zeros; the status has the usual form."""
    async with running(registry=resources.built_in(DUAL), pool=["2001:db8::10-2001:db8::20"]) as cluster:
        await cluster.create(balanced("one", ipFamilies=["IPv6"], loadBalancerIP="2001:DB8:0::12"))
        await cluster.create(balanced("two", ipFamilies=["IPv6"], loadBalancerIP="2001:db8::12"))
        assert (addresses(cluster, "one"), addresses(cluster, "two")) == (["2001:db8::12"], [])
        text = "requested address 2001:db8::12 is in use by Service default/one"
        assert any(text in event.message for event in cluster.events("SyncLoadBalancerFailed"))
        await Backends(cluster).join("n1")
        await claim(cluster, "n1", "2001:DB8:0::13")
        await cluster.create(balanced("three", ipFamilies=["IPv6"], loadBalancerIP="2001:db8::13"))
        assert addresses(cluster, "three") == []


async def test_services_of_earlier_releases_can_be_deleted(cluster: Cluster) -> None:
    """Though new ones may not have such annotations: the finalizer is removed by an update."""
    await cluster.create(balanced())
    topology = "service.kubernetes.io/topology-mode"
    earlier = {topology: "Auto", "service.kubernetes.io/topology-aware-hints": "auto"}

    def store(tx: Tx) -> None:
        item = tx.require(kinds.SERVICE, "default", "web")
        item.metadata.annotations.update(earlier)
        tx.put(kinds.SERVICE, item)

    await cluster.store.update(store)
    await cluster.change(kinds.SERVICE, "web", lambda item: item.metadata.annotations.update(note="x"))
    with pytest.raises(Invalid, match="must match annotations"):
        await cluster.change(kinds.SERVICE, "web", lambda item: item.metadata.annotations.update({topology: "Disabled"}))
    await cluster.delete(kinds.SERVICE, "web")
    await settle(TURNS)
    assert cluster.get(kinds.SERVICE, "web") is None


async def test_an_address_goes_with_its_family() -> None:
    """Also from a Service that wants an address which it cannot have, and so keeps that of its first family."""
    async with running(registry=resources.built_in(DUAL), pool=[FIRST, "2001:db8::10"]) as cluster:
        await cluster.create(balanced(ipFamilyPolicy="PreferDualStack"))
        assert addresses(cluster) == [FIRST, "2001:db8::10"]
        await cluster.change(kinds.SERVICE, "web", lambda item: setattr(item.spec, "loadBalancerIP", "203.0.113.1"))
        assert addresses(cluster) == [FIRST, "2001:db8::10"]
        await cluster.change(kinds.SERVICE, "web", lambda item: setattr(item.spec, "ipFamilyPolicy", "SingleStack"))
        assert addresses(cluster) == [FIRST]


async def test_an_address_that_is_not_kept_is_free_for_others() -> None:
    """Of a Service that needs both families and gets one of them; it gets both once there are both."""
    async with running(registry=resources.built_in(DUAL), pool=POOL) as cluster:
        await cluster.create(balanced("six", ipFamilies=["IPv6"]))
        await cluster.create(balanced("both", ipFamilyPolicy="RequireDualStack"))
        assert addresses(cluster, "both") == []
        await cluster.create(balanced("one"))
        await cluster.create(balanced("two"))
        assert (addresses(cluster, "one"), addresses(cluster, "two")) == ([FIRST], [SECOND])
        await cluster.delete(kinds.SERVICE, "one")
        await cluster.delete(kinds.SERVICE, "six")
        await settle(TURNS)
        assert addresses(cluster, "both") == [FIRST, SIX]


async def test_dual_stack_is_a_preference() -> None:
    """A Service that only prefers it does with one family, and gets the other one when an address is released."""
    async with running(registry=resources.built_in(DUAL), pool=POOL) as cluster:
        await cluster.create(balanced("six", ipFamilies=["IPv6"]))
        await cluster.create(balanced("both", ipFamilyPolicy="PreferDualStack"))
        assert addresses(cluster, "both") == [FIRST]
        assert "SyncLoadBalancerFailed" not in reasons(cluster, "both")
        await cluster.create(balanced("want", ipFamilyPolicy="PreferDualStack", loadBalancerIP=FIRST))
        assert addresses(cluster, "want") == []
        await cluster.delete(kinds.SERVICE, "six")
        await settle(TURNS)
        assert addresses(cluster, "both") == [FIRST, SIX]
        await cluster.create(balanced("none", ipFamilies=["IPv6", "IPv4"], ipFamilyPolicy="PreferDualStack"))
        assert addresses(cluster, "none") == [SECOND]


async def test_an_address_goes_with_the_type(cluster: Cluster, backends: Backends) -> None:
    await cluster.create(balanced())
    await cluster.change(kinds.SERVICE, "web", lambda item: setattr(item.spec, "type", "ClusterIP"))
    found = cluster.get(kinds.SERVICE, "web")
    assert (addresses(cluster), list(found.metadata.finalizers), announcer(cluster)) == ([], [], "")
    assert reasons(cluster) == ["DeletedLoadBalancer", "DeletingLoadBalancer", "EnsuredLoadBalancer", "EnsuringLoadBalancer"]
    await cluster.create(balanced("next"))
    assert addresses(cluster, "next") == [FIRST]


async def test_another_class_is_left_to_others(cluster: Cluster, backends: Backends) -> None:
    await cluster.create(balanced(loadBalancerClass="example.com/mine"))
    found = cluster.get(kinds.SERVICE, "web")
    assert (addresses(cluster), list(found.metadata.finalizers), reasons(cluster)) == ([], [], [])


async def test_one_node_answers_and_stays(cluster: Cluster, backends: Backends) -> None:
    """Another one takes over when it is not Ready any more, and keeps the address when the first is back."""
    await cluster.create(balanced())
    first = announcer(cluster)
    others = tuple(name for name in ("n1", "n2", "n3") if name != first)
    cluster.alive.discard(first)
    await cluster.advance(30, beating=others)
    second = announcer(cluster)
    assert second in others
    assert "UpdatedLoadBalancer" in reasons(cluster)
    cluster.alive.add(first)
    await cluster.advance(30, beating=("n1", "n2", "n3"))
    assert announcer(cluster) == second


async def test_an_excluded_node_answers_for_nothing(cluster: Cluster, backends: Backends) -> None:
    def exclude(node: Any) -> None:
        node.metadata.labels["node.kubernetes.io/exclude-from-external-load-balancers"] = ""

    for name in ("n1", "n2"):
        await cluster.change(kinds.NODE, name, exclude)
    await cluster.create(balanced())
    assert announcer(cluster) == "n3"
    await cluster.change(kinds.NODE, "n3", exclude)
    assert announcer(cluster) == ""
    assert addresses(cluster) == [FIRST]
    assert "UnAvailableLoadBalancer" in reasons(cluster)


async def test_local_traffic_goes_to_a_node_with_endpoints(cluster: Cluster, backends: Backends) -> None:
    """It follows them; a pod that terminates counts while it is the only one."""
    await cluster.create(balanced(externalTrafficPolicy="Local"))
    assert announcer(cluster) == ""
    await backends.run("two", "10.244.1.1", node="n2")
    assert announcer(cluster) == "n2"
    await backends.run("three", "10.244.2.1", node="n3")
    assert announcer(cluster) == "n2"
    await cluster.delete(kinds.POD, "two")
    assert announcer(cluster) == "n3"
    await cluster.delete(kinds.POD, "three")
    assert announcer(cluster) == "n3"


async def test_a_user_cannot_move_an_address(cluster: Cluster, backends: Backends) -> None:
    """What is removed or changed of the status comes back; the annotation may name another node that is able."""
    await cluster.create(balanced())
    await cluster.change(kinds.SERVICE, "web", lambda item: item.metadata.finalizers.remove(FINALIZER))
    assert list(cluster.get(kinds.SERVICE, "web").metadata.finalizers) == [FINALIZER]
    await cluster.change(kinds.SERVICE, "web", lambda item: item.metadata.annotations.update({NODE: "no-such-node"}))
    assert announcer(cluster) in ("n1", "n2", "n3")


async def test_addresses_are_spread_over_nodes() -> None:
    """By the names of Service and node."""
    from controlplane.controllers import announcer as module

    found = set()
    for number in range(20):
        item = balanced()
        item.metadata.uid = f"uid-{number}"
        found.add(module.choose(item, ["n1", "n2", "n3"], None, ""))
    assert found == {"n1", "n2", "n3"}
