"""The buffer of a server's socket. Not in `serving`, whose imports take `kctl lab` longer than all else."""

from __future__ import annotations

import contextlib
import socket

# Bytes that the kernel keeps of queries that have not been received.
_RECEIVE_BUFFER = 4 << 20
# asm-generic/socket.h
_SO_RCVBUFFORCE = 33


def keep_bursts(sock: socket.socket) -> None:
    """Have the kernel keep a burst of queries that is longer than its default, 300 short ones; as root only."""
    with contextlib.suppress(PermissionError):
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BUFFER)
