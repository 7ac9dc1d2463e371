"""The rule of the fast path: which packets its flows are learnt from. Pure.

Fragment of the table `inet pinnace` (see `elements`). The last chain of the forward hook: what any rule before it drops, of
this table or of another, is not marked. Both devices are the overlay's, and their programs clear the mark: it does not leave
the node.
"""

from __future__ import annotations

from nodeagent.network import vxlan
from nodeagent.network.elements import Fragment
from nodeagent.network.fastpath.layout import MARK

CONCERN = "fastpath"
# After every filter: connection tracking's own is the largest number.
_LAST = 2_000_000_000


def fragment(bridge: str) -> Fragment:
    """Established: both ends have sent. A mark that a packet brought along, such as one that rules of others have restored from
    its connection, does not count."""
    inside = f'{{ "{bridge}", "{vxlan.DEVICE}" }}'
    return Fragment(
        CONCERN,
        f"""
    chain {CONCERN}_forward {{
        type filter hook forward priority {_LAST}; policy accept;
        meta mark & {MARK:#x} != 0 meta mark set meta mark & {~MARK & 0xFFFFFFFF:#x}
        iifname {inside} oifname {inside} jump {CONCERN}_learn
    }}
    chain {CONCERN}_learn {{
        ct state established ct status & (snat | dnat) == 0 meta l4proto {{ tcp, udp }} meta mark set meta mark | {MARK:#x}
    }}
""",
    )
