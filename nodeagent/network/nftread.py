"""What the kernel has in nftables, read by netlink: tables, containers (sets and maps), chains and rules, clients of a set.

libnftables reads all elements of all sets for most of its lists, even for that of tables, and takes 30 µs and 2 kB for each.
Sets that packets fill have 65,536, one for each endpoint of a Service with affinity: so it reads single sets and maps that
the agent fills (`Nftables.read_each`), and all the rest is read here. In the network namespace of the calling thread.

Source: linux/netfilter/nf_tables.h (NFT_MSG_*, NFTA_*); linux/netfilter.h (NFPROTO_*).
"""

from __future__ import annotations

import contextlib
import hashlib
import ipaddress
import re
import socket
import struct
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from nodeagent.network import elements, nlsocket
from nodeagent.network.elements import Element, Key, protocol_of
from nodeagent.network.interface import NetworkError
from nodeagent.network.nftables import Nftables
from nodeagent.network.nlsocket import Attributes, Message, NetlinkSocket, Request

NETFILTER = 12
# Of the subsystem 10, nftables.
_GET_TABLE, _GET_CHAIN, _GET_RULE, _GET_SET, _GET_ELEMENTS = (10 << 8 | number for number in (1, 4, 7, 10, 13))
_FAMILIES = {"inet": 1, "ip": 2, "arp": 3, "netdev": 5, "bridge": 7, "ip6": 10}
_NAMES = {number: name for name, number in _FAMILIES.items()}
_HEADER = struct.Struct("=BBH")
# Of all objects but tables, the table's name is the first attribute.
_TABLE, _TABLE_NAME, _TABLE_FLAGS = 1, 1, 2
_CHAIN_NAME, _CHAIN_HOOK, _CHAIN_POLICY, _CHAIN_TYPE, _CHAIN_FLAGS = 3, 4, 5, 7, 10
_RULE_CHAIN, _RULE_EXPRESSIONS = 2, 4
_EXPRESSION_NAME, _EXPRESSION_DATA = 1, 2
_SET_NAME, _SET_FLAGS, _SET_KEY_TYPE, _SET_TIMEOUT = 2, 3, 4, 11
# What makes a set: flags, types and lengths of keys and data, what it is for (size, fields), timeout, expressions.
_SET_SHAPE = (_SET_FLAGS, _SET_KEY_TYPE, 5, 6, 7, 9, _SET_TIMEOUT, 17, 18)
_LIST_TABLE, _LIST_SET, _LIST_ELEMENTS = 1, 2, 3
_KEY, _TIMEOUT, _VALUE = 1, 4, 1
# Flags of a set.
_ANONYMOUS, _MAP, _TIMED = 0x1, 0x8, 0x10
# Expressions with a state of their own.
_STATEFUL = (b"counter", b"quota", b"last", b"connlimit")
# An attribute with the name of a set that has none in the commands: the kernel numbers them.
_UNNAMED = re.compile(rb"..(..)(__(?:set|map)\d+)\0+", re.DOTALL)
# Types of the fields of clients' keys, as libnftables numbers them in 6 bits each, and their bytes.
_FIELD_BITS = 6
_ADDRESSES, _PROTOCOL, _PORT = {7: 4, 8: 16}, 12, 13
# What begins the shape of a base chain.
HOOK = "hook "
# Of a table: a text for each chain with its rules, each container, and the table's own flags; equal where they are the same.
Shape = dict[str, str]


@dataclass(frozen=True, slots=True)
class Container:
    """A set or map that has a name. `is_timed`: packets fill it; `types` are those of its key, `timeout` is in seconds."""

    name: str
    is_map: bool
    is_timed: bool
    types: int
    timeout: int


class Client(NamedTuple):
    """An element of a set with a timeout; that is in seconds."""

    key: Key
    timeout: int


@contextlib.contextmanager
def _kernel() -> Iterator[NetlinkSocket]:
    """Raises NetworkError."""
    try:
        with NetlinkSocket(NETFILTER) as kernel:
            yield kernel
    except OSError as error:
        raise NetworkError(f"nftables: {error.strerror or error}") from error


def tables() -> frozenset[tuple[str, str]]:
    """Families and names. Raises NetworkError."""
    with _kernel() as kernel:
        return frozenset(_tables(kernel))


def _tables(kernel: NetlinkSocket) -> dict[tuple[str, str], int]:
    """Flags by family and name. Raises OSError."""
    found = {}
    for message in kernel.dump(Request(_GET_TABLE, _HEADER.pack(socket.AF_UNSPEC, 0, 0))):
        parts = _parts(message)
        family = _NAMES.get(message.body[0], str(message.body[0]))
        found[family, nlsocket.string(parts.get(_TABLE_NAME))] = _number(parts, _TABLE_FLAGS)
    return found


def containers(table: str) -> list[Container]:
    """Of a table, such as `inet pinnace`. Raises NetworkError."""
    with _kernel() as kernel:
        found = list(_of_table(kernel, _GET_SET, table))
    return [_container(parts) for parts in found if not _number(parts, _SET_FLAGS) & _ANONYMOUS]


def chains(table: str) -> list[str]:
    """Their names. Raises NetworkError."""
    with _kernel() as kernel:
        return [nlsocket.string(parts.get(_CHAIN_NAME)) for parts in _of_table(kernel, _GET_CHAIN, table)]


def filled(nft: Nftables, table: str, some: Iterable[Container]) -> dict[str, frozenset[Element]]:
    """The elements of those of these sets and maps that packets do not fill, by name. Raises NetworkError."""
    whats = [f"{'map' if item.is_map else 'set'} {table} {item.name}" for item in some if not item.is_timed]
    return elements.read(nft.read_each(whats))


def clients(table: str, container: Container, *, but: Collection[int] = ()) -> list[Client]:
    """The elements of a set with a timeout, without those with the timeouts `but`. Raises NetworkError."""
    left_out = {struct.pack("!Q", seconds * 1000) for seconds in but} | ({None} if container.timeout in but else set())
    fields, found = _fields(container.types), []
    with _kernel() as kernel:
        for element in _elements(kernel, table, container.name):
            # Of an element without its own, the set's counts.
            own = element.get(_TIMEOUT)
            if own not in left_out:
                seconds = int.from_bytes(own, "big") // 1000 if own is not None else container.timeout
                key = nlsocket.attributes(element.get(_KEY, b"")).get(_VALUE, b"")
                found.append(Client(_key(key, fields), seconds))
    return found


def shape(table: str) -> Shape:
    """Empty if there is no such table. Raises NetworkError."""
    family, _, name = table.partition(" ")
    with _kernel() as kernel:
        if (flags := _tables(kernel).get((family, name))) is None:
            return {}
        found, unnamed = Shape(flags=str(flags)), dict[bytes, bytes]()
        for parts in _of_table(kernel, _GET_SET, table):
            of_set = nlsocket.string(parts.get(_SET_NAME))
            if _number(parts, _SET_FLAGS) & _ANONYMOUS:
                unnamed[of_set.encode()] = _digest(kernel, table, of_set)
            else:
                kind = "map" if _number(parts, _SET_FLAGS) & _MAP else "set"
                found[f"{kind} {of_set}"] = " ".join(f"{key}={parts[key].hex()}" for key in _SET_SHAPE if key in parts)
        for parts in _of_table(kernel, _GET_CHAIN, table):
            found[f"chain {nlsocket.string(parts.get(_CHAIN_NAME))}"] = _chain(parts)
        for parts in _of_table(kernel, _GET_RULE, table):
            chain = f"chain {nlsocket.string(parts.get(_RULE_CHAIN))}"
            # One that was added meanwhile is noticed by the next comparison.
            found[chain] = found.get(chain, "") + "\n" + _rule(parts.get(_RULE_EXPRESSIONS, b""), unnamed).hex()
    return found


def _chain(parts: Attributes) -> str:
    own = " ".join(f"{key}={parts[key].hex()}" for key in (_CHAIN_POLICY, _CHAIN_TYPE, _CHAIN_FLAGS) if key in parts)
    return f"{HOOK}{parts[_CHAIN_HOOK].hex()} {own}" if _CHAIN_HOOK in parts else own


def _rule(expressions: bytes, unnamed: dict[bytes, bytes]) -> bytes:
    """Without what differs between two rules of the same text."""

    def named(match: re.Match[bytes]) -> bytes:
        return match[1] + unnamed.get(match[2], match[2])

    found = []
    for _, expression in nlsocket.entries(expressions):
        parts = nlsocket.attributes(expression)
        name = parts.get(_EXPRESSION_NAME, b"").rstrip(b"\0")
        found.append(name + b" " + (b"" if name in _STATEFUL else _UNNAMED.sub(named, parts.get(_EXPRESSION_DATA, b""))))
    return b" ".join(found)


def _digest(kernel: NetlinkSocket, table: str, name: str) -> bytes:
    """Of an anonymous set's elements."""
    raw = sorted(repr(sorted(element.items())) for element in _elements(kernel, table, name))
    return hashlib.sha256("\n".join(raw).encode()).digest()


def _of_table(kernel: NetlinkSocket, type_: int, table: str) -> Iterator[Attributes]:
    """Objects of a table. Raises OSError."""
    family, _, name = table.partition(" ")
    # The kernel may filter by the table, or not.
    body = _HEADER.pack(_FAMILIES[family], 0, 0) + nlsocket.text(_TABLE, name)
    for parts in map(_parts, kernel.dump(Request(type_, body))):
        if nlsocket.string(parts.get(_TABLE)) == name:
            yield parts


def _elements(kernel: NetlinkSocket, table: str, container: str) -> Iterator[Attributes]:
    """Raises OSError."""
    family, _, name = table.partition(" ")
    body = _HEADER.pack(_FAMILIES[family], 0, 0) + nlsocket.text(_LIST_TABLE, name) + nlsocket.text(_LIST_SET, container)
    for message in kernel.dump(Request(_GET_ELEMENTS, body)):
        for _, element in nlsocket.entries(_parts(message).get(_LIST_ELEMENTS, b"")):
            yield nlsocket.attributes(element)


def _parts(message: Message) -> Attributes:
    return nlsocket.attributes(message.body[_HEADER.size :])


def _number(parts: Attributes, key: int) -> int:
    return int.from_bytes(parts.get(key, b""), "big")


def _container(parts: Attributes) -> Container:
    flags = _number(parts, _SET_FLAGS)
    return Container(
        nlsocket.string(parts.get(_SET_NAME)), bool(flags & _MAP), bool(flags & _TIMED), _number(parts, _SET_KEY_TYPE),
        _number(parts, _SET_TIMEOUT) // 1000,
    )  # fmt: skip


def _fields(types: int) -> list[int]:
    """The types of a key's fields, from the number that stands for all of them."""
    found = []
    while types:
        found.append(types & (1 << _FIELD_BITS) - 1)
        types >>= _FIELD_BITS
    return found[::-1]


def _key(raw: bytes, fields: list[int]) -> Key:
    """As nft writes it, protocols by name; from a field of another type than clients' keys have on, in hexadecimal."""
    found, start = list[str](), 0
    for field in fields:
        # Each is filled up to four bytes.
        if (size := _ADDRESSES.get(field)) is not None:
            found.append(str(ipaddress.ip_address(raw[start : start + size])))
        elif field == _PROTOCOL:
            found.append(protocol_of(raw[start]))
        elif field == _PORT:
            found.append(str(int.from_bytes(raw[start : start + 2], "big")))
        else:
            return (*found, raw[start:].hex())
        start += size or 4
    return tuple(found)
