"""Which packets a node does not accept: forged encapsulation, forged senders, IPv6, and traffic that only passes through.

Two chains of rules, both in the node's private tables. On the bridge (family `bridge`), each pod's port may send nothing but
IPv4 and ARP, with the MAC and IP address that the pod was given. In the node's own stack (family `ip`):

- Encapsulated packets of our VNI are accepted from the underlay addresses of peers only, to broadcast and multicast addresses
  too. None may come from a pod, be carried inside the overlay, or be sent by a process: the kernel alone sends them, without a
  socket of a user's.
- Nothing is accepted on a pod's port itself. A bridge hands frames to link-local addresses (01:80:c2:00:00:0x, IEEE 802.1D) to
  the port, past its own rules; every other frame arrives on the bridge.
- Packets from pods to 127.0.0.0/8 are dropped, for the bridge routes to it (host ports on localhost, see `nat`).
- An address of the cluster's pod CIDRs is a sender on the bridge, in the overlay and on `lo` only: pods' packets to the
  underlay have the node's address. Reverse path filters do not see to it: most hosts' are loose, and the strict one of
  another node's overlay device takes a forged packet for one that this node has routed.
- On a host whose forwarding the agent has enabled, nothing is forwarded but the pods' own traffic, and nothing new comes in
  to pods, this node's or others', but through a host port: the host does not become a router.

An IPv6 router advertisement of a pod is dropped with all IPv6 (CVE-2020-10749); the devices have no IPv6 either.
Pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from nodeagent.network import vxlan
from nodeagent.network.interface import Node
from nodeagent.network.nftables import ACCEPT, DROP, Json, chain, match, meta, payload, prefix, rule, table

# Priorities by number: libnftables' JSON does not know every name. Before connection tracking, but after reassembly.
_RAW, _FILTER = -300, 0
# On a bridge: before everything else.
_BRIDGE_FIRST = -300
PEERS, BINDINGS = "peers", "bindings"
# The bridge, and how the names of pods' ports on it begin.
BRIDGE, PORTS = "pinnace0", "pnc"


@dataclass(frozen=True, slots=True, order=True)
class Binding:
    """The addresses that a pod's port on the bridge may send from."""

    device: str
    mac: str
    address: str


def bridge_rules(name: str, ports: str, bindings: Iterable[Binding]) -> list[Json]:
    """The bridge's table. `ports` begins the names of the pods' ports; `name` is the table's."""
    family = "bridge"
    sender = [meta("iifname"), payload("ether", "saddr")]
    ip, arp = payload("ip", "saddr"), payload("arp", "saddr ip")
    ours = match(meta("iifname"), f"{ports}*")
    return [
        *table(family, name),
        {
            "add": {
                "set": {
                    "family": family, "table": name, "name": BINDINGS, "type": ["ifname", "ether_addr", "ipv4_addr"],
                    **_elements(bindings),
                }
            }
        },
        chain(family, name, "pod"),
        rule(family, name, "pod", match({"concat": [*sender, ip]}, f"@{BINDINGS}"), ACCEPT),
        # Of an answer to ARP, the address that it gives counts too.
        rule(
            family, name, "pod", match({"concat": [*sender, arp]}, f"@{BINDINGS}"),
            match({"concat": [meta("iifname"), payload("arp", "saddr ether"), arp]}, f"@{BINDINGS}"), ACCEPT,
        ),
        rule(family, name, "pod", DROP),
        chain(family, name, "from", type="filter", hook="prerouting", prio=_BRIDGE_FIRST, policy="accept"),
        rule(family, name, "from", ours, {"jump": {"target": "pod"}}),
        # No ARP from port to port: the bridge answers for the pods (see `ports`).
        chain(family, name, "forward", type="filter", hook="forward", prio=_FILTER, policy="accept"),
        rule(family, name, "forward", ours, match(meta("protocol"), "arp"), DROP),
    ]  # fmt: skip


def _elements(bindings: Iterable[Binding]) -> Json:
    found = [{"concat": [item.device, item.mac, item.address]} for item in sorted(bindings)]
    return {"elem": found} if found else {}


def bind(name: str, binding: Binding) -> list[Json]:
    return [{"add": {"element": {"family": "bridge", "table": name, "name": BINDINGS, **_elements([binding])}}}]


def unbind(name: str, binding: Binding) -> list[Json]:
    """`add` first, so that `delete` cannot fail."""
    element = {"element": {"family": "bridge", "table": name, "name": BINDINGS, **_elements([binding])}}
    return [{"add": element}, {"delete": element}]


def port_rules(name: str, *, ipv6: bool) -> list[Json]:
    """Tables that drop ARP and IPv6 on the pods' ports themselves; IPv4 is dropped by `node_rules`. `ipv6`: whether the kernel
    has it; the bridge and the overlay's device then hear none either."""
    ours = match(meta("iifname"), f"{PORTS}*")
    found = [
        *table("arp", name),
        chain("arp", name, "input", type="filter", hook="input", prio=_FILTER, policy="accept"),
        rule("arp", name, "input", ours, DROP),
    ]
    if ipv6:
        found += [
            *table("ip6", name),
            chain("ip6", name, "guard", type="filter", hook="prerouting", prio=_RAW, policy="accept"),
            rule("ip6", name, "guard", ours, DROP),
            rule("ip6", name, "guard", match(meta("iifname"), {"set": [BRIDGE, vxlan.DEVICE]}), DROP),
        ]
    return found


def node_rules(name: str, node: Node, bridge: str, peers: Iterable[str], *, router: bool) -> list[Json]:
    """What the table `name` of family ip gets; it is there already. `peers` are underlay addresses. `router`: the agent has
    enabled forwarding on this host."""
    inside = {"set": [bridge, vxlan.DEVICE]}
    encapsulated = _encapsulated(node)
    # Local, broadcast or multicast: whatever else is only passing through.
    received = match({"fib": {"result": "type", "flags": ["daddr"]}}, "unicast", "!=")
    return [
        {"add": {"set": {"family": "ip", "table": name, "name": PEERS, "type": "ipv4_addr", **_addresses(peers)}}},
        chain("ip", name, "guard", type="filter", hook="prerouting", prio=_RAW, policy="accept"),
        rule("ip", name, "guard", match(meta("iifname"), f"{PORTS}*"), DROP),
        rule("ip", name, "guard", match(meta("iifname"), inside), match(payload("ip", "daddr"), prefix("127.0.0.0/8")), DROP),
        *_foreign(name, bridge, node.cluster_cidrs),
        rule("ip", name, "guard", *encapsulated, match(meta("iifname"), inside), DROP),
        rule("ip", name, "guard", *encapsulated, received, match(payload("ip", "saddr"), f"@{PEERS}", "!="), DROP),
        chain("ip", name, "sent", type="filter", hook="output", prio=_FILTER, policy="accept"),
        # Has no value for what the kernel sends itself.
        rule("ip", name, "sent", *encapsulated, match(meta("skuid"), 0, ">="), DROP),
        *(_no_router(name, inside) if router else []),
    ]


def _foreign(name: str, bridge: str, cidrs: Iterable[str]) -> list[Json]:
    """Drop pods' addresses where no pod's packet arrives, whether the host forwards for others or not."""
    elsewhere = match(meta("iifname"), {"set": [bridge, vxlan.DEVICE, "lo"]}, "!=")
    return [rule("ip", name, "guard", elsewhere, match(payload("ip", "saddr"), prefix(cidr)), DROP) for cidr in cidrs]


def _encapsulated(node: Node) -> list[Json]:
    """Matches RFC 7348's header with our VNI, which begins 12 bytes into UDP: another overlay may use the same port."""
    vni = {"payload": {"base": "th", "offset": 96, "len": 24}}
    return [match(payload("udp", "dport"), node.port), match(vni, node.vni)]


def _no_router(name: str, inside: Json) -> list[Json]:
    outside = match(meta("iifname"), inside, "!=")
    # Not only `new`: what tracking calls invalid is forwarded as well, and of no translated connection.
    new = match({"ct": {"key": "state"}}, {"set": ["established", "related"]}, "!=")
    direct = match({"&": [{"ct": {"key": "status"}}, "dnat"]}, 0)
    return [
        chain("ip", name, "forward", type="filter", hook="forward", prio=_FILTER, policy="accept"),
        rule("ip", name, "forward", outside, match(meta("oifname"), inside, "!="), DROP),
        rule("ip", name, "forward", outside, match(meta("oifname"), inside), new, direct, DROP),
    ]


def _addresses(peers: Iterable[str]) -> Json:
    found = sorted(set(peers))
    return {"elem": found} if found else {}


def set_peers(name: str, peers: Iterable[str]) -> list[Json]:
    """Exactly these peers, in the table `name` that is there."""
    named = {"family": "ip", "table": name, "name": PEERS}
    added = _addresses(peers)
    return [{"flush": {"set": named}}, *([{"add": {"element": {**named, **added}}}] if added else [])]
