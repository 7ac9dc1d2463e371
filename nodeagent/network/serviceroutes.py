"""Routes to the ranges of Services' addresses, so that the node's own processes may send there without a default route.

A packet is translated before it leaves (or rejected), so the device matters only for the address that it is sent from: that
of the bridge, which pods of every node can answer.
"""

from __future__ import annotations

from collections.abc import Iterable

from nodeagent.network import rtnetlink
from nodeagent.network.nlsocket import NetlinkSocket
from nodeagent.network.rtnetlink import Route
from nodeagent.network.tables import PROTOCOL, of_both

# Less preferred than any route that someone has to the same range.
_PRIORITY = 1 << 19


def ensure(route: NetlinkSocket, bridge: int, cidrs: Iterable[str]) -> None:
    """Exactly these. Raises OSError."""
    wanted = {Route(cidr, oif=bridge, protocol=PROTOCOL, priority=_PRIORITY) for cidr in cidrs}
    found = map(rtnetlink.route_of, of_both(route, rtnetlink.list_routes))
    present = {item.dst for item in found if item.protocol == PROTOCOL and item.oif == bridge}
    for item in wanted:
        if item.dst not in present:
            route.run(rtnetlink.replace_route(item))
    for dst in present - {item.dst for item in wanted}:
        route.run(rtnetlink.del_route(Route(dst, oif=bridge, protocol=PROTOCOL, priority=_PRIORITY)))
