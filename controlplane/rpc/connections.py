"""Ending a gRPC client's connection, for which gRPC's asyncio server has no call.

A call that is cancelled on the server keeps the message that it is sending until the client reads it or leaves. So a client
that does not read is made to leave: its connection is found among the descriptors by its address, and shut down. That ends
the client's other calls on it, too, which it then makes again.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from urllib.parse import unquote

from controlplane.deferredaccept import copied


def close(peer: str) -> bool:
    """Shut down this process's TCP connection to a `context.peer()`; whether there was one. A Unix socket's has no name."""
    family, _, address = unquote(peer).partition(":")
    if family not in ("ipv4", "ipv6") or not address:
        return False
    found = False
    for name in os.listdir("/proc/self/fd"):
        copy = copied(int(name))
        if copy is not None:
            with copy:
                if _peer(copy) == address:
                    # Another thread may have been faster.
                    with suppress(OSError):
                        copy.shutdown(socket.SHUT_RDWR)
                        found = True
    return found


def _peer(connection: socket.socket) -> str:
    """HOST:PORT as gRPC writes it; empty for a socket that is no connection of TCP."""
    if connection.family not in (socket.AF_INET, socket.AF_INET6):
        return ""
    try:
        host, port = connection.getpeername()[:2]
    except OSError:
        return ""
    # gRPC's sockets are of IPv6 and carry IPv4 too (RFC 4291, section 2.5.5.2).
    host = host.removeprefix("::ffff:")
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
