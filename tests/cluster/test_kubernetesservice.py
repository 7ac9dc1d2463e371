"""The Services of the API and of DNS, which every cluster has, on virtual time."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest

from controlplane import apileases
from controlplane.apileases import Announcement
from controlplane.controllers.kubernetesservice import API, KubernetesService
from controlplane.controllers.runner import Moment
from controlplane.store import Tx
from pinnace import kinds
from pinnace.clock import settle
from pinnace.errors import Unavailable
from pinnace.ipfamilies import Family
from tests.support import objects
from tests.support.cluster import TURNS, Cluster, running
from tests.support.servicepods import slices

LEASES = "kube-system"
RANGES = "service.beta.kubernetes.io/load-balancer-source-ranges"
# Of a Service that a user changes.
TYPES = {"type": "NodePort", "alias": "ExternalName", "balanced": "LoadBalancer", "ranges": "LoadBalancer"}


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    async with running(api=True) as made:
        yield made


def addresses(cluster: Cluster) -> dict[int, list[str]]:
    """Of the API, by port; Endpoints and EndpointSlices have the same ones."""
    found = cluster.get(kinds.ENDPOINTS, "kubernetes")
    by_port = {subset.ports[0].port: [one.ip for one in subset.addresses] for subset in found.subsets}
    every: dict[int, list[str]] = {}
    for item in slices(cluster, "kubernetes"):
        assert all(endpoint.conditions.ready for endpoint in item.endpoints)
        every.setdefault(item.ports[0].port, []).extend(endpoint.addresses[0] for endpoint in item.endpoints)
    assert {port: sorted(ips) for port, ips in every.items()} == {port: sorted(ips) for port, ips in by_port.items()}
    return by_port


async def test_the_api_is_a_service(cluster: Cluster) -> None:
    """As kube-apiserver makes it: without a selector, with the port of the control plane behind it."""
    found = cluster.get(kinds.SERVICE, "kubernetes")
    assert dict(found.metadata.labels) == {"component": "apiserver", "provider": "kubernetes"}
    assert (found.spec.clusterIP, found.spec.type, dict(found.spec.selector)) == ("10.96.0.1", "ClusterIP", {})
    [port] = found.spec.ports
    assert (port.name, port.port, port.protocol, port.targetPort.intVal) == ("https", 443, "TCP", 6444)
    assert addresses(cluster) == {6444: ["192.0.2.10"]}
    [item] = slices(cluster, "kubernetes")
    assert (item.metadata.name, item.addressType) == ("kubernetes", "IPv4")
    assert dict(cluster.get(kinds.ENDPOINTS, "kubernetes").metadata.labels) == {
        "endpointslice.kubernetes.io/skip-mirror": "true"
    }


async def test_dns_is_a_service(cluster: Cluster) -> None:
    found = cluster.get(kinds.SERVICE, "kube-dns", namespace="kube-system")
    assert (found.spec.clusterIP, found.metadata.labels["k8s-app"]) == ("10.96.0.10", "kube-dns")
    assert [(port.name, port.port, port.protocol) for port in found.spec.ports] == [("dns", 53, "UDP"), ("dns-tcp", 53, "TCP")]


@pytest.mark.parametrize("kind", [kinds.SERVICE, kinds.ENDPOINTS, kinds.ENDPOINT_SLICE])
async def test_what_is_deleted_comes_back(cluster: Cluster, kind: Any) -> None:
    await cluster.delete(kind, "kubernetes")
    await settle(TURNS)
    assert cluster.get(kinds.SERVICE, "kubernetes").spec.clusterIP == "10.96.0.1"
    assert addresses(cluster) == {6444: ["192.0.2.10"]}
    await cluster.delete(kinds.SERVICE, "kube-dns", namespace="kube-system")
    assert cluster.get(kinds.SERVICE, "kube-dns", namespace="kube-system") is not None


async def test_what_is_changed_is_corrected(cluster: Cluster) -> None:
    """No user can lead pods to another API. Annotations and further labels are theirs."""

    def divert(item: Any) -> None:
        item.spec.selector["app"] = "mine"
        item.spec.ports[0].port = 444
        item.metadata.annotations["note"] = "x"

    await cluster.change(kinds.SERVICE, "kubernetes", divert)
    found = cluster.get(kinds.SERVICE, "kubernetes")
    assert (dict(found.spec.selector), found.spec.ports[0].port, found.metadata.annotations["note"]) == ({}, 443, "x")

    def readdress(item: Any) -> None:
        item.subsets[0].addresses[0].ip = "192.0.2.66"

    await cluster.change(kinds.ENDPOINTS, "kubernetes", readdress)

    def redirect(item: Any) -> None:
        item.endpoints[0].addresses[0] = "192.0.2.66"

    await cluster.change(kinds.ENDPOINT_SLICE, "kubernetes", redirect)
    labels = {"kubernetes.io/service-name": "kubernetes"}
    more = objects.make(
        kinds.ENDPOINT_SLICE, "mine", meta={"labels": labels}, addressType="IPv4", endpoints=[{"addresses": ["192.0.2.66"]}],
        ports=[{"name": "https", "port": 6444}],
    )  # fmt: skip
    await cluster.create(more)
    assert addresses(cluster) == {6444: ["192.0.2.10"]}


@pytest.mark.parametrize("change", ["ports", "type", "hidden", "alias", "address", "balanced", "ranges", "external"])
async def test_the_service_of_dns_is_kept(change: str, cluster: Cluster) -> None:
    """Clients look up the address and the ports at which nodes answer. Annotations and further labels are users'."""

    def edit(item: Any) -> None:
        item.metadata.annotations["note"] = "x"
        if change == "ports":
            item.spec.selector["app"] = "mine"
            item.spec.ports[0].port = 5353
        elif change == "hidden":
            item.metadata.labels["service.kubernetes.io/headless"] = ""
        elif change == "alias":
            item.spec.externalName = "dns.example"
        elif change == "balanced":
            item.spec.loadBalancerSourceRanges.append("10.0.0.0/8")
            item.spec.loadBalancerClass = "example.com/other"
        elif change == "ranges":
            item.metadata.annotations[RANGES] = "10.0.0.0/8"
        elif change == "external":
            item.spec.externalIPs.append("198.51.100.1")
        item.spec.type = TYPES.get(change, "ClusterIP")

    if change == "address":
        await cluster.store.update(lambda tx: tx.delete(kinds.SERVICE, "kube-system", "kube-dns"))
        other = objects.make(kinds.SERVICE, "kube-dns", namespace="kube-system", spec={"ports": [{"port": 53}]})
        await cluster.store.update(lambda tx: tx.put(kinds.SERVICE, other))
        await settle(TURNS)
    else:
        await cluster.change(kinds.SERVICE, "kube-dns", edit, namespace="kube-system")
    await settle(TURNS)
    found = cluster.get(kinds.SERVICE, "kube-dns", namespace="kube-system")
    assert (found.spec.clusterIP, found.spec.type, dict(found.spec.selector)) == ("10.96.0.10", "ClusterIP", {})
    assert [(port.name, port.port, port.protocol, port.nodePort) for port in found.spec.ports] == [
        ("dns", 53, "UDP", 0), ("dns-tcp", 53, "TCP", 0),
    ]  # fmt: skip
    assert not {"service.kubernetes.io/headless", RANGES} & {*found.metadata.labels, *found.metadata.annotations}
    assert (list(found.spec.externalIPs), list(found.spec.loadBalancerSourceRanges)) == ([], [])
    assert list(found.spec.clusterIPs) == ["10.96.0.10"]
    assert found.metadata.annotations["note"] == ("" if change in ("alias", "address") else "x")


@pytest.mark.parametrize("label", ["service.kubernetes.io/service-proxy-name", "service.kubernetes.io/headless"])
async def test_no_user_hides_the_api_from_nodes(cluster: Cluster, label: str) -> None:
    """By a traffic policy, which no endpoint of the API meets, or by labels with which nodes ignore objects."""
    await cluster.change(kinds.SERVICE, "kubernetes", lambda item: setattr(item.spec, "internalTrafficPolicy", "Local"))
    assert cluster.get(kinds.SERVICE, "kubernetes").spec.internalTrafficPolicy == "Cluster"
    for kind in (kinds.SERVICE, kinds.ENDPOINT_SLICE):
        await cluster.change(kind, "kubernetes", lambda item: item.metadata.labels.update({label: "mine", "note": "x"}))
        assert label not in cluster.get(kind, "kubernetes").metadata.labels
    assert cluster.get(kinds.SERVICE, "kubernetes").metadata.labels["note"] == "x"
    await cluster.change(kinds.ENDPOINT_SLICE, "kubernetes", lambda item: item.metadata.labels.clear())
    assert cluster.get(kinds.ENDPOINT_SLICE, "kubernetes").metadata.labels["kubernetes.io/service-name"] == "kubernetes"


async def test_every_control_plane_is_an_endpoint(cluster: Cluster) -> None:
    """While it renews its Lease; one that stops leaves at once, one that fails when its Lease did not change for 15 seconds."""
    stopping = Announcement(cluster.store, cluster.time, ("192.0.2.11", 6444))
    failing = Announcement(cluster.store, cluster.time, ("192.0.2.9", 7444))
    tasks = [asyncio.ensure_future(one.run()) for one in (stopping, failing)]
    await settle(TURNS)
    both = {7444: ["192.0.2.9"], 6444: ["192.0.2.10", "192.0.2.11"]}
    assert addresses(cluster) == both
    await cluster.advance(60)
    assert addresses(cluster) == both
    tasks[0].cancel()
    await stopping.withdraw()
    await settle(TURNS)
    assert addresses(cluster) == {7444: ["192.0.2.9"], 6444: ["192.0.2.10"]}
    tasks[1].cancel()
    await cluster.advance(apileases.DURATION - apileases.PERIOD - 1)
    assert 7444 in addresses(cluster)
    await cluster.advance(apileases.PERIOD + 3)
    assert addresses(cluster) == {6444: ["192.0.2.10"]}
    again = asyncio.ensure_future(failing.run())
    await settle(TURNS)
    assert 7444 in addresses(cluster)
    again.cancel()


async def test_old_leases_are_deleted(cluster: Cluster) -> None:
    gone = Announcement(cluster.store, cluster.time, ("192.0.2.11", 6444))
    task = asyncio.ensure_future(gone.run())
    await settle(TURNS)
    task.cancel()
    await cluster.advance(1800)
    assert [name for name in cluster.names(kinds.LEASE, namespace=LEASES) if name.startswith("apiserver-")]
    await cluster.advance(1900)
    assert not [name for name in cluster.names(kinds.LEASE, namespace=LEASES) if name.startswith("apiserver-")]


def test_addresses_as_text() -> None:
    for address in [("192.0.2.1", 6444), ("fd00::1", 6444)]:
        assert apileases.parse(apileases.text_of(address)) == address
    for text in ("", "192.0.2.1", "192.0.2.1:", "x:y", ":1", "192.0.2.1:70000"):
        assert apileases.parse(text) is None


async def test_control_planes_of_the_other_family_are_left_out(cluster: Cluster) -> None:
    """Nodes would have no endpoint in the Service's family: an event names their addresses, once."""
    task = asyncio.ensure_future(Announcement(cluster.store, cluster.time, ("2001:db8::1", 6444)).run())
    await settle(TURNS)
    assert addresses(cluster) == {6444: ["192.0.2.10"]}
    await cluster.advance(60)
    task.cancel()
    [event] = cluster.events("AddressFamilyMismatch")
    text = "Not IPv4, left out of the endpoints: [2001:db8::1]:6444; change --advertise"
    assert (event.involvedObject.name, event.message, event.count) == ("kubernetes", text, 1)


async def test_the_event_of_the_other_family_is_of_the_transaction_that_is_committed(cluster: Cluster) -> None:
    """Its function may run several times before."""
    controller = KubernetesService(("2001:db8::1", 6444), api="10.96.0.1", dns="10.96.0.10")
    runs: list[int] = []

    def fn(tx: Tx) -> None:
        controller.reconcile(tx, API, Moment(1_000_000.0, 0.0))
        runs.append(1)
        if len(runs) == 1:
            raise Unavailable("the function runs again")

    with pytest.raises(Unavailable):
        await cluster.store.update(fn)
    assert cluster.events("AddressFamilyMismatch") == []
    for _ in range(2):
        await cluster.store.update(fn)
    [event] = cluster.events("AddressFamilyMismatch")
    assert event.count == 1


def test_a_name_is_resolved_to_what_pods_can_reach() -> None:
    assert apileases.resolved(("192.0.2.1", 6444), 4) == ("192.0.2.1", 6444)
    assert apileases.resolved(("", 0), 4) is None
    assert apileases.resolved(("localhost", 6444), 4) is None
    assert apileases.resolved(("no-such-host.invalid", 6444), 4) is None


@pytest.mark.parametrize(("family", "expected"), [(4, ("192.0.2.1", 6444)), (6, ("2001:db8::1", 6444))])
def test_a_name_with_addresses_of_both_families(
    family: Family, expected: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Is resolved to that of the primary family, in which the Service has its address; to none without one."""
    found = [("192.0.2.1", 6444), ("2001:db8::1", 6444, 0, 0), ("::1", 6444, 0, 0)]

    def lookup(*_: Any, **how: Any) -> list[Any]:
        return [(0, 0, 0, "", address) for address in found]

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    assert apileases.resolved(("api.example", 6444), family) == expected
    found.remove(next(address for address in found if address[0] == expected[0]))
    assert apileases.resolved(("api.example", 6444), family) is None
