"""The overlay's entries in the kernel: read, and changed by a difference.

`plan` computes both, `vxlan` says what they are for.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator

from nodeagent.network import rtnetlink
from nodeagent.network.nlsocket import Message, NetlinkSocket, Request
from nodeagent.network.plan import Difference, Fdb, Neighbour, Route, Table
from nodeagent.network.rtnetlink import Entry

# Marks our routes, so that no other routes are touched (a free number of rt_protos).
PROTOCOL = 80


def read(route: NetlinkSocket, device: int) -> Table:
    """Those of the VXLAN device with this index. Raises OSError."""
    return Table(
        frozenset(_routes(route, device)), frozenset(_neighbours(route, device)), frozenset(_fdb(route, device))
    )  # fmt: skip


def of_both(route: NetlinkSocket, request: Callable[[socket.AddressFamily], Request]) -> Iterator[Message]:
    """Entries of IPv4 and IPv6. A kernel without IPv6 answers those of IPv4 twice, which sets do not show."""
    for family in (socket.AF_INET, socket.AF_INET6):
        yield from route.dump(request(family))


def _routes(route: NetlinkSocket, device: int) -> Iterator[Route]:
    for item in map(rtnetlink.route_of, of_both(route, rtnetlink.list_routes)):
        if item.protocol == PROTOCOL and item.type == rtnetlink.BLACKHOLE:
            yield Route(item.dst)
        elif item.protocol == PROTOCOL and item.oif == device:
            yield Route(item.dst, item.gateway)


def _neighbours(route: NetlinkSocket, device: int) -> Iterator[Neighbour]:
    for item in map(rtnetlink.entry_of, of_both(route, rtnetlink.list_neighbours)):
        if item.index == device and item.state & rtnetlink.PERMANENT:
            yield Neighbour(item.dst, item.mac)


def _fdb(route: NetlinkSocket, device: int) -> Iterator[Fdb]:
    for item in map(rtnetlink.entry_of, route.dump(rtnetlink.list_fdb())):
        if item.index == device and item.dst:
            yield Fdb(item.mac, item.dst)


def apply(route: NetlinkSocket, device: int, change: Difference) -> None:
    """Additions in the order in which they become useful, removals in the opposite one. An entry that the kernel refuses does
    not hold back the others. Raises the first OSError."""
    errors = []
    # One by one: what is in use is removed after what replaces it is there.
    for request in (*_additions(change, device), *_removals(change, device)):
        try:
            route.run(request)
        except OSError as error:
            errors.append(error)
    if errors:
        raise errors[0]


def _additions(change: Difference, device: int) -> Iterator[Request]:
    for fdb in sorted(change.add.fdb):
        yield rtnetlink.replace_fdb(Entry(device, fdb.dst, fdb.mac))
    for neighbour in sorted(change.add.neighbours):
        yield rtnetlink.replace_neighbour(Entry(device, neighbour.address, neighbour.mac))
    for item in sorted(change.add.routes):
        yield rtnetlink.replace_route(_route(item, device))


def _removals(change: Difference, device: int) -> Iterator[Request]:
    for item in sorted(change.remove.routes):
        yield rtnetlink.del_route(_route(item, device))
    # `replace` has replaced what these removals name.
    kept = {neighbour.address for neighbour in change.add.neighbours} | {fdb.mac for fdb in change.add.fdb}
    for neighbour in sorted(change.remove.neighbours):
        if neighbour.address not in kept:
            yield rtnetlink.del_neighbour(Entry(device, neighbour.address, neighbour.mac))
    for fdb in sorted(change.remove.fdb):
        if fdb.mac not in kept:
            yield rtnetlink.del_fdb(Entry(device, fdb.dst, fdb.mac))


def _route(route: Route, device: int) -> rtnetlink.Route:
    if not route.via:
        # The least preferred of all, so that any real route wins.
        return rtnetlink.Route(route.dst, type=rtnetlink.BLACKHOLE, protocol=PROTOCOL, priority=1 << 20)
    return rtnetlink.Route(route.dst, route.via, device, protocol=PROTOCOL, flags=rtnetlink.ONLINK)
