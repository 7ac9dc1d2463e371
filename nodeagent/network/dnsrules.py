"""Queries to the cluster DNS addresses, which every node answers itself: who may send them, and that nothing is translated.

Fragment of the table `inet pinnace` (see `elements`). The addresses are open to pods of this node, its own processes and
`--reachable-from` alone: another host that routes them here finds no resolver. Packets are not tracked: no host port and no
Service takes them, and a pod that asks much fills no table of the kernel's. Beyond a rate they are dropped before they reach
the resolver's socket, which all pods share. Pure.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from nodeagent.network.elements import Element, Fragment, number

CONCERN = "dns"
# Before connection tracking, and after reassembly.
_RAW = -300
# Queries a second over UDP of one client, and at once.
_RATE, _BURST = 10_000, 2_000
# Seconds that a client is remembered, and clients: pods of this node, whose addresses are not forged (see `guard`).
_REMEMBERED, _CLIENTS = 10, 4096


def fragment(bridge: str, reachable_from: Collection[str] = ()) -> Fragment:
    """`reachable_from` are networks of other hosts that may ask, too."""
    families = "".join(_family(name, header, bridge, reachable_from) for name, header in (("4", "ip"), ("6", "ip6")))
    sent = "\n".join(
        f"        {header} {end} @dns_{name} meta l4proto {{ tcp, udp }} th {port} 53 notrack"
        for name, header in (("4", "ip"), ("6", "ip6"))
        for end, port in (("saddr", "sport"), ("daddr", "dport"))
    )
    return Fragment(
        CONCERN,
        f"""
{families}
    chain dns_received {{
        type filter hook prerouting priority {_RAW}; policy accept;
        meta nfproto ipv4 jump dns_queries_4
        meta nfproto ipv6 jump dns_queries_6
    }}
    chain dns_sent {{
        type filter hook output priority {_RAW}; policy accept;
{sent}
    }}
""",
    )


def _family(name: str, header: str, bridge: str, reachable_from: Collection[str]) -> str:
    others = ", ".join(cidr for cidr in reachable_from if str(number(cidr)) == name)
    elsewhere = f"{header} saddr != {{ {others} }} drop" if others else "drop"
    limit = f"limit rate over {_RATE}/second burst {_BURST} packets"
    return f"""
    set dns_{name} {{ type ipv{name}_addr; }}
    set dnsclients_{name} {{
        type ipv{name}_addr; flags dynamic,timeout; timeout {_REMEMBERED}s; size {_CLIENTS};
    }}
    chain dns_queries_{name} {{
        {header} daddr != @dns_{name} return
        iifname != {{ "{bridge}", "lo" }} {elsewhere}
        udp dport 53 update @dnsclients_{name} {{ {header} saddr {limit} }} drop
        meta l4proto {{ tcp, udp }} th dport 53 notrack
    }}
"""


def elements(addresses: Iterable[str]) -> list[Element]:
    return [Element(f"{CONCERN}_{number(address)}", (address,)) for address in sorted(set(addresses))]
