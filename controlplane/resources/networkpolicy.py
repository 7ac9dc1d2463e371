"""NetworkPolicies.

Source: registry/networking/networkpolicy.
"""

from __future__ import annotations

from collections.abc import Iterator

from controlplane.resources.columns import AGE, NAME, NONE, Cell, Column, Columns, age
from controlplane.resources.resource import Resource, Strategy
from pinnace import formats, kinds, labelselectors, policypeers
from pinnace.admission import networkpolicies
from pinnace.networking.v1.networkpolicy_pb2 import IPBlock, NetworkPolicy


def _cells(item: NetworkPolicy, now: float) -> tuple[Cell, ...]:
    return item.metadata.name, labelselectors.text(item.spec.podSelector) or NONE, age(item, now)


_COLUMNS = NAME, Column("Pod-Selector", description="The pods that the policy is about."), AGE


class _Strategy(Strategy[NetworkPolicy]):
    def warnings(self, new: NetworkPolicy, old: NetworkPolicy | None) -> list[str]:
        """Of addresses that are not written as RFC 5952 has them. Source: GetWarningsForCIDR."""
        if old is not None and not self.wants_more(new, old):
            return []
        return [*_warnings(new)]


def _warnings(item: NetworkPolicy) -> Iterator[str]:
    for rule in policypeers.rules(item):
        for index, peer in enumerate(rule.peers):
            path = f"{rule.path}.{rule.peers_name}[{index}].ipBlock"
            for field, text in _ranges(peer.ipBlock):
                if (usual := formats.usual_network(text)) != text:
                    yield f'{path}.{field}: IPv6 CIDR value "{text}" should be in RFC 5952 canonical format ("{usual}")'


def _ranges(block: IPBlock) -> Iterator[tuple[str, str]]:
    if block.cidr:
        yield "cidr", block.cidr
    for index, text in enumerate(getattr(block, "except")):
        yield f"except[{index}]", text


NETWORK_POLICY: Resource[NetworkPolicy] = Resource(
    kinds.NETWORK_POLICY, rules=networkpolicies.RULES, strategy=_Strategy(), columns=Columns(_COLUMNS, _cells)
)
