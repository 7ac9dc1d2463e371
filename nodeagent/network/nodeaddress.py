"""Which addresses of this host are the node's on the underlay: those of `--address`, or the one towards the control plane.

An address that was found stays the node's for as long as the host has it: a second address, or a route by another device, moves
nothing. Once it is gone, the next one is the kernel's source address for packets to the control plane. Addresses of `--address`
are not replaced: one that is gone is an error until it returns. An address of the overlay's own devices is never the node's,
although the kernel would choose one on a host that has no other.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from nodeagent.network.interface import NetworkError
from nodeagent.node import threads


class SourceAddress:
    """This host's address on the way to `server` (host:port, IPv6 in brackets). Sends nothing to it.

    A host name is resolved once: a name server may be out of reach exactly when the address changes."""

    def __init__(self, server: str) -> None:
        self.server = server
        self._targets: list[tuple[Any, ...]] = []

    def __call__(self) -> str:
        """Raises OSError."""
        if not self._targets:
            host, _, port = self.server.rpartition(":")
            self._targets = [*socket.getaddrinfo(host.removeprefix("[").removesuffix("]"), int(port), type=socket.SOCK_DGRAM)]
        for family, kind, protocol, _, target in self._targets:
            with contextlib.suppress(OSError), socket.socket(family, kind, protocol) as probe:
                probe.connect(target)
                return str(probe.getsockname()[0])
        raise OSError(errno.ENETUNREACH, os.strerror(errno.ENETUNREACH))


class Source(Protocol):
    """See SourceAddress."""

    @property
    def server(self) -> str: ...
    def __call__(self) -> str: ...


class NodeAddresses:
    """`source` finds an address when none is `configured`; `host` has all addresses of the host but the overlay's."""

    def __init__(
        self, configured: tuple[str, ...], source: Source, host: Callable[[], Awaitable[frozenset[str]]]
    ) -> None:  # fmt: skip
        self._configured, self._source, self._host = configured, source, host

    async def find(self, current: tuple[str, ...] = ()) -> tuple[str, ...]:
        """The node's addresses, one of each address family, the underlay's first; `current` has those that it had until now.
        Raises NetworkError while it has none."""
        present = await self._host()
        if self._configured:
            for address in self._configured:
                if address not in present:
                    raise NetworkError(f"no device of this host has the address {address}, which --address names")
            return self._configured
        if current and present >= {*current}:
            return current
        server = self._source.server
        try:
            # A host name may be resolved, which blocks.
            found = await threads.names.run(self._source)
        except OSError as error:
            raise NetworkError(f"this host has no route to the control plane at {server}: {error.strerror or error}") from None
        if found not in present:
            raise NetworkError(f"this host has no address towards the control plane at {server}")
        return (found,)
