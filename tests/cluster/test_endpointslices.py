"""EndpointSlices of Services with a selector, on virtual time."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane import resources
from controlplane.controllers import podendpoints
from controlplane.controllers.endpointslice import EndpointSlices
from controlplane.serviceranges import AddressRange, ServiceRanges
from pinnace import codec, kinds
from pinnace.clock import settle
from tests.support import objects
from tests.support.cluster import TURNS, Cluster, running
from tests.support.servicepods import Backends, endpoints, service, slices

READY, UNREADY, LEAVING = "ready serving", "", "serving terminating"
TRIGGER = "endpoints.kubernetes.io/last-change-trigger-time"


@pytest.fixture
async def backends(cluster: Cluster) -> Backends:
    made = Backends(cluster)
    await made.join("n1", zone="a")
    return made


async def test_a_service_has_the_pods_that_it_selects(cluster: Cluster, backends: Backends) -> None:
    """Whether they are there before it or come later; pods with other labels are not among them."""
    await backends.run("before", "10.244.0.1")
    await backends.run("other", "10.244.0.2", labels={"app": "db"})
    await cluster.create(service())
    await backends.run("after", "10.244.0.3", ready=False)
    assert endpoints(cluster) == {"before": ("10.244.0.1", READY), "after": ("10.244.0.3", UNREADY)}
    [item] = slices(cluster)
    assert [(port.name, port.port, port.protocol) for port in item.ports] == [("http", 8080, "TCP")]
    first = item.endpoints[0]
    assert (first.nodeName, first.zone, first.HasField("hostname")) == ("n1", "a", False)
    pod = cluster.get(kinds.POD, "before")
    assert (first.targetRef.kind, first.targetRef.namespace, first.targetRef.uid) == ("Pod", "default", pod.metadata.uid)


async def test_a_slice_is_the_services_own(cluster: Cluster, backends: Backends) -> None:
    """It has the Service's labels, those that clients select by, and the Service as its owner."""
    made = await cluster.create(service(meta={"labels": {"team": "red", "kubernetes.io/service-name": "liar"}}))
    [item] = slices(cluster)
    assert dict(item.metadata.labels) == {
        "team": "red", "kubernetes.io/service-name": "web",
        "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
    } | ({} if made.spec.clusterIP else {"service.kubernetes.io/headless": ""})  # fmt: skip
    [owner] = item.metadata.ownerReferences
    assert (owner.kind, owner.name, owner.uid, owner.controller) == ("Service", "web", made.metadata.uid, True)
    assert item.metadata.name.startswith("web-")
    assert len(item.metadata.name) == len("web-") + 5
    await cluster.change(kinds.SERVICE, "web", lambda item: item.metadata.labels.update({"team": "blue"}))
    assert [item.metadata.labels["team"] for item in slices(cluster)] == ["blue"]


async def test_a_headless_service_marks_its_slices(cluster: Cluster, backends: Backends) -> None:
    """A pod whose subdomain is the Service's name has its host name there."""
    await cluster.create(service(clusterIP="None"))
    await backends.run("db-0", "10.244.0.1", hostname="db-0", subdomain="web")
    await backends.run("db-1", "10.244.0.2", hostname="db-1", subdomain="elsewhere")
    [item] = slices(cluster)
    assert item.metadata.labels["service.kubernetes.io/headless"] == ""
    assert {one.targetRef.name: one.hostname for one in item.endpoints} == {"db-0": "db-0", "db-1": ""}


async def test_a_headless_service_without_ports_has_endpoints(cluster: Cluster, backends: Backends) -> None:
    made = service(clusterIP="None")
    del made.spec.ports[:]
    await cluster.create(made)
    await backends.run("db-0", "10.244.0.1")
    assert endpoints(cluster) == {"db-0": ("10.244.0.1", READY)}
    assert [len(item.ports) for item in slices(cluster)] == [0]


async def test_a_service_without_pods_has_one_empty_slice(cluster: Cluster, backends: Backends) -> None:
    """So that a client can tell no endpoints from none yet. It becomes that of the first pod, and stays when the last one ends."""
    await cluster.create(service())
    [empty] = slices(cluster)
    assert (len(empty.ports), len(empty.endpoints), empty.addressType) == (0, 0, "IPv4")
    await backends.run("one", "10.244.0.1")
    await cluster.delete(kinds.POD, "one")
    await backends.stop("one")
    [again] = slices(cluster)
    assert (again.metadata.name, len(again.ports), len(again.endpoints)) == (empty.metadata.name, 0, 0)
    version = again.metadata.resourceVersion
    await cluster.change(kinds.SERVICE, "web", lambda item: item.metadata.annotations.update({"a": "b"}))
    assert slices(cluster)[0].metadata.resourceVersion == version


async def test_readiness_decides_whether_an_endpoint_is_ready(cluster: Cluster, backends: Backends) -> None:
    await cluster.create(service())
    await backends.run("one", "10.244.0.1", ready=False)
    assert endpoints(cluster) == {"one": ("10.244.0.1", UNREADY)}
    await backends.report("one", "10.244.0.1")
    assert endpoints(cluster) == {"one": ("10.244.0.1", READY)}
    await backends.report("one", "10.244.0.1", ready=False)
    assert endpoints(cluster) == {"one": ("10.244.0.1", UNREADY)}


async def test_a_terminating_pod_serves_until_it_has_ended(cluster: Cluster, backends: Backends) -> None:
    """It is not ready, so new connections go elsewhere while there is another pod; it leaves when its containers have ended."""
    await cluster.create(service())
    await backends.run("one", "10.244.0.1")
    await cluster.delete(kinds.POD, "one")
    assert endpoints(cluster) == {"one": ("10.244.0.1", LEAVING)}
    await backends.report("one", "10.244.0.1", ready=False)
    assert endpoints(cluster) == {"one": ("10.244.0.1", "terminating")}
    await backends.stop("one")
    assert endpoints(cluster) == {}


async def test_a_pod_that_has_ended_has_no_endpoint(cluster: Cluster, backends: Backends) -> None:
    await cluster.create(service())
    await backends.run("one", "10.244.0.1")
    await backends.report("one", "10.244.0.1", ready=False, phase="Failed")
    assert endpoints(cluster) == {}


async def test_unready_addresses_may_be_published(cluster: Cluster, backends: Backends) -> None:
    """Every endpoint is ready then, also of a pod that terminates."""
    await cluster.create(service(publishNotReadyAddresses=True))
    await backends.run("one", "10.244.0.1", ready=False)
    await backends.run("two", "10.244.0.2")
    await cluster.delete(kinds.POD, "two")
    assert endpoints(cluster) == {"one": ("10.244.0.1", "ready"), "two": ("10.244.0.2", "ready serving terminating")}


async def test_named_ports_are_those_of_each_pod(cluster: Cluster, backends: Backends) -> None:
    """Pods whose port of the name differs are in slices of their own. One that has none is in a slice without the port."""

    def on(number: int, name: str = "serve") -> dict[str, Any]:
        return {"containers": [objects.container(ports=[{"name": name, "containerPort": number}])]}

    await cluster.create(service("web", {"name": "http", "port": 80, "targetPort": "serve"}))
    await backends.run("old", "10.244.0.1", **on(8080))
    await backends.run("new", "10.244.0.2", **on(9090))
    await backends.run("none", "10.244.0.3", **on(9090, "admin"))
    found = {
        tuple(port.port for port in item.ports): [one.targetRef.name for one in item.endpoints] for item in slices(cluster)
    }
    assert found == {(8080,): ["old"], (9090,): ["new"], (): ["none"]}


async def test_a_named_port_may_be_a_sidecars(cluster: Cluster, backends: Backends) -> None:
    await cluster.create(service("web", {"port": 80, "targetPort": "serve"}))
    sidecar = objects.container("proxy", ports=[{"name": "serve", "containerPort": 15001}], restartPolicy="Always")
    starter = objects.container("starter", ports=[{"name": "serve", "containerPort": 1}])
    await backends.run("one", "10.244.0.1", init=(starter, sidecar))
    assert [[port.port for port in item.ports] for item in slices(cluster)] == [[15001]]


async def test_slices_of_each_address_family() -> None:
    """A pod without an address of a family is missing in its slices."""
    both = ServiceRanges((AddressRange("10.96.0.0/12"), AddressRange("fd00:96::/108")))
    async with running(registry=resources.built_in(both)) as cluster:
        backends = Backends(cluster)
        await backends.join("n1")
        await backends.widen("n1", "10.244.0.0/24", "fd00::/64")
        await cluster.create(service(ipFamilyPolicy="PreferDualStack", ipFamilies=["IPv4", "IPv6"]))
        await backends.run("both", "10.244.0.1", "fd00::1")
        await backends.run("one", "10.244.0.2")
        found = {item.addressType: sorted(one.addresses[0] for one in item.endpoints) for item in slices(cluster)}
    assert found == {"IPv4": ["10.244.0.1", "10.244.0.2"], "IPv6": ["fd00::1"]}


async def test_hints_prefer_the_zone_or_the_node(cluster: Cluster, backends: Backends) -> None:
    """Of endpoints that are ready."""
    await backends.join("n2", zone="b")
    await cluster.create(service(trafficDistribution="PreferClose"))
    await backends.run("one", "10.244.0.1")
    await backends.run("two", "10.244.1.1", node="n2", ready=False)

    def hints() -> dict[str, tuple[list[str], list[str]]]:
        [item] = slices(cluster)
        return {
            one.targetRef.name: ([zone.name for zone in one.hints.forZones], [node.name for node in one.hints.forNodes])
            for one in item.endpoints
        }

    assert hints() == {"one": (["a"], []), "two": ([], [])}
    await cluster.change(kinds.SERVICE, "web", lambda item: setattr(item.spec, "trafficDistribution", "PreferSameNode"))
    assert hints() == {"one": (["a"], ["n1"]), "two": ([], [])}
    await cluster.change(kinds.SERVICE, "web", lambda item: item.spec.ClearField("trafficDistribution"))
    assert hints() == {"one": ([], []), "two": ([], [])}


async def test_a_nodes_zone_follows_its_label(cluster: Cluster, backends: Backends) -> None:
    await cluster.create(service())
    await backends.run("one", "10.244.0.1")
    await cluster.change(kinds.NODE, "n1", lambda node: node.metadata.labels.update({"topology.kubernetes.io/zone": "z"}))
    assert [one.zone for item in slices(cluster) for one in item.endpoints] == ["z"]


async def test_a_hundred_endpoints_fill_a_slice(cluster: Cluster, backends: Backends) -> None:
    """A change of one pod writes one slice, and no other."""
    await cluster.create(service())
    for number in range(105):
        await backends.run(f"p{number:03}", f"10.244.{number // 250}.{number % 250 + 1}")
    assert sorted(len(item.endpoints) for item in slices(cluster)) == [5, 100]
    before = {item.metadata.name: item.metadata.resourceVersion for item in slices(cluster)}
    await backends.report("p000", "10.244.0.1", ready=False)
    changed = [item for item in slices(cluster) if item.metadata.resourceVersion != before[item.metadata.name]]
    assert len(changed) == 1
    assert int(changed[0].metadata.generation) > 1


async def test_the_cost_of_a_change_is_that_of_its_service(
    cluster: Cluster, backends: Backends, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a Service of 1,000 endpoints one pod's readiness writes one slice and parses no other pod, of it or of others."""

    def fill(low: int, app: str) -> Any:
        def fn(tx: Any) -> None:
            for number in range(low, low + 250):
                pod = objects.pod(f"p{number:04}", meta={"labels": {"app": app}, "uid": f"u{number}"}, nodeName="n1")
                pod.status.phase, ip = "Running", f"10.{number >> 8}.{number & 255}.1"
                pod.status.podIPs.add(ip=ip)
                pod.status.conditions.add(type="Ready", status="True")
                tx.put(kinds.POD, pod)

        return fn

    await backends.widen("n1", "10.0.0.0/8")
    for low in range(0, 2000, 250):
        await cluster.store.update(fill(low, "web" if low < 1000 else "other"))
    await cluster.create(service())
    await settle(10 * TURNS)
    assert sorted(len(item.endpoints) for item in slices(cluster)) == [100] * 10
    before = {item.metadata.name: item.metadata.resourceVersion for item in slices(cluster)}
    worked: list[str] = []
    original = podendpoints.facts_of

    def counted(pod: Any) -> Any:
        worked.append(pod.metadata.name)
        return original(pod)

    [controller] = [item for item in cluster.controllers if isinstance(item, EndpointSlices)]
    monkeypatch.setattr(controller._pods, "_function", counted)
    await backends.report("p0500", "10.1.244.1", ready=False)
    changed = [item for item in slices(cluster) if item.metadata.resourceVersion != before[item.metadata.name]]
    assert len(changed) == 1
    assert set(worked) == {"p0500"}


async def test_a_write_of_its_own_is_not_reconciled_again(
    cluster: Cluster, backends: Backends, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change of a pod costs one reconciliation; a user's change of a slice costs one too, and is undone."""
    await cluster.create(service())
    await backends.run("one", "10.244.0.1")
    runs: list[str] = []
    original = EndpointSlices.reconcile

    def counted(self: EndpointSlices, tx: Any, key: str, now: Any) -> Any:
        runs.append(key)
        return original(self, tx, key, now)

    monkeypatch.setattr(EndpointSlices, "reconcile", counted)
    await backends.report("one", "10.244.0.1", ready=False)
    assert runs == ["default/web"]
    [item] = slices(cluster)
    await cluster.change(kinds.ENDPOINT_SLICE, item.metadata.name, lambda item: item.ClearField("endpoints"))
    assert endpoints(cluster) == {"one": ("10.244.0.1", UNREADY)}
    # A slice without endpoints is replaced by the name that it has.
    assert [item.metadata.name for item in slices(cluster)] == [item.metadata.name]


async def test_a_deleted_slice_comes_back(cluster: Cluster, backends: Backends) -> None:
    await cluster.create(service())
    await backends.run("one", "10.244.0.1")
    [item] = slices(cluster)
    await cluster.delete(kinds.ENDPOINT_SLICE, item.metadata.name)
    assert endpoints(cluster) == {"one": ("10.244.0.1", READY)}


async def test_slices_go_with_their_service(cluster: Cluster, backends: Backends) -> None:
    """One of the same name that comes after it has slices of its own."""
    await cluster.create(service())
    await backends.run("one", "10.244.0.1")
    await cluster.delete(kinds.SERVICE, "web")
    await settle(TURNS)
    assert slices(cluster) == []
    made = await cluster.create(service())
    assert [item.metadata.ownerReferences[0].uid for item in slices(cluster)] == [made.metadata.uid]


async def test_pods_of_many_services(cluster: Cluster, backends: Backends) -> None:
    """A pod is in each Service that selects it, also in two with the same selector; a change of its labels moves it."""
    await cluster.create(service("all", selector={"tier": "front"}))
    await cluster.create(service("one", selector={"tier": "front", "app": "web"}))
    await cluster.create(service("two", selector={"app": "web", "tier": "front"}))
    await backends.run("pod", "10.244.0.1", labels={"app": "web", "tier": "front"})
    assert [list(endpoints(cluster, name)) for name in ("all", "one", "two")] == [["pod"], ["pod"], ["pod"]]
    await cluster.change(kinds.POD, "pod", lambda pod: pod.metadata.labels.update({"app": "db"}))
    assert [list(endpoints(cluster, name)) for name in ("all", "one", "two")] == [["pod"], [], []]


async def test_a_service_without_a_selector_is_left_to_others(cluster: Cluster, backends: Backends) -> None:
    """So is an alias, and a slice that something else manages."""
    await backends.run("one", "10.244.0.1")
    await cluster.create(service("custom", selector={}))
    await cluster.create(service("alias", type="ExternalName", externalName="example.com"))
    assert slices(cluster, "custom") == slices(cluster, "alias") == []
    labels = {"kubernetes.io/service-name": "web", "endpointslice.kubernetes.io/managed-by": "mine"}
    await cluster.create(
        objects.make(
            kinds.ENDPOINT_SLICE, "web-mine", meta={"labels": labels}, addressType="IPv4",
            endpoints=[{"addresses": ["192.0.2.1"]}], ports=[{"name": "http", "port": 1}],
        )
    )  # fmt: skip
    await cluster.create(service())
    assert len(slices(cluster)) == 2
    assert [one.addresses[0] for item in slices(cluster) for one in item.endpoints] == ["10.244.0.1", "192.0.2.1"] or [
        one.addresses[0] for item in slices(cluster) for one in item.endpoints
    ] == ["192.0.2.1", "10.244.0.1"]


async def test_pods_of_a_node_that_is_gone_are_left_out(cluster: Cluster, backends: Backends) -> None:
    """Until it is back; they stay where the Service publishes pods that are not ready."""
    await backends.join("n2")
    await cluster.create(service())
    await cluster.create(service("eager", publishNotReadyAddresses=True))
    await backends.run("one", "10.244.0.1")
    await backends.run("two", "10.244.1.1", node="n2")
    cluster.alive.discard("n2")
    await cluster.delete(kinds.NODE, "n2")
    assert list(endpoints(cluster)) == ["one"]
    assert sorted(endpoints(cluster, "eager")) == ["one", "two"]


async def test_a_slice_says_when_its_change_happened(cluster: Cluster, backends: Backends) -> None:
    """At first when the Service was created, then when a pod's readiness changed; not for a change without such a time."""

    def trigger() -> str:
        [item] = slices(cluster)
        return str(item.metadata.annotations.get(TRIGGER, ""))

    made = await cluster.create(service())
    assert trigger() == codec.format_time(made.metadata.creationTimestamp.seconds)
    await backends.run("one", "10.244.0.1", ready=False)
    await backends.report("one", "10.244.0.1", since=7)
    pod = cluster.get(kinds.POD, "one")
    [since] = [item.lastTransitionTime for item in pod.status.conditions if item.type == "Ready"]
    assert trigger() == codec.format_time(since.seconds)
    await cluster.change(kinds.SERVICE, "web", lambda item: item.metadata.labels.update({"a": "b"}))
    assert trigger() == ""


async def test_slices_that_are_rejected_are_reported_and_tried_again(cluster: Cluster, backends: Backends) -> None:
    """A quota counts them, as it does in Kubernetes."""
    await cluster.create(
        objects.make(kinds.RESOURCE_QUOTA, "few", spec={"hard": {"count/endpointslices.discovery.k8s.io": "0"}})
    )
    await cluster.create(service())
    [event] = cluster.events("FailedToUpdateEndpointSlices")
    assert (event.type, event.involvedObject.kind, event.source.component) == (
        "Warning",
        "Service",
        "endpoint-slice-controller",
    )
    assert event.message.startswith("Error updating Endpoint Slices for Service default/web: ")
    await cluster.delete(kinds.RESOURCE_QUOTA, "few")
    await cluster.advance(11, beating=("n1",))
    assert len(slices(cluster)) == 1


async def test_a_namespace_that_ends_gets_no_slices(cluster: Cluster, backends: Backends) -> None:
    """Those that are there are not made anew, and no event says that one could not be."""
    await cluster.create(objects.make(kinds.NAMESPACE, "shop", spec={"finalizers": ["kubernetes", "example.com/wait"]}))
    made = service()
    made.metadata.namespace, made.metadata.finalizers[:] = "shop", ["example.com/wait"]
    await cluster.create(made)
    assert len(cluster.names(kinds.ENDPOINT_SLICE, namespace="shop")) == 1
    await cluster.delete(kinds.NAMESPACE, "shop")
    await cluster.advance(5, beating=("n1",))
    assert cluster.names(kinds.SERVICE, namespace="shop") == ["web"]
    assert cluster.names(kinds.ENDPOINT_SLICE, namespace="shop") == []
    assert cluster.events("FailedToUpdateEndpointSlices") == []
