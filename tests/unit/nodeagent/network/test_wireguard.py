"""WireGuard's messages, to the byte, and what is read back from them."""

from __future__ import annotations

import base64
import struct
from pathlib import Path

import pytest

from nodeagent.network import tunnelkey, wireguard
from nodeagent.network.nlsocket import Message, attribute, attributes, entries
from nodeagent.network.wireguard import TunnelPeer

# RFC 7748, section 6.1: the keys of Alice and Bob.
ALICE = base64.b64encode(bytes.fromhex("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a")).decode()
BOB = base64.b64encode(bytes.fromhex("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f")).decode()


def as_answer(*bodies: bytes) -> list[Message]:
    """A request as the kernel would repeat it."""
    return [Message(29, body) for body in bodies]


@pytest.mark.parametrize("endpoint", ["192.0.2.3", "2001:db8::3"])
def test_a_peer_that_is_set_is_read_back(endpoint: str) -> None:
    """Key, endpoint with its port, and exactly one allowed IP."""
    [request] = wireguard.set_peers(29, [TunnelPeer(ALICE, endpoint)])
    assert wireguard.read(as_answer(request.body)).peers == {TunnelPeer(ALICE, endpoint)}


def test_a_peer_with_other_allowed_ips_or_another_port_is_wrong() -> None:
    """It is written again, for it could take others' packets."""
    [request] = wireguard.set_peers(29, [TunnelPeer(ALICE, "192.0.2.3")])
    foreign = request.body.replace(wireguard.nlsocket.ip_bytes(wireguard.tunnel_address(ALICE)), bytes(16))
    assert wireguard.read(as_answer(foreign)).peers == {TunnelPeer(ALICE, "")}
    moved = request.body.replace(struct.pack("!H", wireguard.PORT), struct.pack("!H", 1))
    assert wireguard.read(as_answer(moved)).peers == {TunnelPeer(ALICE, "")}


def test_a_removal_names_the_key_alone_and_a_changed_peer_is_not_removed() -> None:
    before, after = TunnelPeer(ALICE, "192.0.2.3"), TunnelPeer(ALICE, "192.0.2.4")
    [request] = wireguard.set_peers(29, [after], [before, TunnelPeer(BOB, "192.0.2.5")])
    peers = [attributes(data) for _, data in entries(attributes(request.body[4:])[8])]
    keys = [(base64.b64encode(item[1]).decode(), struct.unpack("=I", item[3])[0] & 1) for item in peers]
    assert keys == [(ALICE, 0), (BOB, 1)]


def test_many_peers_are_several_messages() -> None:
    """Below the 64 KiB of an attribute."""
    peers = [TunnelPeer(base64.b64encode(number.to_bytes(32, "big")).decode(), "192.0.2.3") for number in range(1, 1001)]
    requests = list(wireguard.set_peers(29, peers))
    assert len(requests) > 1
    assert max(len(item.body) for item in requests) < 1 << 16
    assert wireguard.read(as_answer(*(item.body for item in requests))).peers == set(peers)


def test_the_private_key_and_the_port_are_set() -> None:
    found = attributes(wireguard.set_key(29, b"k" * 32).body[4:])
    assert (found[3], found[6], found[2]) == (b"k" * 32, struct.pack("=H", 51820), b"pinnace-wg\0")


def test_the_sources_of_packets_are_chosen_anew_when_the_mark_is_set() -> None:
    """linux/wireguard.h, WGDEVICE_A_FWMARK; without a change of peers."""
    found = attributes(wireguard.forget_sources(29).body[4:])
    assert found == {2: b"pinnace-wg\0", 7: bytes(4)}


def test_the_number_of_the_family_is_that_of_the_answer() -> None:
    body = struct.pack("=BBH", 1, 2, 0) + attribute(1, struct.pack("=H", 29)) + attribute(2, b"wireguard\0")
    assert wireguard.family_of([Message(16, body)]) == 29
    assert wireguard.family_of([]) == 0


@pytest.mark.parametrize(
    "text", ["", "x", ALICE[:-1], f"{ALICE}=", base64.b64encode(bytes(32)).decode(), f" {ALICE}", "é" * 44]
)
def test_what_is_no_key(text: str) -> None:
    assert wireguard.is_key(ALICE)
    assert not wireguard.is_key(text)


def test_tunnel_addresses_follow_from_keys() -> None:
    """The same on every node, and others for other keys."""
    assert wireguard.tunnel_address(ALICE) == wireguard.tunnel_address(ALICE) != wireguard.tunnel_address(BOB)
    assert wireguard.tunnel_address(ALICE).startswith("fd70:6e63:")


def test_keys_are_made_once_and_are_roots_alone(tmp_path: Path) -> None:
    """A file that is torn, or holds something else, is made again."""
    first = tunnelkey.load(tmp_path)
    assert tunnelkey.load(tmp_path) == first
    assert wireguard.is_key(first.public)
    path = tmp_path / "wireguard.key"
    assert path.stat().st_mode & 0o777 == 0o600
    assert base64.b64encode(first.private).decode() not in repr(first)
    for text in ("", "a b", "a b c", f"{base64.b64encode(b'x').decode()}\n{first.public}\n"):
        path.write_text(text)
        assert tunnelkey.load(tmp_path) != first
