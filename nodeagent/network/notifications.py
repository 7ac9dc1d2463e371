"""The kernel's notifications of changes to the node's network: that something has changed, not what.

A socket for rtnetlink and one for nftables, read on the event loop. Changes of our own are notified too. Those of nftables name
the thread that made them, so a comparison is saved: a thousand policies that are applied are dozens of transactions. Entries of
neighbours count for our own devices only: on a busy network the kernel reports each step of each neighbour.

Source: linux/rtnetlink.h (RTNLGRP_*), linux/netfilter/nfnetlink.h (NFNLGRP_NFTABLES), nf_tables.h (NFT_MSG_*, NFTA_GEN_*).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import struct
from collections.abc import Callable, Iterator

from nodeagent.network import nlsocket
from nodeagent.network.guard import BRIDGE, PORTS
from nodeagent.network.vxlan import DEVICE

log = logging.getLogger("pinnace.network")
# Groups of NETLINK_ROUTE: link, neigh, IPv4 address and route, IPv6 address and route.
_GROUPS = (1, 3, 5, 7, 9, 11)
_NFTABLES_GROUP, _NETFILTER = 7, 12
_SOL_NETLINK, _ADD_MEMBERSHIP = 270, 1
_HEADER = struct.Struct("=IHHII")
_NEW_NEIGHBOUR, _DEL_NEIGHBOUR = 28, 29
# The last notification of a transaction: its type, the bytes before its attributes, and the attribute with the thread's number
# in the first PID namespace.
_NEW_GENERATION, _NFGENMSG, _THREAD = 10 << 8 | 15, 4, 2
# Messages read in one go; the loop serves others in between.
_BATCH = 64


class Notifications:
    def __init__(self, changed: Callable[[bool], None]) -> None:
        """In the network namespace of the calling thread. `changed` gets False for nftables transactions of this process.
        Raises OSError."""
        self._changed = changed
        self._sockets: list[socket.socket] = []
        try:
            for protocol, groups in ((socket.NETLINK_ROUTE, _GROUPS), (_NETFILTER, (_NFTABLES_GROUP,))):
                sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, protocol)
                self._sockets.append(sock)
                sock.bind((0, 0))
                for group in groups:
                    sock.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, group)
        except BaseException:
            self.close()
            raise

    def start(self) -> None:
        loop = asyncio.get_running_loop()
        for sock in self._sockets:
            loop.add_reader(sock, self._read, sock)

    def close(self) -> None:
        for sock in self._sockets:
            with contextlib.suppress(RuntimeError):
                asyncio.get_running_loop().remove_reader(sock)
            sock.close()
        self._sockets.clear()

    def _read(self, sock: socket.socket) -> None:
        """Call `changed` with whether anyone else may have changed something, if anything is."""
        found = set[bool | None]()
        try:
            for _ in range(_BATCH):
                data = sock.recv(1 << 16)
                found.add(_foreign_rules(data) if sock.proto == _NETFILTER else _relevant(data) or None)
        except BlockingIOError:
            pass
        except OSError:
            # ENOBUFS: more came than the buffer holds.
            found.add(True)
        if found - {None}:
            self._changed(True in found)


def _foreign_rules(data: bytes) -> bool:
    """Whether a transaction that ends in these notifications was another process's. One that has not ended yet is not."""
    return any(type_ == _NEW_GENERATION and not _is_own(body[_NFGENMSG:]) for type_, body in _messages(data))


def _is_own(attributes: bytes) -> bool:
    """In another PID namespace than the first the numbers differ: then no transaction is, or seldom one by accident."""
    thread = nlsocket.attributes(attributes).get(_THREAD, b"")
    return os.path.exists(f"/proc/self/task/{int.from_bytes(thread, 'big')}")


def _relevant(data: bytes) -> bool:
    return any(type_ not in (_NEW_NEIGHBOUR, _DEL_NEIGHBOUR) or _of_our_device(body) for type_, body in _messages(data))


def _of_our_device(body: bytes) -> bool:
    return len(body) >= 8 and _is_ours(struct.unpack_from("=i", body, 4)[0])


def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Type and body of each."""
    start = 0
    while start + _HEADER.size <= len(data):
        length, type_, *_ = _HEADER.unpack_from(data, start)
        yield type_, data[start + _HEADER.size : start + length]
        start += max((length + 3) & ~3, _HEADER.size)


def _is_ours(index: int) -> bool:
    try:
        name = socket.if_indextoname(index)
    except OSError:
        # One of a device that has gone.
        return True
    return name in (BRIDGE, DEVICE) or name.startswith(PORTS)
