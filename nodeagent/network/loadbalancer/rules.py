"""What a node answers at the addresses of load balancers that it announces: the ports of their Services, and echo requests.

Such an address is one of the node's for the kernel, and so would reach all that listens at every address: daemons of the node,
NodePorts and host ports. Those that the node announces are in a set. Host ports and NodePorts are not looked up for them, and
new connections that still have such an address after translation are of no Service: rejected, as those to cluster IPs are.
Neighbour discovery is not tracked, and passes. A fragment of the table `inet pinnace` (see `elements`). Pure.
"""

from __future__ import annotations

from collections.abc import Iterable

from nodeagent.network.elements import Element, Fragment, number

CONCERN = "balanced"
# After the filter of Services, which drops what another node has endpoints for.
_AFTER = -89
_HEADERS = {4: "ip", 6: "ip6"}


def matches_others(family: int) -> str:
    """Matches packets to other addresses."""
    return f"{_HEADERS[family]} daddr != @{CONCERN}_{family}"


def fragment() -> Fragment:
    sets = "".join(f"    set {CONCERN}_{family} {{ type ipv{family}_addr; }}\n" for family in _HEADERS)
    jumps = "".join(
        f"        {header} daddr @{CONCERN}_{family} jump {CONCERN}_others\n" for family, header in _HEADERS.items()
    )
    hooks = "".join(
        f"    chain {CONCERN}_{word} {{\n        type filter hook {hook} priority {_AFTER}; policy accept;\n{jumps}    }}\n"
        for hook, word in (("prerouting", "received"), ("output", "sent"))
    )
    return Fragment(CONCERN, sets + _OTHERS + hooks)


_OTHERS = f"""
    chain {CONCERN}_others {{
        ct state {{ established, related, untracked }} return
        icmp type echo-request return
        icmpv6 type echo-request return
        ct state invalid drop
        meta l4proto tcp reject with tcp reset
        reject
    }}
"""


def elements(addresses: Iterable[str]) -> list[Element]:
    return [Element(f"{CONCERN}_{number(address)}", (address,)) for address in sorted(addresses)]
