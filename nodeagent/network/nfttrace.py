"""Packets followed through nftables: marked by a table of a moment, and reported by the kernel (`nft monitor trace`).

A trace deletes its tables, and those that an agent left which was killed. (Tables that the kernel would delete itself, `flags
owner`, make libnftables 1.0 write its JSON of all tables wrong.) Source: linux/netfilter/nf_tables.h, NFTA_TRACE_*.
"""

from __future__ import annotations

import contextlib
import ipaddress
import re
import socket
import struct
from collections.abc import Iterable
from dataclasses import dataclass

from nodeagent.network import nftread, nlsocket
from nodeagent.network.interface import NetworkError
from nodeagent.network.nftables import Nftables

_NETFILTER, _GROUP, _SOL_NETLINK, _ADD_MEMBERSHIP = 12, 9, 270, 1
_TRACE = 10 << 8 | 17
_TABLE, _CHAIN, _RULE, _TYPE, _VERDICT, _ID, _NETWORK, _TRANSPORT, _OIF, _FAMILY, _POLICY = 1, 2, 3, 4, 5, 6, 8, 9, 12, 15, 16
_TYPES = {1: "policy", 2: "return", 3: "rule"}
_VERDICTS = {0: "drop", 1: "accept", 0xFFFFFFFF: "continue", 0xFFFFFFFE: "break", 0xFFFFFFFD: "jump", 0xFFFFFFFC: "goto"}
_FAMILIES = {1: "inet", 2: "ip", 3: "arp", 7: "bridge", 10: "ip6"}
_HEADER = struct.Struct("=IHHII")
# Seconds that a report is waited for.
MOMENT = 0.1
# Before every other chain.
_FIRST = -450
TABLES = "pinnace-trace-"
_HANDLE = re.compile(r"^\s*(.*) # handle (\d+)$")


@dataclass(frozen=True, slots=True)
class Packet:
    """What the probes are known by. `protocol` is tcp, udp, sctp or icmp, where `source_port` is the identifier."""

    source: str
    protocol: str
    source_port: int


@dataclass(frozen=True, slots=True)
class Event:
    """A rule that matched, or a chain's policy. `target` is the packet's, where the event has its headers; `oif` may be 0.

    `packet` is the kernel's identifier of a packet on one device: another after the bridge passed it to the node's own stack.
    """

    packet: int
    family: str
    table: str
    chain: str
    kind: str
    handle: int
    verdict: str
    target: str = ""
    oif: int = 0


def rules(packet: Packet) -> str:
    """The tables that mark the packets, on the bridge and in the node's own stack. Pure."""
    ip = "ip" if ipaddress.ip_address(packet.source).version == 4 else "ip6"
    if packet.protocol == "icmp":
        name = "icmp" if ip == "ip" else "icmpv6"
        match = f"{name} type echo-request {name} id {packet.source_port}"
    else:
        match = f"{packet.protocol} sport {packet.source_port}"
    text = ""
    for family in ("bridge", "inet"):
        text += f"""
table {family} {TABLES}{packet.source_port} {{
    chain probes {{
        type filter hook prerouting priority {_FIRST};
        {ip} saddr {packet.source} {match} meta nftrace set 1
    }}
}}
"""
    return text


def _names(packet: Packet) -> set[tuple[str, str]]:
    return {(family, f"{TABLES}{packet.source_port}") for family in ("bridge", "inet")}


def _removal(tables: Iterable[tuple[str, str]]) -> str:
    """`add` first, so that `delete` cannot fail."""
    return "".join(f"add table {family} {name}\ndelete table {family} {name}\n" for family, name in sorted(tables))


# Tables of traces that are open, in whatever thread.
_open: set[tuple[str, str]] = set()


class NftTrace:
    """In the network namespace of the calling thread. Raises OSError, NetworkError."""

    def __init__(self, packet: Packet) -> None:
        self._nft = Nftables()
        self._names: set[tuple[str, str]] = set()
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETFILTER)
        try:
            self._socket.bind((0, 0))
            self._socket.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, _GROUP)
            self._socket.settimeout(MOMENT)
            self._names = _names(packet)
            _open.update(self._names)
            self._nft.run_text(_removal(self._left()) + rules(packet))
        except BaseException:
            self.close()
            raise

    def _left(self) -> set[tuple[str, str]]:
        """Tables of traces that have ended."""
        return {item for item in nftread.tables() if item[1].startswith(TABLES) and item not in _open}

    def close(self) -> None:
        self._socket.close()
        try:
            self._nft.run_text(_removal(self._names))
        finally:
            _open.difference_update(self._names)
            self._nft.close()

    def read(self) -> list[Event]:
        """The next events; none when there were none for a moment."""
        try:
            data = self._socket.recv(1 << 16)
        except TimeoutError:
            return []
        return events(data)


def events(data: bytes) -> list[Event]:
    """Pure."""
    found, start = list[Event](), 0
    while start + _HEADER.size <= len(data):
        length, type_, *_ = _HEADER.unpack_from(data, start)
        if type_ == _TRACE:
            found.append(_event(nlsocket.attributes(data[start + _HEADER.size + 4 : start + length])))
        start += max((length + 3) & ~3, _HEADER.size)
    return found


def first_packet(found: list[Event]) -> list[Event]:
    """The events of the first probe: up to the mark of the next one, where that of the first was set. Pure."""
    first = found[0]
    for index, item in enumerate(found):
        if item.table.startswith(TABLES) and item.family == first.family and item.packet != first.packet:
            return found[:index]
    return found


def _event(of: nlsocket.Attributes) -> Event:
    def number(key: int) -> int:
        return int.from_bytes(of.get(key, b""), "big")

    kind = _TYPES.get(number(_TYPE), "")
    code = int.from_bytes(nlsocket.attributes(of.get(_VERDICT, b"")).get(1, b""), "big")
    verdict = _VERDICTS.get(number(_POLICY) if kind == "policy" else code, "return")
    return Event(
        number(_ID), _FAMILIES.get(number(_FAMILY), ""), nlsocket.string(of.get(_TABLE)), nlsocket.string(of.get(_CHAIN)), kind,
        number(_RULE), verdict, _target(of.get(_NETWORK, b""), of.get(_TRANSPORT, b"")), number(_OIF),
    )  # fmt: skip


def _target(network: bytes, transport: bytes) -> str:
    """ADDRESS:PORT, or ADDRESS alone for packets without ports."""
    if len(network) < 20:
        return ""
    version, protocol = network[0] >> 4, network[9] if network[0] >> 4 == 4 else network[6]
    raw = network[16:20] if version == 4 else network[24:40]
    if len(raw) not in (4, 16):
        return ""
    address = str(ipaddress.ip_address(raw))
    if protocol not in (6, 17, 132) or len(transport) < 4:
        return address
    return f"{f'[{address}]' if version == 6 else address}:{struct.unpack_from('!H', transport, 2)[0]}"


def texts(nft: Nftables, found: Iterable[Event]) -> dict[tuple[str, str, str, int], str]:
    """The rules of events as nft writes them, by family, table, chain and handle. Raises NetworkError."""
    named = {}
    for family, table, chain in {(item.family, item.table, item.chain) for item in found if item.kind != "policy"}:
        for line in _shown(nft, family, table, chain):
            if (match := _HANDLE.match(line)) is not None:
                named[family, table, chain, int(match[2])] = match[1]
    return named


def _shown(nft: Nftables, family: str, table: str, chain: str) -> list[str]:
    """The kernel gives the packet's family, where the table's may be inet. A chain that has gone has no lines."""
    for name in (family, "inet") if family in ("ip", "ip6") else (family,):
        with contextlib.suppress(NetworkError):
            return nft.show(f"chain {name} {table} {chain}").splitlines()
    return []
