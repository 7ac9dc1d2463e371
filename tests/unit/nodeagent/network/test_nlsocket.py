"""netlink's encoding, and requests to the real kernel: several at once, tolerated errors, its words, late answers."""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Callable

import pytest

from nodeagent.network import links, nlsocket, rtnetlink
from nodeagent.network.nlsocket import NetlinkSocket
from nodeagent.network.rtnetlink import Address
from tests.support.networks import alone


def with_kernel(work: Callable[[NetlinkSocket], None], protocol: int = socket.NETLINK_ROUTE) -> None:
    """`work` in a network namespace of its own, with a socket there."""

    def run() -> None:
        with NetlinkSocket(protocol) as kernel:
            work(kernel)

    alone(run)


def test_attributes_are_padded_and_found_again() -> None:
    """Each begins at a multiple of four bytes; the flags of a type are no part of it."""
    encoded = nlsocket.text(3, "eth0") + nlsocket.number(4, 1450) + nlsocket.nested(18, nlsocket.text(1, "veth"))
    assert len(encoded) % 4 == 0
    found = nlsocket.attributes(encoded)
    assert (nlsocket.string(found[3]), nlsocket.unsigned(found[4])) == ("eth0", 1450)
    assert nlsocket.string(nlsocket.attributes(found[18])[1]) == "veth"


@pytest.mark.parametrize("data", [b"", b"\x01", b"\x00\x00\x01\x00", b"\x03\x00\x01\x00", b"\xff\xff\x01\x00ab"])
def test_attributes_that_are_cut_off_end_the_list(data: bytes) -> None:
    """A length below a header's or past the end neither loops nor raises."""
    assert set(nlsocket.attributes(data)) <= {1}


@pytest.mark.root
def test_requests_of_one_call_are_done_in_order() -> None:
    """The address needs the device, the route needs the address; the answer to a question among them is returned."""

    def work(kernel: NetlinkSocket) -> None:
        made = links.add("dev0", "bridge", mtu=1400)
        [device] = kernel.run(made, links.get(name="dev0"))
        found = links.read(device)
        assert (found.name, found.mtu, found.master) == ("dev0", 1400, 0)
        kernel.run(
            rtnetlink.add_address(Address(found.index, "10.1.0.1", 24)),
            links.change(found.index, up=True),
            rtnetlink.add_route(rtnetlink.Route("10.2.0.0/16", "10.1.0.9")),
        )
        routes = map(rtnetlink.route_of, kernel.dump(rtnetlink.list_routes()))
        assert [route.gateway for route in routes if route.dst == "10.2.0.0/16"] == ["10.1.0.9"]

    with_kernel(work)


@pytest.mark.root
def test_an_error_is_raised_after_all_requests_were_done() -> None:
    """So the socket has no answers left that the next request would take for its own."""

    def work(kernel: NetlinkSocket) -> None:
        with pytest.raises(OSError) as caught:
            kernel.run(links.delete(999), links.add("dev0", "bridge"))
        assert caught.value.errno == errno.ENODEV
        assert links.read(kernel.run(links.get(name="dev0"))[0]).name == "dev0"
        with pytest.raises(OSError) as caught:
            kernel.run(links.add("dev0", "bridge"))
        assert caught.value.errno == errno.EEXIST
        assert [links.read(item).name for item in kernel.dump(links.every())] == ["lo", "dev0"]

    with_kernel(work)


@pytest.mark.root
def test_a_tolerated_error_is_a_success() -> None:
    def work(kernel: NetlinkSocket) -> None:
        address = Address(1, "10.1.0.1", 32)
        kernel.run(*[rtnetlink.add_address(address, tolerated=(errno.EEXIST,))] * 2)
        assert [rtnetlink.address_of(item) for item in kernel.dump(rtnetlink.list_addresses())].count(address) == 1
        kernel.run(*[rtnetlink.del_address(address)])
        with pytest.raises(OSError) as caught:
            kernel.run(rtnetlink.del_address(address))
        assert caught.value.errno == errno.EADDRNOTAVAIL

    with_kernel(work)


@pytest.mark.root
def test_the_kernels_words_are_in_the_error() -> None:
    """Extended acknowledgements say which of the things that an errno covers it was."""

    def work(kernel: NetlinkSocket) -> None:
        with pytest.raises(OSError, match=r"\(.*gateway.*\)"):
            kernel.run(rtnetlink.add_route(rtnetlink.Route("10.2.0.0/16", "10.1.0.9")))

    with_kernel(work)


@pytest.mark.root
def test_answers_that_were_not_waited_for_are_passed_over() -> None:
    """After a timeout, say, the answer comes before that of the next request."""

    def work(kernel: NetlinkSocket) -> None:
        late = struct.pack("=IHHII", 32, 18, 0x05, 77, 0) + links.get(index=1).body
        kernel._socket.sendto(late, (0, 0))
        kernel.run(links.add("dev0", "bridge"))
        assert [links.read(item).name for item in kernel.run(links.get(name="dev0"))] == ["dev0"]

    with_kernel(work)


@pytest.mark.root
def test_a_silent_kernel_is_a_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    """A socket of user-space netlink, which nothing answers."""
    monkeypatch.setattr(nlsocket, "TIMEOUT", 1.0)

    def work(kernel: NetlinkSocket) -> None:
        # To its own port, where there is a reader but no answer.
        kernel._socket.connect((kernel._socket.getsockname()[0], 0))
        with pytest.raises(TimeoutError, match="within 1 s"):
            list(kernel._receive())

    with_kernel(work, protocol=socket.NETLINK_USERSOCK)


def test_addresses_as_text() -> None:
    assert nlsocket.mac_text(nlsocket.mac_bytes("0a:58:0a:f4:01:01")) == "0a:58:0a:f4:01:01"
    for address in ("10.244.1.2", "fd00:244::2", "::"):
        assert nlsocket.ip_text(nlsocket.ip_bytes(address)) == address
    assert nlsocket.ip_text(None) == nlsocket.ip_text(bytes(5)) == ""
