"""Services: values of their fields, and functions of one object that server, agent and kctl share."""

from __future__ import annotations

from collections.abc import Sequence

from pinnace.core.v1.service_pb2 import Service

# spec.type.
CLUSTER_IP, NODE_PORT, LOAD_BALANCER, EXTERNAL_NAME = "ClusterIP", "NodePort", "LoadBalancer", "ExternalName"
# spec.clusterIP of a headless Service.
NONE = "None"
# spec.sessionAffinity; NONE is the other value.
CLIENT_IP = "ClientIP"
# Traffic policies.
CLUSTER, LOCAL = "Cluster", "Local"
# Address families, of spec.ipFamilies and of addressType in EndpointSlices.
IPV4, IPV6, FQDN = "IPv4", "IPv6", "FQDN"
# spec.ipFamilyPolicy.
SINGLE_STACK, PREFER_DUAL_STACK, REQUIRE_DUAL_STACK = "SingleStack", "PreferDualStack", "RequireDualStack"
# spec.trafficDistribution; the first two mean the same.
PREFER_CLOSE, PREFER_SAME_ZONE, PREFER_SAME_NODE = "PreferClose", "PreferSameZone", "PreferSameNode"
PROTOCOLS = ("SCTP", "TCP", "UDP")


def is_headless(item: Service) -> bool:
    """Whether the Service has no address of its own, and its name stands for those of its pods."""
    return item.spec.clusterIP == NONE


def cluster_ips(item: Service) -> Sequence[str]:
    """Its cluster IPs, the primary one first; none for a headless Service or an alias."""
    return () if item.spec.type == EXTERNAL_NAME or is_headless(item) else tuple(item.spec.clusterIPs)


def family_of(address: str) -> str:
    """The family of a valid IP address."""
    return IPV6 if ":" in address else IPV4
