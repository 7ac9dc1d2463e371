"""Neighbour advertisements: their frames, and hearing those of others in a network of the test's own."""

from __future__ import annotations

import socket
import struct
import subprocess
import time

import pytest

from nodeagent.network import links, rtnetlink
from nodeagent.network.loadbalancer import ndp, routes
from nodeagent.network.loadbalancer.addresssocket import AddressSocket
from nodeagent.network.nlsocket import NetlinkSocket
from nodeagent.network.rtnetlink import Address
from nodeagent.network.tables import PROTOCOL
from tests.support import frames
from tests.support.networks import alone

A, OTHER = "2001:db8::64", "0a:00:00:00:00:02"
MAC = "0a:00:00:00:00:01"


def test_an_announcement_is_an_advertisement_to_all_nodes() -> None:
    """As RFC 4861 wants it: hop limit 255, the override flag, the address as sender and target, a right checksum."""
    [frame] = ndp.announcements(A, MAC)
    assert (frame[:6], frame[6:12], frame[12:14]) == (frames.mac("33:33:00:00:00:01"), frames.mac(MAC), b"\x86\xdd")
    packet = frame[14:]
    assert (packet[6], packet[7]) == (socket.IPPROTO_ICMPV6, 255)
    assert (packet[8:24], packet[24:40]) == tuple(socket.inet_pton(socket.AF_INET6, ip) for ip in (A, "ff02::1"))
    message = packet[40:]
    assert (message[0], message[4]) == (136, 0x20)
    pseudo = packet[8:40] + struct.pack("!II", len(message), socket.IPPROTO_ICMPV6)
    assert frames.checksum(pseudo + message) == 0
    assert ndp.announced(message) == (A, MAC)


@pytest.mark.parametrize(
    "message",
    [
        b"", bytes(7), bytes(32), b"\x86" + bytes(31), b"\x88\x01" + bytes(30), b"\x88" + bytes(31),
        b"\x88" + bytes(23) + b"\x02\x01", b"\x88" + bytes(23) + b"\x01\x00" + bytes(6),
    ],
)  # fmt: skip
def test_what_is_no_announcement(message: bytes) -> None:
    """Cut off, of another type, and with options that have no length."""
    assert ndp.announced(message) is None


@pytest.mark.root
def test_others_are_heard_and_the_kernel_answers() -> None:
    """Announcements of another host, not its own; addresses come, stay and go by themselves, and are deprecated."""

    def work() -> None:
        with NetlinkSocket() as kernel:
            command = ["ip", "link", "add", "left", "address", MAC, "type", "veth", "peer", "name", "right"]
            subprocess.run(command, check=True, timeout=30)
            index = {name: links.read(kernel.run(links.get(name=name))[0]).index for name in ("left", "right")}
            kernel.run(*(links.change(number, up=True) for number in index.values()))
            own = Address(index["left"], "2001:db8::1", 64)
            kernel.run(rtnetlink.add_address(own))
            for wanted, changed in (([A], 1), ([A], 0), ([A, "192.0.2.9"], 1), (["192.0.2.9"], 1), ([], 1)):
                assert routes.sync(kernel, index["left"], wanted) == changed
                every = map(rtnetlink.address_of, kernel.dump(rtnetlink.list_addresses()))
                found = {item.address for item in every if item.protocol == PROTOCOL}
                assert found == ({A} & {*wanted})
                shown = subprocess.run(
                    ["ip", "-6", "addr", "show", "to", A], capture_output=True, text=True, check=False
                ).stdout
                assert ("deprecated" in shown and "nodad" in shown and "tentative" not in shown) == (A in wanted)
            opened = AddressSocket("left", MAC)
            for mac in (MAC, OTHER):
                for frame in ndp.announcements(A, mac):
                    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sock:
                        sock.bind(("right", 0))
                        sock.send(frame)
                        forwarded = bytearray(frame)
                        # As if a router had forwarded it.
                        forwarded[21] = 254
                        sock.send(bytes(forwarded))
                deadline = time.monotonic() + 5
                heard: set[str] = set()
                while mac == OTHER and not heard and time.monotonic() < deadline:
                    heard = opened.heard()
                assert heard == ({A} if mac == OTHER else set())
            opened.announce(A)
            opened.close()

    alone(work)
