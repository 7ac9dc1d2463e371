"""The overlay's entries in the kernel: read, and changed by a difference.

`plan` computes both, `vxlan` says what they are for.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from dataclasses import replace

from nodeagent.network import rtnetlink
from nodeagent.network.nlsocket import Message, NetlinkSocket, Request
from nodeagent.network.plan import Difference, Fdb, Neighbour, Route, Table
from nodeagent.network.rtnetlink import Entry
from pinnace.ipfamilies import family_of

# Marks our routes, so that no other routes are touched (a free number of rt_protos).
PROTOCOL = 80
# linux/rtnetlink.h, RTN_BLACKHOLE, UNREACHABLE, PROHIBIT.
NOWHERE = {6: "blackhole", 7: "unreachable", 8: "prohibit"}
# linux/ipv6_route.h, IP6_RT_PRIO_USER: of routes that name none.
_IPV6_PRIORITY = 1024


def read(route: NetlinkSocket, device: int) -> Table:
    """Those of the VXLAN device with this index. Raises OSError."""
    return Table(
        frozenset(_routes(route, device)), frozenset(_neighbours(route, device)), frozenset(_fdb(route, device))
    )  # fmt: skip


def of_both(route: NetlinkSocket, request: Callable[[socket.AddressFamily], Request]) -> Iterator[Message]:
    """Entries of IPv4 and IPv6. A kernel without IPv6 answers those of IPv4 twice, which sets do not show."""
    for family in (socket.AF_INET, socket.AF_INET6):
        yield from route.dump(request(family))


def own_routes(route: NetlinkSocket) -> Iterator[rtnetlink.Route]:
    """Those of `PROTOCOL`, in all tables. Whatever other routes the host has, they cost the kernel's time alone."""
    for item in map(rtnetlink.route_of, of_both(route, lambda family: rtnetlink.list_routes(family, PROTOCOL))):
        if item.protocol == PROTOCOL:
            yield item


def same(item: rtnetlink.Route, wanted: rtnetlink.Route) -> bool:
    """Whether a route of the kernel is what a request for `wanted` makes."""
    usual = _IPV6_PRIORITY if family_of(item.dst) == 6 else 0
    # Of a route to nowhere, IPv6 has the device `lo`.
    oif = wanted.oif or item.oif
    expected = replace(wanted, oif=oif, priority=wanted.priority or usual, scope=item.scope, flags=item.flags)
    return item == expected


def special(item: rtnetlink.Route) -> str:
    """What a route of the kernel has besides its way, as iproute2 shows it; begins with a space unless it is empty."""
    named = (("table", item.table, rtnetlink.MAIN_TABLE), ("metric", item.priority, 0), ("tos", item.tos, 0))
    return "".join(f" {name} {value}" for name, value, usual in named if value != usual)


def _routes(route: NetlinkSocket, device: int) -> Iterator[Route]:
    for item in own_routes(route):
        if item.type in NOWHERE or item.oif == device:
            found = Route(item.dst, item.gateway)
            yield found if same(item, _route(found, device)) else Route(item.dst, item.gateway, item)


def _neighbours(route: NetlinkSocket, device: int) -> Iterator[Neighbour]:
    for item in map(rtnetlink.entry_of, of_both(route, rtnetlink.list_neighbours)):
        if item.index == device and item.state & rtnetlink.PERMANENT:
            yield Neighbour(item.dst, item.mac)


def _fdb(route: NetlinkSocket, device: int) -> Iterator[Fdb]:
    for item in map(rtnetlink.entry_of, route.dump(rtnetlink.list_fdb())):
        if item.index == device:
            yield Fdb(item.mac, item.dst, item.odd)


def apply(route: NetlinkSocket, device: int, change: Difference) -> None:
    """Additions in the order in which they become useful, removals in the opposite one. An entry that the kernel refuses does
    not hold back the others. Raises the first OSError."""
    errors = []
    # One by one: what is in use is removed after what replaces it is there.
    for request in (*_others(change), *_additions(change, device), *_removals(change, device)):
        try:
            route.run(request)
        except OSError as error:
            errors.append(error)
    if errors:
        raise errors[0]


def _others(change: Difference) -> Iterator[Request]:
    """First: the kernel may take the removal of one for that of a wanted one."""
    for item in change.remove.routes:
        if item.other is not None:
            yield del_exactly(item.other)


def del_exactly(item: rtnetlink.Route) -> Request:
    """A route that was read."""
    return rtnetlink.del_route(replace(item, flags=0))


def _additions(change: Difference, device: int) -> Iterator[Request]:
    for fdb in sorted(change.add.fdb):
        yield rtnetlink.replace_fdb(Entry(device, fdb.dst, fdb.mac))
    for neighbour in sorted(change.add.neighbours):
        yield rtnetlink.replace_neighbour(Entry(device, neighbour.address, neighbour.mac))
    for item in sorted(change.add.routes, key=_order):
        yield rtnetlink.replace_route(_route(item, device))


def _removals(change: Difference, device: int) -> Iterator[Request]:
    for item in sorted(change.remove.routes, key=_order):
        if item.other is None:
            yield rtnetlink.del_route(_route(item, device))
    # `replace` has replaced what these removals name.
    kept = {neighbour.address for neighbour in change.add.neighbours} | {fdb.mac for fdb in change.add.fdb}
    for neighbour in sorted(change.remove.neighbours):
        if neighbour.address not in kept:
            yield rtnetlink.del_neighbour(Entry(device, neighbour.address, neighbour.mac))
    for fdb in sorted(change.remove.fdb):
        if fdb.mac not in kept:
            yield rtnetlink.del_fdb(device, fdb.mac)


def _order(route: Route) -> tuple[str, str]:
    return route.dst, route.via


def _route(route: Route, device: int) -> rtnetlink.Route:
    if not route.via:
        # The least preferred of all, so that any real route wins.
        return rtnetlink.Route(route.dst, type=rtnetlink.BLACKHOLE, protocol=PROTOCOL, priority=1 << 20)
    return rtnetlink.Route(route.dst, route.via, device, protocol=PROTOCOL, flags=rtnetlink.ONLINK)
