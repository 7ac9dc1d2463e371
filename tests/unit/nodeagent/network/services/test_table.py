"""From objects to elements: what each kind of Service needs, and what one change changes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from nodeagent.network.elements import Element
from nodeagent.network.interface import Node
from nodeagent.network.services import recovery
from nodeagent.network.services.model import Facts, Target, facts_of
from nodeagent.network.services.table import Changes, Health, ServiceTable
from nodeagent.network.services.wanted import Frontend
from pinnace.core.v1.service_pb2 import Service
from pinnace.discovery.v1.endpointslice_pb2 import EndpointSlice
from pinnace.wellknown import ANNOTATION_SOURCE_RANGES, LABEL_HEADLESS, LABEL_SERVICE_PROXY_NAME
from tests.support.services import HERE, THERE, endpoint, service, slice_

FACTS = Facts(HERE, "z1", ("10.244.1.0/24",), ("10.96.0.0/12",), ("10.96.0.10",))
A, B = "10.244.1.5", "10.244.2.5"
BOTH = slice_(A, endpoint(B, THERE))


def table(item: Service | None, *slices: EndpointSlice, facts: Facts = FACTS) -> ServiceTable:
    found = ServiceTable(facts)
    if item is not None:
        found.set_service(f"default/{item.metadata.name}", item)
    for one in slices:
        found.set_slice(f"default/{one.metadata.name}", one)
    return found


def lines(items: set[Element]) -> set[str]:
    """Without the prefix of every container, and without hairpins."""
    texts = {
        f"{i.container.removeprefix('services_')} {' '.join(i.key)}{' : ' if i.value else ''}{' '.join(i.value)}" for i in items
    }
    return {text.replace("goto services_", "") for text in texts if not text.startswith("hairpin")}


def elements(item: Service, *slices: EndpointSlice, facts: Facts = FACTS) -> set[str]:
    return lines(table(item, *slices, facts=facts).compute(10).add)


VIP = {
    "4 10.96.0.20 tcp 80 : cluster_enter2_4",
    f"cluster_slot0_4 10.96.0.20 tcp 80 : {A} 8080",
    f"cluster_slot1_4 10.96.0.20 tcp 80 : {B} 8080",
}


def test_a_cluster_ip_leads_to_the_endpoints() -> None:
    assert elements(service(), BOTH) == VIP


def test_endpoints_on_this_node_may_reach_themselves() -> None:
    """The others are not this node's to masquerade. Two Services that share one need the element once."""
    both = table(service(), BOTH)
    both.set_service("default/other", service("other", ip="10.96.0.21"))
    both.set_slice("default/other-1", slice_(A, of="other"))
    hairpin = Element("services_hairpin_4", (A, A))
    assert {item for item in both.compute(10).add if "hairpin" in item.container} == {hairpin}
    both.set_service("default/other", None)
    assert hairpin not in both.compute(10).remove
    both.set_service("default/web", None)
    assert hairpin in both.compute(10).remove


def test_services_without_an_address_need_nothing() -> None:
    """Headless ones, and aliases."""
    assert elements(service(ip="None"), BOTH) == set()
    assert elements(service(ip="", type="ExternalName", externalName="example.com"), BOTH) == set()


def test_a_service_without_endpoints_is_rejected() -> None:
    """But for the address that the node's resolver has itself."""
    assert elements(service()) == {"none_4 10.96.0.20 tcp 80 : reject"}
    assert elements(service("kube-dns", ip="10.96.0.10", port=53)) == set()


def test_node_ports_and_external_addresses() -> None:
    """The elements of a node's port have no address."""
    spec = {"type": "NodePort", "externalIPs": ["198.51.100.9"], "ports": [{"port": 80, "nodePort": 30080, "protocol": "TCP"}]}
    assert elements(service(**spec), BOTH) == VIP | {
        "4 198.51.100.9 tcp 80 : cluster_enter2_4",
        f"cluster_slot0_4 198.51.100.9 tcp 80 : {A} 8080",
        f"cluster_slot1_4 198.51.100.9 tcp 80 : {B} 8080",
        "nodeport_4 tcp 30080 : cluster_nodeport_enter2_4",
        f"cluster_nodeport_slot0_4 tcp 30080 : {A} 8080",
        f"cluster_nodeport_slot1_4 tcp 30080 : {B} 8080",
    }
    assert elements(service(**spec)) == {
        "none_4 10.96.0.20 tcp 80 : reject", "none_4 198.51.100.9 tcp 80 : reject", "nodeport_none_4 tcp 30080 : reject"
    }  # fmt: skip


BALANCED = {"type": "LoadBalancer", "ingress": ["203.0.113.5"]}


def test_addresses_of_a_load_balancer_and_who_may_use_them() -> None:
    """Ranges are merged: the kernel takes none that overlap. An address in mode Proxy is the load balancer's own."""
    found = elements(service(**BALANCED, loadBalancerSourceRanges=["192.0.2.0/25", "192.0.2.128/25", "192.0.2.7/32"]), BOTH)
    assert {line for line in found if "203.0.113.5" in line} == {
        "4 203.0.113.5 tcp 80 : cluster_enter2_4",
        f"cluster_slot0_4 203.0.113.5 tcp 80 : {A} 8080",
        f"cluster_slot1_4 203.0.113.5 tcp 80 : {B} 8080",
        "ranged_4 203.0.113.5 tcp 80",
        "source_4 203.0.113.5 tcp 80 192.0.2.0/24",
    }
    annotated = service(**BALANCED)
    annotated.metadata.annotations[ANNOTATION_SOURCE_RANGES] = "192.0.2.0/25, 192.0.2.128/25"
    assert elements(annotated, BOTH) == found
    assert elements(service(type="LoadBalancer", ingress=[{"ip": "203.0.113.5", "ipMode": "Proxy"}]), BOTH) == VIP


DUAL = {
    **BALANCED, "ingress": ["203.0.113.5", "2001:db8:5::5"], "clusterIPs": ["10.96.0.20", "fd00:96::20"],
}  # fmt: skip


def restricted(*ranges: str, **spec: Any) -> tuple[list[str], list[str]]:
    """What the table has of source ranges, and the problems."""
    changes = table(service(**{**DUAL, **spec}, loadBalancerSourceRanges=ranges), BOTH).compute(10)
    found = sorted(line for line in lines(changes.add) if line.startswith(("ranged", "source")))
    return found, changes.problems.get("default/web", [])


RANGED_4, RANGED_6 = "ranged_4 203.0.113.5 tcp 80", "ranged_6 2001:db8:5::5 tcp 80"


def test_no_source_range_is_left_out_unnamed() -> None:
    """As many as manifests have. Each family has a limit of its own, and merged ranges count as one."""
    singles = [f"192.0.{number // 128}.{number % 128 * 2}/32" for number in range(300)]
    found, problems = restricted(*singles, "2001:db8:1::/48", "198.51.100.0/24")
    assert {RANGED_4, RANGED_6} <= set(found)
    assert "source_6 2001:db8:5::5 tcp 80 2001:db8:1::/48" in found
    assert "source_4 203.0.113.5 tcp 80 198.51.100.0/24" in found
    assert (len(found), problems) == (2 + 300 + 2, [])
    found, problems = restricted(*(f"10.0.{number // 128}.{number % 128 * 2}/32" for number in range(1030)), "2001:db8:1::/48")
    assert sum(line.startswith("source_4") for line in found) == 1024
    assert "source_6 2001:db8:5::5 tcp 80 2001:db8:1::/48" in found
    assert problems == ["1030 merged source ranges of an IP family, of which 1024 are used"]
    merged = restricted(*(f"10.{number // 256}.{number % 256}.0/24" for number in range(4096)))
    assert merged == ([RANGED_4, "source_4 203.0.113.5 tcp 80 10.0.0.0/12"], [])


@pytest.mark.parametrize("stated", [["everywhere"], ["2001:db8::/129", "192.0.2.0/33"], ["::/0%eth0"]])
def test_unreadable_source_ranges_open_nothing(stated: list[str]) -> None:
    """It is not known which family they were of."""
    found, problems = restricted(*stated)
    assert (found, len(problems)) == ([RANGED_4, RANGED_6], len(stated))
    assert {RANGED_4, RANGED_6} < set(restricted(*stated, "192.0.2.0/24")[0])
    assert restricted("192.0.2.0/24")[0] == [RANGED_4, "source_4 203.0.113.5 tcp 80 192.0.2.0/24"]


def test_source_ranges_of_many_addresses_and_ports_are_bounded() -> None:
    """There is an element for each range of each frontend. The limit narrows who may connect."""
    ports = [{"name": f"p{number}", "port": number, "protocol": "TCP"} for number in range(1, 257)]
    ranges = [f"10.0.{number}.0/25" for number in range(200)]
    found, [problem] = restricted(*ranges, ports=ports, ingress=[f"198.51.100.{number}" for number in range(1, 5)])
    assert sum(line.startswith("ranged_4") for line in found) == 4 * 256
    assert sum(line.startswith("source_4") for line in found) == 4 * 256 * 96
    assert problem == "200 merged source ranges of an IP family, of which 96 are used"


def test_ranges_beyond_those_that_are_read_may_be_of_either_family() -> None:
    found, problems = restricted(*["192.0.2.0/24"] * 10_001)
    assert found == [RANGED_4, RANGED_6, "source_4 203.0.113.5 tcp 80 192.0.2.0/24"]
    assert problems == ["10001 source ranges, of which 10000 are used"]


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        ({"externalIPs": [f"198.51.100.{n}" for n in range(1, 100)]}, "99 external IPs, of which 64 are used"),
        ({**BALANCED, "ingress": [f"198.51.100.{n}" for n in range(1, 66)]}, "65 addresses of a load balancer, of which 64 are used"),
        ({"clusterIPs": [f"10.96.1.{n}" for n in range(1, 66)]}, "65 cluster IPs, of which 64 are used"),
        ({"ports": [{"name": f"p{n}", "port": n} for n in range(1, 258)]}, "257 ports, of which 256 are used"),
        ({"ports": [{"name": "a", "port": 1, "nodePort": 30000}, {"name": "b", "port": 2, "nodePort": 30000}]}, "duplicate nodePort 30000/tcp"),
        ({"ports": [{"port": 1, "nodePort": 70000}]}, "invalid nodePort 70000"),
        ({"healthCheckNodePort": 70000}, "invalid healthCheckNodePort 70000"),
        ({"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 86401}}}, "sessionAffinity timeout limited to 86400 s (is 86401 s)"),
    ],
)  # fmt: skip
def test_what_is_left_out_of_a_service_is_named(spec: dict[str, Any], problem: str) -> None:
    assert table(service(**spec), BOTH).compute(10).problems == {"default/web": [problem]}
    assert table(service(externalIPs=["198.51.100.9"] * 65), BOTH).compute(10).problems == {}


@pytest.mark.parametrize(
    ("item", "problem"),
    [
        (
            slice_(A, ports=[{"name": f"p{n}", "port": 1} for n in range(257)]),
            "257 ports of slice web-1, of which 256 are used",
        ),
        (slice_(A, ports=[{"name": ""}]), "invalid port 0/tcp of slice web-1"),
        (slice_("fd00::5"), "invalid endpoint address 'fd00::5'"),
        (slice_({"addresses": []}), "invalid endpoint address ''"),
    ],
)
def test_what_is_left_out_of_a_slice_is_named(item: EndpointSlice, problem: str) -> None:
    """Once, for all ports of the Service. Names of hosts are not used, as by kube-proxy."""
    ports = [{"name": f"p{number}", "port": number + 1} for number in range(3)]
    assert table(service(ports=ports), item).compute(10).problems == {"default/web": [problem]}
    assert table(service(), slice_("a.example.com", addressType="FQDN")).compute(10).problems == {}


def test_a_node_that_may_use_an_address_may_send_from_it() -> None:
    """As it does if it is the one that answers for it: the kernel's source of a packet to an address of its own."""

    def sources(*ranges: str, address: str = "198.51.100.11") -> set[str]:
        facts = replace(FACTS, addresses=(address,) if address else ())
        found = elements(service(**BALANCED, loadBalancerSourceRanges=ranges), BOTH, facts=facts)
        return {line.split()[-1] for line in found if line.startswith("source_4")}

    assert sources("198.51.100.0/24") == {"198.51.100.0/24", "203.0.113.5"}
    assert sources("198.51.100.11/32") == {"198.51.100.11", "203.0.113.5"}
    assert sources("192.0.2.0/24") == {"192.0.2.0/24"}
    # An interval for itself would overlap; and ranges may be of one family, the node's address of the other.
    assert sources("0.0.0.0/0") == {"0.0.0.0/0"}
    assert sources("192.0.2.0/24", address="2001:db8::1") == sources("192.0.2.0/24", address="") == {"192.0.2.0/24"}


def test_a_node_may_send_from_an_address_of_each_family() -> None:
    """Whichever family is that of its underlay."""
    dual = service(
        **{**BALANCED, "ingress": ["203.0.113.5", "2001:db8:5::5"]}, clusterIPs=["10.96.0.20", "fd00:96::20"],
        loadBalancerSourceRanges=["198.51.100.0/24", "2001:db8:1::/64"],
    )  # fmt: skip
    for addresses in (("198.51.100.11", "2001:db8:1::11"), ("2001:db8:1::11", "198.51.100.11")):
        found = elements(dual, BOTH, facts=replace(FACTS, addresses=addresses))
        assert {line for line in found if line.startswith("source")} == {
            "source_4 203.0.113.5 tcp 80 198.51.100.0/24", "source_4 203.0.113.5 tcp 80 203.0.113.5",
            "source_6 2001:db8:5::5 tcp 80 2001:db8:1::/64", "source_6 2001:db8:5::5 tcp 80 2001:db8:5::5",
        }  # fmt: skip
    assert facts_of(Node(("10.244.1.0/24",), (), "192.0.2.1", "", 1, 1)).addresses == ("192.0.2.1",)


def test_internal_traffic_policy_local_uses_endpoints_of_this_node() -> None:
    """Without one, packets are dropped: they are not for another node."""
    local = service(internalTrafficPolicy="Local")
    assert elements(local, BOTH) == {"4 10.96.0.20 tcp 80 : local_enter1_4", f"local_slot0_4 10.96.0.20 tcp 80 : {A} 8080"}
    assert elements(local, slice_(endpoint(B, THERE))) == {"none_4 10.96.0.20 tcp 80 : drop"}
    assert elements(local) == {"none_4 10.96.0.20 tcp 80 : reject"}


def test_external_traffic_policy_local_keeps_traffic_on_this_node() -> None:
    """Pods and processes of the node may reach every endpoint, so both kinds of slots are there; without an endpoint here,
    those of outsiders are dropped."""
    local = service(**BALANCED, externalTrafficPolicy="Local")
    assert elements(local, BOTH) == VIP | {
        "4 203.0.113.5 tcp 80 : outside2l1_4",
        f"cluster_slot0_4 203.0.113.5 tcp 80 : {A} 8080",
        f"cluster_slot1_4 203.0.113.5 tcp 80 : {B} 8080",
        f"local_slot0_4 203.0.113.5 tcp 80 : {A} 8080",
    }
    found = elements(local, slice_(endpoint(B, THERE)))
    assert {line for line in found if "203.0.113.5" in line} == {
        "4 203.0.113.5 tcp 80 : outside1l0_4",
        "none_4 203.0.113.5 tcp 80 : drop",
        f"cluster_slot0_4 203.0.113.5 tcp 80 : {B} 8080",
    }


def test_affinity_has_a_choice_for_each_endpoint() -> None:
    sticky = service(sessionAffinity="ClientIP", sessionAffinityConfig={"clientIP": {"timeoutSeconds": 60}})
    found = table(sticky, slice_(A, "10.244.1.6", "10.244.1.7"))
    found.compute(10)
    found.set_slice("default/web-1", slice_(A, "10.244.1.7"))
    changes = found.compute(10)
    assert lines(changes.add) == {
        "4 10.96.0.20 tcp 80 : cluster_enter2of3t60g37a8eec1ce19687d_4",
        "cluster_choice1_4 10.96.0.20 tcp 80 : cluster_stick2t60g37a8eec1ce19687d_4",
    }
    assert lines(changes.remove) == {
        "4 10.96.0.20 tcp 80 : cluster_enter3of3t60g37a8eec1ce19687d_4", "cluster_choice1_4 10.96.0.20 tcp 80 : cluster_stick1t60g37a8eec1ce19687d_4",
        "cluster_choice2_4 10.96.0.20 tcp 80 : cluster_stick2t60g37a8eec1ce19687d_4", "cluster_slot1_4 10.96.0.20 tcp 80 : 10.244.1.6 8080",
    }  # fmt: skip
    assert changes.clients == set()
    found.set_slice("default/web-1", slice_(A, "10.244.1.7", "10.244.1.8"))
    changes = found.compute(10)
    assert changes.clients == {("services_cluster_seen1g37a8eec1ce19687d_4", ("10.96.0.20", "tcp", "80"))}
    assert "cluster_slot1_4 10.96.0.20 tcp 80 : 10.244.1.8 8080" in lines(changes.add)


def test_each_namespace_remembers_clients_of_its_own() -> None:
    """In sets, and chains that fill them, which Services of another namespace do not use."""
    found = table(service(sessionAffinity="ClientIP"), BOTH)
    found.set_service("other/web", service("web", ip="10.96.0.21", sessionAffinity="ClientIP"))
    found.set_slice("other/web-1", BOTH)
    changes = found.compute(10)
    used = {
        ip: {item.value[0] for item in changes.add if item.key[0] == ip and item.value[0].startswith("goto")}
        for ip in ("10.96.0.20", "10.96.0.21")
    }
    assert all(used.values())
    assert not used["10.96.0.20"] & used["10.96.0.21"]


def test_a_change_of_an_endpoint_changes_its_own_elements() -> None:
    found = table(service(), BOTH)
    found.compute(10)
    found.set_slice("default/web-1", slice_(A, endpoint("10.244.2.9", THERE)))
    changes = found.compute(10)
    assert lines(changes.add) == {"cluster_slot1_4 10.96.0.20 tcp 80 : 10.244.2.9 8080"}
    assert lines(changes.remove) == {f"cluster_slot1_4 10.96.0.20 tcp 80 : {B} 8080"}
    found.set_slice("default/web-1", slice_(A, endpoint("10.244.2.9", THERE)))
    assert found.compute(10) == Changes()


def test_ports_are_matched_by_name_and_protocol() -> None:
    """The same number in two protocols, a port that the slice lacks, several slices; endpoints in two of them count once."""
    many = service(
        ports=[
            {"name": "dns", "port": 53, "protocol": "UDP"}, {"name": "dns-tcp", "port": 53, "protocol": "TCP"},
            {"name": "sctp", "port": 53, "protocol": "SCTP"}, {"name": "other", "port": 99, "protocol": "TCP"},
        ]
    )  # fmt: skip
    ports = [{"name": "dns", "port": 1053, "protocol": "UDP"}, {"name": "dns-tcp", "port": 1054, "protocol": "TCP"}]
    more = [{"name": "sctp", "port": 1055, "protocol": "SCTP"}, {"name": "dns", "port": 1053, "protocol": "UDP"}]
    assert elements(many, slice_(A, ports=ports), slice_(A, name="web-2", ports=more)) == {
        "4 10.96.0.20 udp 53 : cluster_enter1_4", f"cluster_slot0_4 10.96.0.20 udp 53 : {A} 1053",
        "4 10.96.0.20 tcp 53 : cluster_enter1_4", f"cluster_slot0_4 10.96.0.20 tcp 53 : {A} 1054",
        "4 10.96.0.20 sctp 53 : cluster_enter1_4", f"cluster_slot0_4 10.96.0.20 sctp 53 : {A} 1055",
        "none_4 10.96.0.20 tcp 99 : reject",
    }  # fmt: skip


def test_both_address_families() -> None:
    dual = service(clusterIPs=["10.96.0.20", "fd00:96::20"], ipFamilies=["IPv4", "IPv6"])
    six = slice_("fd00:244:1::5", name="web-6", addressType="IPv6")
    assert elements(dual, slice_(A), six) == {
        "4 10.96.0.20 tcp 80 : cluster_enter1_4", f"cluster_slot0_4 10.96.0.20 tcp 80 : {A} 8080",
        "6 fd00:96::20 tcp 80 : cluster_enter1_6", "cluster_slot0_6 fd00:96::20 tcp 80 : fd00:244:1::5 8080",
    }  # fmt: skip


def test_connections_of_udp_are_compared_when_endpoints_change() -> None:
    """Also of the first endpoint, and those of an endpoint that terminates may stay."""
    udp = service(ports=[{"port": 53, "protocol": "UDP"}])
    ports = [{"name": "", "port": 53, "protocol": "UDP"}]
    found, frontend = table(udp), Frontend(4, "10.96.0.20", "udp", 53)
    assert found.compute(10).flows == {frontend: frozenset()}
    found.set_slice("default/web-1", slice_(A, B, ports=ports))
    assert found.compute(10).flows == {frontend: {Target(A, 53), Target(B, 53)}}
    leaving = endpoint(B, ready=False, serving=True, terminating=True)
    found.set_slice("default/web-1", slice_(A, leaving, ports=ports))
    assert found.compute(10).flows == {}
    found.set_slice("default/web-1", slice_(A, ports=ports))
    assert found.compute(10).flows == {frontend: {Target(A, 53)}}
    found.set_service("default/web", None)
    assert found.compute(10).flows == {frontend: frozenset()}
    assert table(service(), BOTH).compute(10).flows == {}


def test_connections_of_udp_survive_that_their_only_endpoint_is_not_ready() -> None:
    """Until it has gone, or another one serves."""
    ports = [{"name": "", "port": 53, "protocol": "UDP"}]
    found = table(service(ports=[{"port": 53, "protocol": "UDP"}]), slice_(A, ports=ports))
    frontend = Frontend(4, "10.96.0.20", "udp", 53)
    assert found.compute(10).flows == {frontend: {Target(A, 53)}}
    failing = endpoint(A, ready=False, serving=False)
    for state in (failing, A, endpoint(A, ready=False, serving=False, terminating=True)):
        found.set_slice("default/web-1", slice_(state, ports=ports))
        changes = found.compute(10)
        assert changes.flows == {}
        assert found.live() == {frontend: {Target(A, 53)}}
    found.set_slice("default/web-1", slice_(failing, B, ports=ports))
    assert found.compute(10).flows == {frontend: {Target(B, 53)}}
    found.set_slice("default/web-1", slice_(failing, endpoint(B, ready=False, serving=False), ports=ports))
    assert found.compute(10).flows == {frontend: {Target(A, 53), Target(B, 53)}}
    found.set_slice("default/web-1", slice_(ports=ports))
    assert found.compute(10).flows == {frontend: frozenset()}


def test_the_older_service_keeps_an_address_that_two_claim() -> None:
    """The other one is told, and has it once the first has gone."""
    older, younger = (
        service(name, ip=ip, externalIPs=["198.51.100.9"]) for name, ip in (("z", "10.96.0.1"), ("a", "10.96.0.2"))
    )
    older.metadata.creationTimestamp.seconds, younger.metadata.creationTimestamp.seconds = 1, 2
    found = table(younger)
    assert "none_4 198.51.100.9 tcp 80 : reject" in lines(found.compute(10).add)
    found.set_service("default/z", older)
    found.set_slice("default/z-1", slice_(A, of="z"))
    changes = found.compute(10)
    assert "4 198.51.100.9 tcp 80 : cluster_enter1_4" in lines(changes.add)
    assert "none_4 198.51.100.9 tcp 80 : reject" in lines(changes.remove)
    assert list(changes.problems) == ["default/a"]
    found.set_service("default/z", None)
    changes = found.compute(10)
    assert "none_4 198.51.100.9 tcp 80 : reject" in lines(changes.add)
    assert changes.problems == {}


def test_a_cluster_ip_is_its_services_alone() -> None:
    """Not that of an older one which has named it beforehand as an address of its own."""
    older, victim = service("old", ip="10.96.0.1", externalIPs=["10.96.0.20"]), service()
    older.metadata.creationTimestamp.seconds, victim.metadata.creationTimestamp.seconds = 1, 2
    found = table(older, slice_("10.244.9.9", of="old"))
    assert "4 10.96.0.20 tcp 80 : cluster_enter1_4" in lines(found.compute(10).add)
    found.set_service("default/web", victim)
    found.set_slice("default/web-1", BOTH)
    changes = found.compute(10)
    assert lines(changes.add) == VIP
    assert list(changes.problems) == ["default/old"]


def test_a_service_of_many_addresses_ports_and_endpoints_is_bounded() -> None:
    """There is an element for each endpoint of each frontend. Work for each frontend does not grow with their number."""
    ports = [{"name": f"p{number}", "port": number, "protocol": "TCP"} for number in range(1, 257)]
    many = service(ports=ports, externalIPs=[f"198.51.100.{number}" for number in range(1, 65)])
    ends = [endpoint(f"10.244.3.{number}", THERE, ready=number > 100) for number in range(1, 201)]
    targets = [{"name": item["name"], "port": 8080, "protocol": "TCP"} for item in ports]
    found = table(many, slice_(*ends, ports=targets))
    changes = found.compute(10)
    assert len(changes.add) == 256 * 65 * (1 + 6)
    assert "cluster_slot0_4 198.51.100.64 tcp 256 : 10.244.3.101 8080" in lines(changes.add)
    [problem] = changes.problems["default/web"]
    assert problem == "100 endpoints of a port, of which 6 are used"
    found.set_service("default/web", None)
    assert len(found.compute(10).remove) == 256 * 65 * (1 + 6)


def test_objects_that_the_api_would_reject_cost_others_nothing() -> None:
    """What is wrong is named; the rest is used."""
    bad = service(
        ip="10.96.0.20",
        ports=[{"port": 80, "protocol": "TCP"}, {"port": 80, "protocol": "TCP", "name": "again"}, {"port": 70000, "protocol": "TCP"}, {"port": 1, "protocol": "X"}],
        externalIPs=["127.0.0.1", "nonsense } flush ruleset", "0.0.0.0", "fe80::1%eth0", "224.0.0.1"],
        loadBalancerSourceRanges=["everywhere", "fe80::%eth0 }/64"],
    )  # fmt: skip
    found = table(bad, slice_(A, "127.0.0.1", "nonsense", endpoint(B, THERE)))
    changes = found.compute(10)
    assert lines(changes.add) == VIP
    assert len(changes.problems["default/web"]) == 12


def test_endpoints_are_bounded() -> None:
    many = [f"10.244.{number // 250}.{number % 250 + 2}" for number in range(1200)]
    found = table(service(), slice_(*many[:700]), slice_(*many[700:], name="web-2"))
    changes = found.compute(10)
    assert "4 10.96.0.20 tcp 80 : cluster_enter1000_4" in lines(changes.add)
    assert changes.problems["default/web"] == ["1200 endpoints of a port, of which 1000 are used"]


def far(count: int, first: int = 2) -> list[dict[str, Any]]:
    """Endpoints of another node, before those of 10.244."""
    return [endpoint(f"10.{200 + number // 250}.0.{number % 250 + 1}", THERE) for number in range(first, first + count)]


def test_endpoints_of_this_node_are_used_however_many_others_have() -> None:
    """With policy Local: the control plane gives a load balancer's address to any node with endpoints."""
    local = service(**BALANCED, externalTrafficPolicy="Local", internalTrafficPolicy="Local", healthCheckNodePort=32000)
    found = table(local, slice_(*far(1000), A))
    changes = found.compute(10)
    assert {
        "4 203.0.113.5 tcp 80 : outside1000l1_4", f"local_slot0_4 203.0.113.5 tcp 80 : {A} 8080",
        "4 10.96.0.20 tcp 80 : local_enter1_4", f"local_slot0_4 10.96.0.20 tcp 80 : {A} 8080",
    } < lines(changes.add)  # fmt: skip
    assert not any(item.container == "services_none_4" for item in changes.add)
    assert found.health() == [Health(32000, "default", "web", 1)]
    assert changes.problems["default/web"] == ["1001 endpoints of a port, of which 1000 are used"]


def test_endpoints_of_this_node_are_used_however_many_ports_a_service_has() -> None:
    ports = [{"name": f"p{number}", "port": number, "protocol": "TCP"} for number in range(1, 257)]
    local = service(ports=ports, clusterIPs=["10.96.0.20", "10.96.0.21"], internalTrafficPolicy="Local")
    targets = [{"name": item["name"], "port": 8080, "protocol": "TCP"} for item in ports]
    found = table(local, slice_(*far(200), A, ports=targets))
    changes = found.compute(10)
    assert len(lines(changes.add)) == 256 * 2 * 2
    assert f"local_slot0_4 10.96.0.21 tcp 256 : {A} 8080" in lines(changes.add)
    assert changes.problems["default/web"] == ["201 endpoints of a port, of which 195 are used"]


def test_hints_are_regarded_of_all_endpoints() -> None:
    hinted = [{**item, "hints": {"forZones": [{"name": "z2"}]}} for item in far(1000)]
    ours = {**endpoint(B, THERE), "hints": {"forZones": [{"name": "z1"}]}}
    assert f"cluster_slot0_4 10.96.0.20 tcp 80 : {B} 8080" in elements(service(), slice_(*hinted, ours))


@pytest.mark.parametrize("affinity", ["None", "ClientIP"])
def test_an_endpoint_that_is_new_takes_the_place_of_none(affinity: str) -> None:
    """Beyond the limit: connections and clients of those that are used stay. One that was left out fills a gap."""
    udp = {"ports": [{"port": 53, "protocol": "UDP"}], "sessionAffinity": affinity}
    ports = [{"name": "", "port": 53, "protocol": "UDP"}]
    found = table(service(**udp), slice_(*far(1000), ports=ports))
    assert len(found.compute(10).flows[Frontend(4, "10.96.0.20", "udp", 53)]) == 1000
    found.set_slice("default/web-1", slice_(*far(1001, first=1), A, ports=ports))
    changes = found.compute(10)
    assert (changes.add, changes.remove, changes.clients) == (set(), set(), set())
    assert len(changes.flows[Frontend(4, "10.96.0.20", "udp", 53)]) == 1002
    found.set_slice("default/web-1", slice_(*far(3, first=1), *far(997, first=5), A, ports=ports))
    [change] = lines(found.compute(10).add)
    assert change.endswith(f" 10.96.0.20 udp 53 : {A} 53")


def test_slices_may_come_before_and_go_after_their_service() -> None:
    """And change the Service that they are of."""
    found = table(None, BOTH)
    assert found.compute(10) == Changes()
    found.set_service("default/web", service())
    assert lines(found.compute(10).add) == VIP
    moved = slice_(A, of="other", name="web-1")
    found.set_slice("default/web-1", moved)
    assert lines(found.compute(10).add) == {"none_4 10.96.0.20 tcp 80 : reject"}
    found.set_service("default/web", None)
    found.set_slice("default/web-1", None)
    changes = found.compute(10)
    assert (lines(changes.add), found.elements(), found.pending) == (set(), [], 0)


def test_work_is_done_in_portions() -> None:
    found = ServiceTable(FACTS)
    for number in range(5):
        found.set_service(f"default/s{number}", service(f"s{number}", ip=f"10.96.0.{number + 20}"))
    assert [len(found.compute(2).add) for _ in range(4)] == [2, 2, 1, 0]


def test_a_port_that_goes_from_one_service_to_another_is_of_one_portion() -> None:
    """Else the elements that the one adds would be removed with those of the other. The new one is first in line."""
    ports = [{"port": 80, "nodePort": 30080, "protocol": "TCP"}]
    found = table(service("old", type="NodePort", ports=ports), slice_(A, of="old"))
    found.set_service("default/new", service("new", ip="10.96.0.21"))
    found.set_slice("default/new-1", slice_(B, of="new"))
    found.compute(10)
    found.set_slice("default/new-1", slice_(B, of="new"))
    found.set_service("default/new", service("new", ip="10.96.0.21", type="NodePort", ports=ports))
    found.set_service("default/old", None)
    changes = found.compute(1)
    assert f"cluster_nodeport_slot0_4 tcp 30080 : {A} 8080" in lines(changes.remove)
    assert lines(changes.add) == {f"cluster_nodeport_slot0_4 tcp 30080 : {B} 8080"}
    assert (found.pending, found.compute(1)) == (0, Changes())


def test_slots_of_an_earlier_agent_are_kept() -> None:
    """An agent that starts again computes the elements that the kernel has."""
    before = table(
        service(type="NodePort", ports=[{"port": 80, "nodePort": 30080, "protocol": "TCP"}]), slice_(A, "10.244.1.6", B)
    )
    before.compute(10)
    before.set_slice("default/web-1", slice_(B, A, "10.244.3.9"))
    before.compute(10)
    kernel: dict[str, list[Element]] = {}
    for item in before.elements():
        kernel.setdefault(item.container, []).append(item)
    after = ServiceTable(FACTS, recovery.read(kernel))
    after.set_service("default/web", service(type="NodePort", ports=[{"port": 80, "nodePort": 30080, "protocol": "TCP"}]))
    after.set_slice("default/web-1", slice_(B, A, "10.244.3.9"))
    after.compute(10)
    assert set(after.elements()) == set(before.elements())
    fresh = table(service(), slice_(B, A, "10.244.3.9"))
    fresh.compute(10)
    assert not set(fresh.elements()) <= set(before.elements())


def test_health_of_services_with_local_traffic() -> None:
    found = table(service(**BALANCED, externalTrafficPolicy="Local", healthCheckNodePort=32000), BOTH)
    found.compute(10)
    assert found.health() == [Health(32000, "default", "web", 1)]
    found.set_service("default/web", None)
    found.compute(10)
    assert found.health() == []


def test_another_zone_changes_what_hints_choose() -> None:
    hinted = slice_(
        {**endpoint(A), "hints": {"forZones": [{"name": "z1"}]}},
        {**endpoint(B, THERE), "hints": {"forZones": [{"name": "z2"}]}},
    )
    found = table(service(), hinted)
    assert f"cluster_slot0_4 10.96.0.20 tcp 80 : {A} 8080" in lines(found.compute(10).add)
    found.set_facts(Facts(HERE, "z2", FACTS.pod_cidrs, FACTS.service_cidrs, FACTS.dns))
    assert lines(found.compute(10).add) == {f"cluster_slot0_4 10.96.0.20 tcp 80 : {B} 8080"}


def sticky(number: int, timeout: int) -> Service:
    config = {"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": timeout}}}
    return service(f"s{number}", ip=f"10.96.1.{number}", **config)


def of_timeouts(count: int) -> ServiceTable:
    """With Services that each have a timeout of their own."""
    found = ServiceTable(FACTS)
    for number in range(1, count + 1):
        found.set_service(f"default/s{number}", sticky(number, number * 10))
        found.set_slice(f"default/s{number}-1", slice_(A, of=f"s{number}"))
    return found


def test_timeouts_of_affinity_are_bounded() -> None:
    """Of more than 64, later ones are replaced by the nearest."""
    found = of_timeouts(65)
    changes = found.compute(100)
    assert "4 10.96.1.64 tcp 80 : cluster_enter1of1t640g37a8eec1ce19687d_4" in lines(changes.add)
    assert "4 10.96.1.65 tcp 80 : cluster_enter1of1t640g37a8eec1ce19687d_4" in lines(changes.add)
    assert list(changes.problems) == ["default/s65"]


@pytest.mark.parametrize("label", [LABEL_SERVICE_PROXY_NAME, LABEL_HEADLESS])
def test_what_is_labelled_for_another_proxy_is_left_out(label: str) -> None:
    """Until the label is gone; of Services and of slices."""
    item, ends = service(), BOTH
    found = table(item, ends)
    found.compute(10)
    item.metadata.labels[label] = "other"
    found.set_service("default/web", item)
    assert lines(found.compute(10).remove) == VIP
    del item.metadata.labels[label]
    found.set_service("default/web", item)
    assert lines(found.compute(10).add) == VIP
    labelled = slice_(A, endpoint(B, THERE))
    labelled.metadata.labels[label] = ""
    found.set_slice("default/web-1", labelled)
    changes = found.compute(10)
    assert (lines(changes.remove), lines(changes.add)) == (VIP, {"none_4 10.96.0.20 tcp 80 : reject"})


@pytest.mark.parametrize("after", [None, sticky(7, 640), service("s7", ip="10.96.1.7")], ids=["deleted", "changed", "none"])
def test_a_timeout_that_no_service_has_any_more_makes_room(after: Service | None) -> None:
    """For the one that had none of its own, which is no problem any more."""
    found = of_timeouts(65)
    found.compute(100)
    found.set_service("default/s7", after)
    changes = [found.compute(100), found.compute(100)]
    assert "4 10.96.1.65 tcp 80 : cluster_enter1of1t650g37a8eec1ce19687d_4" in lines(changes[1].add)
    assert not found.pending
    assert not changes[1].problems


def test_services_that_come_and_go_use_up_no_timeouts() -> None:
    found = ServiceTable(FACTS)
    for number in range(1, 201):
        found.set_service("default/s1", sticky(1, number))
        assert not found.compute(10).problems
        found.set_service("default/s1", None)
        found.compute(10)
