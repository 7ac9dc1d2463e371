"""A node's addresses, as its object has them."""

from __future__ import annotations

from pinnace.core.v1.node_pb2 import Node


def pod_cidrs(node: Node) -> list[str]:
    """One for each address family, the primary one first. Older nodes, and those made by hand, may have `podCIDR` alone."""
    return list(node.spec.podCIDRs) or list(filter(None, [node.spec.podCIDR]))


def internal_ips(node: Node) -> list[str]:
    """One for each address family, the primary one first."""
    return [item.address for item in node.status.addresses if item.type == "InternalIP"]
