"""Which packets a node does not accept: forged encapsulation, forged senders, and traffic that only passes through.

Rules of the node's private tables. On the bridge (family `bridge`), each pod's port may send nothing but IP, to the bridge
itself, and ARP, without a VLAN tag, with the MAC and IP addresses that the pod was given. It may send no neighbour discovery of
IPv6: none is needed (see `podaddress`), and router advertisements, redirects and answers in another's name are of it. In the
node's own stack (family `inet`):

- Encapsulated packets of our VNI are accepted from the underlay addresses of peers only, to broadcast and multicast addresses
  too. None may come from a pod, be carried inside the overlay, or be sent by a process: the kernel alone sends them. In an
  encrypted cluster they come out of the tunnels, and those of this node leave by the tunnels alone, whatever its routes are.
- Nothing is accepted on a pod's port itself. A bridge hands frames to link-local addresses (01:80:c2:00:00:0x, IEEE 802.1D) to
  the port, past its own rules; every other frame arrives on the bridge.
- Packets from pods to 127.0.0.0/8 are dropped, for the bridge routes to it (host ports on localhost, see `nat`).
- IPv6 packets on the bridge and in the overlay have a sender that is behind the device; for IPv4, reverse path filters of the
  kernel see to it, which IPv6 does not have. A family that pods do not have is dropped on both.
- An address of the cluster's pod CIDRs is a sender on the bridge, in the overlay and on `lo` only: pods' packets to the
  underlay have the node's address. Reverse path filters do not see to it: most hosts' are loose, and the strict one of
  another node's overlay device takes a forged packet for one that this node has routed.
- On a host whose forwarding the agent has enabled, nothing is forwarded but the pods' own traffic and what was translated, and
  nothing new comes in to pods, this node's or others', but through a host port or a Service, or from a network that the
  operator names (`--reachable-from`): the host does not become a router.

Pure.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from nodeagent.network import vxlan, wireguard
from nodeagent.network.elements import Element, Fragment, ip, number
from nodeagent.network.interface import Node
from nodeagent.network.nftables import ACCEPT, DROP, Json, chain, match, meta, payload, rule, table
from pinnace.ipfamilies import FAMILIES, Family, families_of, family_of, of_family

# Priorities by number: libnftables' JSON does not know every name. Before connection tracking, but after reassembly.
_RAW, _FILTER = -300, 0
# Mark of packets of the node's own processes to pods. Who can set it on a socket (NET_RAW) can send any frame anyway.
_OWN = "0x01000000"
# On a bridge: before everything else.
_BRIDGE_FIRST = -300
PEERS = "peers"
BINDINGS: dict[Family, str] = {4: "bindings", 6: "bindings6"}
# ICMPv6 of multicast listeners (RFC 3810), neighbour discovery (RFC 4861), and its extensions (RFC 3122, 3971).
_DISCOVERY: list[Json] = [{"range": [130, 137]}, {"range": [141, 143]}, {"range": [148, 149]}]
# The bridge, and how the names of pods' ports on it begin.
BRIDGE, PORTS = "pinnace0", "pnc"


@dataclass(frozen=True, slots=True, order=True)
class Binding:
    """The addresses that a pod's port on the bridge may send from."""

    device: str
    mac: str
    address: str


def bridge_rules(name: str, ports: str, bindings: Iterable[Binding], *, mac: str) -> list[Json]:
    """The bridge's table. `ports` begins the names of the pods' ports; `name` is the table's, `mac` the bridge's."""
    family = "bridge"
    sender = [meta("iifname"), payload("ether", "saddr")]
    arp = payload("arp", "saddr ip")
    ours = match(meta("iifname"), f"{ports}*")
    bound: list[Binding] = list(bindings)
    return [
        *table(family, name),
        *(_bindings(name, of, (item for item in bound if family_of(item.address) == of)) for of in FAMILIES),
        chain(family, name, "pod"),
        # `ether type` is what the frame has at this place: also the type of a VLAN tag (802.1Q, 802.1ad), or a length (LLC).
        # Rules below know IP and ARP by `meta protocol`, which is what follows a tag; the bridge forwards a frame with its tag.
        rule(family, name, "pod", match(payload("ether", "type"), {"set": ["ip", "ip6", "arp"]}, "!="), DROP),
        # To the bridge, which routes between pods: a frame from port to port would go around policies.
        rule(
            family, name, "pod", match(payload("ether", "daddr"), mac, "!="),
            match(meta("protocol"), {"set": ["ip", "ip6"]}), DROP,
        ),
        rule(family, name, "pod", match({"concat": [*sender, payload("ip", "saddr")]}, f"@{BINDINGS[4]}"), ACCEPT),
        # Of an answer to ARP, the address that it gives counts too.
        rule(
            family, name, "pod", match({"concat": [*sender, arp]}, f"@{BINDINGS[4]}"),
            match({"concat": [meta("iifname"), payload("arp", "saddr ether"), arp]}, f"@{BINDINGS[4]}"), ACCEPT,
        ),
        rule(family, name, "pod", match(payload("icmpv6", "type"), {"set": _DISCOVERY}), DROP),
        rule(family, name, "pod", match({"concat": [*sender, payload("ip6", "saddr")]}, f"@{BINDINGS[6]}"), ACCEPT),
        rule(family, name, "pod", DROP),
        chain(family, name, "from", type="filter", hook="prerouting", prio=_BRIDGE_FIRST, policy="accept"),
        rule(family, name, "from", ours, {"jump": {"target": "pod"}}),
        # No ARP from port to port: the bridge answers for the pods (see `ports`).
        chain(family, name, "forward", type="filter", hook="forward", prio=_FILTER, policy="accept"),
        rule(family, name, "forward", ours, match(meta("protocol"), "arp"), DROP),
    ]  # fmt: skip


def _bindings(name: str, family: Family, bindings: Iterable[Binding]) -> Json:
    type_ = ["ifname", "ether_addr", f"ipv{family}_addr"]
    return {"add": {"set": {"family": "bridge", "table": name, "name": BINDINGS[family], "type": type_, **_elements(bindings)}}}


def _elements(bindings: Iterable[Binding]) -> Json:
    found = [{"concat": [item.device, item.mac, item.address]} for item in sorted(bindings)]
    return {"elem": found} if found else {}


def bind(name: str, binding: Binding) -> list[Json]:
    return [{"add": _element(name, binding)}]


def unbind(name: str, binding: Binding) -> list[Json]:
    """`add` first, so that `delete` cannot fail."""
    element = _element(name, binding)
    return [{"add": element}, {"delete": element}]


def _element(name: str, binding: Binding) -> Json:
    container = BINDINGS[family_of(binding.address)]
    return {"element": {"family": "bridge", "table": name, "name": container, **_elements([binding])}}


def port_rules(name: str) -> list[Json]:
    """A table that drops ARP on the pods' ports themselves; IP is dropped by `fragment`."""
    return [
        *table("arp", name),
        chain("arp", name, "input", type="filter", hook="input", prio=_FILTER, policy="accept"),
        rule("arp", name, "input", match(meta("iifname"), f"{PORTS}*"), DROP),
    ]


def fragment(
    node: Node, bridge: str, *, routed: Collection[Family], reachable_from: Collection[str] = ()
) -> Fragment:  # fmt: skip
    """The guard's part of the table `inet pinnace`. `routed`: families whose forwarding the agent has enabled on this host,
    which then forwards to pods and Services what comes from the networks `reachable_from`."""
    inside = f'{{ "{bridge}", "{vxlan.DEVICE}" }}'
    forward = _no_router(inside, routed, reachable_from) if routed else ""
    encrypted = _encrypted(node) if node.encrypt else ""
    return Fragment(PEERS, _received(node, bridge, inside) + _sent(node) + encrypted + forward)


def _received(node: Node, bridge: str, inside: str) -> str:
    """Before connection tracking. Pods' addresses are dropped where no pod's packet arrives, whether the host forwards for
    others or not. Encapsulated packets are checked if local, broadcast or multicast: others are only passing through."""
    elsewhere = f'iifname != {{ "{bridge}", "{vxlan.DEVICE}", "lo" }}'
    foreign = "\n".join(f"        {elsewhere} {ip(cidr)} saddr {cidr} drop" for cidr in node.cluster_cidrs)
    foreign += "".join(f"\n        {line} drop" for line in _senders(node, bridge))
    families = families_of(node.pod_cidrs)
    absent = "\n".join(f"        meta nfproto ipv{of} iifname {inside} drop" for of in FAMILIES if of not in families)
    own, family = ip(node.address), number(node.address)
    return f"""
    set peers_4 {{ type ipv4_addr; }}
    set peers_6 {{ type ipv6_addr; }}
    chain guard {{
        type filter hook prerouting priority {_RAW}; policy accept;
        iifname "{PORTS}*" drop
{absent}
        iifname {inside} ip daddr 127.0.0.0/8 drop
{foreign}
        iifname {inside} {_encapsulated(node)} drop{_only_encrypted(node)}
        # The usual packet first, by one lookup. Untracked: connections are tracked inside, and each has a source port out here.
        {_encapsulated(node)} {own} daddr {node.address} {own} saddr @peers_{family} notrack accept
        {_encapsulated(node)} fib daddr type != unicast ip saddr != @peers_4 drop
        {_encapsulated(node)} fib daddr type != unicast ip6 saddr != @peers_6 drop
    }}
"""


def _senders(node: Node, bridge: str) -> list[str]:
    """Matches of IPv6 senders that are not behind the device."""
    if not (own := of_family(6, node.pod_cidrs)):
        return []
    cluster = " ".join(f"ip6 saddr != {cidr}" for cidr in node.cluster_cidrs if family_of(cidr) == 6)
    return [
        f'iifname "{bridge}" ip6 saddr != {own}',
        f'iifname "{vxlan.DEVICE}" ip6 saddr {own}',
        f'iifname "{vxlan.DEVICE}" {cluster}',
    ]


def _only_encrypted(node: Node) -> str:
    """In an encrypted cluster, encapsulated packets come out of the tunnels."""
    if not node.encrypt:
        return ""
    return f'\n        {_encapsulated(node)} iifname != "{wireguard.DEVICE}" fib daddr type != unicast drop'


def _sent(node: Node) -> str:
    """Packets that the kernel itself sends have no skuid, or that of the process whose packet they carry: those to pods are
    marked before they are encapsulated, and the mark stays. After translation of Services."""
    marked = "\n".join(f"        {ip(cidr)} daddr {cidr} meta mark set meta mark | {_OWN}" for cidr in node.cluster_cidrs)
    return f"""
    chain guard_own {{
        type filter hook output priority {_FILTER}; policy accept;
{marked}
    }}
    chain guard_sent {{
        type filter hook output priority {_RAW}; policy accept;
        {_encapsulated(node)} meta mark & {_OWN} == 0 meta skuid >= 0 drop
        {_encapsulated(node)} notrack
    }}
"""


def _encrypted(node: Node) -> str:
    """After routing, also that by a mark which others set on output: the device is the one that a packet leaves by. Packets
    that are only passing through have another source."""
    return f"""
    chain guard_encrypted {{
        type filter hook postrouting priority {_RAW}; policy accept;
        {ip(node.address)} saddr {node.address} {_encapsulated(node)} oifname != "{wireguard.DEVICE}" drop
    }}
"""


def _encapsulated(node: Node) -> str:
    """Matches RFC 7348's header with our VNI, which begins 12 bytes into UDP: another overlay may use the same port."""
    return f"udp dport {node.port} @th,96,24 {node.vni}"


def _no_router(inside: str, families: Collection[Family], reachable_from: Collection[str]) -> str:
    """Not only `new`: packets that tracking calls invalid are forwarded as well, and belong to no translated connection. From
    outside to outside: to an endpoint of a Service that is in the network of another host."""
    found = [f"        iifname != {inside} oifname {inside} {ip(cidr)} saddr {cidr} accept" for cidr in reachable_from]
    for family in sorted(families):
        outside = f"        meta nfproto ipv{family} iifname != {inside}"
        found.append(f"{outside} oifname != {inside} ct status & dnat == 0 drop")
        found.append(f"{outside} oifname {inside} ct state != {{ established, related }} ct status & dnat == 0 drop")
    rules = "\n".join(found)
    return f"""
    chain guard_forward {{
        type filter hook forward priority {_FILTER}; policy accept;
{rules}
    }}
"""


def peers(addresses: Iterable[str]) -> list[Element]:
    """Of the underlay."""
    return [Element(f"{PEERS}_{number(address)}", (address,)) for address in sorted(set(addresses))]
