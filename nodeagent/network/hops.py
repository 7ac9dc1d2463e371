"""Where the kernel sends a packet from here: lookups of route, neighbour, forwarding entry and port, one hop each. Blocking."""

from __future__ import annotations

import ipaddress
import os
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from nodeagent.network import links, nlsocket, rtnetlink, tables, tunnel, vxlan, wireguard
from nodeagent.network.guard import BRIDGE
from nodeagent.network.links import Link
from nodeagent.network.nlsocket import NetlinkSocket, Request, attribute
from nodeagent.network.wireguard import TunnelPeer

_GET_ROUTE, _ROUTE = 26, struct.Struct("=BBBBBBBBI")
_DST, _SRC, _IIF = 1, 2, 3
# linux/rtnetlink.h, RTN_*
_LOCAL = 2


@dataclass(frozen=True, slots=True)
class Hop:
    """`underlay` is the address of the host that an encapsulated packet is sent to, `device` the port of a pod that it is led
    to; `local`: it is for the node or the pod itself, and not forwarded."""

    kind: str
    text: str
    dropped: bool = False
    underlay: str = ""
    device: str = ""
    local: bool = False


def port_of(route: NetlinkSocket, device: str) -> list[Hop]:
    """A pod's end and the bridge, as a packet of the pod's passes them."""
    found = {link.name: link for link in map(links.read, route.dump(links.every()))}
    port, bridge = found.get(device), found.get(BRIDGE)
    if port is None:
        return [Hop("veth", f"the pod's device {device} is missing on the node", dropped=True)]
    hops = [Hop("veth", f"eth0 -> {device} (mtu {port.mtu})", dropped=not port.up)]
    if not port.up:
        return [Hop("veth", f"{device} is down", dropped=True)]
    if bridge is None or not bridge.up or port.master != bridge.index:
        reason = "is no port of it" if bridge is not None and bridge.up else "is missing or down"
        return [
            *hops,
            Hop("bridge", f"{BRIDGE}: {device} {reason}" if bridge and bridge.up else f"{BRIDGE} {reason}", dropped=True),
        ]
    return [*hops, Hop("bridge", f"{device} is a port of {BRIDGE}")]


def onward(route: NetlinkSocket, source: str, target: str, came_in: str) -> Iterator[Hop]:
    """From the node's stack, which a packet reached by the device `came_in`, to a pod or another host."""
    found = {link.index: link for link in map(links.read, route.dump(links.every()))}
    index = next((link.index for link in found.values() if link.name == came_in), 0)
    try:
        [message] = route.run(_lookup(source, target, index))
    except OSError as error:
        # EINVAL is a blackhole.
        reason = "no node has this address: blackhole" if error.errno == 22 else error.strerror or os.strerror(error.errno or 0)
        yield Hop("route", f"{target}: {reason}", dropped=True)
        return
    way = rtnetlink.route_of(message)
    out = found.get(way.oif)
    name = out.name if out is not None else "?"
    yield Hop("route", f"{target} {f'via {way.gateway} ' if way.gateway else ''}dev {name}")
    if name == vxlan.DEVICE and out is not None:
        yield from _overlay(route, out, way.gateway or target, found)
    elif name == BRIDGE and out is not None:
        yield from _local(route, out, target, found)
    elif way.type == _LOCAL:
        yield Hop("pod", f"{target} is an address of the node itself", local=True)
    else:
        yield Hop("underlay", f"leaves the overlay by {name}, from the node's address")


def _lookup(source: str, target: str, index: int) -> Request:
    family, to, came = nlsocket.ip_family(target), nlsocket.ip_bytes(target), nlsocket.ip_bytes(source)
    bits = len(to) * 8
    body = _ROUTE.pack(family, bits, bits, 0, 0, 0, 0, 0, 0) + attribute(_DST, to) + attribute(_SRC, came)
    return Request(_GET_ROUTE, body + (nlsocket.number(_IIF, index) if index else b""))


def _overlay(route: NetlinkSocket, out: Link, gateway: str, found: dict[int, Link]) -> Iterator[Hop]:
    table = tables.read(route, out.index)
    mac = next((item.mac for item in table.neighbours if item.address == gateway), "")
    if not mac:
        yield Hop("neighbour", f"{gateway} dev {out.name}: no MAC address", dropped=True)
        return
    yield Hop("neighbour", f"{gateway} lladdr {mac} dev {out.name}")
    host = next((item.dst for item in table.fdb if item.mac == mac), "")
    if not host:
        yield Hop("fdb", f"{mac} dev {out.name}: no host", dropped=True)
        return
    yield Hop("fdb", f"{mac} dst {host} dev {out.name}")
    if not out.up:
        yield Hop("vtep", f"{out.name} is down", dropped=True)
        return
    yield Hop("vtep", f"{out.name} encapsulates (mtu {out.mtu})")
    if ipaddress.ip_address(host) in wireguard.PREFIX:
        hop = _tunnel(route, host, found)
        yield hop
        host = hop.underlay
    if host:
        yield _underlay(route, host, found)[0]


def _tunnel(route: NetlinkSocket, address: str, found: dict[int, Link]) -> Hop:
    """To the peer with this tunnel address; the hop's `underlay` is the endpoint."""
    hop, device = _underlay(route, address, found)
    if hop.dropped or device != wireguard.DEVICE:
        reason = "" if hop.dropped else f": encapsulated packets leave by {wireguard.DEVICE} alone"
        return Hop("tunnel", f"{hop.text}{reason}", dropped=True)
    try:
        return encrypted(address, tunnel.read().peers)
    except OSError as error:
        return Hop("tunnel", f"{address} dev {device}: {error.strerror or error}", dropped=True)


def encrypted(address: str, peers: Iterable[TunnelPeer]) -> Hop:
    """By the WireGuard device with these peers, to a tunnel address. Pure."""
    peer = next((peer for peer in peers if wireguard.is_key(peer.key) and peer.address == address), None)
    shown = f"to {address} dev {wireguard.DEVICE}"
    if peer is None:
        return Hop("tunnel", f"{shown}: no peer has this address", dropped=True)
    if not peer.endpoint:
        return Hop("tunnel", f"{shown}: peer {peer.key} has no usable endpoint, or other allowed IPs", dropped=True)
    return Hop("tunnel", f"{shown} peer {peer.key} endpoint {peer.endpoint}", underlay=peer.endpoint)


def _underlay(route: NetlinkSocket, host: str, found: dict[int, Link]) -> tuple[Hop, str]:
    """The last hop of this node, and its device's name."""
    try:
        [message] = route.run(_lookup_plain(host))
    except OSError as error:
        return Hop("underlay", f"{host}: {error.strerror}", dropped=True), ""
    way = rtnetlink.route_of(message)
    device = found.get(way.oif)
    name = device.name if device is not None else "?"
    if device is None or not device.up:
        return Hop("underlay", f"{host} dev {name}: the device is down", dropped=True), name
    gateway = f" via {way.gateway}" if way.gateway else ""
    return Hop("underlay", f"to {host}{gateway} dev {name} (mtu {device.mtu})", underlay=host), name


def _lookup_plain(target: str) -> Request:
    to = nlsocket.ip_bytes(target)
    return Request(_GET_ROUTE, _ROUTE.pack(nlsocket.ip_family(target), len(to) * 8, *[0] * 7) + attribute(_DST, to))


def _local(route: NetlinkSocket, bridge: Link, target: str, found: dict[int, Link]) -> Iterator[Hop]:
    neighbours = map(rtnetlink.entry_of, tables.of_both(route, rtnetlink.list_neighbours))
    mac = next((item.mac for item in neighbours if item.index == bridge.index and item.dst == target and item.mac), "")
    if not mac:
        yield Hop("neighbour", f"{target} dev {BRIDGE}: no pod of this node has this address", dropped=True)
        return
    yield Hop("neighbour", f"{target} lladdr {mac} dev {BRIDGE}")
    entries = map(rtnetlink.entry_of, route.dump(rtnetlink.list_fdb()))
    port = next((found[i.index] for i in entries if i.mac == mac and i.index in found and found[i.index].master), None)
    if port is None:
        yield Hop("fdb", f"{mac} dev {BRIDGE}: at no port", dropped=True)
        return
    yield Hop("fdb", f"{mac} dev {port.name} master {BRIDGE}")
    yield Hop("veth", f"{port.name}{' -> eth0' if port.up else ' is down'}", dropped=not port.up, device=port.name)
