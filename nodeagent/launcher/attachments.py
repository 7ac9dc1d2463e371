"""How an agent and a monitor speak: frames on a Unix socket in the bundle.

A frame is one letter for its kind, its length in four bytes (network order), and at most 64 KiB.
To the monitor: `a` first, to feed standard input too; `i` input; `c` the end of input; `r` a size as two shorts, columns
and rows. From the monitor: `o` and `e` for output and error; `s` and a decimal number of bytes that this reader missed.
"""

from __future__ import annotations

import os
import socket
import struct

from nodeagent.launcher.bundle import ATTACH

# Not typing.TYPE_CHECKING: importing typing costs memory in every monitor.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

MAX_PAYLOAD = 64 << 10
_HEADER = struct.Struct("!cI")
HEADER_SIZE = _HEADER.size


class BadFrame(Exception):
    """The peer does not speak this."""


def frame(kind: bytes, payload: bytes = b"") -> bytes:
    return _HEADER.pack(kind, len(payload)) + payload


def header(data: bytes) -> tuple[bytes, int]:
    """Kind and length of payload. Raises BadFrame."""
    kind, length = _HEADER.unpack(data[:HEADER_SIZE])
    if length > MAX_PAYLOAD:
        raise BadFrame(f"a frame of {length} bytes")
    return kind, length


def listen(bundle: str, backlog: int) -> socket.socket:
    """Raises OSError."""
    sock = _at(bundle, _bind)
    sock.listen(backlog)
    return sock


def _bind(sock: socket.socket, path: str) -> None:
    # On the unbound socket: its file has that mode from the beginning.
    os.fchmod(sock.fileno(), 0o600)
    sock.bind(path)


def connect(bundle: str) -> socket.socket:
    """Raises OSError when the container has ended."""
    return _at(bundle, socket.socket.connect)


def _at(bundle: str, act: Callable[[socket.socket, str], object]) -> socket.socket:
    """A Unix socket's path has 108 bytes, which a bundle's is longer than: named through a descriptor of the folder."""
    folder = os.open(bundle, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        act(sock, f"/proc/self/fd/{folder}/{ATTACH}")
    except BaseException:
        sock.close()
        raise
    finally:
        os.close(folder)
    return sock
