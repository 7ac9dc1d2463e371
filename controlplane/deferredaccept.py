"""Silent connections to the gRPC port stay in the kernel: they take no descriptor, no TLS state and no room of a client.

gRPC accepts a connection when TCP's handshake is done, holds it until TLS's is done or has timed out, and refuses every new one
while it holds as many as it may. So strangers that connect and say nothing kept all clients out. With TCP_DEFER_ACCEPT (tcp(7))
the kernel lets gRPC have a connection when its first data is there, which in TLS is the client's ClientHello; one that stays
silent for longer than the kernel repeats its SYN-ACK is dropped, without this process having seen it.

gRPC does not offer the option and makes its socket itself, so it is set on the descriptor, which is found by its port.
"""

from __future__ import annotations

import logging
import os
import socket

log = logging.getLogger("pinnace.listener")
# Seconds, which Linux counts in SYN-ACKs: 7. It sends 6 at most (tcp_synack_retries), so a silent connection is never accepted.
DEFER = 127


def defer_accept(port: int) -> bool:
    """Set the option on this process's listening TCP sockets of a port; returns whether there is one that took it. Without it,
    gRPC's handshake timeout alone bounds silent connections."""
    found = False
    for name in os.listdir("/proc/self/fd"):
        copy = copied(int(name))
        if copy is not None:
            with copy:
                found = _set(copy, port) or found
    if not found:
        log.warning("accept_not_deferred port=%d", port)
    return found


def copied(descriptor: int) -> socket.socket | None:
    """A socket by a descriptor of its own; None for what is no socket, or is closed by now."""
    try:
        copy = os.dup(descriptor)
    except OSError:
        return None
    try:
        return socket.socket(fileno=copy)
    except OSError:
        os.close(copy)
        return None


def _set(sock: socket.socket, port: int) -> bool:
    try:
        if sock.family not in (socket.AF_INET, socket.AF_INET6) or sock.type != socket.SOCK_STREAM:
            return False
        if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) or sock.getsockname()[1] != port:
            return False
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, DEFER)
    except OSError:
        return False
    return True
