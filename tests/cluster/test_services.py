"""Services through the verbs of the API: what they are given, what they keep, and what another one has."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from controlplane import resources
from controlplane.requests import verbs
from controlplane.serviceranges import AddressRange, PortRange, ServiceRanges
from controlplane.store import Store, Tx
from controlplane.store.memory import MemoryBackend
from pinnace import codec, kinds
from pinnace.clock import RandomIds, VirtualClock, settle
from pinnace.errors import Forbidden, Internal, Invalid
from tests.support import objects
from tests.support.api import Api
from tests.support.cluster import Cluster, running
from tests.support.readcounts import CountingReads

SMALL = ServiceRanges((AddressRange("10.97.0.0/28"),), PortRange(31_000, 31_003))


def service(name: str, **spec: Any) -> Any:
    value = {"metadata": {"name": name, "namespace": "default"}, "spec": {"ports": [{"port": 80}], **spec}}
    return codec.decode(kinds.SERVICE.cls, value)


def claims(cluster: Cluster) -> set[str]:
    return set(cluster.names(kinds.SERVICE_CLAIM))


def used(item: Any) -> set[str]:
    """Names of the claims that a Service is to have."""
    ports = {port.nodePort for port in item.spec.ports} | {item.spec.healthCheckNodePort}
    return {*(address for address in item.spec.clusterIPs if address != "None"), *(f"port-{port}" for port in ports if port)}


async def change(cluster: Cluster, name: str, edit: Callable[[Any], Any]) -> Any:
    return await cluster.change(kinds.SERVICE, name, edit)


async def test_external_ips_can_be_denied() -> None:
    """A Service keeps those that it has; by default users may name any."""
    async with running() as cluster:
        await cluster.create(service("allowed", externalIPs=["192.0.2.1"]))
    async with running(registry=resources.built_in(enabled=["DenyServiceExternalIPs"])) as cluster:
        with pytest.raises(Forbidden, match="Use of external IPs is denied"):
            await cluster.create(service("refused", externalIPs=["192.0.2.1"]))
        await cluster.create(service("plain"))
        with pytest.raises(Forbidden, match="Use of external IPs is denied"):
            await change(cluster, "plain", lambda item: item.spec.externalIPs.append("192.0.2.1"))
        before = cluster.get(kinds.SERVICE, "plain")
        before.spec.externalIPs.extend(["192.0.2.1", "192.0.2.2"])
        await cluster.store.update(lambda tx: tx.put(kinds.SERVICE, before))
        await change(cluster, "plain", lambda item: item.spec.externalIPs.remove("192.0.2.2"))
        assert [*cluster.get(kinds.SERVICE, "plain").spec.externalIPs] == ["192.0.2.1"]


async def test_a_service_is_given_what_it_needs() -> None:
    """Address, families, node port and health check port; nothing of them for an alias or a headless Service."""
    async with running() as cluster:
        plain = await cluster.create(service("plain"))
        assert AddressRange("10.96.0.0/12").holds(plain.spec.clusterIP)
        assert [*plain.spec.clusterIPs] == [plain.spec.clusterIP]
        assert ([*plain.spec.ipFamilies], plain.spec.ipFamilyPolicy) == (["IPv4"], "SingleStack")
        assert plain.status.HasField("loadBalancer")
        balanced = await cluster.create(service("balanced", type="LoadBalancer", externalTrafficPolicy="Local"))
        ports = balanced.spec.ports[0].nodePort, balanced.spec.healthCheckNodePort
        assert all(30_000 <= port <= 32_767 for port in ports)
        assert len(set(ports)) == 2
        headless = await cluster.create(service("headless", clusterIP="None", selector={"a": "b"}))
        assert ([*headless.spec.clusterIPs], [*headless.spec.ipFamilies]) == (["None"], ["IPv4"])
        free = await cluster.create(service("free", clusterIP="None"))
        assert ([*free.spec.ipFamilies], free.spec.ipFamilyPolicy) == (["IPv4", "IPv6"], "RequireDualStack")
        alias = await cluster.create(service("alias", type="ExternalName", externalName="a.example"))
        assert (alias.spec.clusterIP, [*alias.spec.ipFamilies], alias.spec.HasField("ipFamilyPolicy")) == ("", [], False)
        assert claims(cluster) == used(plain) | used(balanced)


async def test_what_another_service_has_is_refused() -> None:
    """An address and ports by number, with Kubernetes' messages; once the other one is deleted they are free."""
    async with running() as cluster:
        await cluster.create(service("one", clusterIP="10.96.0.9", type="NodePort", ports=[{"port": 80, "nodePort": 30_080}]))
        taken = [
            (service("two", clusterIP="10.96.0.9"), "failed to allocate IP 10.96.0.9: provided IP is already allocated"),
            (
                service("two", type="NodePort", ports=[{"port": 80, "nodePort": 30_080}]),
                r"spec.ports\[0\].nodePort: Invalid value: 30080: provided port is already allocated",
            ),
            (
                service("two", clusterIP="10.200.0.1"),
                r"the provided IP \(10.200.0.1\) is not in the valid range. The range of valid IPs is 10.96.0.0/12",
            ),
            (service("two", clusterIP="10.96.0.0"), "is not in the valid range"),
            (
                service("two", type="NodePort", ports=[{"port": 80, "nodePort": 80}]),
                "provided port is not in the valid range. The range of valid ports is 30000-32767",
            ),
            (service("two", ipFamilyPolicy="RequireDualStack"), "this cluster is not configured for dual-stack services"),
            (
                service("two", ipFamilies=["IPv6"]),
                r'spec.ipFamilies\[0\]: Invalid value: "IPv6": not configured on this cluster',
            ),
            (service("two", clusterIP="fd00::1"), "IPv6 is not configured on this cluster"),
        ]
        for item, error in taken:
            with pytest.raises(Invalid, match=error):
                await cluster.create(item)
        asked = service("two", type="LoadBalancer", externalTrafficPolicy="Local", healthCheckNodePort=30_080)
        with pytest.raises(Internal, match="HealthCheck NodePort 30080: provided port is already allocated"):
            await cluster.create(asked)
        assert await cluster.delete(kinds.SERVICE, "one")
        assert claims(cluster) == set()
        assert (await cluster.create(service("two", clusterIP="10.96.0.9"))).spec.clusterIP == "10.96.0.9"


async def test_a_port_of_health_checks_is_no_node_port() -> None:
    """Of the same Service either, whichever of both comes first; ports that are chosen are not one that is stated."""
    local = {"type": "LoadBalancer", "externalTrafficPolicy": "Local"}
    async with running(registry=resources.built_in(SMALL)) as cluster:
        same = service("web", **local, healthCheckNodePort=31_000, ports=[{"port": 80, "nodePort": 31_000}])
        with pytest.raises(Internal, match="requested HealthCheck NodePort 31000: provided port is already allocated"):
            await cluster.create(same)
        ports = [{"name": str(port), "port": port} for port in (80, 81, 82)]
        made = await cluster.create(service("web", **local, healthCheckNodePort=31_002, ports=ports))
        assert sorted(port.nodePort for port in made.spec.ports) == [31_000, 31_001, 31_003]
        with pytest.raises(Invalid, match=r"nodePort: Invalid value: 31002: provided port is already allocated"):
            await change(cluster, "web", lambda item: setattr(item.spec.ports[1], "nodePort", 31_002))

        def need(item: Any) -> None:
            item.spec.externalTrafficPolicy, item.spec.healthCheckNodePort = "Local", item.spec.ports[0].nodePort

        await cluster.delete(kinds.SERVICE, "web")
        await cluster.create(service("web", type="LoadBalancer"))
        with pytest.raises(Internal, match="provided port is already allocated"):
            await change(cluster, "web", need)


async def test_an_update_keeps_what_it_does_not_state() -> None:
    """Address and node ports by the names of ports; a new port is given one, and one that is gone is released."""
    async with running() as cluster:
        two = [{"name": "a", "port": 80}, {"name": "b", "port": 81}]
        before = await cluster.create(service("web", type="NodePort", ports=two))

        def replace(item: Any) -> None:
            item.spec.CopyFrom(
                service("web", type="NodePort", ports=[{"name": "b", "port": 82}, {"name": "c", "port": 83}]).spec
            )

        after = await change(cluster, "web", replace)
        assert after.spec.clusterIP == before.spec.clusterIP
        assert after.spec.ports[0].nodePort == before.spec.ports[1].nodePort
        assert after.spec.ports[1].nodePort not in (0, after.spec.ports[0].nodePort)
        assert claims(cluster) == used(after)
        with pytest.raises(Invalid, match="may not change once set"):
            await change(cluster, "web", lambda item: setattr(item.spec, "clusterIP", "10.96.0.77"))


@pytest.mark.parametrize("before", ["10.96.0.9", "None"])
async def test_a_replaced_address_is_refused_as_immutable(before: str, cluster: Cluster) -> None:
    """Of a client that knows clusterIP alone; clients match on the message, and create the Service anew."""
    await cluster.create(service("web", clusterIP=before, selector={"a": "b"}))

    def replace(item: Any) -> None:
        item.spec.CopyFrom(service("web", clusterIP="10.96.0.77", selector={"a": "b"}).spec)

    with pytest.raises(Invalid, match=r"spec\.clusterIPs\[0\]: Invalid value: .*: may not change once set"):
        await change(cluster, "web", replace)


async def test_a_service_of_another_type_is_refused_with_each_of_its_errors(cluster: Cluster) -> None:
    """Its addresses are not parsed before validation: they were once a ValueError, which failed a whole apply."""
    spec = {"type": "Any", "clusterIP": "abc", "clusterIPs": ["abc"], "ipFamilies": ["IPv4"], "ports": [{"port": 80}]}
    specs = {"one": {"ports": spec["ports"]}, "bad": spec, "two": {"ports": spec["ports"]}}
    manifests = ({"metadata": {"name": name}, "spec": given} for name, given in specs.items())
    outcomes = await Api(cluster).apply(*({"apiVersion": "v1", "kind": "Service", **item} for item in manifests))
    assert [outcome for outcome, _ in outcomes] == ["created", "failed", "created"]
    assert [cause.field for cause in outcomes[1][1].causes] == ["spec.type", "spec.clusterIPs[0]"]
    with pytest.raises(Invalid, match='Unsupported value: "Any"'):
        await change(cluster, "one", lambda item: item.spec.CopyFrom(service("one", **spec).spec))


async def test_a_change_of_type_releases_and_takes() -> None:
    """Fields of the old type are dropped with what they held, unless the client changed them too."""
    async with running() as cluster:
        made = await cluster.create(
            service("web", type="LoadBalancer", externalTrafficPolicy="Local", loadBalancerClass="example.com/x")
        )
        address = made.spec.clusterIP
        plain = await change(cluster, "web", lambda item: setattr(item.spec, "type", "ClusterIP"))
        assert claims(cluster) == {address}
        for field in ("externalTrafficPolicy", "healthCheckNodePort", "allocateLoadBalancerNodePorts", "loadBalancerClass"):
            assert not getattr(plain.spec, field), field

        def alias(item: Any) -> None:
            item.spec.type, item.spec.externalName = "ExternalName", "a.example"

        gone = await change(cluster, "web", alias)
        assert (gone.spec.clusterIP, [*gone.spec.clusterIPs], claims(cluster)) == ("", [], set())
        back = await change(cluster, "web", lambda item: setattr(item.spec, "type", "NodePort"))
        assert claims(cluster) == used(back)
        assert len(claims(cluster)) == 2


async def test_one_number_for_several_protocols() -> None:
    """TCP and UDP of one port share a port of nodes."""
    async with running() as cluster:
        ports = [{"name": "t", "port": 53}, {"name": "u", "port": 53, "protocol": "UDP"}]
        made = await cluster.create(service("dns", type="NodePort", ports=ports))
        assert len({port.nodePort for port in made.spec.ports}) == 1
        assert claims(cluster) == used(made)


async def test_a_shared_number_is_looked_for_before_it_is_shared() -> None:
    """Also where the port that states it comes after the one that shares it: another Service may have it."""
    async with running() as cluster:
        await cluster.create(service("one", type="NodePort", ports=[{"port": 80, "nodePort": 30_080}]))
        ports = [{"name": "a", "port": 53, "protocol": "UDP"}, {"name": "b", "port": 53, "nodePort": 30_080}]
        with pytest.raises(
            Invalid, match=r"spec.ports\[1\].nodePort: Invalid value: 30080: provided port is already allocated"
        ):
            await cluster.create(service("two", type="NodePort", ports=ports))
        assert claims(cluster) == used(cluster.get(kinds.SERVICE, "one"))


async def test_an_alias_takes_no_port_of_nodes() -> None:
    """It may state one, as in Kubernetes; a Service that has it keeps its claim."""
    async with running() as cluster:
        await cluster.create(service("one", type="NodePort", ports=[{"port": 80, "nodePort": 30_080}]))
        alias = service("alias", type="ExternalName", externalName="a.example", ports=[{"port": 80, "nodePort": 30_080}])
        await cluster.create(alias)
        assert await cluster.delete(kinds.SERVICE, "alias")
        with pytest.raises(Invalid, match="provided port is already allocated"):
            await cluster.create(service("two", type="NodePort", ports=[{"port": 80, "nodePort": 30_080}]))


async def test_ports_of_a_load_balancer_are_optional() -> None:
    """Without allocation only those that are stated."""
    async with running() as cluster:
        ports = [{"name": "a", "port": 80}, {"name": "b", "port": 81, "nodePort": 30_081}]
        made = await cluster.create(service("web", type="LoadBalancer", allocateLoadBalancerNodePorts=False, ports=ports))
        assert [port.nodePort for port in made.spec.ports] == [0, 30_081]


async def test_a_small_range_is_used_up() -> None:
    """All of it but the places of the API and of DNS, which only who names them gets; then it is full."""
    async with running(registry=resources.built_in(SMALL)) as cluster:
        given = [(await cluster.create(service(f"s{number}"))).spec.clusterIP for number in range(12)]
        assert sorted(given) == sorted({f"10.97.0.{place}" for place in range(2, 15)} - {"10.97.0.10"})
        with pytest.raises(Internal, match="failed to allocate a serviceIP: range is full"):
            await cluster.create(service("more"))
        await cluster.create(service("kubernetes", clusterIP="10.97.0.1"))
        await cluster.create(service("dns", clusterIP="10.97.0.10"))
        ports = [{"name": f"p{number}", "port": number} for number in range(1, 5)]
        await cluster.delete(kinds.SERVICE, "s0")
        made = await cluster.create(service("more", type="NodePort", ports=ports))
        assert {port.nodePort for port in made.spec.ports} == set(range(31_000, 31_004))
        await cluster.delete(kinds.SERVICE, "s1")
        with pytest.raises(Internal, match="failed to allocate a nodePort: range is full"):
            await cluster.create(service("last", type="NodePort"))


async def test_a_dry_run_takes_nothing() -> None:
    """It shows an address, and no claim is written."""
    async with running() as cluster:
        shown = cluster.store.view(lambda tx: verbs.create(tx, kinds.SERVICE, service("web"), cluster.call()))
        assert shown.spec.clusterIP
        assert claims(cluster) == set()


async def test_a_finalizer_keeps_the_address() -> None:
    """It is released when the Service is removed, not when its deletion is asked for."""
    async with running() as cluster:
        item = service("web", clusterIP="10.96.0.9")
        item.metadata.finalizers.append("example.com/wait")
        await cluster.create(item)
        assert not await cluster.delete(kinds.SERVICE, "web")
        with pytest.raises(Invalid, match="already allocated"):
            await cluster.create(service("two", clusterIP="10.96.0.9"))
        await change(cluster, "web", lambda item: item.metadata.ClearField("finalizers"))
        assert claims(cluster) == set()


async def test_a_claim_without_its_service_holds_nothing() -> None:
    """As one that a restored store may have."""
    async with running() as cluster:
        left = kinds.SERVICE_CLAIM.cls()
        left.metadata.name, left.spec.holderIdentity = "10.96.0.9", "default/gone"
        await cluster.store.update(lambda tx: tx.put(kinds.SERVICE_CLAIM, left))
        await cluster.create(service("web", clusterIP="10.96.0.9"))
        assert cluster.get(kinds.SERVICE_CLAIM, "10.96.0.9").spec.holderIdentity == "default/web"


async def test_claims_are_not_served() -> None:
    """No request and no discovery document names them."""
    registry = resources.built_in()
    assert kinds.SERVICE_CLAIM not in [resource.kind for resource in registry.served()]
    assert registry.by_plural(kinds.SERVICE_CLAIM.api_version, kinds.SERVICE_CLAIM.plural) is None


@asynccontextmanager
async def plane(backend: MemoryBackend, seed: int) -> AsyncIterator[tuple[Store, verbs.Call]]:
    """The store of one of several control planes."""
    clock = VirtualClock()
    store = await Store.open(backend, clock, resources.built_in(SMALL))
    serving = asyncio.ensure_future(store.serve())
    try:
        yield store, verbs.Call(clock.now(), RandomIds(seed=seed), "test")
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)


class Shared(MemoryBackend):
    """Like etcd: other control planes write it too."""

    exclusive = False


async def test_two_control_planes_give_out_nothing_twice() -> None:
    """Both create Services at once, in a range that has room for few more, and name the same address."""
    backend = Shared()
    async with plane(backend, 1) as (one, first), plane(backend, 2) as (other, second):
        namespace = objects.make(kinds.NAMESPACE, "default")
        await one.update(lambda tx: tx.put(kinds.NAMESPACE, namespace))
        await settle(50)

        def create(store: Store, call: verbs.Call, item: Any) -> Any:
            return store.update(lambda tx: verbs.create(tx, kinds.SERVICE, copied(item), call))

        wanted = [
            *(create(one, first, service(f"a{number}")) for number in range(5)),
            *(create(other, second, service(f"b{number}")) for number in range(5)),
            create(one, first, service("x", clusterIP="10.97.0.1")),
            create(other, second, service("y", clusterIP="10.97.0.1")),
        ]
        made = await asyncio.gather(*wanted, return_exceptions=True)
        failed = [item for item in made if isinstance(item, BaseException)]
        assert [type(error) for error in failed] == [Invalid]
        assert "provided IP is already allocated" in str(failed[0])
        given = [item.spec.clusterIP for item in made if not isinstance(item, BaseException)]
        assert len(given) == len(set(given)) == 11


def copied(item: Any) -> Any:
    copy = type(item)()
    copy.CopyFrom(item)
    return copy


async def test_quotas_count_services_and_what_they_take() -> None:
    """Services, their ports of nodes and load balancers; a change of type may need more too."""
    async with running() as cluster:
        hard = {"services": "3", "services.nodeports": "2", "services.loadbalancers": "1"}
        await cluster.create(objects.make(kinds.RESOURCE_QUOTA, "q", spec={"hard": hard}))
        await cluster.create(service("a", type="NodePort"))
        await cluster.create(service("b", type="LoadBalancer"))
        await cluster.create(service("c"))
        found = cluster.get(kinds.RESOURCE_QUOTA, "q")
        assert {name: value.string for name, value in found.status.used.items()} == hard
        with pytest.raises(Forbidden, match="exceeded quota: q, requested: services=1"):
            await cluster.create(service("d"))
        with pytest.raises(Forbidden, match=r"requested: services\.nodeports=1, used: services\.nodeports=2"):
            await change(cluster, "c", lambda item: setattr(item.spec, "type", "NodePort"))
        free = service("e", type="LoadBalancer", allocateLoadBalancerNodePorts=False)
        await cluster.delete(kinds.SERVICE, "b")
        await cluster.create(free)


async def test_services_outside_of_the_ranges_keep_what_they_have() -> None:
    """When the flags change; a warning says so, once for each address and port, and not again when the Service changes."""
    backend, clock = MemoryBackend(), VirtualClock()
    async with running(backend=backend, clock=clock) as cluster:
        made = await cluster.create(
            service("web", type="NodePort", clusterIP="10.96.0.9", ports=[{"port": 80, "nodePort": 30_080}])
        )
        assert cluster.events("ClusterIPOutOfRange") == []
    async with running(backend=backend, clock=clock, registry=resources.built_in(SMALL), ids=cluster.ids) as cluster:
        await settle(50)
        await change(cluster, "web", lambda item: item.metadata.labels.update({"a": "b"}))
        kept = cluster.get(kinds.SERVICE, "web").spec
        assert (kept.clusterIP, kept.ports[0].nodePort) == (made.spec.clusterIP, 30_080)
        [address] = [event for event in cluster.events("ClusterIPOutOfRange") if event.involvedObject.name == "web"]
        text = "Cluster IP [IPv4]:10.96.0.9 is not within any configured Service CIDR; please recreate service"
        assert (address.message, address.type, address.count) == (text, "Warning", 1)
        [port] = [event for event in cluster.events("PortOutOfRange") if event.involvedObject.name == "web"]
        assert port.message == "Port 30080 is not within the port range 31000-31003; please recreate service"
        with pytest.raises(Invalid, match="not in the valid range"):
            await cluster.create(service("two", clusterIP="10.96.0.9"))


async def test_missing_claims_are_restored() -> None:
    """As after the restore of a part of the store; what two Services have is told."""
    backend, clock = MemoryBackend(), VirtualClock()
    async with running(backend=backend, clock=clock) as cluster:
        await cluster.create(service("one", clusterIP="10.96.0.9"))
        await cluster.create(service("two", clusterIP="10.96.0.10"))
        other = cluster.get(kinds.SERVICE, "two")
        other.spec.clusterIP = other.spec.clusterIPs[0] = "10.96.0.9"

        def damage(tx: Tx) -> None:
            tx.delete(kinds.SERVICE_CLAIM, "", "10.96.0.9")
            tx.put(kinds.SERVICE, other)

        await cluster.store.update(damage)
    async with running(backend=backend, clock=clock, ids=cluster.ids) as cluster:
        await settle(50)
        assert "10.96.0.9" in claims(cluster)
        [event] = cluster.events("ClusterIPAlreadyAllocated")
        assert event.message == "Cluster IP [IPv4]:10.96.0.9 was assigned to multiple services; please recreate service"


async def test_claims_of_services_that_do_not_have_them_are_free() -> None:
    """As after the restore of a part of the store: given out when no other place is left, also to a Service of that name."""
    async with running(registry=resources.built_in(SMALL)) as cluster:
        kept = await cluster.create(
            service("kept", type="NodePort", clusterIP="10.97.0.9", ports=[{"port": 80, "nodePort": 31_003}])
        )
        ports, addresses = {31_000, 31_001, 31_002}, {f"10.97.0.{place}" for place in (*range(2, 10), *range(11, 15))}

        def orphan(tx: Tx) -> None:
            for name in (*(f"port-{port}" for port in ports), *(addresses - {"10.97.0.9"})):
                made = kinds.SERVICE_CLAIM.cls()
                made.metadata.name = name
                made.spec.holderIdentity = "default/kept" if name == "port-31000" else "default/gone"
                tx.put(kinds.SERVICE_CLAIM, made)

        await cluster.store.update(orphan)
        made = [await cluster.create(service(name, type="NodePort")) for name in ("a", "b", "gone")]
        assert {item.spec.ports[0].nodePort for item in made} == ports
        assert {item.spec.clusterIP for item in made} < addresses - {"10.97.0.9"}
        with pytest.raises(Internal, match="failed to allocate a nodePort: range is full"):
            await cluster.create(service("c", type="NodePort"))
        holders = {
            row.message.metadata.name: row.message.spec.holderIdentity for row in cluster.store.rows(kinds.SERVICE_CLAIM)
        }
        for item in (kept, *made):
            assert {holders[name] for name in used(item)} == {f"default/{item.metadata.name}"}


async def test_services_are_read_for_a_full_range_only() -> None:
    """Which claims hold something is examined when no place is without one."""
    ranges = ServiceRanges(ports=PortRange(31_000, 31_063))
    async with running(registry=resources.built_in(ranges)) as cluster:

        def fill(tx: Tx, last: int) -> None:
            for port in range(31_000, last):
                made = kinds.SERVICE_CLAIM.cls()
                made.metadata.name, made.spec.holderIdentity = f"port-{port}", "default/gone"
                tx.put(kinds.SERVICE_CLAIM, made)

        def reads(tx: Tx) -> int:
            counting = CountingReads(tx)
            made = verbs.create(counting.tx, kinds.SERVICE, service("web", type="NodePort"), cluster.call())
            assert made.spec.ports[0].nodePort
            return counting.calls["get_untracked", "Service"]

        await cluster.store.update(lambda tx: fill(tx, 31_063))
        assert [cluster.store.view(reads) for _ in range(5)] == [0] * 5
        await cluster.store.update(lambda tx: fill(tx, 31_064))
        assert cluster.store.view(reads) > 0


async def test_applied_services_stay_as_they_are(cluster: Cluster) -> None:
    """An apply of the same manifest changes nothing; ports are found by number and protocol; a status is not applied away."""
    api = Api(cluster)
    ports = [{"name": "t", "port": 53}, {"name": "u", "port": 53, "protocol": "UDP"}]
    manifest = {
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "dns"}, "spec": {"type": "NodePort", "ports": ports},
    }  # fmt: skip
    [(_, first)] = await api.apply(manifest)
    [(_, again)] = await api.apply(manifest)
    assert again.metadata.resourceVersion == first.metadata.resourceVersion
    changed = {**manifest, "spec": {**manifest["spec"], "ports": [ports[0], {**ports[1], "targetPort": 5353}]}}
    [(_, third)] = await api.apply(changed)
    assert [port.targetPort.intVal for port in third.spec.ports] == [53, 5353]
    assert [port.nodePort for port in third.spec.ports] == [port.nodePort for port in first.spec.ports]
    assert third.spec.clusterIP == first.spec.clusterIP
    [(_, single)] = await api.apply({**manifest, "spec": {**manifest["spec"], "ports": ports[:1]}})
    assert [port.name for port in single.spec.ports] == ["t"]
    assert claims(cluster) == used(single)


async def test_warnings_of_services_and_endpoints(cluster: Cluster) -> None:
    """Fields without effect of a headless Service; Endpoints are deprecated."""
    call = cluster.call()
    headless = service("web", clusterIP="None", externalIPs=["192.0.2.9"], sessionAffinity="ClientIP")
    await cluster.store.update(lambda tx: verbs.create(tx, kinds.SERVICE, headless, call))
    endpoints = objects.make(kinds.ENDPOINTS, "web")
    await cluster.store.update(lambda tx: verbs.create(tx, kinds.ENDPOINTS, endpoints, call))
    assert list(call.warnings) == [
        "spec.externalIPs is ignored for headless services", "spec.SessionAffinity is ignored for headless services",
        "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice",
    ]  # fmt: skip


async def test_warnings_of_deprecated_fields_and_unusual_addresses(cluster: Cluster) -> None:
    """As GetWarningsForService has them: addresses in another form than RFC 5952's, and fields that have no effect."""
    call, written = cluster.call(), "2001:DB8::1"
    items = [
        service("one", externalIPs=[written], trafficDistribution="PreferClose", externalName="a.example"),
        service("two", type="ExternalName", externalName="a.example", externalIPs=["192.0.2.1"]),
        service("three", type="LoadBalancer", loadBalancerIP=written, loadBalancerSourceRanges=["2001:db8:0::/48"]),
    ]
    items[2].metadata.annotations["service.kubernetes.io/topology-aware-hints"] = "auto"
    for item in items:
        await cluster.store.update(lambda tx, item=item: verbs.create(tx, kinds.SERVICE, item, call))
    form = f'IPv6 address "{written}" should be in RFC 5952 canonical format ("2001:db8::1")'
    network = 'IPv6 CIDR value "2001:db8:0::/48" should be in RFC 5952 canonical format ("2001:db8::/48")'
    mode = "service.kubernetes.io/topology-mode"
    assert list(call.warnings) == [
        f"spec.externalIPs[0]: {form}", "spec.externalIPs is deprecated and may no longer be implemented in some clusters",
        'spec.externalName is ignored when spec.type is not "ExternalName"',
        'spec.trafficDistribution: "PreferClose" is deprecated; use "PreferSameZone"',
        'spec.externalIPs is ignored when spec.type is "ExternalName"',
        f"annotation service.kubernetes.io/topology-aware-hints is deprecated, please use {mode} instead",
        f"spec.loadBalancerIP: {form}", f"spec.loadBalancerSourceRanges[0]: {network}",
    ]  # fmt: skip


async def test_warnings_of_endpoints_with_unusual_addresses(cluster: Cluster) -> None:
    """Of slices and Endpoints that users write; a slice of names is deprecated."""
    call, address = cluster.call(), "2001:DB8::1"
    ports = [{"port": 80}]
    values = [
        (kinds.ENDPOINT_SLICE, {"addressType": "IPv6", "endpoints": [{"addresses": [address]}], "ports": ports}),
        (kinds.ENDPOINT_SLICE, {"addressType": "FQDN", "endpoints": [{"addresses": ["a.example"]}], "ports": ports}),
        (kinds.ENDPOINTS, {"subsets": [{"addresses": [{"ip": address}], "ports": ports}]}),
    ]
    for number, (kind, value) in enumerate(values):
        item = codec.decode(kind.cls, {"metadata": {"name": f"item-{number}", "namespace": "default"}, **value})
        await cluster.store.update(lambda tx, kind=kind, item=item: verbs.create(tx, kind, item, call))
    form = f'IPv6 address "{address}" should be in RFC 5952 canonical format ("2001:db8::1")'
    assert list(call.warnings) == [
        f"endpoints[0].addresses[0]: {form}", "spec.addressType: FQDN endpoints are deprecated",
        "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice",
        f"subsets[0].addresses[0].ip: {form}",
    ]  # fmt: skip


async def test_only_load_balancers_have_a_status(cluster: Cluster) -> None:
    """Written through the status; its mode defaults, and a change of type clears it."""
    api = Api(cluster)
    await cluster.create(service("web", type="LoadBalancer", loadBalancerClass="example.com/x"))
    value = {
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
        "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.9"}]}},
    }  # fmt: skip
    written = await api.update_status(kinds.SERVICE, value)
    assert [(item.ip, item.ipMode) for item in written.status.loadBalancer.ingress] == [("192.0.2.9", "VIP")]
    plain = await change(cluster, "web", lambda item: setattr(item.spec, "type", "ClusterIP"))
    assert not plain.status.loadBalancer.ingress
    assert plain.status.HasField("loadBalancer")
    with pytest.raises(Invalid, match=r"may only be used when `spec.type` is 'LoadBalancer'"):
        await api.update_status(kinds.SERVICE, value)
