"""A pod's port on the bridge: what a pod sends is never trusted.

A container with NET_RAW, which Kubernetes grants by default, sends what frames it wants: answers to ARP in a neighbour's
name, or frames from a neighbour's addresses. So a port sends from its pod's MAC and IP address only (the rules are in
`guard`), and no ARP passes from port to port: the bridge answers for the pods (a private VLAN, RFC 3069) and routes between
them. Which MAC address is at which port, and which address it has, is written by us and never learnt from frames. The ports
are not isolated instead (IFLA_BRPORT_ISOLATED): where br_netfilter is on, what was sent to a host port or a Service is
bridged to a pod of the same node, and would be dropped.

IPv6 needs no neighbour discovery here: pods have the bridge's MAC address for good (see `podaddress`), and the bridge theirs.
"""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Collection, Sequence
from dataclasses import replace

from nodeagent.network import guard, links, nlsocket, rtnetlink, tables
from nodeagent.network.facts import PORT
from nodeagent.network.guard import Binding
from nodeagent.network.links import Link
from nodeagent.network.nlsocket import NetlinkSocket, attribute
from nodeagent.network.rtnetlink import Entry

# Names of the ports begin so, and no other device's.
PREFIX = guard.PORTS
# linux/if_link.h, IFLA_BRPORT_*. Mode 1, hairpin: back out where it came in, for a pod that asks a port of its node that leads
# to itself.
_MODE, _LEARNING = 4, 8
# IFLA_BR_VLAN_FILTERING
_VLAN_FILTERING = 7
_SETTINGS = attribute(_MODE, b"\1") + attribute(_LEARNING, b"\0")


def prepare(route: NetlinkSocket, *, bridge: int, gateway: str) -> None:
    """Give the bridge its MAC address. Raises OSError."""
    # Its own, by the address as CNI's bridge does: else it takes that of a port, changes with them, and at each change
    # the kernel deletes the neighbours of the bridge, permanent ones too.
    mac = bridge_mac(gateway)
    [link] = route.run(links.get(index=bridge))
    if links.read(link).mac != mac:
        route.run(links.change(bridge, mac=mac))
    if links.read(link).data.get(_VLAN_FILTERING, b"\0") != b"\0":
        # Else not touched: the kernel may know nothing of it.
        route.run(links.change_kind(bridge, "bridge", attribute(_VLAN_FILTERING, b"\0")))


def bridge_mac(gateway: str) -> str:
    """Of the bridge with this address: an IPv4 address itself, of an IPv6 address a hash. Pure."""
    packed = nlsocket.ip_bytes(gateway)
    return "0a:58:" + (packed if len(packed) == 4 else hashlib.sha256(packed).digest()[:4]).hex(":")


def close_in(route: NetlinkSocket, *, port: int, bridge: int, mac: str, addresses: Sequence[str]) -> None:
    """Make a device a port for the pod with this MAC address and these IP addresses. Raises OSError."""
    route.run(
        links.change(port, master=bridge, alias=",".join(addresses)),
        links.change_port(port, _SETTINGS),
        rtnetlink.add_port_entry(port, mac),
        *(rtnetlink.replace_neighbour(Entry(bridge, address, mac)) for address in addresses),
    )


def repair(route: NetlinkSocket, *, port: int, mac: str) -> None:
    """All settings and the entry of a port that is up. Raises OSError."""
    settings = {name: attribute(key, bytes([value])) for name, (key, value) in PORT.items()}
    # A port without a carrier, such as one that was just made, cannot forward; the kernel sees to it once it has one.
    state = replace(links.change_port(port, settings.pop("state")), tolerated=(errno.ENETDOWN,))
    route.run(links.change_port(port, b"".join(settings.values())), state, rtnetlink.replace_port_entry(port, mac))


def keep_only(route: NetlinkSocket, bindings: Collection[Binding], *, bridge: int) -> None:
    """Neighbours of the bridge, and entries of its ports. Raises OSError."""
    addresses, places = {item.address for item in bindings}, {(item.device, item.mac) for item in bindings}
    names = {link.index: link.name for link in map(links.read, route.dump(links.every()))}
    for entry in map(rtnetlink.entry_of, tables.of_both(route, rtnetlink.list_neighbours)):
        if entry.index == bridge and entry.state & rtnetlink.PERMANENT and entry.dst not in addresses:
            route.run(rtnetlink.del_neighbour(Entry(bridge, entry.dst, "")))
    for entry in map(rtnetlink.entry_of, route.dump(rtnetlink.list_fdb())):
        name = names.get(entry.index, "")
        ours = name.startswith(PREFIX) and not entry.own and not entry.state & rtnetlink.PERMANENT
        if ours and (name, entry.mac) not in places:
            route.run(rtnetlink.del_port_entry(entry.index, entry.mac))


def forget(route: NetlinkSocket, *, port: int, bridge: int) -> None:
    """Before a port goes: what is not removed with it. Raises OSError."""
    [link] = route.run(links.get(index=port))
    route.run(*(rtnetlink.del_neighbour(Entry(bridge, address, "")) for address in _addresses(links.read(link))))


def bindings(route: NetlinkSocket, *, bridge: int) -> set[Binding]:
    """The ports that are there, with the addresses that `close_in` gave them. Raises OSError."""
    neighbours = map(rtnetlink.entry_of, tables.of_both(route, rtnetlink.list_neighbours))
    macs = {item.dst: item.mac for item in neighbours if item.index == bridge}
    ours = (i for i in map(links.read, route.dump(links.every())) if i.master == bridge and i.name.startswith(PREFIX))
    return {Binding(link.name, macs[item], item) for link in ours for item in _addresses(link) if macs.get(item)}


def _addresses(link: Link) -> list[str]:
    """That `close_in` wrote."""
    return list(filter(None, link.alias.split(",")))
