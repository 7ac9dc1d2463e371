"""The cluster's network: its range of pod addresses and each node's share, decided once and kept with the cluster.

The range of a new cluster is a default, and the default has changed: 10.244.0.0/16 held 256 nodes. Agents blackhole the whole
range, so a cluster keeps what it has until its operator says otherwise; a ConfigMap of kube-system remembers it.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass

from controlplane.store import Tx
from pinnace import codec, kinds
from pinnace.errors import Invalid
from pinnace.wellknown import SYSTEM_NAMESPACE

NAMESPACE, NAME = SYSTEM_NAMESPACE, "cluster-network"


@dataclass(frozen=True, slots=True)
class Network:
    """`bits`: prefix length of each node's share of `cidr`."""

    cidr: str
    bits: int


# 1,024 nodes with 254 addresses each; and the default of clusters from before there was a record.
DEFAULT, EARLIER = Network("10.244.0.0/14", 24), Network("10.244.0.0/16", 24)


def settle(tx: Tx, *, cidr: str, bits: int, now: float) -> Network:
    """The network of this cluster, recorded: what the flags say (empty and 0: nothing), what it has, or the default. Raises
    Invalid when the two do not fit."""
    record = tx.get(kinds.CONFIG_MAP, NAMESPACE, NAME)
    if record is not None:
        known = _read(record.data)
    else:
        known = EARLIER if any(True for _ in tx.list_untracked(kinds.NODE)) else DEFAULT
    found = Network(cidr or known.cidr, bits or known.bits)
    try:
        shortest = ipaddress.IPv4Network(found.cidr).prefixlen
    except ValueError:
        raise Invalid(f'ConfigMap {NAMESPACE}/{NAME} has the cluster-cidr "{found.cidr[:40]}": set --cluster-cidr') from None
    if not shortest <= found.bits <= 30:
        raise Invalid(
            f"--node-bits must lie between the prefix length of --cluster-cidr ({found.cidr}) and 30, not {found.bits}"
        )
    if record is None or found != known:
        record = record if record is not None else kinds.CONFIG_MAP.cls()
        record.metadata.name, record.metadata.namespace = NAME, NAMESPACE
        if not record.metadata.creationTimestamp.seconds:
            record.metadata.creationTimestamp.CopyFrom(codec.time_of(now))
        record.data["cluster-cidr"], record.data["node-bits"] = found.cidr, str(found.bits)
        tx.put(kinds.CONFIG_MAP, record)
    return found


def _read(data: Mapping[str, str]) -> Network:
    bits = data.get("node-bits", "")
    return Network(data.get("cluster-cidr", ""), int(bits) if bits.isascii() and bits.isdigit() and len(bits) < 3 else 0)
