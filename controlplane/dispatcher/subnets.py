"""Subnets of one range of the cluster: one for each node, the lowest that is free, and kept as long as the Node exists.

In memory, fed by the dispatcher's watch, so that a join reads no other node. A subnet that a join is given is reserved until
the watch shows it or the join gives it back. Of several control planes on one store each has such a table: there a join also
writes a claim, which is a Lease named after the subnet, so that of two joins with one subnet the second is tried again.
"""

from __future__ import annotations

import ipaddress

from controlplane.podranges import Range
from controlplane.store import Tx
from pinnace import codec, kinds, nodenetwork
from pinnace.errors import TooManyRequests
from pinnace.wellknown import SYSTEM_NAMESPACE


class Subnets:
    def __init__(self, share: Range, *, claims: bool = False) -> None:
        """Of `share`; `claims`: other control planes share the store."""
        self._cluster, self._bits = ipaddress.ip_network(share.cidr), share.bits
        bits = share.bits
        self._count = 1 << (bits - self._cluster.prefixlen)
        self._size = 1 << (self._cluster.max_prefixlen - bits)
        self._claims = claims
        # A bit for each subnet that is taken, so that the lowest free one is found without a search.
        self._taken = 0
        self._known: dict[str, tuple[str, int]] = {}
        self._reserved: dict[str, int] = {}

    @property
    def cluster(self) -> str:
        return str(self._cluster)

    def reset(self) -> None:
        """Forget the nodes, which are observed anew, and keep the reservations."""
        self._known.clear()
        self._count_taken()

    def observe(self, node: str, cidr: str) -> None:
        """The node has this pod CIDR; empty: none, or there is no such node."""
        before = self._known.get(node, ("", 0))
        if cidr:
            self._reserved.pop(node, None)
        if before[0] == cidr:
            return
        if cidr:
            self._known[node] = (cidr, self._mask(cidr))
        else:
            self._known.pop(node, None)
        if before[1]:
            # Another node may overlap: by hand, or of another prefix length.
            self._count_taken()
        elif cidr:
            self._taken |= self._known[node][1]

    def _count_taken(self) -> None:
        self._taken = 0
        for mask in (*(mask for _, mask in self._known.values()), *self._reserved.values()):
            self._taken |= mask

    def _mask(self, cidr: str) -> int:
        """The subnets that overlap `cidr`, whose length may be another: the default was another once."""
        try:
            found = ipaddress.ip_network(cidr, strict=False)
        except ValueError:
            return 0
        if found.version != self._cluster.version or not found.overlaps(self._cluster):
            return 0
        start = int(self._cluster.network_address)
        first = max(int(found.network_address) - start, 0) // self._size
        last = min((int(found.broadcast_address) - start) // self._size, self._count - 1)
        return ((1 << (last - first + 1)) - 1) << first

    def reserve(self, tx: Tx, node: str, *, now: float) -> str:
        """A free subnet, the same one until it is released. Raises TooManyRequests when the cluster has no more."""
        if node in self._reserved:
            tried = self._reserved[node]
            if self._claim(tx, node, self._subnet(tried), now):
                return self._subnet(tried)
            # The bit stays taken: the other control plane's node comes with the watch.
            del self._reserved[node]
        while (index := (~self._taken & (self._taken + 1)).bit_length() - 1) < self._count:
            self._taken |= 1 << index
            if self._claim(tx, node, self._subnet(1 << index), now):
                self._reserved[node] = 1 << index
                return self._subnet(1 << index)
        raise TooManyRequests(f"no free pod range is left in {self._cluster}: {self._count} nodes are the most")

    def release(self, node: str) -> None:
        """The join has failed. Without effect once the node was observed with the subnet."""
        if self._reserved.pop(node, None) is not None:
            self._count_taken()

    def _subnet(self, mask: int) -> str:
        address = int(self._cluster.network_address) + (mask.bit_length() - 1) * self._size
        return f"{ipaddress.ip_address(address)}/{self._bits}"

    def _claim(self, tx: Tx, node: str, subnet: str, now: float) -> bool:
        """False when a Node that exists has the subnet by a claim. A claim of a removed Node is taken over."""
        if not self._claims:
            return True
        name = _claim_name(subnet)
        claim = tx.get(kinds.LEASE, SYSTEM_NAMESPACE, name)
        if claim is not None and claim.spec.holderIdentity != node:
            holder = tx.get(kinds.NODE, "", claim.spec.holderIdentity)
            if holder is not None and subnet in nodenetwork.pod_cidrs(holder):
                return False
        claim = claim if claim is not None else kinds.LEASE.cls()
        claim.metadata.name, claim.metadata.namespace = name, SYSTEM_NAMESPACE
        claim.metadata.creationTimestamp.CopyFrom(codec.time_of(now))
        claim.spec.holderIdentity = node
        tx.put(kinds.LEASE, claim)
        return True


def _claim_name(subnet: str) -> str:
    """A name that Kubernetes allows: an IPv6 address in full, with dashes."""
    address, _, bits = subnet.partition("/")
    return f"pod-cidr-{ipaddress.ip_address(address).exploded.replace(':', '-')}-{bits}"
