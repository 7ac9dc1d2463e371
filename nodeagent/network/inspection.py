"""The kernel's side of `facts`: what is there is read, and what differs is repaired. On the thread that owns netlink."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Collection, Iterable

from nodeagent.network import facts, links, nlsocket, rtnetlink, serviceroutes, sysctls, tables, vxlan
from nodeagent.network.facts import LOOPBACK, PORT, PRESENT, Facts
from nodeagent.network.guard import BRIDGE, PORTS
from nodeagent.network.links import Link
from nodeagent.network.nlsocket import NetlinkSocket
from nodeagent.network.rtnetlink import NOARP, PERMANENT
from nodeagent.network.tables import PROTOCOL

# The index of `lo`, in every network namespace.
_LOOPBACK = 1
# linux/if_link.h: IFLA_BR_VLAN_FILTERING; IFLA_VXLAN_ID, LINK, LEARNING, PORT, and LOCAL of both families.
_VLAN_FILTERING, _ID, _LOWER, _LEARNING, _PORT, _LOCALS = 7, 1, 3, 7, 15, (4, 17)


def read(route: NetlinkSocket, settings: Iterable[str], dns: Collection[str] | None = None) -> Facts:
    """`settings` are paths of sysctls, `dns` the addresses that should be on `lo`; None: unknown, and those that are there are
    left out. Raises OSError."""
    found = list(map(links.read, route.dump(links.every())))
    names = {link.index: link.name for link in found}
    state = Facts()
    for link in found:
        if link.name in (BRIDGE, vxlan.DEVICE):
            state |= _device(link, names)
        elif link.name.startswith(PORTS):
            state |= _port(route, link, names)
    state |= {("sysctl", name): value for name, value in sysctls.read(settings).items()}
    ours = {link.index: link.name for link in found if link.name in (BRIDGE, vxlan.DEVICE)}
    for address in map(rtnetlink.address_of, route.dump(rtnetlink.list_addresses())):
        device = ours.get(address.index, "")
        # Kernels before 5.18 do not know whose an address of `lo` is.
        if dns is not None and address.index == _LOOPBACK and (address.protocol == PROTOCOL or address.address in dns):
            device = LOOPBACK
        if device:
            state["address", f"{device} {address.address}/{address.length}"] = PRESENT
    return state | _entries(route, {name: index for index, name in names.items()})


def _device(link: Link, names: dict[int, str]) -> Facts:
    data = link.data
    settings = {"": link.kind, " state": "up" if link.up else "down", " mtu": str(link.mtu), " address": link.mac}
    if link.kind == "bridge":
        settings[" vlan_filtering"] = _number(data.get(_VLAN_FILTERING))
    elif link.kind == "vxlan":
        local = next((data[key] for key in _LOCALS if key in data), None)
        settings |= {
            " id": str(nlsocket.unsigned(data.get(_ID))), " learning": _number(data.get(_LEARNING)),
            " dstport": str(struct.unpack("!H", data.get(_PORT, b"\0\0"))[0]), " local": nlsocket.ip_text(local),
            " dev": names.get(nlsocket.unsigned(data.get(_LOWER)), ""),
        }  # fmt: skip
    return {("link", link.name + key): value for key, value in settings.items()}


def _port(route: NetlinkSocket, link: Link, names: dict[int, str]) -> Facts:
    settings = {"": link.kind, " master": names.get(link.master, ""), " up": str(int(link.up)), " mtu": str(link.mtu)}
    settings |= {f" {name}": _number(link.port.get(key)) for name, (key, _) in PORT.items()}
    # A pod that ends takes its end with it.
    with contextlib.suppress(OSError):
        [message] = route.run(links.other_end(link))
        settings[" eth0 mtu"] = str(links.read(message).mtu)
    return {("port", link.name + key): value for key, value in settings.items()}


def _number(value: bytes | None) -> str:
    return str(value[0]) if value else "0"


def _entries(route: NetlinkSocket, indexes: dict[str, int]) -> Facts:
    """Of the overlay's tables, and of the bridge: neighbours, routes to Services, and the entries of its ports."""
    state, device, bridge = Facts(), indexes.get(vxlan.DEVICE), indexes.get(BRIDGE)
    if device is not None:
        state |= facts.table(tables.read(route, device))
    for family in (socket.AF_INET, socket.AF_INET6):
        for item in map(rtnetlink.entry_of, route.dump(rtnetlink.list_neighbours(family))):
            if item.index == bridge and item.state & PERMANENT:
                state["neighbour", f"{item.dst} dev {BRIDGE}"] = item.mac
    for way in tables.own_routes(route):
        if way.oif == bridge:
            usual = serviceroutes.is_one(way)
            state[facts.service_route(way.dst if usual else way.dst + tables.special(way))] = PRESENT if usual else "another"
    names = {index: name for name, index in indexes.items() if name.startswith(PORTS)}
    for item in map(rtnetlink.entry_of, route.dump(rtnetlink.list_fdb())):
        # PERMANENT ones are the port's own address; others are ours, or were learnt while the port did that.
        if item.index in names and not item.own and not item.state & PERMANENT:
            state["fdb", f"{item.mac} dev {names[item.index]}"] = "static" if item.state & NOARP else "dynamic"
    return state
