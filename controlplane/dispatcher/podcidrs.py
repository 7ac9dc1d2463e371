"""Pod CIDRs: a node's share of each range of the cluster, one range for each address family."""

from __future__ import annotations

from collections.abc import Sequence

from controlplane.dispatcher.subnets import Subnets
from controlplane.podranges import Range
from controlplane.store import Tx
from pinnace.ipfamilies import family_of, of_family


class PodCIDRs:
    """See Subnets, whose methods these are."""

    def __init__(self, *ranges: Range, claims: bool = False) -> None:
        """The range of the primary family first."""
        self._families = {family_of(item.cidr): Subnets(item, claims=claims) for item in ranges}

    @property
    def clusters(self) -> list[str]:
        return [subnets.cluster for subnets in self._families.values()]

    def reset(self) -> None:
        for subnets in self._families.values():
            subnets.reset()

    def observe(self, node: str, cidrs: Sequence[str]) -> None:
        """The node has these pod CIDRs; empty: none, or there is no such node."""
        for family, subnets in self._families.items():
            subnets.observe(node, of_family(family, cidrs))

    def reserve(self, tx: Tx, node: str, *, now: float) -> list[str]:
        """Free subnets, one of each range. Raises TooManyRequests when a range has no more."""
        return [subnets.reserve(tx, node, now=now) for subnets in self._families.values()]

    def release(self, node: str) -> None:
        for subnets in self._families.values():
            subnets.release(node)
