"""The forwarder's process: `python -m cli.lab.dns UDP TCP RESOLV_CONF ADDRESS` with two inherited sockets, by file descriptor,
and the address at which pods reach this machine.

It speaks with pods, so it keeps no privilege: it becomes `nobody` before it reads the first packet, for good.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import socket
import sys
from pathlib import Path

from cli.lab.dns import machine
from cli.lab.dns.resolvers import Resolvers
from pinnace import openfiles
from pinnace.clock import SystemClock
from pinnace.dns.serving import Server

_NOBODY = 65534
_PR_SET_NO_NEW_PRIVS = 38


def main() -> None:
    udp, tcp = (socket.socket(fileno=int(word)) for word in sys.argv[1:3])
    resolvers = Resolvers(Path(sys.argv[3]), SystemClock())
    for sock in (udp, tcp):
        sock.setblocking(False)
    # Each query that waits has a socket.
    openfiles.raise_limit()
    _give_up_privileges()

    answer = machine.named(sys.argv[4], resolvers.answer)
    try:
        asyncio.run(Server(answer).serve([udp], [tcp]))
    except KeyboardInterrupt:
        pass


def _give_up_privileges() -> None:
    """Of uid 0 to none: the kernel clears all capabilities with the uid."""
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(_NOBODY)
        os.setuid(_NOBODY)
    ctypes.CDLL(None).prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


if __name__ == "__main__":
    main()
