"""Endpoints of Services with a selector, and the mirrors of those without one, on virtual time."""

from __future__ import annotations

from typing import Any

import pytest

from pinnace import kinds
from pinnace.clock import settle
from tests.support import objects
from tests.support.cluster import TURNS, Cluster
from tests.support.servicepods import Backends, service, slices

OVER_CAPACITY = "endpoints.kubernetes.io/over-capacity"


@pytest.fixture
async def backends(cluster: Cluster) -> Backends:
    made = Backends(cluster)
    await made.join("n1")
    return made


def subsets(cluster: Cluster, name: str = "web") -> list[tuple[list[int], list[str], list[str]]]:
    """Ports, addresses that are ready, and the others."""
    found = cluster.get(kinds.ENDPOINTS, name)
    assert found is not None
    return [
        ([port.port for port in item.ports], [one.ip for one in item.addresses], [one.ip for one in item.notReadyAddresses])
        for item in found.subsets
    ]


async def test_endpoints_follow_the_pods(cluster: Cluster, backends: Backends) -> None:
    """A pod that terminates has no address any more, unless the Service publishes pods that are not ready."""
    await cluster.create(service(meta={"labels": {"team": "red"}}))
    await cluster.create(service("eager", publishNotReadyAddresses=True))
    assert subsets(cluster) == []
    await backends.run("one", "10.244.0.2")
    await backends.run("two", "10.244.0.1", ready=False)
    assert subsets(cluster) == [([8080], ["10.244.0.2"], ["10.244.0.1"])]
    await backends.report("two", "10.244.0.1")
    assert subsets(cluster) == [([8080], ["10.244.0.1", "10.244.0.2"], [])]
    await cluster.delete(kinds.POD, "two")
    assert subsets(cluster) == [([8080], ["10.244.0.2"], [])]
    assert subsets(cluster, "eager") == [([8080], ["10.244.0.1", "10.244.0.2"], [])]
    found = cluster.get(kinds.ENDPOINTS, "web")
    assert found.metadata.labels["team"] == "red"
    assert found.metadata.labels["endpoints.kubernetes.io/managed-by"] == "endpoint-controller"
    [address] = found.subsets[0].addresses
    assert (address.nodeName, address.targetRef.kind, address.targetRef.name) == ("n1", "Pod", "one")


async def test_each_subset_is_a_set_of_ports_and_addresses(cluster: Cluster, backends: Backends) -> None:
    """The canonical form: a port is in the subset of exactly its addresses."""

    def on(number: int) -> dict[str, Any]:
        return {"containers": [objects.container(ports=[{"name": "serve", "containerPort": number}])]}

    ports = ({"name": "http", "port": 80, "targetPort": "serve"}, {"name": "admin", "port": 81, "targetPort": 9000})
    await cluster.create(service("web", *ports))
    await backends.run("a", "10.244.0.1", **on(8080))
    await backends.run("b", "10.244.0.2", **on(8081))
    await backends.run("c", "10.244.0.3", **on(8080))
    assert subsets(cluster) == [
        ([9000], ["10.244.0.1", "10.244.0.2", "10.244.0.3"], []),
        ([8080], ["10.244.0.1", "10.244.0.3"], []),
        ([8081], ["10.244.0.2"], []),
    ]
    await cluster.delete(kinds.POD, "b")
    assert subsets(cluster) == [([9000, 8080], ["10.244.0.1", "10.244.0.3"], [])]


async def test_a_user_cannot_change_them(cluster: Cluster, backends: Backends) -> None:
    """Nor delete them: they are the controller's."""
    await cluster.create(service())
    await backends.run("one", "10.244.0.1")
    await cluster.change(kinds.ENDPOINTS, "web", lambda item: item.ClearField("subsets"))
    assert subsets(cluster) == [([8080], ["10.244.0.1"], [])]
    await cluster.delete(kinds.ENDPOINTS, "web")
    assert subsets(cluster) == [([8080], ["10.244.0.1"], [])]


async def test_they_go_with_their_service(cluster: Cluster, backends: Backends) -> None:
    """Also those that a user has written, as kube-apiserver does; others stay."""
    await cluster.create(service())
    await cluster.create(service("custom", selector={}))
    for name in ("custom", "alone"):
        await cluster.create(custom(name))
    for name in ("web", "custom"):
        await cluster.delete(kinds.SERVICE, name)
    assert cluster.names(kinds.ENDPOINTS, namespace="default") == ["alone"]


async def test_at_most_a_thousand_addresses(cluster: Cluster, backends: Backends) -> None:
    """Those that are ready come first; an annotation says that there are more. A large object is written once a second."""
    await backends.widen("n1", "10.0.0.0/8")
    await cluster.create(service())

    def fill(low: int, high: int) -> Any:
        def fn(tx: Any) -> None:
            for number in range(low, high):
                pod = objects.pod(f"p{number:04}", meta={"labels": {"app": "web"}, "uid": f"u{number}"}, nodeName="n1")
                pod.status.podIPs.add(ip=f"10.{number >> 8}.{number & 255}.1")
                pod.status.conditions.add(type="Ready", status="False" if number < 50 else "True")
                tx.put(kinds.POD, pod)

        return fn

    for low in range(0, 1010, 101):
        await cluster.store.update(fill(low, low + 101))
    await cluster.advance(3, beating=("n1",))
    [(_, ready, unready)] = subsets(cluster)
    assert (len(ready), len(unready)) == (961 - 1, 40)
    assert cluster.get(kinds.ENDPOINTS, "web").metadata.annotations[OVER_CAPACITY] == "truncated"
    assert sum(len(item.endpoints) for item in slices(cluster)) == 1010
    version = cluster.get(kinds.ENDPOINTS, "web").metadata.resourceVersion
    for number in range(60, 64):
        await cluster.delete(kinds.POD, f"p{number:04}")
    versions = {cluster.get(kinds.ENDPOINTS, "web").metadata.resourceVersion} - {version}
    assert len(versions) == 1
    await cluster.advance(2, beating=("n1",))
    [(_, ready, unready)] = subsets(cluster)
    assert (len(ready), len(unready)) == (956, 44)


def custom(name: str = "db", *subsets: dict[str, Any], **meta: Any) -> Any:
    """Endpoints that a user writes."""
    default = {"addresses": [{"ip": "192.0.2.1"}], "ports": [{"name": "sql", "port": 5432}]}
    return objects.make(kinds.ENDPOINTS, name, meta=meta, subsets=list(subsets or (default,)))


def mirrored(cluster: Cluster, name: str = "db") -> dict[tuple[str, int], list[tuple[str, bool]]]:
    """By family and first port, each address with whether it is ready."""
    found = {}
    for item in slices(cluster, name):
        assert item.metadata.labels["endpointslice.kubernetes.io/managed-by"] == "endpointslicemirroring-controller.k8s.io"
        key = item.addressType, item.ports[0].port
        assert key not in found
        found[key] = [(one.addresses[0], one.conditions.ready) for one in item.endpoints]
    return found


async def test_endpoints_of_a_service_without_a_selector_are_mirrored(cluster: Cluster, backends: Backends) -> None:
    """Into a slice for each family and set of ports."""
    await cluster.create(service("db", selector={}))
    more = {"addresses": [{"ip": "192.0.2.9"}], "ports": [{"name": "sql", "port": 5433}]}
    first = {
        "addresses": [{"ip": "192.0.2.1", "hostname": "one", "nodeName": "n1"}, {"ip": "2001:db8::1"}],
        "notReadyAddresses": [{"ip": "192.0.2.2"}],
        "ports": [{"name": "sql", "port": 5432}],
    }
    made = await cluster.create(custom("db", first, more, labels={"team": "red"}, annotations={"note": "x"}))
    assert mirrored(cluster) == {
        ("IPv4", 5432): [("192.0.2.1", True), ("192.0.2.2", False)],
        ("IPv6", 5432): [("2001:db8::1", True)],
        ("IPv4", 5433): [("192.0.2.9", True)],
    }
    item = next(item for item in slices(cluster, "db") if len(item.endpoints) == 2)
    assert (item.metadata.labels["team"], item.metadata.annotations["note"]) == ("red", "x")
    assert (item.endpoints[0].hostname, item.endpoints[0].nodeName) == ("one", "n1")
    assert [(owner.kind, owner.uid) for owner in item.metadata.ownerReferences] == [("Endpoints", made.metadata.uid)]


async def test_mirrors_follow_their_endpoints(cluster: Cluster, backends: Backends) -> None:
    """Whichever comes first; other ports take over the slice. They go with the Endpoints, or when the Service gets a selector."""
    await cluster.create(custom())
    assert slices(cluster, "db") == []
    await cluster.create(service("db", selector={}))
    [item] = slices(cluster, "db")

    def change(found: Any) -> None:
        found.subsets[0].ports[0].port = 5433
        found.subsets[0].addresses.add(ip="192.0.2.3")

    await cluster.change(kinds.ENDPOINTS, "db", change)
    assert mirrored(cluster) == {("IPv4", 5433): [("192.0.2.1", True), ("192.0.2.3", True)]}
    assert [found.metadata.name for found in slices(cluster, "db")] == [item.metadata.name]
    await cluster.change(kinds.ENDPOINT_SLICE, item.metadata.name, lambda found: found.ClearField("endpoints"))
    assert mirrored(cluster) == {("IPv4", 5433): [("192.0.2.1", True), ("192.0.2.3", True)]}
    await cluster.delete(kinds.ENDPOINTS, "db")
    await settle(TURNS)
    assert slices(cluster, "db") == []
    await cluster.create(custom())
    await cluster.change(kinds.SERVICE, "db", lambda found: found.spec.selector.update({"app": "db"}))
    managers = [found.metadata.labels["endpointslice.kubernetes.io/managed-by"] for found in slices(cluster, "db")]
    assert managers == ["endpointslice-controller.k8s.io"]


@pytest.mark.parametrize(
    "meta",
    [
        {"labels": {"endpointslice.kubernetes.io/skip-mirror": "true"}},
        {"annotations": {"control-plane.alpha.kubernetes.io/leader": "{}"}},
    ],
)
async def test_some_endpoints_are_not_mirrored(cluster: Cluster, backends: Backends, meta: dict[str, Any]) -> None:
    await cluster.create(service("db", selector={}))
    await cluster.create(custom("db", **meta))
    assert slices(cluster, "db") == []


async def test_at_most_a_thousand_addresses_are_mirrored(cluster: Cluster, backends: Backends) -> None:
    """Of a subset; an event says how many are left out."""
    await cluster.create(service("db", selector={}))
    addresses = [{"ip": f"192.0.{number >> 8}.{number & 255}"} for number in range(1002)]
    await cluster.create(custom("db", {"addresses": addresses, "ports": [{"port": 1}]}))
    assert [len(item.endpoints) for item in slices(cluster, "db")] == [1000]
    [event] = cluster.events("TooManyAddressesToMirror")
    assert event.message == (
        "A max of 1000 addresses can be mirrored to EndpointSlices per Endpoints subset. 2 addresses were skipped"
    )
