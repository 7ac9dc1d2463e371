"""Outbound traffic of pods takes the node's address; inside the cluster it keeps its own.

One private nftables table, replaced as a whole in one transaction: no rule of anybody else is touched, and teardown is
one delete.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

from nodeagent.network.seam import NetworkError, Node

TABLE = "pinnace"
# Seconds for one nft transaction.
DEADLINE = 10.0


def ruleset(node: Node, bridge: str) -> dict[str, Any]:
    """The table in nft's JSON form (libnftables-json(5))."""

    def matches(left: Any, right: Any, op: str = "==") -> dict[str, Any]:
        return {"match": {"op": op, "left": left, "right": right}}

    def prefix(cidr: str) -> dict[str, Any]:
        address, _, length = cidr.partition("/")
        return {"prefix": {"addr": address, "len": int(length)}}

    source = {"payload": {"protocol": "ip", "field": "saddr"}}
    target = {"payload": {"protocol": "ip", "field": "daddr"}}
    chain = {"family": "ip", "table": TABLE, "name": "postrouting"}
    rules = [matches(source, prefix(node.pod_cidr))]
    rules += [matches(target, prefix(cidr), "!=") for cidr in node.cluster_cidrs]
    rules += [matches({"meta": {"key": "oifname"}}, bridge, "!="), {"masquerade": None}]
    table = {"family": "ip", "name": TABLE}
    return {
        "nftables": [
            # Add before delete, so that the delete works whether or not the table was there.
            {"add": {"table": table}},
            {"delete": {"table": table}},
            {"add": {"table": table}},
            {"add": {"chain": {**chain, "type": "nat", "hook": "postrouting", "prio": 100, "policy": "accept"}}},
            {"add": {"rule": {"family": "ip", "table": TABLE, "chain": "postrouting", "expr": rules}}},
        ]
    }


async def apply(node: Node, bridge: str) -> None:
    """Raises NetworkError with what nft said."""
    await _nft(json.dumps(ruleset(node, bridge)).encode())


async def _nft(payload: bytes) -> None:
    try:
        process = await asyncio.create_subprocess_exec(
            "nft", "-j", "-f", "-",
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
    except FileNotFoundError:
        raise NetworkError("nft is missing (Debian: apt-get install nftables)") from None
    try:
        output, _ = await asyncio.wait_for(process.communicate(payload), DEADLINE)
    except TimeoutError:
        process.kill()
        raise NetworkError(f"nft did not end within {DEADLINE:.0f} s") from None
    if process.returncode:
        raise NetworkError(f"nft: {output.decode(errors='replace').strip()[:500]}")
