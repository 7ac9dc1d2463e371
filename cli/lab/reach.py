"""`kctl lab up --reach`: this machine reaches a lab's pods and Services at their own addresses.

    this machine - link - switch (source: its gateway address) - the pod's node - pod
                                                               - a node - Service - pod

Routes lead the cluster's ranges over the uplink's link; the switch has a route to each node's pods, and to one node for the
Services. The nodes' agents forward what the gateway sends (`--reachable-from`), and nothing else that comes from outside.
Routes of this machine are never replaced: a range that one of them overlaps is not reached, and a warning names the clash.
Pure; `uplink` makes the routes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from ipaddress import IPv4Network
from typing import Any

from cli.lab import links
from cli.lab.layout import GATEWAY, SUBNET, Lab
from cli.lab.links import Link, Route

# Marks our routes in both namespaces: a free number of rt_protos, that of the agents.
PROTOCOL = 80
NODES = f"{SUBNET}.0/24"


def ranges(lab: Lab) -> list[IPv4Network]:
    """The lab's IPv4 addresses: of its nodes, pods and Services."""
    return [IPv4Network(text) for text in (NODES, lab.cluster_cidr, lab.service_cidr) if text]


def agent_arguments(lab: Lab) -> list[str]:
    """Of each node's agent."""
    return [f"--reachable-from={GATEWAY}/32"] if lab.reach else []


def pod_cidrs(nodes: Iterable[Any]) -> dict[str, str]:
    """The IPv4 pod CIDR of each node that has one."""
    found = {}
    for node in nodes:
        for text in node.spec.podCIDRs or [node.spec.podCIDR]:
            with contextlib.suppress(ValueError):
                found[node.metadata.name] = str(IPv4Network(text))
    return found


def pod_routes(lab: Lab, pods: Mapping[str, str]) -> list[str]:
    """Commands of ip(8) in the switch: its routes to each node's pods, in place of those that it has. Pure."""
    known = [node for node in lab.nodes if node in pods]
    return [
        f"route flush proto {PROTOCOL}",
        *(f"route add {pods[node]} via {lab.address(node)} proto {PROTOCOL}" for node in known),
    ]


def service_route(lab: Lab, nodes: Sequence[str]) -> list[str]:
    """The same for Services, over the first of the nodes. Pure."""
    if not nodes or not lab.service_cidr:
        return []
    return [f"route replace {lab.service_cidr} via {lab.address(nodes[0])} proto {PROTOCOL}"]


def machine_routes(lab: Lab, link: Link, present: Sequence[Route]) -> tuple[list[str], list[str]]:
    """Commands of ip(8) for this machine's routes, and warnings of what is not reached. Pure."""
    lines, warnings = [f"route flush dev {lab.device} proto {PROTOCOL}"], []
    for what, text in (("pods", lab.cluster_cidr), ("Services", lab.service_cidr), ("nodes", NODES)):
        if not text:
            warnings.append(f"this machine cannot reach the lab's {what}, for they have no IPv4 addresses")
            continue
        clash = links.overlapping(IPv4Network(text), present)
        if clash is None:
            lines.append(f"route add {text} via {link.switch} dev {lab.device} proto {PROTOCOL}")
        else:
            warnings.append(f"this machine cannot reach the lab's {what} ({text}), for it has the route {clash}")
    return lines, warnings
