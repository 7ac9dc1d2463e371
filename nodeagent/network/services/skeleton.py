"""The fixed part of Services in nftables: the way of a packet through chains and maps. Its size does not depend on Services.

A FRONTEND is an address, protocol and port that a Service answers at, or a protocol and port of the node (NodePort). For each
there is one element in a map of verdicts that leads to a chain for the number of its endpoints, which chooses a slot at
random; the slot's map has the endpoint:

    services_4 { 10.96.0.20 . tcp . 80 : goto services_cluster_enter2_4 }
      services_cluster_enter2_4    from elsewhere than a pod of this node: to be masqueraded
      services_cluster_pick2_4     numgen random mod 2
        services_cluster_slot0_4   dnat to the map's element for 10.96.0.20 . tcp . 80
        services_cluster_slot1_4   the same for the second endpoint

These chains and maps are parts (see `elements`): they are added with the first Service that has so many endpoints. The names
have `cluster` or `local` for the endpoints of that traffic policy, and `nodeport` where the key has no address.

With ClientIP affinity there is a set `seen` for each slot of the clients that it has, with a timeout, and slots may be free:
a map of verdicts `choice` for each number that is drawn leads to a slot. The sets are of one namespace, as are the chains that
fill them: clients of its Services make those of others forgotten at no time.

Packets that no Service takes, to addresses of Services, are rejected after translation: they still have that address. TCP is
answered with a reset: the kernel limits the rate of ICMP errors, and a socket drops one that arrives within connect(2).

Packets of pods that connection tracking calls invalid, such as late retransmissions, are not forwarded: an endpoint's would
reach its client untranslated, which would reset a connection that it does not know (kubernetes/kubernetes#74839).
"""

from __future__ import annotations

import functools
from collections.abc import Collection

from nodeagent.network import vxlan
from nodeagent.network.elements import Fragment, ip, number
from nodeagent.network.guard import BRIDGE
from nodeagent.network.loadbalancer.rules import matches_others
from nodeagent.network.services import parts
from nodeagent.network.services.model import Facts
from nodeagent.network.services.names import CONCERN, Family

# A bit of a packet's mark, set until it leaves: to be masqueraded. None that kube-proxy, Calico, Cilium or Tailscale use.
MARK = 0x2000
FAMILIES = (4, 6)
# After the host ports, which are of one pod; before and after that for filters.
_DNAT, _BEFORE, _AFTER, _FILTER, _SNAT = -99, -110, -90, 0, 99
_LOOPBACK = {4: "127.0.0.0/8", 6: "::1"}
_PORT = "meta l4proto . th dport"


def fragment(facts: Facts, node_ports: Collection[str]) -> Fragment:
    """NodePorts answer at addresses of the node that are in the networks `node_ports`."""
    text = "".join(
        _containers(Family(number)) + _firewall(Family(number)) + _mark(Family(number), facts) for number in FAMILIES
    )
    text += f"    chain {CONCERN}_reject {{\n        meta l4proto tcp reject with tcp reset\n        reject\n    }}\n"
    for hook, word in (("prerouting", "received"), ("output", "sent")):
        text += _before(hook, word) + _translate(hook, word, facts, node_ports) + _after(hook, word, facts, node_ports)
    return Fragment(CONCERN, text + _FORWARDED + _masquerade(), functools.partial(parts.part, facts))


_INSIDE = f'{{ "{BRIDGE}", "{vxlan.DEVICE}" }}'
_FORWARDED = f"""
    chain {CONCERN}_forwarded {{
        type filter hook forward priority {_FILTER}; policy accept;
        iifname {_INSIDE} ct state invalid drop
        oifname {_INSIDE} ct state invalid drop
    }}
"""


def _containers(family: Family) -> str:
    three = f"{family.address} . inet_proto . inet_service"
    two = "inet_proto . inet_service"
    return f"""
    map {family.name("")} {{ type {three} : verdict; }}
    map {family.name("nodeport")} {{ type {two} : verdict; }}
    map {family.name("none")} {{ type {three} : verdict; }}
    map {family.name("nodeport_none")} {{ type {two} : verdict; }}
    set {family.name("ranged")} {{ type {three}; }}
    set {family.name("source")} {{ type {three} . {family.address}; flags interval; }}
    set {family.name("hairpin")} {{ type {family.address} . {family.address}; }}
"""


def _mark(family: Family, facts: Facts) -> str:
    """Pods of this node keep their address: their endpoints answer by this node."""
    own = [cidr for cidr in facts.pod_cidrs if number(cidr) == family.number]
    keep = "".join(f"        {family.header} saddr {cidr} return\n" for cidr in own)
    return f"    chain {family.name('mark')} {{\n{keep}        meta mark set meta mark | {MARK:#x}\n    }}\n"


def _firewall(family: Family) -> str:
    return f"""
    chain {family.name("firewall")} {{
        {family.key} . {family.header} saddr @{family.name("source")} return
        drop
    }}
"""


def _before(hook: str, word: str) -> str:
    """Before translation: who may use an address of a load balancer."""
    rules = "".join(
        f"        ct state new {f.key} @{f.name('ranged')} jump {f.name('firewall')}\n" for f in map(Family, FAMILIES)
    )
    return f"""
    chain {CONCERN}_{word}_before {{
        type filter hook {hook} priority {_BEFORE}; policy accept;
{rules}    }}
"""


def _translate(hook: str, word: str, facts: Facts, node_ports: Collection[str]) -> str:
    rules = "".join(f"        {f.key} vmap @{f.name('')}\n" for f in map(Family, FAMILIES))
    rules += "".join(_node_port(f, facts, node_ports, "", "nodeport") for f in map(Family, FAMILIES))
    return f"""
    chain {CONCERN}_{word} {{
        type nat hook {hook} priority {_DNAT}; policy accept;
{rules}    }}
"""


def _node_port(family: Family, facts: Facts, networks: Collection[str], state: str, word: str) -> str:
    """Looks up ports of the node at its addresses in these networks, but for localhost, those that it has for its pods (bridge,
    VTEP and DNS), and those of load balancers."""
    if not (own := [cidr for cidr in networks if number(cidr) == family.number]):
        return ""
    inside = [cidr for cidr in (*facts.pod_cidrs, *facts.service_cidrs) if number(cidr) == family.number]
    others = ", ".join([_LOOPBACK[family.number], *inside])
    where = f"{family.header} daddr {{ {', '.join(own)} }} {family.header} daddr != {{ {others} }}"
    return f"        {state}{where} {matches_others(family.number)} fib daddr type local {_PORT} vmap @{family.name(word)}\n"


def _after(hook: str, word: str, facts: Facts, node_ports: Collection[str]) -> str:
    """After translation: frontends without endpoints, and addresses of Services that are none's. Those that connection tracking
    calls invalid are of connections that were translated, and end without an answer that could break them."""
    rules = ""
    for family in map(Family, FAMILIES):
        rules += f"        ct state new {family.key} vmap @{family.name('none')}\n"
        rules += _node_port(family, facts, node_ports, "ct state new ", "nodeport_none")
    for cidr in facts.service_cidrs:
        rules += f"        {ip(cidr)} daddr {cidr} fib daddr type != local ct state invalid drop\n"
        rules += f"        {ip(cidr)} daddr {cidr} fib daddr type != local goto {CONCERN}_reject\n"
    return f"""
    chain {CONCERN}_{word}_after {{
        type filter hook {hook} priority {_AFTER}; policy accept;
{rules}    }}
"""


def _masquerade() -> str:
    hairpins = "".join(
        f"        {f.header} saddr . {f.header} daddr @{f.name('hairpin')} ct status dnat masquerade\n"
        for f in map(Family, FAMILIES)
    )
    return f"""
    chain {CONCERN}_leaving {{
        type nat hook postrouting priority {_SNAT}; policy accept;
        meta mark & {MARK:#x} != 0 meta mark set meta mark & {~MARK & 0xFFFFFFFF:#x} masquerade fully-random
        # A pod that its Service leads to itself: it drops packets from its own address.
{hairpins}    }}
"""
