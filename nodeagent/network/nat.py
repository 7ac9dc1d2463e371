"""Address translation: outbound traffic of pods takes the node's address, host ports lead to their pod.

Fragments of the table `inet pinnace` (see `elements`). Host ports are maps, so that a lookup does not grow with them. A host
port answers at every address of the node but those of load balancers; on 127.0.0.1 too (the bridge has route_localnet, and
`guard` keeps pods from using it). On ::1 it answers packets that the sender has bound to another address of the node: replies
to ::1 are not accepted from a device. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable

from nodeagent.network.elements import Element, Fragment, ip, number
from nodeagent.network.interface import HostPort, Node
from nodeagent.network.loadbalancer.rules import matches_others
from pinnace.ipfamilies import FAMILIES, Family

HOST_PORTS = "hostports"
# By address and by any address.
MAPS = tuple(f"{HOST_PORTS}{at}_{family}" for family in FAMILIES for at in ("_at", ""))


def fragment(node: Node, bridge: str) -> Fragment:
    return Fragment(HOST_PORTS, "".join(map(_host_ports, FAMILIES)) + _HOOKS + _masquerade(node, bridge))


def _host_ports(family: Family) -> str:
    """For one address of the node first: they are the more exact. `hairpin` has the pods' own addresses."""
    address, target = f"ipv{family}_addr", "ip" if family == 4 else "ip6"
    return f"""
    map hostports_at_{family} {{ type {address} . inet_proto . inet_service : {address} . inet_service; }}
    map hostports_{family} {{ type inet_proto . inet_service : {address} . inet_service; }}
    set hostports_hairpin_{family} {{ type {address} . {address}; }}
    chain hostports_{family} {{
        dnat {target} to {target} daddr . meta l4proto . th dport map @hostports_at_{family}
        dnat {target} to meta l4proto . th dport map @hostports_{family}
    }}
"""


_HOOKS = f"""
    chain hostports_received {{
        type nat hook prerouting priority -100; policy accept;
        fib daddr type local {matches_others(4)} jump hostports_4
        fib daddr type local {matches_others(6)} jump hostports_6
    }}
    chain hostports_sent {{
        type nat hook output priority -100; policy accept;
        fib daddr type local {matches_others(4)} jump hostports_4
        fib daddr type local {matches_others(6)} ip6 saddr != ::1 jump hostports_6
    }}
"""


def _masquerade(node: Node, bridge: str) -> str:
    outbound = "\n".join(f'        {_outbound(cidr, node)} oifname != "{bridge}" masquerade' for cidr in node.pod_cidrs)
    return f"""
    chain outbound {{
        type nat hook postrouting priority 100; policy accept;
{outbound}
        # A pod that a host port leads to itself: it drops packets from its own address. Others reach a pod of their node in
        # their own name, and the answer returns by the node, as the bridge answers ARP for the pods.
        ip saddr . ip daddr @hostports_hairpin_4 ct status dnat masquerade
        ip6 saddr . ip6 daddr @hostports_hairpin_6 ct status dnat masquerade
        # The node's own processes, through localhost: the pod can answer an address of the bridge only.
        ip saddr 127.0.0.0/8 oifname "{bridge}" masquerade
    }}
"""


def _outbound(own: str, node: Node) -> str:
    inside = [f"{ip(cidr)} daddr != {cidr}" for cidr in node.cluster_cidrs if number(cidr) == number(own)]
    return " ".join([f"{ip(own)} saddr {own}", *inside])


def elements(ports: Iterable[HostPort]) -> list[Element]:
    """Of several pods with a host port the first."""
    found: dict[tuple[str, tuple[str, ...]], Element] = {}
    for item in ports:
        container = f"{HOST_PORTS}{'_at' if item.host_ip else ''}_{number(item.address)}"
        key = tuple(map(str, item.match))
        found.setdefault((container, key), Element(container, key, (item.address, str(item.port))))
    pods = {item.value[0] for item in found.values()}
    return [*found.values(), *(Element(f"{HOST_PORTS}_hairpin_{number(pod)}", (pod, pod)) for pod in sorted(pods))]
