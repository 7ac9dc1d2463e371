"""Address translation: outbound traffic of pods takes the node's address, host ports lead to their pod.

Rules of the node's private table of family `ip`, which `rules` replaces as a whole in one transaction together with those of
`guard`: no rule of anyone else is touched, and teardown is one delete. Host ports are maps, so that a lookup does not grow with
them. A host port answers on 127.0.0.1 too (the bridge has route_localnet, and `guard` keeps pods from using it). Pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from nodeagent.network.interface import HostPort, Node
from nodeagent.network.nftables import Json, chain, match, meta, payload, prefix, rule

TABLE = "pinnace"
# libnftables' JSON knows no names for the priorities of nat hooks: dstnat and srcnat.
_DSTNAT, _SRCNAT = -100, 100
_PROTOCOL = meta("l4proto")
_PORT = payload("th", "dport")
_SOURCE, _TARGET = payload("ip", "saddr"), payload("ip", "daddr")


def rules(node: Node, bridge: str, ports: Iterable[HostPort]) -> list[Json]:
    """Chains and maps of the table TABLE, which is there and empty."""
    translated = match({"ct": {"key": "status"}}, "dnat", "in")
    return [
        *_host_ports(list(ports)),
        _chain("postrouting", "postrouting", _SRCNAT),
        _rule("postrouting", *_outbound(node, bridge), {"masquerade": None}),
        # A pod that asks a host port of its own node: without this the answer would take the short way, unchanged.
        _rule("postrouting", match(_SOURCE, prefix(node.pod_cidr)), translated, {"masquerade": None}),
        # The node's own processes, through localhost: the pod can answer an address of the bridge only.
        _rule("postrouting", match(_SOURCE, prefix("127.0.0.0/8")), match(meta("oifname"), bridge), {"masquerade": None}),
    ]


def _outbound(node: Node, bridge: str) -> list[Json]:
    inside = [match(_TARGET, prefix(cidr), "!=") for cidr in node.cluster_cidrs]
    return [match(_SOURCE, prefix(node.pod_cidr)), *inside, match(meta("oifname"), bridge, "!=")]


def _host_ports(ports: list[HostPort]) -> list[Json]:
    """Maps from what is asked for to address and port, and the chains that look into them for local addresses."""
    chosen = {item.key: item for item in reversed(ports)}.values()
    named = [item for item in chosen if item.host_ip]
    free = [item for item in chosen if not item.host_ip]
    commands = [_chain("hostports")]
    # Those for one address of the node first: they are the more exact.
    for suffix, key, items in (("_at", [_TARGET, _PROTOCOL, _PORT], named), ("", [_PROTOCOL, _PORT], free)):
        commands += [
            _map(f"address{suffix}", "ipv4_addr", len(key), [[item.match, item.address] for item in items]),
            _map(f"port{suffix}", "inet_service", len(key), [[item.match, item.port] for item in items]),
            _rule("hostports", {"dnat": {"addr": _found(key, f"address{suffix}"), "port": _found(key, f"port{suffix}")}}),
        ]
    local = match({"fib": {"result": "type", "flags": ["daddr"]}}, "local")
    for hook in ("prerouting", "output"):
        commands += [_chain(hook, hook, _DSTNAT), _rule(hook, local, {"jump": {"target": "hostports"}})]
    return commands


def _map(name: str, value: str, width: int, pairs: list[list[Any]]) -> Json:
    key = ["ipv4_addr", "inet_proto", "inet_service"][-width:]
    elements = {"elem": [[{"concat": match}, to] for match, to in pairs]} if pairs else {}
    return {"add": {"map": {"family": "ip", "table": TABLE, "name": name, "type": key, "map": value, **elements}}}


def _found(key: list[Json], name: str) -> Json:
    return {"map": {"key": {"concat": key}, "data": f"@{name}"}}


def _chain(name: str, hook: str = "", priority: int = 0) -> Json:
    base = {"type": "nat", "hook": hook, "prio": priority, "policy": "accept"} if hook else {}
    return chain("ip", TABLE, name, **base)


def _rule(name: str, *expressions: Json) -> Json:
    return rule("ip", TABLE, name, *expressions)
