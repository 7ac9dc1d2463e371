"""Tracked connections to host ports that have changed: they are ended, so that none leads to the pod that had the port before.

Of UDP and SCTP. UDP has no end: a client that keeps sending would be led to an earlier pod, or to none. TCP ends by itself.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Iterable
from contextlib import ExitStack
from typing import Any

from nodeagent.network import conntrack, handover
from nodeagent.network.interface import HostPort, NetworkError
from nodeagent.network.netlink import told
from nodeagent.network.nlsocket import NetlinkSocket
from nodeagent.node import threads

log = logging.getLogger("pinnace.network")
_PROTOCOLS = {"tcp": socket.IPPROTO_TCP, "udp": socket.IPPROTO_UDP, "sctp": socket.IPPROTO_SCTP}
# Deletes the connections to ports, each a protocol and a number, and returns how many; on a thread of its own. Raises OSError.
Delete = Callable[[NetlinkSocket, Collection[tuple[int, int]]], int]


class HostPortConnections:
    def __init__(self, visit: Callable[[Callable[[], Any]], Awaitable[Any]], delete: Delete) -> None:
        """`visit` calls a function on the thread that owns netlink."""
        self._visit, self._delete = visit, delete
        self._ending = asyncio.Lock()
        # Protocol and port of those that have changed, and may have connections of before. Filled by the thread.
        self._ports = deque[tuple[int, int]]()

    def changed(self, ports: Iterable[tuple[str, str]]) -> None:
        """Note ports whose pod is another one, each a protocol and a number, as nft writes them. On any thread."""
        self._ports.extend((_PROTOCOLS[protocol], int(port)) for protocol, port in ports if protocol != "tcp")

    async def end(self, own: Collection[HostPort] | None = None) -> None:
        """End the connections to the ports that have changed; concurrent callers wait for it. In another thread: a node may
        track many connections. After a failure the next call tries again. Raises NetworkError if one of the ports is of `own`,
        None being all, and logs it otherwise."""
        async with self._ending:
            ports = set[tuple[int, int]]()
            while self._ports:
                ports.add(self._ports.popleft())
            if not ports:
                return

            def prepare(sockets: ExitStack) -> Callable[[], int]:
                kernel = sockets.enter_context(NetlinkSocket(conntrack.NETFILTER))
                return lambda: self._delete(kernel, ports)

            try:
                with told("tracked connections to host ports"):
                    await handover.run(self._visit, threads.connections, prepare)
            except BaseException as error:
                self._ports.extend(ports)
                concerned = own is None or any((_PROTOCOLS[item.protocol], item.host_port) in ports for item in own)
                if concerned or not isinstance(error, NetworkError):
                    raise
                log.warning("connections_not_ended ports=%d error=%s", len(ports), error)
