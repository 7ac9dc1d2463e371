"""Tracked connections of UDP and SCTP to Services: those whose endpoint has gone are deleted, as such a client may send for
ever.

Those of TCP are left: they end by themselves, and a new one is led by the table as it is.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping

from nodeagent.network import conntrack, rtnetlink
from nodeagent.network.conntrack import NETFILTER, Flow, Way
from nodeagent.network.nlsocket import NetlinkSocket
from nodeagent.network.services.model import Target
from nodeagent.network.services.wanted import Frontend

_PROTOCOLS: dict[int, str] = {socket.IPPROTO_UDP: "udp", socket.IPPROTO_SCTP: "sctp"}
_FAMILIES: dict[int, int] = {socket.AF_INET: 4, socket.AF_INET6: 6}

Live = Mapping[Frontend, frozenset[Target]]


def clean(live: Live) -> int:
    """Delete connections to these frontends that lead to none of their endpoints, such as those from before the first one;
    returns their number. Raises OSError."""
    if not live:
        return 0
    own = _own_addresses() if any(not item.address for item in live) else frozenset[str]()
    deleted = 0
    with NetlinkSocket(NETFILTER) as kernel:
        for message in kernel.dump(conntrack.list_flows()):
            flow = conntrack.flow_of(message)
            if (
                flow.protocol in _PROTOCOLS
                and (way := conntrack.way_of(message)) is not None
                and _is_stale(flow, way, live, own)
            ):
                kernel.run(conntrack.del_flow(flow))
                deleted += 1
    return deleted


def _is_stale(flow: Flow, way: Way, live: Live, own: frozenset[str]) -> bool:
    family, protocol = _FAMILIES[flow.family], _PROTOCOLS[flow.protocol]
    allowed = live.get(Frontend(family, way.address, protocol, way.port))
    if allowed is None and way.address in own:
        allowed = live.get(Frontend(family, "", protocol, way.port))
    return allowed is not None and Target(way.answering, way.answering_port) not in allowed


def _own_addresses() -> frozenset[str]:
    """Of this node: a packet to a NodePort was sent to one of them."""
    with NetlinkSocket() as route:
        return frozenset(rtnetlink.address_of(message).address for message in route.dump(rtnetlink.list_addresses()))
