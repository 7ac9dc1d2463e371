"""`kctl describe` of NetworkPolicies, Ingresses and IngressClasses: kubectl's lines."""

from __future__ import annotations

from typing import Any

import pytest

from cli.commands import describe
from pinnace import kinds
from tests.support.kctlserver import Server, made
from tests.support.objects import make


def lines(item: Any, *others: Any) -> list[str]:
    kind = next(kind for kind in kinds.ALL if kind.cls is type(item))
    return [line.rstrip() for line in describe.describe(Server(item, *others), kind, item).splitlines()]


def test_a_policy_lists_what_it_allows() -> None:
    """In each direction that it restricts; without events, as kubectl."""
    peers = [
        {"podSelector": {"matchLabels": {"a": "b"}}, "namespaceSelector": {}},
        {"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16", "10.2.0.0/16"]}},
    ]
    rules = [
        {},
        {"from": peers, "ports": [{"port": 80, "endPort": 90}, {"protocol": "UDP", "port": "dns"}, {"protocol": "SCTP"}]},
    ]
    item = make(kinds.NETWORK_POLICY, "web", spec={"policyTypes": ["Ingress"], "ingress": rules})
    item.metadata.creationTimestamp.seconds = 86400
    assert lines(item) == [
        "Name:         web",
        "Namespace:    default",
        "Created on:   1970-01-02 00:00:00 +0000 UTC",
        "Labels:       <none>",
        "Annotations:  <none>",
        "Spec:",
        "  PodSelector:     <none> (Allowing the specific traffic to all pods in this namespace)",
        "  Allowing ingress traffic:",
        "    To Port: <any> (traffic allowed to all ports)",
        "    From: <any> (traffic not restricted by source)",
        "    ----------",
        "    To Port Range: 80-90/TCP",
        "    To Port: dns/UDP",
        "    To Port: <nil>/SCTP",
        "    From:",
        "      NamespaceSelector: <none>",
        "      PodSelector: a=b",
        "    From:",
        "      IPBlock:",
        "        CIDR: 10.0.0.0/8",
        "        Except: 10.1.0.0/16, 10.2.0.0/16",
        "  Not affecting egress traffic",
        "  Policy Types: Ingress",
    ]
    item = make(kinds.NETWORK_POLICY, "web", spec={"podSelector": {"matchLabels": {"a": "b"}}, "policyTypes": ["Egress"]})
    assert lines(item)[6:] == [
        "  PodSelector:     a=b",
        "  Not affecting ingress traffic",
        "  Allowing egress traffic:",
        "    <none> (Selected pods are isolated for egress connectivity)",
        "  Policy Types: Egress",
    ]


def service(name: str) -> Any:
    return made(kinds.SERVICE, name, spec={"ports": [{"name": "web", "port": 80}, {"name": "other", "port": 81}]})


def endpoints(name: str, *ips: str, ready: bool = True, label: str = "front") -> Any:
    return made(
        kinds.ENDPOINT_SLICE, name, metadata={"labels": {"kubernetes.io/service-name": label}}, addressType="IPv4",
        ports=[{"name": "web", "port": 8080}, {"name": "other", "port": 1}],
        endpoints=[{"addresses": [ip], "conditions": {"ready": ready}} for ip in ips],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("slices", "shown"),
    [
        ([], "<none>"),
        ([("10.0.0.1",)], "10.0.0.1:8080"),
        (
            [("10.0.0.1", "10.0.0.2"), ("10.0.0.3", "10.0.0.4", "fd00::1")],
            "10.0.0.1:8080,10.0.0.2:8080,10.0.0.3:8080 + 2 more...",
        ),
        ([("fd00::1",)], "[fd00::1]:8080"),
    ],
)
def test_an_ingress_shows_the_endpoints_of_its_services(slices: list[tuple[str, ...]], shown: str) -> None:
    """Of the port that it names; those that are ready."""
    found = [endpoints(f"e{number}", *ips) for number, ips in enumerate(slices)]
    waiting = [endpoints("waiting", "10.9.9.9", ready=False)] if slices == [("10.0.0.1",)] else []
    backend = {"service": {"name": "front", "port": {"number": 80}}}
    rules = [{"host": "a.com", "http": {"paths": [{"path": "/x", "pathType": "Exact", "backend": backend}]}}]
    item = make(kinds.INGRESS, "web", spec={"rules": rules, "ingressClassName": "outer"})
    item.status.loadBalancer.ingress.add(ip="192.0.2.1")
    assert lines(item, service("front"), *found, *waiting, endpoints("foreign", "10.8.8.8", label="other")) == [
        "Name:             web",
        "Labels:           <none>",
        "Namespace:        default",
        "Address:          192.0.2.1",
        "Ingress Class:    outer",
        "Default backend:  <default>",
        "Rules:",
        "  Host        Path  Backends",
        "  ----        ----  --------",
        "  a.com",
        f"              /x   front:80 ({shown})",
        "Annotations:  <none>",
        "Events:       <none>",
    ]


def test_of_several_ports_with_a_number_the_last_one_is_shown() -> None:
    """As by kubectl: a port of TCP and one of UDP may have the same number."""
    backend = {"service": {"name": "front", "port": {"number": 80}}}
    ports = [{"name": "web", "port": 80}, {"name": "other", "port": 80, "protocol": "UDP"}]
    item = make(kinds.INGRESS, "web", spec={"defaultBackend": backend})
    found = lines(item, made(kinds.SERVICE, "front", spec={"ports": ports}), endpoints("e1", "10.0.0.1"))
    assert "Default backend:  front:80 (10.0.0.1:1)" in found


def test_an_ingress_shows_its_certificates_and_what_is_missing() -> None:
    """Without rules, everything is for the default backend."""
    backend = {"service": {"name": "gone", "port": {"name": "http"}}}
    item = make(
        kinds.INGRESS,
        "web",
        spec={"defaultBackend": backend, "tls": [{"hosts": ["a", "b"], "secretName": "s"}, {"hosts": ["c"]}]},
    )
    found = lines(item)
    assert found[5] == 'Default backend:  gone:http (<error: services "gone" not found>)'
    assert found[6:9] == ["TLS:", "  s terminates a,b", "  SNI routes c"]
    assert found[12] == '  *           *     gone:http (<error: services "gone" not found>)'
    item = make(kinds.INGRESS, "web", spec={"defaultBackend": {"resource": {"kind": "Bucket", "name": "x"}}})
    assert lines(item)[5] == "Default backend:  APIGroup: <none>, Kind: Bucket, Name: x"


def test_an_ingress_class_shows_its_controller() -> None:
    """And its parameters."""
    item = make(
        kinds.INGRESS_CLASS, "outer",
        spec={"controller": "example.com/c", "parameters": {"apiGroup": "example.com", "kind": "A", "name": "b"}},
    )  # fmt: skip
    assert lines(item)[3:8] == [
        "Controller:   example.com/c",
        "Parameters:",
        "  APIGroup:  example.com",
        "  Kind:      A",
        "  Name:      b",
    ]
