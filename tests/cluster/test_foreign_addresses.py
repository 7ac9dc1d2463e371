"""Addresses that are not a node's to state, of its pods and of itself: rejected, and no endpoints where they are stored."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.dispatcher import reports
from pinnace import kinds
from pinnace.api.v1 import nodes_pb2
from pinnace.core.v1 import pod_pb2
from pinnace.errors import Invalid
from tests.support import objects
from tests.support.cluster import Cluster
from tests.support.servicepods import LABELS, Backends, endpoints, service

RANGES = {"10.244.0.0/16": "pod CIDR", "10.96.0.0/12": "Service CIDR"}
# The control planes of `Cluster` have 10.244.0.0/16; the first node that joins has 10.244.0.0/24.
OWN, FOREIGN = "10.244.0.7", "10.244.1.7"


@pytest.fixture
async def backends(cluster: Cluster) -> Backends:
    made = Backends(cluster)
    await made.join("n1", "n2")
    for number, name in enumerate(("n1", "n2"), 1):
        await hello(cluster, name, f"192.0.2.{number}")
    return made


async def hello(cluster: Cluster, name: str, *addresses: str, type: str = "InternalIP") -> None:
    """The agent of `name` registers with these addresses."""
    said = nodes_pb2.Hello(node=objects.node(name), vtepMac="0a:00:00:00:00:01")
    for address in addresses:
        said.node.status.addresses.add(type=type, address=address)
    await cluster.store.update(lambda tx: reports.register(tx, name, said, now=cluster.clock.now(), ranges=RANGES))


async def report(cluster: Cluster, agent: str, request: nodes_pb2.ReportStatusRequest) -> None:
    now = cluster.clock.now()
    for part in reports.parts(agent, request, now=now, ranges=RANGES):
        await cluster.store.update(part.apply)


def addresses_of(cluster: Cluster, name: str) -> list[str]:
    node = cluster.get(kinds.NODE, name)
    assert node is not None
    return [item.address for item in node.status.addresses]


@pytest.mark.parametrize(
    ("field", "wrong", "host_network"),
    [
        ("podIP", FOREIGN, False), ("podIP", "192.0.2.1", False), ("podIP", "10.96.0.1", False), ("podIP", "192.0.2.2", True),
        ("podIP", OWN, True), ("podIP", "203.0.113.1", True), ("hostIP", "192.0.2.2", False), ("hostIP", OWN, True),
    ],
)  # fmt: skip
async def test_a_node_states_no_address_of_another(
    cluster: Cluster, backends: Backends, field: str, wrong: str, host_network: bool
) -> None:
    """Of its pods' and of its own, in the list or the field alone; one that is its own is accepted."""
    pod = await cluster.create(objects.pod(nodeName="n1", hostNetwork=host_network))
    right = {"podIP": "192.0.2.1" if host_network else OWN, "hostIP": "192.0.2.1"}
    for listed in (False, True):
        request = nodes_pb2.ReportStatusRequest()
        item = request.pods.add(namespace="default", name="web", uid=pod.metadata.uid)
        fill(item.status, {**right, field: wrong}, listed=listed)
        with pytest.raises(Invalid, match=f"status.{field}: {wrong} is none of the"):
            await report(cluster, "n1", request)
        assert cluster.get(kinds.POD, "web").status.phase == "Pending"  # type: ignore[union-attr]
        fill(item.status, right, listed=listed)
        await report(cluster, "n1", request)
        assert cluster.get(kinds.POD, "web").status.podIP == right["podIP"]  # type: ignore[union-attr]
        await cluster.delete(kinds.POD, "web", grace=0)
        pod = await cluster.create(objects.pod(nodeName="n1", hostNetwork=host_network))


def fill(status: Any, texts: dict[str, str], *, listed: bool) -> None:
    status.Clear()
    status.phase, status.podIP, status.hostIP = "Running", texts["podIP"], texts["hostIP"]
    if listed:
        status.podIPs.extend([pod_pb2.PodIP(ip=texts["podIP"])])
        status.hostIPs.extend([pod_pb2.HostIP(ip=texts["hostIP"])])


@pytest.mark.parametrize(
    ("address", "error"),
    [
        ("10.244.3.1", "10.244.3.1 is in the pod CIDR 10.244.0.0/16"), ("10.96.0.1", "is in the Service CIDR 10.96.0.0/12"),
        ("192.0.2.2", 'node "n2" has the address 192.0.2.2'), ("nowhere", "must be a valid IP address"),
        ("2001:DB8::1", 'must be in canonical form: "2001:db8::1"'),
    ],
)  # fmt: skip
@pytest.mark.parametrize("type", ["InternalIP", "ExternalIP"])
async def test_a_node_has_no_address_of_the_cluster_or_of_another_node(
    cluster: Cluster, backends: Backends, address: str, error: str, type: str
) -> None:
    """Neither when it registers nor later; names are no addresses."""
    with pytest.raises(Invalid, match=rf"node.status.addresses\[0\]: .*{error}"):
        await hello(cluster, "n1", address, type=type)
    request = nodes_pb2.ReportStatusRequest()
    request.node.addresses.add(type=type, address=address)
    with pytest.raises(Invalid, match=error):
        await report(cluster, "n1", request)
    assert addresses_of(cluster, "n1") == ["192.0.2.1"]
    request.node.addresses[0].type = "Hostname"
    await report(cluster, "n1", request)
    assert addresses_of(cluster, "n1") == [address]


async def test_an_address_may_move_to_another_node(cluster: Cluster, backends: Backends) -> None:
    """Once the first has another one, or is deleted; a node keeps what it has while ranges change around it."""
    await hello(cluster, "n2", "192.0.2.3")
    await hello(cluster, "n1", "192.0.2.2")
    await cluster.delete(kinds.NODE, "n1")
    await hello(cluster, "n2", "192.0.2.2")
    said = nodes_pb2.Hello(node=objects.node("n2"), vtepMac="0a:00:00:00:00:01")
    said.node.status.addresses.add(type="InternalIP", address="192.0.2.2")
    later = {"192.0.2.0/24": "pod CIDR"}
    await cluster.store.update(lambda tx: reports.register(tx, "n2", said, now=cluster.clock.now(), ranges=later))
    assert addresses_of(cluster, "n2") == ["192.0.2.2"]


async def test_nodes_may_exchange_their_addresses(cluster: Cluster, backends: Backends) -> None:
    """Neither registers while the other is Ready with its address, so that both become NotReady, and then both do."""
    for name, address in (("n1", "192.0.2.2"), ("n2", "192.0.2.1")):
        with pytest.raises(Invalid, match="has the address"):
            await hello(cluster, name, address)
    cluster.alive.clear()
    await cluster.advance(60)
    await hello(cluster, "n1", "192.0.2.2")
    await hello(cluster, "n2", "192.0.2.1")
    assert (addresses_of(cluster, "n1"), addresses_of(cluster, "n2")) == (["192.0.2.2"], ["192.0.2.1"])


async def test_no_more_addresses_than_a_machine_has(cluster: Cluster, backends: Backends) -> None:
    """Each costs a lookup."""
    with pytest.raises(Invalid, match="must have at most 64 items"):
        await hello(cluster, "n1", *(f"198.51.100.{number}" for number in range(65)))


async def store(cluster: Cluster, name: str, *addresses: str, **spec: Any) -> None:
    """A pod whose status a user wrote, or a control plane from before the check."""
    pod = objects.pod(name, meta={"labels": dict(LABELS), "uid": f"uid-of-{name}"}, **spec)
    pod.status.phase, pod.status.podIP = "Running", addresses[0]
    pod.status.podIPs.extend(pod_pb2.PodIP(ip=item) for item in addresses)
    pod.status.conditions.add(type="Ready", status="True")
    await cluster._done(lambda tx: tx.put(kinds.POD, pod))


def subsets(cluster: Cluster) -> list[str]:
    found = cluster.get(kinds.ENDPOINTS, "web")
    assert found is not None
    return sorted(item.ip for subset in found.subsets for item in subset.addresses)


async def test_a_stored_address_of_another_is_no_endpoint(cluster: Cluster, backends: Backends) -> None:
    """In slices and in Endpoints. A node without pod CIDRs has no agent of ours, and its pods any address."""
    await cluster.create(service())
    await cluster.create(objects.node("kwok"))
    await store(cluster, "own", OWN, nodeName="n1")
    await store(cluster, "foreign", FOREIGN, nodeName="n1")
    await store(cluster, "host", "192.0.2.1", nodeName="n1", hostNetwork=True)
    await store(cluster, "elsewhere", "192.0.2.2", nodeName="n1", hostNetwork=True)
    await store(cluster, "any", "203.0.113.9", nodeName="kwok")
    expected = {"own": OWN, "host": "192.0.2.1", "any": "203.0.113.9"}
    assert {name: address for name, (address, _) in endpoints(cluster).items()} == expected
    assert subsets(cluster) == sorted(expected.values())


async def test_endpoints_follow_the_addresses_of_a_node(cluster: Cluster, backends: Backends) -> None:
    """Of pods in its network: with its address, and no longer when it has another."""
    await cluster.create(service())
    await store(cluster, "host", "192.0.2.1", nodeName="n1", hostNetwork=True)
    for addresses, expected in (("192.0.2.9", []), ("192.0.2.1", ["192.0.2.1"])):
        await hello(cluster, "n1", addresses)
        await cluster.advance(1, beating=("n1", "n2"))
        assert [address for address, _ in endpoints(cluster).values()] == subsets(cluster) == expected
