"""The node's network in the real kernel: the overlay's devices and entries, pods attached and detached, and all of it again."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from nodeagent.network import conntrack, links, plan, rtnetlink, sysctls
from nodeagent.network.guard import Binding
from nodeagent.network.interface import NetworkError, Node, Peer
from nodeagent.network.netlink import BRIDGE, Netlink, inside
from nodeagent.network.nlsocket import NetlinkSocket
from nodeagent.network.podaddress import pod_addresses
from nodeagent.network.rtnetlink import Address
from nodeagent.network.vxlan import DEVICE
from tests.support.networks import alone, pinned

pytestmark = pytest.mark.root
NODE = Node(("10.244.1.0/24",), ("10.244.0.0/14",), "10.9.0.1", "02:00:00:00:00:01", 1, 4789)
POD = pod_addresses(NODE.pod_cidrs, ["10.244.1.2"])
DUAL = replace(NODE, pod_cidrs=(*NODE.pod_cidrs, "fd00:244:0:1::/64"), cluster_cidrs=(*NODE.cluster_cidrs, "fd00:244::/48"))
DUAL_POD = pod_addresses(DUAL.pod_cidrs, ["10.244.1.2", "fd00:244:0:1::2"])


def peer(number: int, address: str = "") -> Peer:
    return Peer(f"n{number}", (f"10.244.{number}.0/24",), address or f"10.9.0.{number}", f"02:00:00:00:01:{number:02x}")


@pytest.fixture
def netns(tmp_path: Path) -> Iterator[Path]:
    """A pod's pinned network namespace."""
    with pinned(tmp_path / "net") as path:
        yield path


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


def ignored(bindings: list[Binding]) -> None:
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
        netlink.setup(Node(NODE.pod_cidrs, NODE.cluster_cidrs, NODE.address, NODE.mac, 2, NODE.port))
        after = link(DEVICE)
        assert after.index != before
        assert after.data[1] == (2).to_bytes(4, "little")

    on_node(work)


def test_a_vxlan_device_whose_address_is_on_another_device_is_made_again() -> None:
    """As when a host's interface becomes a port of a bridge, which takes over its addresses."""

    def work(netlink: Netlink) -> None:
        with NetlinkSocket() as kernel:
            kernel.run(rtnetlink.del_address(Address(link("under0").index, NODE.address, 24)), links.add("under1", "bridge"))
            index = link("under1").index
            kernel.run(links.change(index, up=True), rtnetlink.add_address(Address(index, NODE.address, 24)))
        netlink.setup(NODE)
        assert int.from_bytes(link(DEVICE).data[3], "little") == index

    on_node(work)


def test_the_hosts_addresses_are_without_the_overlays() -> None:
    """Nor are those that the node has for Services and the cluster DNS."""

    def work(netlink: Netlink) -> None:
        netlink.serve_names(["10.96.0.10"])
        netlink.answer_for(netlink.underlay(NODE.address), ["2001:db8::c0"])
        assert {NODE.address, "127.0.0.1"} <= netlink.host_addresses()
        assert not netlink.host_addresses() & {"10.244.1.1", "10.244.1.0", "10.96.0.10", "2001:db8::c0"}

    on_node(work)


def test_a_changed_pod_cidr_replaces_the_addresses() -> None:
    def work(netlink: Netlink) -> None:
        netlink.setup(Node(("10.244.7.0/24",), NODE.cluster_cidrs, NODE.address, NODE.mac, NODE.vni, NODE.port))
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


def test_an_entry_that_the_kernel_refuses_does_not_hold_back_the_others() -> None:
    """Neither those after it nor removals."""

    def work(netlink: Netlink) -> None:
        netlink.apply(plan.difference(plan.wanted(NODE, [peer(9)]), netlink.read()))
        want = plan.wanted(NODE, [peer(2)])
        # An IPv4 device sends to no IPv6 host; this entry is the first of all.
        refused = replace(want, fdb=want.fdb | {plan.Fdb("02:00:00:00:00:02", "2001:db8::9")})
        with pytest.raises(NetworkError, match="programming the overlay"):
            netlink.apply(plan.difference(refused, netlink.read()))
        assert netlink.read() == want

    on_node(work)


def test_entries_of_both_families_become_what_is_wanted() -> None:
    """In the kernel, which writes IPv6 addresses and priorities in its own way."""

    def work(netlink: Netlink) -> None:
        netlink.setup(DUAL)
        for numbers in ([2, 3, 4], [3], []):
            peers = [replace(peer(n), pod_cidrs=(f"10.244.{n}.0/24", f"fd00:244:0:{n}::/64")) for n in numbers]
            want = plan.wanted(DUAL, peers)
            netlink.apply(plan.difference(want, netlink.read()))
            assert netlink.read() == want
        netlink.apply(plan.difference(plan.Table(), netlink.read()))
        assert netlink.read() == plan.Table()

    on_node(work)


def test_a_vxlan_device_over_ipv6() -> None:
    """It stays as it is while its node does, and its peers' addresses are IPv6."""
    node = replace(NODE, address="fd00:9::1")

    def work(netlink: Netlink) -> None:
        under = link("under0")
        with NetlinkSocket() as kernel:
            kernel.run(rtnetlink.add_address(Address(under.index, node.address, 64)))
        netlink.setup(node)
        before = link(DEVICE)
        assert before.mtu == under.mtu - 70
        netlink.setup(node)
        assert link(DEVICE).index == before.index
        want = plan.wanted(node, [peer(2, "fd00:9::2")])
        netlink.apply(plan.difference(want, netlink.read()))
        assert netlink.read() == want

    on_node(work)


def test_the_overlay_of_an_encrypted_node_is_known_without_a_tunnel() -> None:
    """Its device, and its MTU, which follows from the underlay's."""
    node = replace(NODE, address="fd70:6e63::1", encrypt=True)

    def work(netlink: Netlink) -> None:
        lower = netlink.lower(replace(NODE, encrypt=True))
        found = netlink.wanted(node, [], plan.Table(), lower=lower)
        shown = {item.removeprefix(f"{DEVICE} "): value for (kind, item), value in found.items() if kind == "link"}
        assert (shown["dev"], shown["local"]) == ("pinnace-wg", node.address)
        assert int(shown["mtu"]) == link("under0").mtu - 60 - 70

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
            netlink.attach("pnc1", netns, POD, bound.extend)
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


def routes_of(kernel: NetlinkSocket, family: socket.AddressFamily) -> dict[str, str]:
    """Of the main table, by destination, their next hop."""
    found = map(rtnetlink.route_of, kernel.dump(rtnetlink.list_routes(family)))
    return {route.dst: route.gateway for route in found if route.protocol == 4}


def test_a_node_of_two_families_has_addresses_of_both_and_no_other() -> None:
    """No link-local address, which would be the kernel's; and none of IPv6 once the node has one family again."""

    def found(netlink: Netlink) -> set[tuple[int, str, int]]:
        devices = {link(name).index: number for number, name in enumerate((BRIDGE, DEVICE))}
        return {(devices[i.index], i.address, i.length) for i in netlink._addresses() if i.index in devices}

    def work(netlink: Netlink) -> None:
        ipv4 = {(0, "10.244.1.1", 24), (1, "10.244.1.0", 32)}
        ipv6 = {(0, "fd00:244:0:1::1", 64), (1, "fd00:244:0:1::", 128)}
        for node, wanted in (
            (DUAL, ipv4 | ipv6),
            (DUAL, ipv4 | ipv6),
            (NODE, ipv4),
            (replace(DUAL, pod_cidrs=DUAL.pod_cidrs[1:]), ipv6),
        ):
            netlink.setup(node)
            assert found(netlink) == wanted
            assert sysctls.wrong(sysctls.of_node(node)) == {}

    on_node(work)


def test_a_pod_of_two_families_has_a_way_out_of_each(netns: Path) -> None:
    """Its IPv6 needs no neighbour discovery; no other host's address is on its link, nor one of the kernel's."""

    def work(netlink: Netlink) -> None:
        netlink.setup(DUAL)
        bound: list[Binding] = []
        for _ in range(2):
            netlink.attach("pnc1", netns, DUAL_POD, bound.extend)
        assert {item.address for item in netlink.bindings()} == {"10.244.1.2", "fd00:244:0:1::2"}
        assert netlink.bindings() == set(bound)
        with inside(netns) as pod:
            [eth0] = map(links.read, pod.run(links.get(name="eth0")))
            every = map(rtnetlink.address_of, pod.dump(rtnetlink.list_addresses()))
            addresses = {(item.address, item.length) for item in every if item.index == eth0.index}
            routes = routes_of(pod, socket.AF_INET6)
            neighbours = list(map(rtnetlink.entry_of, pod.dump(rtnetlink.list_neighbours(socket.AF_INET6))))
        assert addresses == {("10.244.1.2", 24), ("fd00:244:0:1::2", 128)}
        assert routes == {"::/0": "fd00:244:0:1::1", "fd00:244:0:1::1/128": ""}
        known = {item.dst: item.mac for item in neighbours if item.state & rtnetlink.PERMANENT}
        assert known == {"fd00:244:0:1::1": link(BRIDGE).mac}

    on_node(work)


def test_a_detached_pod_of_two_families_leaves_nothing(netns: Path) -> None:
    def work(netlink: Netlink) -> None:
        netlink.setup(DUAL)
        netlink.attach("pnc1", netns, DUAL_POD, ignored)
        netlink.detach("pnc1", [])
        with NetlinkSocket() as kernel:
            left = [i.dst for i in map(rtnetlink.entry_of, kernel.dump(rtnetlink.list_neighbours(socket.AF_INET6)))]
        assert "fd00:244:0:1::2" not in left

    on_node(work)


def test_pods_without_room_for_ipv6_are_refused() -> None:
    """The kernel takes IPv6 from a device with a smaller MTU, and says nothing."""

    def work(netlink: Netlink) -> None:
        with NetlinkSocket() as kernel:
            kernel.run(links.change(link("under0").index, mtu=1320))
        with pytest.raises(NetworkError, match="an MTU of 1270, and IPv6 needs 1280"):
            netlink.setup(DUAL)
        netlink.setup(NODE)

    on_node(work)


def test_forwarding_keeps_the_hosts_own_router_advertisements() -> None:
    """The kernel ignores them where it forwards, unless it is told otherwise; devices that ignored them still do."""

    def work(netlink: Netlink) -> None:
        Path("/proc/sys/net/ipv6/conf/lo/accept_ra").write_text("0")
        assert netlink.enable_forwarding(6)
        assert not netlink.enable_forwarding(6)
        read = {
            name: Path(f"/proc/sys/net/ipv6/conf/{name}/accept_ra").read_text().strip() for name in ("under0", "lo", BRIDGE)
        }
        assert read == {"under0": "2", "lo": "0", BRIDGE: "0"}
        assert Path("/proc/sys/net/ipv6/conf/under0/forwarding").read_text().strip() == "1"

    on_node(work)


def test_a_pod_is_bound_before_its_port_is_up(netns: Path) -> None:
    """No frame of its passes before."""

    def work(netlink: Netlink) -> None:
        states: list[str] = []

        def bind(bindings: list[Binding]) -> None:
            states.append(flags("pnc1"))

        netlink.attach("pnc1", netns, POD, bind)
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
        netlink.attach("pnc1", netns, POD, ignored)
        assert link("pnc1").index != before
        assert {binding.device for binding in netlink.bindings()} == {"pnc1"}

    on_node(work)


def test_a_detached_pod_leaves_nothing(netns: Path) -> None:
    """Twice, as after a kill; and the neighbour entry also where the device went with the namespace."""

    def work(netlink: Netlink) -> None:
        netlink.attach("pnc1", netns, POD, ignored)
        netlink.detach("pnc1", ["10.244.1.2"])
        netlink.detach("pnc1", ["10.244.1.2"])
        assert not netlink.bindings()
        netlink.attach("pnc1", netns, POD, ignored)
        with inside(netns) as pod:
            [eth0] = pod.run(links.get(name="eth0"))
            pod.run(links.delete(links.read(eth0).index))
        netlink.detach("pnc1", ["10.244.1.2"])
        with NetlinkSocket() as kernel:
            left = [
                entry
                for entry in map(rtnetlink.entry_of, kernel.dump(rtnetlink.list_neighbours()))
                if entry.dst == "10.244.1.2"
            ]
        assert not left

    on_node(work)


def test_connections_to_a_port_are_deleted_and_others_kept() -> None:
    """Of both families, tracked by a rule that asks for their state. The second time there is none, which is no error."""

    def work(netlink: Netlink) -> None:
        rules = "add table inet t\nadd chain inet t c { type filter hook output priority 0; }\nadd rule inet t c ct state new counter\n"
        inside_thread = f"--net=/proc/{os.getpid()}/task/{threading.get_native_id()}/ns/net"
        subprocess.run(["nsenter", inside_thread, "nft", "-f", "-"], input=rules.encode(), check=True, timeout=30)
        for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
            with socket.socket(family, socket.SOCK_DGRAM) as client:
                for port in (5300, 5301):
                    client.sendto(b"x", (host, port))
        assert tracked() == {5300, 5301}
        for ended in (2, 0):
            assert delete((socket.IPPROTO_UDP, 5300), (socket.IPPROTO_SCTP, 5301), (socket.IPPROTO_UDP, 5302)) == ended
            assert tracked() == {5301}
        assert delete((socket.IPPROTO_TCP, 5301)) == 0
        assert tracked() == {5301}

    def delete(*ports: tuple[int, int]) -> int:
        with NetlinkSocket(conntrack.NETFILTER) as kernel:
            return conntrack.delete_sent_to(kernel, ports)

    def tracked() -> set[int]:
        with NetlinkSocket(conntrack.NETFILTER) as kernel:
            found = kernel.dump(conntrack.list_flows())
        return {flow.port for flow in map(conntrack.flow_of, found) if flow.protocol == socket.IPPROTO_UDP}

    on_node(work)
