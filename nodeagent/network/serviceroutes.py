"""Routes to the ranges of Services' addresses, so that the node's own processes may send there without a default route.

A packet is translated before it leaves (or rejected), so the device matters only for the address that it is sent from: that
of the bridge, which pods of every node can answer.
"""

from __future__ import annotations

from collections.abc import Iterable

from nodeagent.network import rtnetlink, tables
from nodeagent.network.nlsocket import NetlinkSocket
from nodeagent.network.rtnetlink import Route
from nodeagent.network.tables import PROTOCOL

# Less preferred than any route that someone has to the same range.
_PRIORITY = 1 << 19


def ensure(route: NetlinkSocket, bridge: int, cidrs: Iterable[str]) -> None:
    """Exactly these. Raises OSError."""
    wanted = {cidr: _wanted(cidr, bridge) for cidr in cidrs}
    found = [item for item in tables.own_routes(route) if item.oif == bridge]
    present = {item.dst for item in found if item.dst in wanted and is_one(item)}
    # First: the kernel may take the removal of one for that of a wanted one.
    route.run(*(tables.del_exactly(item) for item in found if item.dst not in wanted or not is_one(item)))
    route.run(*(rtnetlink.replace_route(item) for cidr, item in wanted.items() if cidr not in present))


def is_one(item: Route) -> bool:
    """Whether a route of the bridge is as `ensure` makes them."""
    return tables.same(item, _wanted(item.dst, item.oif))


def _wanted(cidr: str, bridge: int) -> Route:
    return Route(cidr, oif=bridge, protocol=PROTOCOL, priority=_PRIORITY)
