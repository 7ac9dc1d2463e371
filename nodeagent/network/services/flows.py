"""Tracked connections of UDP and SCTP to Services: those whose endpoint has gone are deleted, as such a client may send for
ever.

Those of TCP are left: they end by themselves, and a new one is led by the table as it is.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass

from nodeagent.network import conntrack, nlsocket, rtnetlink
from nodeagent.network.conntrack import NETFILTER, Ends
from nodeagent.network.nlsocket import NetlinkSocket
from nodeagent.network.services.model import Target
from nodeagent.network.services.wanted import Frontend

_PROTOCOLS = {"udp": socket.IPPROTO_UDP, "sctp": socket.IPPROTO_SCTP}
_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}

Live = Mapping[Frontend, frozenset[Target]]


def cleaning(live: Live, sockets: ExitStack) -> Callable[[], int]:
    """A function to delete connections to these frontends that lead to none of their endpoints, such as those from before the
    first one; it returns their number. It may take a second, in any thread: its sockets are those of this one's network
    namespace, and open until `sockets` closes. Both raise OSError."""
    needs_addresses = any(not item.address for item in live)
    kernel, route = sockets.enter_context(NetlinkSocket(NETFILTER)), sockets.enter_context(NetlinkSocket())
    return lambda: delete(live, kernel, _own_addresses(route) if needs_addresses else ())


def delete(live: Live, kernel: conntrack.Kernel, own: Iterable[str]) -> int:
    """See `cleaning`; `own` are the node's addresses."""
    deleted = 0
    for protocol, family in sorted({(item.protocol, item.family) for item in live}):
        frontends = {item: targets for item, targets in live.items() if (item.protocol, item.family) == (protocol, family)}
        request = conntrack.list_flows(_PROTOCOLS[protocol], _FAMILIES[family])
        matches = stale(_PROTOCOLS[protocol], frontends, own)
        deleted += conntrack.end(kernel, kernel.dump(request, keep=matches))
    return deleted


def stale(protocol: int, live: Live, own: Iterable[str]) -> Callable[[bytes], bool]:
    """Whether a listed connection leads from one of these frontends, which are of one protocol, to none of its endpoints. A
    packet to a NodePort was sent to one of the node's addresses, `own`. Pure."""
    index = _Index.of(live, own)

    def judge(ends: Ends) -> bool:
        return ends.answering not in index.allowed(ends.to)

    return conntrack.matching(protocol, judge, index.has)


@dataclass(frozen=True, slots=True)
class _Index:
    """Endpoints by where a first packet went, all packed: `exact` by address and port; `ports`, by the length of an address and
    the port, at addresses of the node."""

    exact: dict[bytes, frozenset[bytes]]
    ports: dict[tuple[int, bytes], frozenset[bytes]]
    own: frozenset[bytes]

    @staticmethod
    def of(live: Live, own: Iterable[str]) -> _Index:
        exact, ports = dict[bytes, frozenset[bytes]](), dict[tuple[int, bytes], frozenset[bytes]]()
        # Frontends share the endpoints of their port.
        known = dict[frozenset[Target], frozenset[bytes]]()
        for item, targets in live.items():
            if targets not in known:
                known[targets] = frozenset(conntrack.packed(target.address, target.port) for target in targets)
            if item.address:
                exact[conntrack.packed(item.address, item.port)] = known[targets]
            else:
                ports[4 if item.family == 4 else 16, item.port.to_bytes(2, "big")] = known[targets]
        return _Index(exact, ports, frozenset(map(nlsocket.ip_bytes, own)) if ports else frozenset())

    def has(self, to: bytes) -> bool:
        return to in self.exact or ((len(to) - 2, to[-2:]) in self.ports and to[:-2] in self.own)

    def allowed(self, to: bytes) -> frozenset[bytes]:
        """Of one that it has."""
        found = self.exact.get(to)
        return found if found is not None else self.ports[len(to) - 2, to[-2:]]


def _own_addresses(route: NetlinkSocket) -> list[str]:
    return [rtnetlink.address_of(message).address for message in route.dump(rtnetlink.list_addresses())]
