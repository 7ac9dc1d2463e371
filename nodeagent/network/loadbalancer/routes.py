"""Addresses of Services in the kernel, which answers requests for them (ARP, neighbour solicitations) and takes their packets.

IPv4: local routes, not addresses of a device: those would be the source of packets of the node's own, and be taken for its own
elsewhere. IPv6: solicitations are answered for addresses only, so they are addresses of the device, deprecated ones, which are
no source of new packets (RFC 6724, rule 3).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from nodeagent.network import rtnetlink, tables
from nodeagent.network.interface import NetworkError
from nodeagent.network.nlsocket import NetlinkSocket
from nodeagent.network.rtnetlink import LOCAL, LOCAL_TABLE, SCOPE_HOST, Address, Route
from nodeagent.network.tables import PROTOCOL
from pinnace.ipfamilies import BITS, FAMILIES, family_of

_LOOPBACK = 1


def sync(route: NetlinkSocket, index: int, wanted: Collection[str]) -> int:
    """Exactly these, by the device with this index; returns how many were wrong. Raises OSError, NetworkError."""
    families = {family: [item for item in wanted if family_of(item) == family] for family in FAMILIES}
    return _sync_routes(route, index, families[4]) + _sync_addresses(route, index, families[6])


def present(route: NetlinkSocket) -> frozenset[tuple[str, int]]:
    """Those that the kernel answers for, with the indexes of their devices; what is of another form, such as a network, is
    written with its length. Raises OSError."""
    addresses = {(_shown(item.address, item.length == BITS[6], f"/{item.length}"), item.index) for item in _addresses(route)}
    return frozenset(addresses | {(_route_shown(item), item.oif) for item in _routes(route)})


def _route_shown(item: Route) -> str:
    address = item.dst.partition("/")[0]
    return _shown(address, tables.same(item, _route(address, item.oif)), item.dst.removeprefix(address) + tables.special(item))


def _shown(address: str, is_exact: bool, rest: str) -> str:
    return address if is_exact else address + rest


def _sync_addresses(route: NetlinkSocket, index: int, wanted: Collection[str]) -> int:
    present = _addresses(route)
    exact = {Address(index, address, BITS[6], PROTOCOL) for address in wanted}
    if added := sorted(exact - present, key=lambda item: item.address):
        for address in added:
            route.run(rtnetlink.add_deprecated(address))
        _check_stored(route, added)
    for address in present - exact:
        route.run(rtnetlink.del_address(address))
    return len(exact ^ present)


def _check_stored(route: NetlinkSocket, added: Collection[Address]) -> None:
    """Remove addresses again which would be taken for the host's own. Raises NetworkError on kernels before 5.18, which do not
    store who has added one."""
    unknown = {*added} - _addresses(route)
    for item in unknown:
        route.run(rtnetlink.del_address(replace(item, protocol=0)))
    if unknown:
        raise NetworkError("IPv6 addresses of load balancers need Linux 5.18")


def _sync_routes(route: NetlinkSocket, index: int, wanted: Collection[str]) -> int:
    exact = {item.dst: item for item in (_route(address, index) for address in sorted(wanted))}
    present = _routes(route)
    kept = [item for item in present if item.dst in exact and tables.same(item, exact[item.dst])]
    missing = [exact[dst] for dst in exact.keys() - {item.dst for item in kept}]
    surplus = {*present} - {*kept}
    for item in missing:
        route.run(rtnetlink.replace_route(item))
    # A route by another device was replaced: the removal of one that is gone is no error.
    for item in surplus:
        route.run(tables.del_exactly(item))
    return len(missing) + len(surplus)


def _addresses(route: NetlinkSocket) -> set[Address]:
    """IPv6 alone; those on `lo` are of the cluster DNS."""
    every = map(rtnetlink.address_of, route.dump(rtnetlink.list_addresses()))
    return {item for item in every if item.protocol == PROTOCOL and item.index != _LOOPBACK and family_of(item.address) == 6}


def _routes(route: NetlinkSocket) -> list[Route]:
    """IPv4 alone."""
    return [item for item in tables.own_routes(route) if item.type == LOCAL and family_of(item.dst) == 4]


def _route(address: str, index: int) -> Route:
    return Route(f"{address}/32", oif=index, type=LOCAL, protocol=PROTOCOL, scope=SCOPE_HOST, table=LOCAL_TABLE)
