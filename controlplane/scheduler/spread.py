"""The topology spread constraints of a pod, as placement reads them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from controlplane.scheduler.podselectors import Part, PodSelector
from pinnace import labelselectors
from pinnace.core.v1.scheduling_pb2 import TopologySpreadConstraint

HONOR = "Honor"


class SpreadConstraint(NamedTuple):
    """`hard`: DoNotSchedule. `affinity` and `taints`: whether nodes that these exclude for the pod are left out."""

    key: str
    selector: PodSelector
    max_skew: int = 1
    min_domains: int = 1
    hard: bool = True
    affinity: bool = True
    taints: bool = False


def read(messages: Iterable[TopologySpreadConstraint], namespace: str) -> tuple[SpreadConstraint, ...]:
    """Of a pod in `namespace`. Their matchLabelKeys are in the label selectors since the pod was created."""
    return tuple(_constraint(item, namespace) for item in messages)


def _constraint(item: TopologySpreadConstraint, namespace: str) -> SpreadConstraint:
    requirements = labelselectors.requirements(item.labelSelector) if item.HasField("labelSelector") else None
    return SpreadConstraint(
        key=item.topologyKey,
        selector=PodSelector((Part(frozenset((namespace,)), None, requirements),), terminating=False),
        max_skew=item.maxSkew,
        min_domains=item.minDomains if item.HasField("minDomains") else 1,
        hard=item.whenUnsatisfiable == "DoNotSchedule",
        affinity=item.nodeAffinityPolicy in ("", HONOR),
        taints=item.nodeTaintsPolicy == HONOR,
    )
