"""The cluster's network: its ranges of pod addresses and each node's share, decided once and kept with the cluster.

The range of a new cluster is a default, and the default has changed: 10.244.0.0/16 held 256 nodes. Agents blackhole the whole
range, so a cluster keeps what it has until its operator says otherwise; a ConfigMap of kube-system remembers it.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from controlplane.podranges import SHARE, Range, wrong_share
from controlplane.rangechecks import Pool, wrong_ranges
from controlplane.store import Tx
from pinnace import codec, kinds
from pinnace.errors import Invalid
from pinnace.ipfamilies import NAMES, Family, families_of, family_of
from pinnace.wellknown import SYSTEM_NAMESPACE

NAMESPACE, NAME = SYSTEM_NAMESPACE, "cluster-network"


@dataclass(frozen=True, slots=True)
class Network:
    """One range for each address family, the primary one first."""

    ranges: tuple[Range, ...]


# 1,024 nodes with 254 addresses each; and the default of clusters from before there was a record.
DEFAULT, EARLIER = Network((Range("10.244.0.0/14", 24),)), Network((Range("10.244.0.0/16", 24),))


def settle(
    tx: Tx, *, cidrs: Sequence[str], bits: Mapping[Family, int], now: float, needed: Collection[Family] = ()
) -> Network:  # fmt: skip
    """The network of this cluster, recorded: what the flags say (nothing for what they lack), what it has, or the default.
    `needed`: families that it must have, as flags are for them. Raises Invalid when the two do not fit."""
    record = tx.get(kinds.CONFIG_MAP, NAMESPACE, NAME)
    if record is not None:
        known = _read(record.data)
    else:
        known = EARLIER if any(True for _ in tx.list_untracked(kinds.NODE)) else DEFAULT
    shares = {**SHARE, **{family_of(item.cidr): item.bits for item in known.ranges}, **bits}
    found = Network(tuple(Range(cidr, shares[family_of(cidr)]) for cidr in cidrs or [item.cidr for item in known.ranges]))
    for error in _wrong(found) or _missing(found, needed):
        raise Invalid(error)
    if record is None or found != known:
        record = record if record is not None else kinds.CONFIG_MAP.cls()
        record.metadata.name, record.metadata.namespace = NAME, NAMESPACE
        if not record.metadata.creationTimestamp.seconds:
            record.metadata.creationTimestamp.CopyFrom(codec.time_of(now))
        record.data["cluster-cidr"] = ",".join(item.cidr for item in found.ranges)
        record.data["node-bits"] = ",".join(str(item.bits) for item in found.ranges)
        tx.put(kinds.CONFIG_MAP, record)
    return found


def check_ranges(network: Network, services: Sequence[str], pool: Pool) -> None:
    """Raises Invalid when ranges of Services or of load balancers do not fit the cluster's ranges of pods: those of no flag, as
    the command line has checked the others."""
    pods = [item.cidr for item in network.ranges]
    if wrong := wrong_ranges(pods=pods, services=services, pool=pool, pods_are="the cluster's pod CIDR"):
        raise Invalid(wrong)


def _missing(network: Network, needed: Collection[Family]) -> list[str]:
    cidrs = [item.cidr for item in network.ranges]
    text = f"range, and the cluster's pod CIDR is {','.join(cidrs)}: set --cluster-cidr"
    missing = [family for family in needed if family not in families_of(cidrs)]
    return [f"--node-cidr-mask-size-ipv{family} needs an {NAMES[family]} {text}" for family in missing]


def _wrong(network: Network) -> list[str]:
    cidrs = [item.cidr for item in network.ranges]
    named = f'ConfigMap {NAMESPACE}/{NAME} has the cluster-cidr "{",".join(cidrs)[:80]}": set --cluster-cidr'
    if not cidrs or len(families_of(cidrs)) != len(cidrs):
        return [named]
    try:
        return list(filter(None, (wrong_share(item.cidr, item.bits) for item in network.ranges)))
    except ValueError:
        return [named]


def _read(data: Mapping[str, str]) -> Network:
    cidrs, bits = data.get("cluster-cidr", "").split(","), data.get("node-bits", "").split(",")
    pairs = itertools.zip_longest(cidrs, bits[: len(cidrs)], fillvalue="")
    return Network(tuple(Range(cidr, _number(text)) for cidr, text in pairs))


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 4 else 0
