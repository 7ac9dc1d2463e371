"""The node's network as facts: (kind, item) -> value, as it should be and as the kernel has it, and how the two differ. Pure.

A missing device is one difference, not one for each of its settings. Kinds: link, address, sysctl, port (a pod's, on the
bridge), route, neighbour, fdb; others are nft, of nftables, and balancer (see `loadbalancer.answering`). An address of the
node's devices, or an item of the overlay's tables, that should not be there is wanted as "".
"""

from __future__ import annotations

from dataclasses import dataclass

from nodeagent.network import plan, rtnetlink, tables, vxlan
from nodeagent.network.guard import BRIDGE, Binding
from nodeagent.network.interface import Deviation, Node
from nodeagent.network.podaddress import gateway_of
from pinnace.ipfamilies import BITS, families_of, family_of

Facts = dict[tuple[str, str], str]
# Settings of a port of the bridge (linux/if_link.h, IFLA_BRPORT_*) by iproute2's names: attribute and value.
PORT = {
    "state": (1, 3), "hairpin": (4, 1), "guard": (5, 0), "root_block": (6, 0), "learning": (8, 0), "flood": (9, 1),
    "proxy_arp": (10, 0), "neigh_suppress": (32, 0), "isolated": (33, 0),
}  # fmt: skip
PRESENT, LOOPBACK = "present", "lo"
# Of these kinds, all that is there is read: what is not wanted is a difference too.
_WHOLE = ("address", "route", "neighbour", "fdb")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the facts are made of. `mtu` is that of pods; `underlay` names the device that has the node's address; 0 and empty
    if they are unknown, which are no facts then;
    `mac` is the bridge's; `sysctls` are values by path below /proc/sys/net; `dns` are the cluster DNS addresses on `lo`."""

    node: Node
    mtu: int
    underlay: str
    mac: str
    sysctls: dict[str, str]
    bindings: tuple[Binding, ...]
    table: plan.Table
    dns: tuple[str, ...] = ()


def wanted(of: Wanted) -> Facts:
    found = _device(BRIDGE, "bridge", of.mac, of.mtu) | _device(vxlan.DEVICE, "vxlan", of.node.mac, of.mtu)
    found["link", f"{BRIDGE} vlan_filtering"] = "0"
    node = of.node
    settings = {"id": node.vni, "dstport": node.port, "local": node.address, "learning": 0}
    settings |= {"dev": of.underlay} if of.underlay else {}
    found |= {("link", f"{vxlan.DEVICE} {key}"): str(value) for key, value in settings.items()}
    found |= {("sysctl", name): value for name, value in of.sysctls.items()}
    found |= _addresses(node) | _services(node) | table(of.table)
    found |= {("address", f"{LOOPBACK} {address}/{BITS[family_of(address)]}"): PRESENT for address in of.dns}
    for binding in of.bindings:
        found |= _port(binding, of.mtu)
    return found


def _device(name: str, kind: str, mac: str, mtu: int) -> Facts:
    settings = {"": kind, " state": "up", " address": mac} | ({" mtu": str(mtu)} if mtu else {})
    return {("link", name + key): value for key, value in settings.items()}


def _addresses(node: Node) -> Facts:
    found = Facts()
    for cidr in node.pod_cidrs:
        gateway = gateway_of(cidr)
        found["address", f"{BRIDGE} {gateway.address}/{gateway.length}"] = PRESENT
        found["address", f"{vxlan.DEVICE} {vxlan.vtep_of(cidr)}/{BITS[family_of(cidr)]}"] = PRESENT
    return found


def service_route(cidr: str) -> tuple[str, str]:
    """The fact of a route to a range of Services' addresses (see `serviceroutes`), whose value is PRESENT."""
    return "route", f"{cidr} dev {BRIDGE}"


def _services(node: Node) -> Facts:
    families = families_of(node.pod_cidrs)
    return {service_route(cidr): PRESENT for cidr in node.service_cidrs if family_of(cidr) in families}


def _port(binding: Binding, mtu: int) -> Facts:
    name = binding.device
    settings = {"": "veth", " master": BRIDGE, " up": "1"}
    settings |= {" mtu": str(mtu), " eth0 mtu": str(mtu)} if mtu else {}
    settings |= {f" {key}": str(value) for key, (_, value) in PORT.items()}
    found = {("port", name + key): value for key, value in settings.items()}
    found["fdb", f"{binding.mac} dev {name}"] = "static"
    found["neighbour", f"{binding.address} dev {BRIDGE}"] = binding.mac
    return found


def table(of: plan.Table) -> Facts:
    """The overlay's entries; of several with the same item each value."""
    entries = [*map(_route, of.routes)]
    entries += [("neighbour", f"{item.address} dev {vxlan.DEVICE}", item.mac) for item in of.neighbours]
    entries += [("fdb", f"{item.mac} dev {vxlan.DEVICE}", f"dst {item.dst or 'none'}{item.odd}") for item in of.fdb]
    found = dict[tuple[str, str], list[str]]()
    for kind, name, value in sorted(entries):
        found.setdefault((kind, name), []).append(value)
    return {key: ", ".join(values) for key, values in found.items()}


def _route(item: plan.Route) -> tuple[str, str, str]:
    way = f"via {item.via} dev {vxlan.DEVICE}" if item.via else tables.NOWHERE[rtnetlink.BLACKHOLE]
    if (other := item.other) is None:
        return "route", item.dst, way
    nowhere = tables.NOWHERE.get(other.type) or f"dev {vxlan.DEVICE}"
    return "route", item.dst + tables.special(other), way if item.via else nowhere


def differences(want: Facts, have: Facts) -> list[Deviation]:
    """In the order of kinds and items."""
    missing = {
        item
        for (kind, item), value in want.items()
        if kind in ("link", "port") and " " not in item and (kind, item) not in have
    }
    found = []
    for kind, item in sorted(want.keys() | {key for key in have if key[0] in _WHOLE}):
        first, _, rest = item.partition(" ")
        of_missing = (rest and first in missing) or item.rpartition(" ")[2] in missing - {item}
        value, actual = want.get((kind, item), ""), have.get((kind, item), "")
        if value != actual and not of_missing:
            found.append(Deviation(kind, item, value, actual))
    return found
