"""The node's network in the kernel: devices, addresses, routes and neighbours. Synchronous.

All calls run on one thread of the overlay's. To configure a pod's namespace that thread enters it for as long as it
takes to open a socket: a netlink socket stays in the namespace that it was opened in.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from nodeagent.linux import namespaces
from nodeagent.network import conntrack, guard, links, ports, rtnetlink, tables, vxlan
from nodeagent.network.guard import Binding
from nodeagent.network.interface import NetworkError, Node
from nodeagent.network.links import Link
from nodeagent.network.nlsocket import NetlinkSocket
from nodeagent.network.plan import Difference, Table
from nodeagent.network.rtnetlink import Address, Entry

BRIDGE = guard.BRIDGE


@dataclass(frozen=True, slots=True)
class Gateway:
    """A pod's way out: the bridge's address, and the length of the node's range."""

    address: str
    length: int


def _close_device(name: str) -> None:
    """No IPv6, so no router advertisement is heard (CVE-2020-10749), and no IPv4 sender that is not behind the device.

    Raises OSError."""
    Path(f"/proc/sys/net/ipv4/conf/{name}/rp_filter").write_text("1")
    for setting, value in (("accept_ra", "0"), ("disable_ipv6", "1")):
        with contextlib.suppress(FileNotFoundError):
            # A kernel without IPv6 has none of it.
            Path(f"/proc/sys/net/ipv6/conf/{name}/{setting}").write_text(value)


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

    def setup(self, node: Node) -> None:
        """Bridge and VXLAN device with their addresses. Raises NetworkError."""
        underlay = self.underlay(node.address)
        mtu = self._mtu = underlay.mtu - vxlan.OVERHEAD
        length = int(node.pod_cidr.partition("/")[2])
        with told("bridge"):
            bridge = self._ensure(BRIDGE, "bridge")
            self._route.run(links.change(bridge, up=True, mtu=mtu))
            self._only_address(Address(bridge, _gateway(node.pod_cidr), length))
            ports.prepare(self._route, bridge=bridge, name=BRIDGE, gateway=_gateway(node.pod_cidr))
        with told("vxlan device"):
            self._drop_changed_vxlan(node)
            index = self._ensure(vxlan.DEVICE, "vxlan", vxlan.device(node, underlay.index), mac=node.mac)
            self._route.run(links.change(index, up=True, mtu=mtu))
            self._only_address(Address(index, vxlan.vtep_of(node.pod_cidr), 32))
        with told("sysctl"):
            for name in (BRIDGE, vxlan.DEVICE):
                _close_device(name)

    def enable_forwarding(self) -> bool:
        """Returns whether it was off, and this host no router. Raises NetworkError."""
        with told("ip_forward"):
            setting = Path("/proc/sys/net/ipv4/ip_forward")
            was_off = setting.read_text().strip() == "0"
            setting.write_text("1")
            return was_off

    def bindings(self) -> set[Binding]:
        """Of the pods' ports that are there. Raises NetworkError."""
        bridge = self.index(BRIDGE)
        with told("reading the bridge"):
            return ports.bindings(self._route, bridge=bridge) if bridge is not None else set()

    def forget_flows(self, protocol: int, port: int) -> None:
        """Delete tracked connections to a port of the node: translation is decided once for each. Raises NetworkError."""
        with told(f"tracked connections to port {port}"):
            conntrack.forget(protocol, port)

    def _ensure(self, name: str, kind: str, data: bytes = b"", *, mac: str = "") -> int:
        index = self.index(name)
        if index is None:
            self._route.run(links.add(name, kind, data, mac=mac))
            index = self.index(name)
        if index is None:
            raise NetworkError(f"device {name} vanished while it was made")
        return index

    def _drop_changed_vxlan(self, node: Node) -> None:
        """A VXLAN device cannot change its VNI or address: one that differs is made again."""
        index = self.index(vxlan.DEVICE)
        if index is not None and not vxlan.is_device(self._link(index), node):
            self._route.run(links.delete(index))

    def _only_address(self, wanted: Address) -> None:
        present = {item for item in self._addresses() if item.index == wanted.index}
        changes = [rtnetlink.del_address(other) for other in present - {wanted}]
        if wanted not in present:
            changes.append(rtnetlink.add_address(wanted))
        self._route.run(*changes)

    def attach(self, name: str, netns: Path, address: str, route: Gateway, bind: Callable[[Binding], None]) -> None:
        """A veth pair: `eth0` in the pod, `name` on the bridge. Created inside the pod, so deleting that deletes it.

        `bind` is called before the pod can send anything."""
        with told(f"pod {address}"), inside(netns) as pod:
            eth0 = self._pair(pod, name)
            pod.run(
                rtnetlink.add_address(Address(eth0.index, address, route.length), tolerated=(errno.EEXIST,)),
                links.change(eth0.index, up=True),
                rtnetlink.add_route(rtnetlink.Route("0.0.0.0/0", route.address), tolerated=(errno.EEXIST,)),
            )
            port, bridge = self.index(name), self.index(BRIDGE)
            if port is None or bridge is None:
                raise NetworkError(f"pod {address}: its device vanished while it was made")
            ports.close_in(self._route, port=port, bridge=bridge, mac=eth0.mac, address=address)
            bind(Binding(name, eth0.mac, address))
            # Up last: no frame of the pod's passes before it is bound.
            self._route.run(links.change(port, up=True))

    def _pair(self, pod: NetlinkSocket, name: str) -> Link:
        """Make the pair, unless the pod has it; returns its device. What has its name out here without that is an earlier
        pod's."""
        home = namespaces.current()
        pair = links.veth("eth0", name, netns=home, mtu=self._mtu)
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

    def detach(self, name: str, address: str) -> None:
        """Remove a pod's port; its neighbour entry too where the device went with the pod's namespace. `address` may be ""."""
        with told(f"device {name}"):
            self._drop(name)
            bridge = self.index(BRIDGE)
            if address and bridge is not None:
                self._route.run(rtnetlink.del_neighbour(Entry(bridge, address, "")))

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


def _has_eth0(pod: NetlinkSocket) -> bool:
    return any(links.read(link).name == "eth0" for link in pod.dump(links.every()))


def _gateway(pod_cidr: str) -> str:
    import ipaddress

    return str(ipaddress.IPv4Network(pod_cidr).network_address + 1)
