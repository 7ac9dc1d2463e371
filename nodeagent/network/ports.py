"""A pod's port on the bridge: what a pod sends is never trusted.

A container with NET_RAW, which Kubernetes grants by default, sends what frames it wants: answers to ARP in a neighbour's
name, or frames from a neighbour's addresses. So a port sends from its pod's MAC and IP address only (the rules are in
`guard`), and no ARP passes from port to port: the bridge answers for the pods (a private VLAN, RFC 3069) and routes between
them. Which MAC address is at which port, and which address it has, is written by us and never learnt from frames. The ports
are not isolated instead (IFLA_BRPORT_ISOLATED): where br_netfilter is on, what was sent to a host port or a Service is
bridged to a pod of the same node, and would be dropped.
"""

from __future__ import annotations

from pathlib import Path

from nodeagent.network import guard, links, rtnetlink
from nodeagent.network.guard import Binding
from nodeagent.network.nlsocket import NetlinkSocket, attribute
from nodeagent.network.rtnetlink import Entry

# Names of the ports begin so, and no other device's.
PREFIX = guard.PORTS
# linux/if_link.h, IFLA_BRPORT_*. Mode 1, hairpin: back out where it came in, for a pod that asks a port of its node that leads
# to itself.
_MODE, _LEARNING = 4, 8
_SETTINGS = attribute(_MODE, b"\1") + attribute(_LEARNING, b"\0")


def prepare(route: NetlinkSocket, *, bridge: int, name: str, gateway: str) -> None:
    """Have the bridge answer for pods that cannot hear each other. Raises OSError."""
    Path(f"/proc/sys/net/ipv4/conf/{name}/proxy_arp_pvlan").write_text("1")
    # For host ports on 127.0.0.1; `guard` keeps pods from reaching the node's own.
    Path(f"/proc/sys/net/ipv4/conf/{name}/route_localnet").write_text("1")
    # Its own, by the address as CNI's bridge does: else it takes that of a port, changes with them, and at each change
    # the kernel deletes the neighbours of the bridge, permanent ones too.
    mac = "0a:58:" + ":".join(f"{int(part):02x}" for part in gateway.split("."))
    [link] = route.run(links.get(index=bridge))
    if links.read(link).mac != mac:
        route.run(links.change(bridge, mac=mac))


def close_in(route: NetlinkSocket, *, port: int, bridge: int, mac: str, address: str) -> None:
    """Make a device a port for the pod with this MAC address and IP address. Raises OSError."""
    route.run(
        links.change(port, master=bridge, alias=address),
        links.change_port(port, _SETTINGS),
        rtnetlink.add_port_entry(port, mac),
        rtnetlink.replace_neighbour(Entry(bridge, address, mac)),
    )


def forget(route: NetlinkSocket, *, port: int, bridge: int) -> None:
    """Before a port goes: what is not removed with it. Raises OSError."""
    [link] = route.run(links.get(index=port))
    if address := links.read(link).alias:
        route.run(rtnetlink.del_neighbour(Entry(bridge, address, "")))


def bindings(route: NetlinkSocket, *, bridge: int) -> set[Binding]:
    """The ports that are there, with the addresses that `close_in` gave them. Raises OSError."""
    neighbours = map(rtnetlink.entry_of, route.dump(rtnetlink.list_neighbours()))
    macs = {item.dst: item.mac for item in neighbours if item.index == bridge}
    found = set()
    for link in map(links.read, route.dump(links.every())):
        if link.master == bridge and link.name.startswith(PREFIX) and macs.get(link.alias):
            found.add(Binding(link.name, macs[link.alias], link.alias))
    return found
