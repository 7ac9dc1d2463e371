"""The fixed part of policies in nftables: the way of a packet through sets and maps. Their number does not depend on policies.

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
    identity := that of everyone, then policy_spaces[A], policy_peers[A], policy_blocks[A]; for each
        B . identity                        in policy_in_any?     all traffic
        cell := policy_in_cells[B . identity]
        cell . protocol . port              in policy_in_1?
        B in policy_in_ranged?      yes: the same with the first bits of the port (see `portblocks`)
    A = B (policy_self)?            a pod reaches itself through a Service
    dropped
"""

from __future__ import annotations

from nodeagent.network.elements import Fragment
from nodeagent.network.policies import identities, portblocks
from nodeagent.network.policies.model import DIRECTIONS, IN, OUT

CONCERN = "policy"
# Maps from a peer's address to an identity.
LAYERS = "spaces", "peers", "blocks"
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


def fragment() -> Fragment:
    parts = [_containers(family) + _ends(family) for family in (4, 6)]
    return Fragment(CONCERN, "".join(parts) + _allowed() + _entry())


def _containers(family: int) -> str:
    address = _ADDRESS[family]
    found = [f"set {container('self', family)} {{ type {address} . {address}; }}"]
    for layer in LAYERS:
        flags = " flags interval;" if layer == "blocks" else ""
        found.append(f"map {container(layer, family)} {{ type {address} : classid;{flags} }}")
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
    return _chain(
        f"{name}_{family}",
        [
            f"meta priority set {identities.text_of(identities.EVERYONES)} {match}",
            # A map without the key ends the rule.
            *(f"meta priority set {peer} map @{container(layer, family)} {match}" for layer in LAYERS),
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
