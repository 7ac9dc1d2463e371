"""The part of a node that placement reads, taken from the message once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from controlplane.scheduler.podinfo import RESOURCES, saturated
from pinnace import podresources
from pinnace.core.v1 import node_pb2


class Taint(NamedTuple):
    key: str
    value: str
    effect: str


@dataclass(frozen=True, slots=True)
class NodeInfo:
    """One node for placement. `allocatable` follows RESOURCES.

    `invalid` is why an amount could not be read and counts as zero: `status.allocatable[memory]: ...`; empty for a sound node.
    """

    name: str
    allocatable: tuple[int, ...]
    unschedulable: bool = False
    taints: tuple[Taint, ...] = ()
    labels: frozenset[tuple[str, str]] = frozenset()
    invalid: str = ""


def read(node: node_pb2.Node) -> NodeInfo:
    """Amounts that are no quantities count as zero; the rest of the node is used."""
    allocatable: list[int] = []
    invalid: list[str] = []
    for name in RESOURCES:
        try:
            allocatable.append(_amount(node, name))
        except ValueError as error:
            allocatable.append(0)
            invalid.append(f"status.allocatable[{name}]: {error}")
    return NodeInfo(
        node.metadata.name,
        tuple(allocatable),
        node.spec.unschedulable,
        tuple(Taint(item.key, item.value, item.effect) for item in node.spec.taints),
        frozenset(node.metadata.labels.items()),
        "; ".join(invalid),
    )


def _amount(node: node_pb2.Node, resource: str) -> int:
    """What the node can give, in the unit of RESOURCES; an amount that it does not state is zero. Raises ValueError."""
    amounts = node.status.allocatable
    return saturated(podresources.amount(resource, amounts[resource].string)) if resource in amounts else 0
