"""Netlink through pyroute2: the only file that talks to the kernel's network, and synchronous.

All calls run on one thread of the overlay's. To configure a pod's namespace that thread enters it for as long as it
takes to open a socket: a netlink socket stays in the namespace that it was opened in. pyroute2's own `netns=` argument
would fork, which a process with gRPC must not.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pyroute2.iproute.linux import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from nodeagent.network import ports, vxlan
from nodeagent.network.plan import Difference, Fdb, Neighbour, Route, Table
from nodeagent.network.seam import NetworkError, Node

BRIDGE = "pinnace0"
# Uses of one socket.
VISITS = 500
_CLONE_NEWNET = 0x40000000
_BLACKHOLE, _UNICAST = 6, 1
# Marks our routes, so that nobody else's are touched (a free number of rt_protos).
PROTOCOL = 80
_PERMANENT, _NTF_SELF, _AF_BRIDGE = 0x80, 0x02, 7
_ONLINK = 4


def _setns(descriptor: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, _CLONE_NEWNET) < 0:
        raise NetworkError(f"setns: {os.strerror(ctypes.get_errno())}")


@contextlib.contextmanager
def inside(netns: Path) -> Iterator[Any]:
    """An IPRoute whose sockets live in another network namespace."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        target = os.open(netns, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _setns(target)
            try:
                route = IPRoute()
            finally:
                _setns(home)
        finally:
            os.close(target)
    finally:
        os.close(home)
    try:
        yield route
    finally:
        route.close()


@contextlib.contextmanager
def told(what: str) -> Iterator[None]:
    """Failures of the kernel as NetworkError, saying at what."""
    try:
        yield
    except NetlinkError as error:
        raise NetworkError(f"{what}: {error}") from error
    except OSError as error:
        raise NetworkError(f"{what}: {error.strerror or error}") from error


@contextlib.contextmanager
def ignoring(*codes: int) -> Iterator[None]:
    try:
        yield
    except NetlinkError as error:
        if error.code not in codes:
            raise


class Netlink:
    """The node's own namespace, that of the calling process."""

    def __init__(self) -> None:
        self._route: Any = IPRoute()
        self._visits = 0
        # Of the pods' devices and the bridge; `setup` says it.
        self._mtu = 0

    def visit(self) -> None:
        """Before each use. pyroute2 keeps an acknowledgement of every link that was asked for, as long as its socket is
        open: so that is a new one now and then."""
        self._visits += 1
        if self._visits % VISITS == 0:
            self._route.close()
            self._route = IPRoute()

    def close(self) -> None:
        self._route.close()

    def index(self, name: str) -> int | None:
        try:
            return socket.if_nametoindex(name)
        except OSError:
            return None

    def underlay(self, address: str) -> tuple[str, int]:
        """Name and MTU of the device that has `address`. Raises NetworkError."""
        for item in self._route.get_addr(family=socket.AF_INET, address=address):
            link = self._route.get_links(item["index"])[0]
            return str(link.get_attr("IFLA_IFNAME")), int(link.get_attr("IFLA_MTU"))
        raise NetworkError(f"no device of this host has the address {address}")

    def setup(self, node: Node) -> None:
        """Bridge and VXLAN device with their addresses, and forwarding."""
        device, underlay_mtu = self.underlay(node.address)
        mtu = self._mtu = underlay_mtu - vxlan.OVERHEAD
        length = int(node.pod_cidr.partition("/")[2])
        with told("bridge"):
            bridge = self._ensure(BRIDGE, {"kind": "bridge", "ifname": BRIDGE})
            self._route.link("set", index=bridge, state="up", mtu=mtu)
            self._only_address(bridge, _gateway(node.pod_cidr), length)
            ports.prepare(self._route, bridge=bridge, name=BRIDGE, gateway=_gateway(node.pod_cidr))
        with told("vxlan device"):
            self._drop_changed_vxlan(node)
            attributes = vxlan.device(node.vni, node.port, node.address, node.mac)
            found = self._route.link_lookup(ifname=device)
            index = self._ensure(vxlan.DEVICE, {**attributes, "vxlan_link": found[0]})
            self._route.link("set", index=index, state="up", mtu=mtu)
            self._only_address(index, vxlan.vtep_of(node.pod_cidr), 32)
        with told("ip_forward"):
            Path("/proc/sys/net/ipv4/ip_forward").write_text("1")

    def _ensure(self, name: str, attributes: dict[str, object]) -> int:
        index = self.index(name)
        if index is None:
            self._route.link("add", **attributes)
            index = self.index(name)
        if index is None:
            raise NetworkError(f"device {name} vanished while it was made")
        return index

    def _drop_changed_vxlan(self, node: Node) -> None:
        """A VXLAN device cannot change its VNI or address: one that differs is made again."""
        index = self.index(vxlan.DEVICE)
        if index is None:
            return
        link = self._route.get_links(index)[0]
        data = link.get_nested("IFLA_LINKINFO", "IFLA_INFO_DATA")
        same = (
            data.get_attr("IFLA_VXLAN_ID") == node.vni
            and data.get_attr("IFLA_VXLAN_LOCAL") == node.address
            and data.get_attr("IFLA_VXLAN_PORT") == node.port
            and link.get_attr("IFLA_ADDRESS") == node.mac
        )
        if not same:
            self._route.link("del", index=index)

    def _only_address(self, index: int, address: str, length: int) -> None:
        present = {
            (item.get_attr("IFA_ADDRESS"), item["prefixlen"])
            for item in self._route.get_addr(family=socket.AF_INET, index=index)
        }
        for other, bits in present - {(address, length)}:
            self._route.addr("del", index=index, address=other, prefixlen=bits)
        if (address, length) not in present:
            self._route.addr("add", index=index, address=address, prefixlen=length)

    def attach(self, name: str, netns: Path, address: str, length: int, gateway: str) -> None:
        """A veth pair: `eth0` in the pod, `name` on the bridge. Created inside the pod, so deleting that deletes it."""
        with told(f"pod {address}"), inside(netns) as pod:
            self._pair(pod, name)
            eth0 = pod.link("get", ifname="eth0")[0]
            index, mac = eth0["index"], eth0.get_attr("IFLA_ADDRESS")
            with ignoring(errno.EEXIST):
                pod.addr("add", index=index, address=address, prefixlen=length)
            pod.link("set", index=index, state="up")
            with ignoring(errno.EEXIST):
                pod.route("add", dst="0.0.0.0/0", gateway=gateway)
            port, bridge = self.index(name), self.index(BRIDGE)
            if port is None or bridge is None:
                raise NetworkError(f"pod {address}: its device vanished while it was made")
            ports.close_in(self._route, port=port, bridge=bridge, mac=mac, address=address)
            # Up last: no frame of the pod's before nobody believes it.
            self._route.link("set", index=port, state="up")

    def _pair(self, pod: Any, name: str) -> None:
        """Make the pair, unless the pod has it. What has its name out here without that is an earlier pod's."""
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        pair = {
            "ifname": "eth0",
            "kind": "veth",
            "mtu": self._mtu,
            "peer": {"ifname": name, "net_ns_fd": home, "mtu": self._mtu},
        }
        try:
            pod.link("add", **pair)
        except NetlinkError as error:
            if error.code != errno.EEXIST:
                raise
            if not pod.link_lookup(ifname="eth0"):
                self._drop(name)
                pod.link("add", **pair)
        finally:
            os.close(home)

    def _drop(self, name: str) -> None:
        index, bridge = self.index(name), self.index(BRIDGE)
        if index is not None:
            with ignoring(errno.ENODEV):
                if bridge is not None:
                    ports.forget(self._route, port=index, bridge=bridge)
                self._route.link("del", index=index)

    def detach(self, name: str) -> None:
        with told(f"device {name}"):
            self._drop(name)

    def read(self) -> Table:
        """The overlay's entries as the kernel has them."""
        device = self.index(vxlan.DEVICE)
        if device is None:
            return Table()
        with told("reading the overlay"):
            return Table(frozenset(self._routes(device)), frozenset(self._neighbours(device)), frozenset(self._fdb(device)))

    def _routes(self, device: int) -> Iterator[Route]:
        for item in self._route.get_routes(family=socket.AF_INET, proto=PROTOCOL):
            if item["proto"] != PROTOCOL:
                continue
            dst = f"{item.get_attr('RTA_DST')}/{item['dst_len']}"
            if item["type"] == _BLACKHOLE:
                yield Route(dst)
            elif item.get_attr("RTA_OIF") == device:
                yield Route(dst, item.get_attr("RTA_GATEWAY") or "")

    def _neighbours(self, device: int) -> Iterator[Neighbour]:
        for item in self._route.get_neighbours(family=socket.AF_INET, ifindex=device):
            if item["state"] & _PERMANENT:
                yield Neighbour(item.get_attr("NDA_DST"), item.get_attr("NDA_LLADDR"))

    def _fdb(self, device: int) -> Iterator[Fdb]:
        for item in self._route.fdb("dump", ifindex=device):
            if item["ifindex"] == device and item.get_attr("NDA_DST"):
                yield Fdb(item.get_attr("NDA_LLADDR"), item.get_attr("NDA_DST"))

    def apply(self, change: Difference) -> None:
        """Additions in the order in which they become useful, removals in the opposite one."""
        device = self.index(vxlan.DEVICE)
        with told("programming the overlay"):
            for fdb in sorted(change.add.fdb):
                self._route.fdb("append", ifindex=device, lladdr=fdb.mac, dst=fdb.dst, state=_PERMANENT)
            for neighbour in sorted(change.add.neighbours):
                self._route.neigh("replace", dst=neighbour.address, lladdr=neighbour.mac, ifindex=device, state=_PERMANENT)
            for route in sorted(change.add.routes):
                self._route.route("replace", **_route(route, device))
            for route in sorted(change.remove.routes):
                with ignoring(errno.ESRCH):
                    self._route.route("del", **_route(route, device))
            # `replace` of a neighbour has replaced what its removal names.
            kept = {neighbour.address for neighbour in change.add.neighbours}
            for neighbour in sorted(change.remove.neighbours):
                if neighbour.address not in kept:
                    with ignoring(errno.ENOENT):
                        self._route.neigh("del", dst=neighbour.address, lladdr=neighbour.mac, ifindex=device)
            for fdb in sorted(change.remove.fdb):
                with ignoring(errno.ENOENT):
                    self._route.fdb("del", ifindex=device, lladdr=fdb.mac, dst=fdb.dst)


def _route(route: Route, device: int | None) -> dict[str, Any]:
    if not route.via:
        # The least preferred of all, so that any real route wins.
        return {"dst": route.dst, "type": "blackhole", "proto": PROTOCOL, "priority": 1 << 20}
    return {"dst": route.dst, "gateway": route.via, "oif": device, "flags": _ONLINK, "proto": PROTOCOL}


def _gateway(pod_cidr: str) -> str:
    import ipaddress

    return str(ipaddress.IPv4Network(pod_cidr).network_address + 1)
