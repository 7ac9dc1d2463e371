"""The kernel's notifications of changes to the node's network: that something has changed, not what.

A socket for rtnetlink and one for nftables, read on the event loop. Changes of our own are notified too, so the callback
compares the state and finds nothing. Entries of neighbours count for our own devices only: on a busy network the kernel reports
each step of each neighbour.

Source: linux/rtnetlink.h (RTNLGRP_*), linux/netfilter/nfnetlink.h (NFNLGRP_NFTABLES, NFT_MSG_*).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import struct
from collections.abc import Callable

from nodeagent.network.guard import BRIDGE, PORTS
from nodeagent.network.vxlan import DEVICE

log = logging.getLogger("pinnace.network")
# Groups of NETLINK_ROUTE: link, neigh, IPv4 address and route, IPv6 address and route.
_GROUPS = (1, 3, 5, 7, 9, 11)
_NFTABLES_GROUP, _NETFILTER = 7, 12
_SOL_NETLINK, _ADD_MEMBERSHIP = 270, 1
_HEADER = struct.Struct("=IHHII")
_NEW_NEIGHBOUR, _DEL_NEIGHBOUR = 28, 29
# Messages read in one go; the loop serves others in between.
_BATCH = 64


class Notifications:
    def __init__(self, changed: Callable[[], None]) -> None:
        """In the network namespace of the calling thread. Raises OSError."""
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
        relevant = False
        try:
            for _ in range(_BATCH):
                relevant = _relevant(sock.recv(1 << 16)) or relevant
        except BlockingIOError:
            pass
        except OSError:
            # ENOBUFS: more came than the buffer holds.
            relevant = True
        if relevant:
            self._changed()


def _relevant(data: bytes) -> bool:
    start = 0
    while start + _HEADER.size <= len(data):
        length, type_, *_ = _HEADER.unpack_from(data, start)
        if type_ not in (_NEW_NEIGHBOUR, _DEL_NEIGHBOUR):
            return True
        body = start + _HEADER.size
        if len(data) >= body + 8 and _is_ours(struct.unpack_from("=i", data, body + 4)[0]):
            return True
        start += max((length + 3) & ~3, _HEADER.size)
    return False


def _is_ours(index: int) -> bool:
    try:
        name = socket.if_indextoname(index)
    except OSError:
        # One of a device that has gone.
        return True
    return name in (BRIDGE, DEVICE) or name.startswith(PORTS)
