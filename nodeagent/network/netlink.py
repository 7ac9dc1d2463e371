"""The node's network in the kernel: devices, addresses, routes and neighbours. Synchronous.

All calls run on one thread of the overlay's. To configure a pod's namespace that thread enters it for as long as it
takes to open a socket: a netlink socket stays in the namespace that it was opened in.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
import socket
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path

from nodeagent.linux import namespaces
from nodeagent.network import (
    clashes,
    facts,
    guard,
    inspection,
    links,
    podaddress,
    ports,
    rtnetlink,
    serviceroutes,
    sysctls,
    tables,
    tunnel,
    tunnelkey,
    vxlan,
    wireguard,
)
from nodeagent.network.facts import Facts
from nodeagent.network.guard import Binding
from nodeagent.network.hostroutes import HostRoutes
from nodeagent.network.interface import Deviation, NetworkError, Node
from nodeagent.network.links import Link
from nodeagent.network.loadbalancer import routes
from nodeagent.network.nlsocket import NetlinkSocket
from nodeagent.network.plan import Difference, Table
from nodeagent.network.podaddress import PodAddress, gateway_of
from nodeagent.network.rtnetlink import Address, Entry
from nodeagent.network.wireguard import TunnelPeer
from pinnace.ipfamilies import BITS, NAMES, Family, families_of, family_of

BRIDGE = guard.BRIDGE
# RFC 8200, section 5; below it the kernel takes IPv6 away from a device.
MIN_IPV6_MTU = 1280
# The index of `lo`, in every network namespace.
_LOOPBACK = 1


@contextlib.contextmanager
def inside(netns: Path) -> Iterator[NetlinkSocket]:
    """A socket to another network namespace. Raises OSError."""
    with namespaces.visiting(netns):
        route = NetlinkSocket()
    with route:
        yield route


@contextlib.contextmanager
def told(what: str) -> Iterator[None]:
    """Failures of the kernel as NetworkError, saying at what."""
    try:
        yield
    except OSError as error:
        raise NetworkError(f"{what}: {error.strerror or error}") from error


class Netlink:
    """The node's own namespace, that of the calling thread. Raises OSError."""

    def __init__(self) -> None:
        self._route = NetlinkSocket()
        self._host_routes = HostRoutes(self._route)
        # Of the pods' devices and the bridge; `setup` says it.
        self._mtu = 0

    def close(self) -> None:
        self._route.close()

    def index(self, name: str) -> int | None:
        try:
            return socket.if_nametoindex(name)
        except OSError:
            return None

    def _link(self, index: int) -> Link:
        [message] = self._route.run(links.get(index=index))
        return links.read(message)

    def _addresses(self) -> list[Address]:
        return [rtnetlink.address_of(message) for message in self._route.dump(rtnetlink.list_addresses())]

    def underlay(self, address: str) -> Link:
        """The device that has `address`. Raises NetworkError."""
        with told("the underlay"):
            for item in self._addresses():
                if item.address == address:
                    return self._link(item.index)
        raise NetworkError(f"no device of this host has the address {address}")

    def host_addresses(self) -> frozenset[str]:
        """All that the host has but those that we have added: of our devices, of Services and of the cluster DNS. Raises
        NetworkError."""
        with told("reading the host's addresses"):
            names = {link.index: link.name for link in map(links.read, self._route.dump(links.every()))}
            return frozenset(
                item.address for item in self._addresses()
                if item.protocol != tables.PROTOCOL and not names.get(item.index, "").startswith(clashes.OURS)
            )  # fmt: skip

    def check(self, node: Node) -> None:
        """Raises NetworkError for what of this host is in the way."""
        if clash := self.clash(node, thorough=True):
            raise NetworkError(clash)

    def clash(self, node: Node, *, thorough: bool) -> str:
        """What of this host is in the way; empty for nothing. `thorough`: with its routes as they are now; else they may be
        those of an earlier call (see `hostroutes`). Raises NetworkError."""
        with told("reading the host's network"):
            found = list(map(links.read, self._route.dump(links.every())))
            ways = self._host_routes.inside((*node.cluster_cidrs, *node.service_cidrs), thorough=thorough)
            return clashes.find(node, found, self._addresses(), ways)

    def setup(self, node: Node) -> None:
        """Bridge and VXLAN device with their addresses. Raises NetworkError."""
        underlay = self.underlay(node.address)
        mtu = self._mtu = underlay.mtu - vxlan.OVERHEAD[family_of(node.address)]
        _check(node, mtu)
        gateways = [gateway_of(cidr) for cidr in node.pod_cidrs]
        with told("bridge"):
            bridge = self._ensure(BRIDGE, "bridge")
            ports.prepare(self._route, bridge=bridge, gateway=gateways[0].address)
        with told("vxlan device"):
            self._drop_changed_vxlan(node, underlay.index)
            device = self._ensure(vxlan.DEVICE, "vxlan", vxlan.device(node, underlay.index), mac=node.mac)
        # Before they are up: else they would hear a router advertisement, and have an address of the kernel's.
        self.write_settings(node)
        with told("addresses of the node's devices"):
            self._route.run(links.change(bridge, up=True, mtu=mtu), links.change(device, up=True, mtu=mtu))
            self._only_addresses(bridge, *(Address(bridge, item.address, item.length) for item in gateways))
            vteps = map(vxlan.vtep_of, node.pod_cidrs)
            self._only_addresses(device, *(Address(device, vtep, BITS[family_of(vtep)]) for vtep in vteps))
        with told("routes to Services"):
            families = families_of(node.pod_cidrs)
            serviceroutes.ensure(self._route, bridge, [cidr for cidr in node.service_cidrs if family_of(cidr) in families])

    def serve_names(self, addresses: Sequence[str]) -> None:
        """Exactly these cluster DNS addresses, on `lo`: that one is there before any pod's device. Of the host's scope, or the
        kernel takes one for the sender of what it masquerades on `lo`. Raises NetworkError."""
        with told("cluster DNS addresses"):
            present = {item for item in self._addresses() if item.index == _LOOPBACK and item.protocol == tables.PROTOCOL}
            wanted = {Address(_LOOPBACK, text, BITS[family_of(text)], tables.PROTOCOL) for text in addresses}
            added = [
                rtnetlink.add_address(item, scope=rtnetlink.SCOPE_HOST, tolerated=(errno.EEXIST,)) for item in wanted - present
            ]
            self._route.run(*added, *(rtnetlink.del_address(item) for item in present - wanted))

    def encrypt(self, node: Node, keys: Path) -> Node:
        """Have the tunnel that the overlay of an encrypted cluster uses, with the key of the directory `keys`; returns the node
        as that overlay has it. Raises NetworkError."""
        underlay = self.underlay(node.address)
        with told("WireGuard device"):
            key = tunnelkey.load(keys)
            tunnel.ensure(self._route, key, mtu=_tunnel_mtu(node, underlay))
        return dataclasses.replace(node, address=wireguard.tunnel_address(key.public))

    def lower(self, node: Node) -> Link:
        """What the VXLAN device sends by: of `node` as the underlay has it, its device, or the tunnel as it should be. Raises
        NetworkError."""
        underlay = self.underlay(node.address)
        if not node.encrypt:
            return underlay
        return dataclasses.replace(underlay, name=wireguard.DEVICE, mtu=_tunnel_mtu(node, underlay))

    def verify_tunnel(self, lower: Link, wanted: frozenset[TunnelPeer] | None) -> list[Deviation]:
        """`wanted` are the peers, None: of them nothing. Raises NetworkError."""
        with told("WireGuard device"):
            return tunnel.verify(self._route, wanted, mtu=lower.mtu)

    def remove_tunnel(self) -> None:
        """Raises NetworkError."""
        with told("WireGuard device"):
            tunnel.remove(self._route)

    def sync_tunnel(self, wanted: frozenset[TunnelPeer]) -> int:
        """Raises NetworkError."""
        with told("peers of the WireGuard device"):
            return tunnel.sync(wanted)

    @property
    def mtu(self) -> int:
        """Of the pods, the bridge and the VXLAN device; 0 before `setup`."""
        return self._mtu

    def write_settings(self, node: Node) -> None:
        """Those of the kernel that the node's network relies on. Raises NetworkError."""
        with told("sysctl"):
            sysctls.write(sysctls.of_node(node))

    def enable_forwarding(self, family: Family) -> bool:
        """Returns whether it was off, and this host no router. Raises NetworkError."""
        with told(f"forwarding of {NAMES[family]}"):
            return sysctls.enable_forwarding(family)

    def keep_half_closed(self) -> None:
        """Raises NetworkError."""
        with told("timeout of half-closed connections"):
            sysctls.keep_half_closed()

    def bindings(self) -> set[Binding]:
        """Of the pods' ports that are there. Raises NetworkError."""
        bridge = self.index(BRIDGE)
        with told("reading the bridge"):
            return ports.bindings(self._route, bridge=bridge) if bridge is not None else set()

    def answer_for(self, device: Link, wanted: Collection[str]) -> None:
        """Have the kernel answer for exactly these addresses of Services on the underlay's device. Raises NetworkError."""
        with told("addresses of load balancers"):
            routes.sync(self._route, device.index, wanted)

    def answered(self) -> frozenset[tuple[str, str]]:
        """Addresses of Services that the kernel answers for, with their devices. Raises NetworkError."""
        with told("addresses of load balancers"):
            names = {link.index: link.name for link in map(links.read, self._route.dump(links.every()))}
            return frozenset((address, names.get(index, str(index))) for address, index in routes.present(self._route))

    def _ensure(self, name: str, kind: str, data: bytes = b"", *, mac: str = "") -> int:
        index = self.index(name)
        if index is None:
            self._route.run(links.add(name, kind, data, mac=mac))
            index = self.index(name)
        if index is None:
            raise NetworkError(f"device {name} vanished while it was made")
        if taken := clashes.other_kind(self._link(index), kind):
            raise NetworkError(taken)
        return index

    def _drop_changed_vxlan(self, node: Node, underlay: int) -> None:
        """A VXLAN device that differs is made again. It could be moved on the underlay, but would keep sending from the address
        that its FDB entries have cached."""
        index = self.index(vxlan.DEVICE)
        link = self._link(index) if index is not None else None
        # One of another kind is the host's.
        if link is not None and link.kind == "vxlan" and not vxlan.is_device(link, node, underlay):
            self._route.run(links.delete(link.index))

    def _only_addresses(self, index: int, *wanted: Address) -> None:
        present = {item for item in self._addresses() if item.index == index}
        changes = [rtnetlink.del_address(other) for other in present - {*wanted}]
        changes += [rtnetlink.add_address(item) for item in wanted if item not in present]
        self._route.run(*changes)

    def attach(
        self, name: str, netns: Path, addresses: Sequence[PodAddress], bind: Callable[[list[Binding]], None], *, mac: str = ""
    ) -> None:
        """A veth pair: `eth0` in the pod, `name` on the bridge. Created inside the pod, so deleting that deletes it.

        `bind` is called before the pod can send anything. `mac` is what eth0 had before, if it had one."""
        shown = ",".join(item.address for item in addresses)
        with told(f"pod {shown}"), inside(netns) as pod:
            eth0 = self._pair(pod, name, mac)
            if any(family_of(item.address) == 6 for item in addresses):
                with namespaces.visiting(netns):
                    sysctls.write(sysctls.of_pod("eth0"))
            port, bridge = self.index(name), self.index(BRIDGE)
            if port is None or bridge is None:
                raise NetworkError(f"pod {shown}: its device vanished while it was made")
            wanted = podaddress.requests(eth0.index, addresses, gateway_mac=self._link(bridge).mac)
            pod.run(links.change(eth0.index, up=True), *wanted)
            ports.close_in(self._route, port=port, bridge=bridge, mac=eth0.mac, addresses=[item.address for item in addresses])
            bind([Binding(name, eth0.mac, item.address) for item in addresses])
            # Up last: no frame of the pod's passes before it is bound.
            self._route.run(links.change(port, up=True))

    def _pair(self, pod: NetlinkSocket, name: str, mac: str) -> Link:
        """Make the pair, unless the pod has it; returns its device. What has its name out here without that is an earlier
        pod's."""
        home = namespaces.current()
        pair = links.veth("eth0", name, netns=home, mtu=self._mtu, mac=mac)
        try:
            pod.run(pair)
        except OSError as error:
            if error.errno != errno.EEXIST:
                raise
            if not _has_eth0(pod):
                self._drop(name)
                pod.run(pair)
        finally:
            os.close(home)
        [eth0] = pod.run(links.get(name="eth0"))
        return links.read(eth0)

    def _drop(self, name: str) -> None:
        index, bridge = self.index(name), self.index(BRIDGE)
        if index is not None:
            try:
                if bridge is not None:
                    ports.forget(self._route, port=index, bridge=bridge)
                self._route.run(links.delete(index))
            except OSError as error:
                # It went with the pod's namespace.
                if error.errno != errno.ENODEV:
                    raise

    def detach(self, name: str, addresses: Iterable[str]) -> None:
        """Remove a pod's port; its neighbour entries too where the device went with the pod's namespace."""
        with told(f"device {name}"):
            self._drop(name)
            bridge = self.index(BRIDGE)
            if bridge is not None:
                self._route.run(*(rtnetlink.del_neighbour(Entry(bridge, address, "")) for address in addresses))

    def inspect(self, settings: Iterable[str], dns: Collection[str] | None = None) -> Facts:
        """The node's network as it is; see `inspection.read`. Raises NetworkError."""
        with told("reading the node's network"):
            return inspection.read(self._route, settings, dns)

    def wanted(
        self, node: Node, bindings: Iterable[Binding], table: Table, *, lower: Link | None, dns: Iterable[str] = ()
    ) -> Facts:
        """`inspect` when all is well; the MTU follows that of `lower`, None: unknown. Raises NetworkError."""
        mtu = lower.mtu - vxlan.OVERHEAD[family_of(node.address)] if lower is not None else 0
        name = lower.name if lower is not None else ""
        mac = ports.bridge_mac(gateway_of(node.pod_cidr).address)
        settings = sysctls.all_of(node)
        return facts.wanted(facts.Wanted(node, mtu, name, mac, settings, tuple(bindings), table, tuple(dns)))

    def repair_port(self, device: str, bindings: Sequence[Binding], netns: Path | None) -> None:
        """One that is there, with its end in `netns` if that is known. Raises NetworkError."""
        port, bridge = self.index(device), self.index(BRIDGE)
        if port is None or bridge is None:
            raise NetworkError(f"device {device} is gone")
        mac = bindings[0].mac
        with told(f"device {device}"):
            ports.close_in(self._route, port=port, bridge=bridge, mac=mac, addresses=[item.address for item in bindings])
            self._route.run(links.change(port, up=True, mtu=self._mtu))
            # Some settings take only while it is up.
            ports.repair(self._route, port=port, mac=mac)
        if netns is not None:
            with told(f"eth0 of the pod with device {device}"), inside(netns) as pod:
                [message] = pod.run(links.get(name="eth0"))
                pod.run(links.change(links.read(message).index, mtu=self._mtu))

    def keep_bindings(self, bindings: Collection[Binding]) -> None:
        """Of the bridge's neighbours and its ports' entries only those of these bindings. Raises NetworkError."""
        bridge = self.index(BRIDGE)
        with told(f"entries of {BRIDGE}"):
            if bridge is not None:
                ports.keep_only(self._route, bindings, bridge=bridge)

    def read(self) -> Table:
        """The overlay's entries as the kernel has them. Raises NetworkError."""
        device = self.index(vxlan.DEVICE)
        with told("reading the overlay"):
            return tables.read(self._route, device) if device is not None else Table()

    def apply(self, change: Difference) -> None:
        """Program the overlay. Raises NetworkError."""
        device = self.index(vxlan.DEVICE)
        if device is None:
            raise NetworkError(f"programming the overlay: there is no device {vxlan.DEVICE}")
        with told("programming the overlay"):
            tables.apply(self._route, device, change)


def _tunnel_mtu(node: Node, underlay: Link) -> int:
    return underlay.mtu - wireguard.OVERHEAD[family_of(node.address)]


def _has_eth0(pod: NetlinkSocket) -> bool:
    return any(links.read(link).name == "eth0" for link in pod.dump(links.every()))


def _check(node: Node, mtu: int) -> None:
    """Raises NetworkError for a node whose pods cannot have IPv6."""
    if 6 not in families_of(node.pod_cidrs):
        return
    if not sysctls.has_ipv6():
        raise NetworkError(f"the kernel has no IPv6 (boot without ipv6.disable=1): pod CIDRs {','.join(node.pod_cidrs)}")
    if mtu < MIN_IPV6_MTU:
        raise NetworkError(f"pods would have an MTU of {mtu}, and IPv6 needs {MIN_IPV6_MTU}: give the underlay a larger one")
