"""The node's network in the real kernel: the overlay's devices and entries, pods attached and detached, and all of it again."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nodeagent.linux import syscalls
from nodeagent.network import conntrack, links, plan, rtnetlink
from nodeagent.network.guard import Binding
from nodeagent.network.interface import NetworkError, Node, Peer
from nodeagent.network.netlink import BRIDGE, Gateway, Netlink, inside
from nodeagent.network.nlsocket import NetlinkSocket
from nodeagent.network.rtnetlink import Address
from nodeagent.network.vxlan import DEVICE
from tests.support.networks import alone

pytestmark = pytest.mark.root
NODE = Node("10.244.1.0/24", ("10.244.0.0/14",), "10.9.0.1", "02:00:00:00:00:01", 1, 4789)
GATEWAY = Gateway("10.244.1.1", 24)


def peer(number: int, address: str = "") -> Peer:
    return Peer(f"n{number}", f"10.244.{number}.0/24", address or f"10.9.0.{number}", f"02:00:00:00:01:{number:02x}")


@pytest.fixture
def netns(tmp_path: Path) -> Iterator[Path]:
    """A pod's pinned network namespace."""
    path = tmp_path / "net"
    path.touch()
    alone(lambda: syscalls.mount("/proc/thread-self/ns/net", str(path), "", syscalls.MS_BIND))
    yield path
    syscalls.umount(str(path), syscalls.MNT_DETACH)


def on_node(work: Callable[[Netlink], None]) -> None:
    """`work` on a host with the node's underlay address and its overlay."""

    def run() -> None:
        with NetlinkSocket() as kernel:
            kernel.run(links.add("under0", "bridge"), links.change(1, up=True))
            [under] = kernel.run(links.get(name="under0"))
            index = links.read(under).index
            kernel.run(links.change(index, up=True), rtnetlink.add_address(Address(index, NODE.address, 24)))
        with contextlib.closing(Netlink()) as netlink:
            netlink.setup(NODE)
            work(netlink)

    alone(run)


def ignored(binding: Binding) -> None:
    """For `attach`: no rules."""


def link(name: str) -> links.Link:
    with NetlinkSocket() as kernel:
        [message] = kernel.run(links.get(name=name))
    return links.read(message)


def test_setup_is_made_once() -> None:
    """An agent that starts again changes nothing: neither devices nor addresses."""

    def work(netlink: Netlink) -> None:
        def found() -> list[tuple[int, str, int]]:
            return [(item.index, item.mac, item.mtu) for item in (link(BRIDGE), link(DEVICE))]

        before = found()
        assert [item[1:] for item in before] == [("0a:58:0a:f4:01:01", 1450), (NODE.mac, 1450)]
        netlink.setup(NODE)
        assert found() == before
        addresses = {(item.address, item.length) for item in netlink._addresses()}
        assert addresses >= {("10.244.1.1", 24), ("10.244.1.0", 32)}

    on_node(work)


def test_a_vxlan_device_that_differs_is_made_again() -> None:
    def work(netlink: Netlink) -> None:
        before = link(DEVICE).index
        netlink.setup(Node(NODE.pod_cidr, NODE.cluster_cidrs, NODE.address, NODE.mac, 2, NODE.port))
        after = link(DEVICE)
        assert after.index != before
        assert after.data[1] == (2).to_bytes(4, "little")

    on_node(work)


def test_a_changed_pod_cidr_replaces_the_addresses() -> None:
    def work(netlink: Netlink) -> None:
        netlink.setup(Node("10.244.7.0/24", NODE.cluster_cidrs, NODE.address, NODE.mac, NODE.vni, NODE.port))
        found = {(item.address, item.length) for item in netlink._addresses() if item.address.startswith("10.244.")}
        assert found == {("10.244.7.1", 24), ("10.244.7.0", 32)}

    on_node(work)


def test_an_address_that_no_device_has_is_an_error() -> None:
    def work(netlink: Netlink) -> None:
        with pytest.raises(NetworkError, match=r"no device of this host has the address 192\.0\.2\.1"):
            netlink.underlay("192.0.2.1")

    on_node(work)


def test_the_overlays_entries_become_what_is_wanted() -> None:
    """Peers come, move and go; each time the kernel then has exactly the wanted table."""

    def work(netlink: Netlink) -> None:
        for peers in ([peer(2), peer(3), peer(4)], [peer(2), peer(3, "10.9.0.33")], []):
            want = plan.wanted(NODE, peers)
            netlink.apply(plan.difference(want, netlink.read()))
            assert netlink.read() == want

    on_node(work)


def test_what_is_gone_already_can_be_removed() -> None:
    def work(netlink: Netlink) -> None:
        want = plan.wanted(NODE, [peer(2)])
        netlink.apply(plan.difference(plan.Table(), want))
        assert netlink.read() == plan.Table()

    on_node(work)


def test_a_pod_is_attached_again_without_a_change(netns: Path) -> None:
    """An agent that was killed in the middle attaches once more."""

    def work(netlink: Netlink) -> None:
        bound: list[Binding] = []
        for _ in range(2):
            netlink.attach("pnc1", netns, "10.244.1.2", GATEWAY, bound.append)
        assert len(set(bound)) == 1
        assert netlink.bindings() == set(bound)
        port = link("pnc1")
        assert (port.master, port.alias, port.mtu) == (link(BRIDGE).index, "10.244.1.2", 1450)
        with inside(netns) as pod:
            [eth0] = pod.run(links.get(name="eth0"))
            routes = list(map(rtnetlink.route_of, pod.dump(rtnetlink.list_routes())))
        assert links.read(eth0).mac == bound[0].mac
        assert [route.gateway for route in routes if route.dst == "0.0.0.0/0"] == ["10.244.1.1"]

    on_node(work)


def test_a_pod_is_bound_before_its_port_is_up(netns: Path) -> None:
    """No frame of its passes before."""

    def work(netlink: Netlink) -> None:
        states: list[str] = []

        def bind(binding: Binding) -> None:
            states.append(flags("pnc1"))

        netlink.attach("pnc1", netns, "10.244.1.2", GATEWAY, bind)
        assert (states, flags("pnc1")) == (["down"], "up")

    def flags(name: str) -> str:
        # Of a link that is up the first bit is set; read past `links.Link`, which has no use for it.
        with NetlinkSocket() as kernel:
            [message] = kernel.run(links.get(name=name))
        return "up" if message.body[8] & 1 else "down"

    on_node(work)


def test_the_port_of_an_earlier_pod_is_replaced(netns: Path, tmp_path: Path) -> None:
    """Its name is that of this pod's, but the pod does not have the other end."""

    def work(netlink: Netlink) -> None:
        subprocess.run(["nsenter", f"--net=/proc/{os.getpid()}/task/{threading.get_native_id()}/ns/net", "ip", "link", "add", "pnc1",
                        "type", "bridge"], check=True, timeout=30)  # fmt: skip
        before = link("pnc1").index
        netlink.attach("pnc1", netns, "10.244.1.2", GATEWAY, ignored)
        assert link("pnc1").index != before
        assert {binding.device for binding in netlink.bindings()} == {"pnc1"}

    on_node(work)


def test_a_detached_pod_leaves_nothing(netns: Path) -> None:
    """Twice, as after a kill; and the neighbour entry also where the device went with the namespace."""

    def work(netlink: Netlink) -> None:
        netlink.attach("pnc1", netns, "10.244.1.2", GATEWAY, ignored)
        netlink.detach("pnc1", "10.244.1.2")
        netlink.detach("pnc1", "10.244.1.2")
        assert not netlink.bindings()
        netlink.attach("pnc1", netns, "10.244.1.2", GATEWAY, ignored)
        with inside(netns) as pod:
            [eth0] = pod.run(links.get(name="eth0"))
            pod.run(links.delete(links.read(eth0).index))
        netlink.detach("pnc1", "10.244.1.2")
        with NetlinkSocket() as kernel:
            left = [
                entry
                for entry in map(rtnetlink.entry_of, kernel.dump(rtnetlink.list_neighbours()))
                if entry.dst == "10.244.1.2"
            ]
        assert not left

    on_node(work)


def test_connections_to_a_port_are_forgotten_and_others_kept() -> None:
    """Tracked by a rule that asks for their state. The second time there is none, which is no error."""

    def work(netlink: Netlink) -> None:
        rules = (
            "add table ip t\nadd chain ip t c { type filter hook output priority 0; }\nadd rule ip t c ct state new counter\n"
        )
        inside_thread = f"--net=/proc/{os.getpid()}/task/{threading.get_native_id()}/ns/net"
        subprocess.run(["nsenter", inside_thread, "nft", "-f", "-"], input=rules.encode(), check=True, timeout=30)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            for port in (5300, 5301):
                client.sendto(b"x", ("127.0.0.1", port))
        assert tracked() == {5300, 5301}
        for _ in range(2):
            netlink.forget_flows(socket.IPPROTO_UDP, 5300)
            assert tracked() == {5301}
        netlink.forget_flows(socket.IPPROTO_TCP, 5301)
        assert tracked() == {5301}

    def tracked() -> set[int]:
        with NetlinkSocket(conntrack.NETFILTER) as kernel:
            found = kernel.dump(conntrack.list_flows())
        return {flow.port for flow in map(conntrack.flow_of, found) if flow.protocol == socket.IPPROTO_UDP}

    on_node(work)
