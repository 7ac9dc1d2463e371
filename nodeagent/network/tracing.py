"""A packet's way through this node: where it comes in, the rules of nftables that it meets, and where the kernel sends it on.

A probe is a real connection attempt, a UDP datagram without content, an SCTP INIT, or an echo request, of the pod itself. The
rules are those that the kernel reports for it; the rest are lookups of the same moment. Blocking, in a thread of the node's
namespace.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from nodeagent.linux import namespaces
from nodeagent.network import hops, nfttrace, nlsocket, sctp
from nodeagent.network.elements import FAMILY, TABLE
from nodeagent.network.guard import BRIDGE
from nodeagent.network.hops import Hop
from nodeagent.network.nftables import Nftables
from nodeagent.network.nfttrace import MOMENT, Event, NftTrace, Packet
from nodeagent.network.nlsocket import NetlinkSocket
from nodeagent.network.policies.skeleton import CONCERN as POLICIES
from nodeagent.network.services.names import CONCERN
from nodeagent.network.vxlan import DEVICE

# Seconds without a report of the kernel after which a packet has passed; and the most reports that are read.
_QUIET, _MOST = 0.3, 1_000


@dataclass(frozen=True, slots=True)
class Probe:
    """From `packet.source` to an address and port; `wait` is seconds."""

    packet: Packet
    target: str
    port: int
    wait: float


@dataclass(frozen=True, slots=True)
class Way:
    """`target` is ADDRESS, ADDRESS:PORT or [ADDRESS]:PORT after translation.

    `answer` is that of the other end, empty for none. `judged`: the packet has come to the rules of NetworkPolicies."""

    hops: tuple[Hop, ...]
    target: str = ""
    answer: str = ""
    judged: bool = False


def outward(probe: Probe, netns: Path, device: str) -> Way:
    """From a pod of this node. Raises OSError, NetworkError."""
    if probe.target == probe.packet.source:
        text = f"{probe.target} is the pod's own address: the packet does not leave the pod"
        return Way((Hop("pod", text, local=True),), shown(probe))
    with NetlinkSocket() as route:
        found = hops.port_of(route, device)
        if found[-1].dropped:
            return Way(tuple(found))
        with contextlib.closing(NftTrace(probe.packet)) as trace, _socket(netns, probe) as sock:
            seen, answer = _exchange(trace, sock, probe)
        if not seen:
            return Way((*found, Hop("nft", "no packet of the probe reached the bridge's rules", dropped=True)))
        return _onward(route, found, seen, probe, BRIDGE, answer=answer)


def inward(probe: Probe) -> Way:
    """From another node, which sends the probe."""
    with NetlinkSocket() as route, contextlib.closing(NftTrace(probe.packet)) as trace:
        seen, idle = list[Event](), 0.0
        for _ in range(_MOST):
            more = trace.read()
            seen += more
            idle += 0 if more else MOMENT
            if not more and (seen or idle >= probe.wait):
                break
        if not seen:
            text = f"no packet from {probe.packet.source} has arrived within {probe.wait:.0f} s"
            return Way((Hop("underlay", text, dropped=True),))
        return _onward(route, [Hop("vtep", f"arrived, and unwrapped by {DEVICE}")], seen, probe, DEVICE)


def _onward(route: NetlinkSocket, found: list[Hop], seen: list[Event], probe: Probe, came_in: str, *, answer: str = "") -> Way:
    first = nfttrace.first_packet(seen)
    rules = _rules(first)
    target = next((item.target for item in reversed(first) if item.target), probe.target)
    judged = any(item.table == TABLE and item.chain.startswith(f"{POLICIES}_") for item in first)
    if rules and rules[-1].dropped:
        return Way((*found, *rules, *unserved(rules, shown(probe))), target, judged=judged)
    address, _ = endpoint(target)
    if address != probe.target:
        rules.append(Hop("service", f"{shown(probe)} is translated to {target}"))
    onward = hops.onward(route, probe.packet.source, address, came_in)
    return Way((*found, *rules, *onward), target, answer, judged)


def shown(probe: Probe) -> str:
    """The probe's receiver as a Way has it. Pure."""
    if not probe.port:
        return probe.target
    return f"[{probe.target}]:{probe.port}" if ":" in probe.target else f"{probe.target}:{probe.port}"


def unserved(rules: list[Hop], shown: str) -> list[Hop]:
    """Why the rules of Services dropped the packet, or nothing if others did. Pure."""
    without = any(f"@{CONCERN}_{word}_" in rule.text for word in ("none", "nodeport_none") for rule in rules[-2:])
    if f" {CONCERN}_reject: " in rules[-1].text:
        reason = "the Service has no endpoints" if without else "no Service has this address, protocol and port"
    elif without:
        reason = "the Service has no endpoints on this node, and its traffic policy is Local"
    else:
        return []
    return [Hop("service", f"{shown}: {reason}", dropped=True)]


def endpoint(target: str) -> tuple[str, int]:
    """Of ADDRESS, ADDRESS:PORT or [ADDRESS]:PORT; port 0: none."""
    if target.startswith("["):
        address, _, port = target[1:].partition("]")
        return address, int(port.removeprefix(":") or 0)
    if target.count(":") == 1:
        address, _, port = target.partition(":")
        return address, int(port)
    return target, 0


def _rules(seen: Iterable[Event]) -> list[Hop]:
    """Rules with a verdict, and policies of chains; a drop is the last."""
    events = [item for item in seen if not item.table.startswith(nfttrace.TABLES)]
    with contextlib.closing(Nftables()) as nft:
        texts = nfttrace.texts(nft, events)
    found = []
    for item in events:
        passed = item.kind == "policy" and item.verdict == "accept"
        if item.kind == "return" or item.verdict in ("continue", "break") or passed:
            continue
        text = texts.get((item.family, item.table, item.chain, item.handle), "") if item.kind == "rule" else "policy"
        dropped = item.verdict == "drop"
        # The kernel gives the packet's family; this table's is another.
        family = FAMILY if item.table == TABLE and item.family in ("ip", "ip6") else item.family
        found.append(Hop("nft", f"{family} {item.table} {item.chain}: {text or item.verdict}", dropped=dropped))
    return found


def _socket(netns: Path, probe: Probe) -> socket.socket:
    """Of the pod, with the probe's port. Raises OSError."""
    family = nlsocket.ip_family(probe.target)
    kinds = {
        "tcp": (socket.SOCK_STREAM, 0), "udp": (socket.SOCK_DGRAM, 0), "sctp": (socket.SOCK_RAW, socket.IPPROTO_SCTP),
    }  # fmt: skip
    echo = socket.IPPROTO_ICMP if family == socket.AF_INET else socket.IPPROTO_ICMPV6
    kind, protocol = kinds.get(probe.packet.protocol, (socket.SOCK_RAW, echo))
    with namespaces.visiting(netns):
        sock = socket.socket(family, kind | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, protocol)
    try:
        sock.bind((probe.packet.source, probe.packet.source_port if protocol == 0 else 0))
        if kind == socket.SOCK_STREAM:
            # A reset instead of a close that lasts: the port is free at once.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return sock
    except BaseException:
        sock.close()
        raise


def _exchange(trace: NftTrace, sock: socket.socket, probe: Probe) -> tuple[list[Event], str]:
    """Send the probe; the rules that it met, and the answer."""
    seen, answer, idle = list[Event](), "", 0.0
    with contextlib.suppress(BlockingIOError):
        _send(sock, probe)
    for _ in range(_MOST):
        more = trace.read()
        seen += more
        idle += 0 if more else MOMENT
        answer = answer or _answer(sock, probe)
        if idle >= (_QUIET if answer else probe.wait):
            break
    return seen, answer


def _send(sock: socket.socket, probe: Probe) -> None:
    if probe.packet.protocol == "sctp":
        # Connected, so that errors such as an unreachable protocol are reported.
        sock.connect((probe.target, 0))
        sock.send(sctp.init(probe.packet.source_port, probe.port))
        return
    if probe.packet.protocol != "icmp":
        sock.connect((probe.target, probe.port))
        if probe.packet.protocol == "udp":
            sock.send(b"")
        return
    kind = 8 if sock.family == socket.AF_INET else 128
    echo = struct.pack("!BBHHH", kind, 0, 0, probe.packet.source_port, 1)
    # RFC 1071, of four words without a carry beyond the second; the kernel fills in that of ICMPv6.
    total = sum(struct.unpack("!4H", echo))
    total = (total >> 16) + (total & 0xFFFF)
    sock.sendto(echo[:2] + struct.pack("!H", ~total & 0xFFFF) + echo[4:], (probe.target, 0))


def _answer(sock: socket.socket, probe: Probe) -> str:
    poll = select.poll()
    poll.register(sock, select.POLLOUT if probe.packet.protocol == "tcp" else select.POLLIN)
    if not poll.poll(0):
        return ""
    if error := sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
        return os.strerror(error)
    if probe.packet.protocol == "tcp":
        return "connected"
    with contextlib.suppress(OSError):
        data = sock.recv(2048)
        if probe.packet.protocol == "sctp":
            return sctp.answer(_payload(data, probe), probe.packet.source_port, probe.port)
        if probe.packet.protocol == "udp" or _is_reply(data, probe):
            return "answered"
    return ""


def _payload(data: bytes, probe: Probe) -> bytes:
    """Of a packet that a raw socket has received: IPv4's include the header."""
    return data[(data[0] & 15) * 4 :] if ":" not in probe.target and data else data


def _is_reply(data: bytes, probe: Probe) -> bool:
    """Of this echo request."""
    body = _payload(data, probe)
    reply = 129 if ":" in probe.target else 0
    return len(body) >= 8 and body[0] == reply and struct.unpack_from("!H", body, 4)[0] == probe.packet.source_port
