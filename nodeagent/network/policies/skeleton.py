"""The rules of policies in nftables: the way of a packet through sets and maps. Their number does not depend on policies. Only
a namespace whose policies have ranges of addresses (ipBlock) has a map and two chains of its own for each family: ranges that
overlap divide each other, and those of one namespace must not divide another's.

Every forwarded packet of a connection is evaluated, in both directions, by the connection's own source, destination and port of
the destination: a packet of the reply direction has them swapped. So no verdict is remembered, and a connection that policies
no longer allow ends with the next packet of either side, without a search through tracked connections. At the forward hook the
destination is translated and the source is not yet: a Service's endpoint and a client's own address are seen. Traffic between a
node and its own pods does not pass this hook.

A lookup needs the peer's *identity*, a number: all peers with the same rights have the same one (see `compiler`). The ports
that a pod grants to an identity have a number too, their *cell*: pods that are alike share it. nftables cannot use the result
of one lookup as a part of the key of the next one, except through a field of the packet's metadata. The field is the packet's
priority: unlike the mark it has no other user here. The kernel sets it when it forwards an IPv4 packet, from the type of
service, just before this chain, and `policy_allowed_4` sets it so again; of a forwarded IPv6 packet it is 0.

For a packet to a pod (IN), from A to B:

    B in policy_in_pods?            no: accepted
    identity := that of everyone, then policy_spaces[A], policy_peers[A], policy_blocks_N[A]; for each
        B . identity                        in policy_in_any?     all traffic
        cell := policy_in_cells[B . identity]
        cell . protocol . port              in policy_in_1?
        B in policy_in_ranged?      yes: the same with the first bits of the port (see `portblocks`)
    A = B (policy_self)?            a pod reaches itself through a Service
    dropped

N is B's namespace: policy_source[B] is the chain policy_source_N, which looks A up in policy_blocks_N.
"""

from __future__ import annotations

import re

from nodeagent.network.elements import Fragment, Part
from nodeagent.network.policies import identities, portblocks
from nodeagent.network.policies.model import DIRECTIONS, IN, OUT

CONCERN = "policy"
# Maps from a peer's address to an identity. Those of ranges of addresses are a namespace's own.
LAYERS = "spaces", "peers"
# Maps from a pod's address to the chain of its namespace's ranges, by where in a packet the peer's address is.
_PEERS = {"saddr": "source", "daddr": "destination"}
# A namespace's own map or chain. Namespaces are DNS labels.
_OWN = re.compile(rf"{CONCERN}_(blocks|source|destination)_([a-z0-9-]+)_([46])\Z")
# Before every other chain of the hook: what they set in a packet is not lost.
_PRIORITY = -300
_ADDRESS = {4: "ipv4_addr", 6: "ipv6_addr"}
_HEADER = {4: "ip", 6: "ip6"}
# Of a packet of a direction of its connection: source, destination and the destination's port.
_ENDS = {"original": ("saddr", "daddr", "dport"), "reply": ("daddr", "saddr", "sport")}
# The priority that Linux gives an IPv4 packet by bits 3 and 4 of its type of service (net/ipv4/route.c, ip_tos2prio).
_PRIORITIES = (0, 2, 6, 4)


def container(name: str, family: int) -> str:
    """The name of a set or map, such as policy_in_pods_4."""
    return f"{CONCERN}_{name}_{family}"


def blocks_of(namespace: str) -> str:
    """The name of the map of a namespace's ranges, without concern and family."""
    return f"blocks_{namespace}"


def ways_of(namespace: str) -> dict[str, str]:
    """The maps that lead a pod of the namespace to its ranges, and the chains that they lead to; as `blocks_of`."""
    return {name: f"{name}_{namespace}" for name in _PEERS.values()}


def fragment() -> Fragment:
    parts = [_containers(family) + _ends(family) for family in (4, 6)]
    return Fragment(CONCERN, "".join(parts) + _allowed() + _entry(), part)


def part(name: str) -> Part | None:
    """A namespace's map of ranges, or one of the chains that look a peer up there. Pure."""
    if (found := _OWN.match(name)) is None:
        return None
    family = int(found[3])
    if found[1] == "blocks":
        return Part(f"    map {name} {{ type {_ADDRESS[family]} : classid; flags interval; }}\n")
    [field] = [field for field, kind in _PEERS.items() if kind == found[1]]
    ranges = container(blocks_of(found[2]), family)
    return Part(_chain(name, [f"meta priority set {_HEADER[family]} {field} map @{ranges}"]), (ranges,))


def _containers(family: int) -> str:
    address = _ADDRESS[family]
    found = [f"set {container('self', family)} {{ type {address} . {address}; }}"]
    found += [f"map {container(layer, family)} {{ type {address} : classid; }}" for layer in LAYERS]
    found += [f"map {container(name, family)} {{ type {address} : verdict; }}" for name in _PEERS.values()]
    for direction in DIRECTIONS:
        found += [f"set {container(f'{direction}_{name}', family)} {{ type {address}; }}" for name in ("pods", "ranged")]
        found.append(f"set {container(f'{direction}_any', family)} {{ type {address} . classid; }}")
        found.append(f"map {container(f'{direction}_cells', family)} {{ type {address} . classid : classid; }}")
        for size in portblocks.SIZES:
            key = "classid . inet_proto . inet_service"
            found.append(f"set {container(f'{direction}_{size}', family)} {{ type {key}; }}")
    return "".join(f"    {line}\n" for line in found)


def _chain(name: str, rules: list[str]) -> str:
    return f"    chain {name} {{\n" + "".join(f"        {rule}\n" for rule in rules) + "    }\n"


def _ends(family: int) -> str:
    """The chains that evaluate one end of a connection."""
    found = ""
    for way in _ENDS:
        for direction in DIRECTIONS:
            found += _passed(way, direction, family) + _ranged(way, direction, family)
            found += _match(way, direction, family) + _end(way, direction, family)
    return found


def _fields(way: str, direction: str, family: int) -> tuple[str, str]:
    """Where in a packet the pod's address is, and the peer's."""
    source, destination, _ = _ENDS[way]
    pod, peer = (destination, source) if direction == IN else (source, destination)
    return f"{_HEADER[family]} {pod}", f"{_HEADER[family]} {peer}"


def _passed(way: str, direction: str, family: int) -> str:
    """After the source's policies those of the destination."""
    rules = [f"goto {CONCERN}_allowed_{family}"]
    if direction == OUT:
        destination = f"{_HEADER[family]} {_ENDS[way][1]}"
        rules.insert(0, f"{destination} @{container('in_pods', family)} goto {CONCERN}_{way}_in_{family}")
    return _chain(f"{CONCERN}_{way}_{direction}_passed_{family}", rules)


def _port_rule(way: str, direction: str, family: int, size: int) -> str:
    port = f"th {_ENDS[way][2]}" + (f" & {0x10000 - size:#06x}" if size > 1 else "")
    key = f"meta priority . meta l4proto . {port}"
    return f"{key} @{container(f'{direction}_{size}', family)} goto {CONCERN}_{way}_{direction}_passed_{family}"


def _ranged(way: str, direction: str, family: int) -> str:
    """The chains that look for a port in a cell."""
    pod, _ = _fields(way, direction, family)
    name = f"{CONCERN}_{way}_{direction}"
    sizes = (size for size in portblocks.SIZES if size > 1)
    ranged = f"{pod} @{container(f'{direction}_ranged', family)} goto {name}_ranged_{family}"
    return _chain(f"{name}_ranged_{family}", [_port_rule(way, direction, family, size) for size in sizes]) + _chain(
        f"{name}_ports_{family}", [_port_rule(way, direction, family, 1), ranged]
    )


def _match(way: str, direction: str, family: int) -> str:
    pod, _ = _fields(way, direction, family)
    name, cells = f"{CONCERN}_{way}_{direction}", container(f"{direction}_cells", family)
    return _chain(
        f"{name}_match_{family}",
        [
            f"{pod} . meta priority @{container(f'{direction}_any', family)} goto {name}_passed_{family}",
            # The identity is set anew for the next layer.
            f"meta priority set {pod} . meta priority map @{cells} goto {name}_ports_{family}",
        ],
    )


def _end(way: str, direction: str, family: int) -> str:
    pod, peer = _fields(way, direction, family)
    name = f"{CONCERN}_{way}_{direction}"
    match = f"jump {name}_match_{family}"
    ways = container(_PEERS[peer.split()[1]], family)
    return _chain(
        f"{name}_{family}",
        [
            f"meta priority set {identities.text_of(identities.EVERYONES)} {match}",
            # A map without the key ends the rule.
            *(f"meta priority set {peer} map @{container(layer, family)} {match}" for layer in LAYERS),
            # The chain sets it if the peer is in a range. 0:0 is no identity.
            "meta priority set 0:0",
            f"{pod} vmap @{ways}",
            f"meta priority != 0:0 {match}",
            f"{pod} . {peer} @{container('self', family)} goto {name}_passed_{family}",
            f"goto {CONCERN}_denied",
        ],
    )


def _allowed() -> str:
    values = ", ".join(f"{dscp} : 0:{_PRIORITIES[dscp >> 1 & 3]}" for dscp in range(64) if _PRIORITIES[dscp >> 1 & 3])
    return _chain(
        f"{CONCERN}_allowed_4", ["meta priority set 0:0", f"meta priority set ip dscp map {{ {values} }}", "accept"]
    ) + _chain(f"{CONCERN}_allowed_6", ["meta priority set 0:0", "accept"])


def _entry() -> str:
    # A connection that was allowed before ends at once for both of its ends. A new one gets no answer, as with other plugins.
    denied = ["meta l4proto tcp tcp flags & (syn | rst) == 0 reject with tcp reset", "drop"]
    found = _chain(f"{CONCERN}_denied", denied)
    for way, (source, destination, _) in _ENDS.items():
        rules = []
        for family, header in _HEADER.items():
            rules += [
                f"{header} {source} @{container('out_pods', family)} goto {CONCERN}_{way}_out_{family}",
                f"{header} {destination} @{container('in_pods', family)} goto {CONCERN}_{way}_in_{family}",
            ]
        found += _chain(f"{CONCERN}_{way}", rules)
    return found + _chain(f"{CONCERN}_forward", _forward())


def _forward() -> list[str]:
    rules = [
        f"type filter hook forward priority {_PRIORITY}; policy accept;",
        # Errors of a connection, such as that a packet is too big.
        "ct state related meta l4proto { icmp, ipv6-icmp } accept",
        f"ct direction original goto {CONCERN}_original",
        f"ct direction reply goto {CONCERN}_reply",
    ]
    # What tracking knows nothing of has no direction.
    for family, header in _HEADER.items():
        rules += [
            f"{header} saddr @{container('out_pods', family)} drop",
            f"{header} daddr @{container('in_pods', family)} drop",
        ]
    return rules
