"""Addresses that change on the way: outbound traffic of pods takes the node's, host ports lead to their pod.

One private nftables table, replaced as a whole in one transaction: no rule of anybody else is touched, and teardown is
one delete. Host ports are maps, so that a lookup does not grow with them.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from typing import Any

from nodeagent.network.ports import rules as port_rules
from nodeagent.network.seam import HostPort, NetworkError, Node

TABLE = "pinnace"
# Seconds for one nft transaction.
DEADLINE = 10.0
# libnftables' JSON knows no names for the priorities of nat hooks: dstnat and srcnat.
_DSTNAT, _SRCNAT = -100, 100
_PROTOCOL = {"meta": {"key": "l4proto"}}
_PORT = {"payload": {"protocol": "th", "field": "dport"}}
_SOURCE = {"payload": {"protocol": "ip", "field": "saddr"}}
_TARGET = {"payload": {"protocol": "ip", "field": "daddr"}}


def ruleset(node: Node, bridge: str, ports: Iterable[HostPort]) -> dict[str, Any]:
    """The table in nft's JSON form (libnftables-json(5))."""
    table = {"family": "ip", "name": TABLE}
    commands: list[dict[str, Any]] = [
        # Add before delete, so that the delete works whether or not the table was there.
        {"add": {"table": table}},
        {"delete": {"table": table}},
        {"add": {"table": table}},
        *_host_ports(list(ports)),
        _chain("postrouting", "postrouting", _SRCNAT),
        _rule("postrouting", *_outbound(node, bridge), {"masquerade": None}),
        # A pod that asks a host port of its own node: without this the answer would take the short way, unchanged.
        _rule(
            "postrouting",
            _is(_SOURCE, _prefix(node.pod_cidr)),
            _is({"ct": {"key": "status"}}, "dnat", "in"),
            {"masquerade": None},
        ),
        *port_rules(TABLE),
    ]
    return {"nftables": commands}


def _outbound(node: Node, bridge: str) -> list[dict[str, Any]]:
    inside = [_is(_TARGET, _prefix(cidr), "!=") for cidr in node.cluster_cidrs]
    return [_is(_SOURCE, _prefix(node.pod_cidr)), *inside, _is({"meta": {"key": "oifname"}}, bridge, "!=")]


def _hairpin(node: Node) -> list[dict[str, Any]]:
    """A pod that asks a host port of its own node: otherwise the answer would take the short way back, unchanged."""
    return [_is(_SOURCE, _prefix(node.pod_cidr)), _is({"ct": {"key": "status"}}, "dnat", "in")]


def _host_ports(ports: list[HostPort]) -> list[dict[str, Any]]:
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
    local = _is({"fib": {"result": "type", "flags": ["daddr"]}}, "local")
    for hook in ("prerouting", "output"):
        commands += [_chain(hook, hook, _DSTNAT), _rule(hook, local, {"jump": {"target": "hostports"}})]
    return commands


def _map(name: str, value: str, width: int, pairs: list[list[Any]]) -> dict[str, Any]:
    key = ["ipv4_addr", "inet_proto", "inet_service"][-width:]
    elements = {"elem": [[{"concat": match}, to] for match, to in pairs]} if pairs else {}
    return {"add": {"map": {"family": "ip", "table": TABLE, "name": name, "type": key, "map": value, **elements}}}


def _found(key: list[dict[str, Any]], name: str) -> dict[str, Any]:
    return {"map": {"key": {"concat": key}, "data": f"@{name}"}}


def _chain(name: str, hook: str = "", priority: int = 0) -> dict[str, Any]:
    base = {"type": "nat", "hook": hook, "prio": priority, "policy": "accept"} if hook else {}
    return {"add": {"chain": {"family": "ip", "table": TABLE, "name": name, **base}}}


def _rule(chain: str, *expressions: dict[str, Any]) -> dict[str, Any]:
    return {"add": {"rule": {"family": "ip", "table": TABLE, "chain": chain, "expr": list(expressions)}}}


def _is(left: Any, right: Any, operator: str = "==") -> dict[str, Any]:
    return {"match": {"op": operator, "left": left, "right": right}}


def _prefix(cidr: str) -> dict[str, Any]:
    address, _, length = cidr.partition("/")
    return {"prefix": {"addr": address, "len": int(length)}}


async def apply(node: Node, bridge: str, ports: Iterable[HostPort] = ()) -> None:
    """Raises NetworkError with what nft said."""
    await _nft(json.dumps(ruleset(node, bridge, ports)).encode())


async def _nft(payload: bytes) -> None:
    try:
        process = await asyncio.create_subprocess_exec(
            "nft", "-j", "-f", "-",
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
    except FileNotFoundError:
        raise NetworkError("nft is missing (Debian: apt-get install nftables)") from None
    try:
        async with asyncio.timeout(DEADLINE):
            output, _ = await process.communicate(payload)
    except TimeoutError:
        process.kill()
        raise NetworkError(f"nft did not end within {DEADLINE:.0f} s") from None
    if process.returncode:
        raise NetworkError(f"nft: {output.decode(errors='replace').strip()[:500]}")
