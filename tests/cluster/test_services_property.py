"""No cluster IP and no node port is ever of two Services, and claims are exactly what Services have, whatever users do."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from controlplane import resources
from controlplane.serviceranges import AddressRange, PortRange, ServiceRanges
from pinnace import kinds
from pinnace.errors import ApiError
from tests.support.api import Api
from tests.support.cluster import Cluster, running

# Small, so that Services meet.
RANGES = ServiceRanges((AddressRange("10.96.0.0/28"), AddressRange("fd00:1::/124")), PortRange(30_000, 30_009))
NAMES = ("a", "b", "c")


def optional(*values: Any) -> st.SearchStrategy[Any]:
    """One of the values, no value at all, or null, which removes the field in a patch."""
    return st.sampled_from([None, *values])


PORTS = st.lists(
    st.fixed_dictionaries(
        {"port": st.sampled_from([53, 80]), "protocol": st.sampled_from(["TCP", "UDP", "SCTP"])},
        optional={"nodePort": st.sampled_from([0, 30_003, 30_004])},
    ),
    min_size=1, max_size=3, unique_by=lambda port: (port["port"], port["protocol"]),
)  # fmt: skip
SPECS = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["ClusterIP", "NodePort", "LoadBalancer", "ExternalName", "Any"]),
        "externalName": optional("a.example"), "ports": PORTS,
        "clusterIP": optional("", "None", "10.96.0.5", "fd00:1::5", "FD00:1::5", "abc"),
        "clusterIPs": optional(["10.96.0.5", "fd00:1::5"], ["None"], ["abc"], ["10.96.0.5", "", "abc"]),
        "ipFamilies": optional(["IPv6"], ["IPv6", "IPv4"], ["IPv4"], ["IPv5"]),
        "ipFamilyPolicy": optional("SingleStack", "PreferDualStack", "RequireDualStack"),
        "externalTrafficPolicy": optional("Local", "Cluster"), "allocateLoadBalancerNodePorts": optional(True, False),
        "healthCheckNodePort": optional(0, 30_005),
    },
)  # fmt: skip
ACTIONS = st.one_of(
    st.tuples(st.sampled_from(["create", "apply", "MERGE", "STRATEGIC"]), st.sampled_from(NAMES), SPECS),
    st.tuples(st.just("delete"), st.sampled_from(NAMES), st.just({})),
)


def held(item: Any) -> set[str]:
    """What a Service has, by the names of claims."""
    addresses = {str(ipaddress.ip_address(text)) for text in item.spec.clusterIPs if text != "None"}
    outer = item.spec.type in ("NodePort", "LoadBalancer")
    ports = {port.nodePort for port in item.spec.ports} | {item.spec.healthCheckNodePort} if outer else set()
    return addresses | {f"port-{port}" for port in ports if port}


async def act(cluster: Cluster, action: str, name: str, spec: dict[str, Any]) -> None:
    api = Api(cluster)
    named = [
        {**port, "name": f"p{at}"} for at, port in enumerate(spec.get("ports", [{"port": 80}] if action == "create" else []))
    ]
    spec = {**spec, **({"ports": named} if named else {})}
    stated = {key: value for key, value in spec.items() if value is not None}
    manifest = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "default"}, "spec": stated}
    if action == "create":
        await api.create(kinds.SERVICE, manifest)
    elif action == "apply":
        await api.apply(manifest)
    elif action == "delete":
        await cluster.delete(kinds.SERVICE, name)
    else:
        await api.patch(kinds.SERVICE, name, action, {"spec": spec})


def check(cluster: Cluster) -> None:
    every = [row.message for row in cluster.store.rows(kinds.SERVICE)]
    total = [name for item in every for name in held(item)]
    assert len(total) == len(set(total))
    assert set(cluster.names(kinds.SERVICE_CLAIM)) == set(total)
    for spec in (item.spec for item in every if item.spec.type != "ExternalName"):
        assert spec.clusterIP == spec.clusterIPs[0]
        assert spec.clusterIP == "None" or len(spec.clusterIPs) == len(spec.ipFamilies)
        assert spec.type != "NodePort" or all(port.nodePort for port in spec.ports)
        assert spec.type != "ClusterIP" or not any(port.nodePort for port in spec.ports)


async def play(actions: list[tuple[str, str, dict[str, Any]]]) -> None:
    async with running(registry=resources.built_in(RANGES)) as cluster:
        for action in actions:
            with contextlib.suppress(ApiError):
                await act(cluster, *action)
            check(cluster)


def node_port(name: str, *ports: dict[str, Any], type_: str = "NodePort") -> tuple[str, str, dict[str, Any]]:
    return "create", name, {"type": type_, "externalName": "a.example", "ports": list(ports)}


STATED = {"port": 53, "protocol": "UDP", "nodePort": 30_003}
# A number that is shared before it is stated, and one of an alias.
SHARED = [node_port("a", STATED), node_port("b", {"port": 53, "protocol": "SCTP"}, STATED)]
ALIAS = [node_port("a", STATED), node_port("b", STATED, type_="ExternalName"), ("delete", "b", {})]
MALFORMED = {"type": "Any", "clusterIP": "abc", "clusterIPs": ["abc"], "ipFamilies": ["IPv4"]}


@settings(max_examples=40, deadline=None)
@example(SHARED)
@example(ALIAS)
@example([("create", "a", MALFORMED)])
@given(st.lists(ACTIONS, max_size=15))
def test_what_services_have_is_claimed_once(actions: list[tuple[str, str, dict[str, Any]]]) -> None:
    """After each request, accepted or refused."""
    asyncio.run(play(actions))
