"""The object that a HorizontalPodAutoscaler scales, and its pods. Reads only.

Source: kube-controller-manager's horizontal.go (scaleForResourceMappings, validateAndParseSelector).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from controlplane.resources.indexes import LABEL
from controlplane.resources.registry import Registry
from controlplane.store import Tx
from pinnace import kinds, selectors
from pinnace.autoscaling.v1.scale_pb2 import Scale
from pinnace.autoscaling.v2.horizontalpodautoscaler_pb2 import HorizontalPodAutoscaler
from pinnace.core.v1.pod_pb2 import Pod
from pinnace.errors import ApiError, NotFound
from pinnace.kinds import Kind
from pinnace.selectors import Requirement

SCALE = "scale"


@dataclass(frozen=True, slots=True)
class ScaleTarget:
    """An object that has the subresource `scale`, and its state in that form."""

    kind: Kind
    scale: Scale


def find(tx: Tx, item: HorizontalPodAutoscaler) -> ScaleTarget:
    """The scaled object of an autoscaler. Raises NotFound, and Internal for replicas that are not there."""
    reference = item.spec.scaleTargetRef
    kind = tx.kinds.owner(reference.apiVersion, reference.kind)
    if kind is None:
        group = reference.apiVersion.rpartition("/")[0]
        raise NotFound(f'no matches for kind "{reference.kind}" in group "{group}"')
    part = Registry.of(tx).resource(kind).subresource(SCALE)
    if part is None or not kind.namespaced:
        raise NotFound("the server could not find the requested resource")
    # Outside of the read set: a change of the replicas reads the object again, all else is decided anew each period.
    row = tx.get_untracked(kind, item.metadata.namespace, reference.name)
    if row is None:
        # Custom kinds have no storage of their own for the subresource.
        plural = kind.plural if kind.schema is not None else f"{kind.plural}/{SCALE}"
        raise NotFound.of(f"{plural}.{kind.group}" if kind.group else plural, reference.name)
    return ScaleTarget(kind, part.view(row.message))


def selected(tx: Tx, namespace: str, selector: Sequence[Requirement]) -> list[Pod]:
    """The pods that a selector matches, read-only, by name."""
    equal = [item for item in selector if item.operator == "In" and len(item.values) == 1]
    if equal:
        candidates = [tuple(tx.by_index(kinds.POD, LABEL, f"{item.key}={item.values[0]}")) for item in equal]
        rows = min(candidates, key=len)
    else:
        rows = tuple(tx.list_untracked(kinds.POD, namespace))
    found = [
        row.message for row in rows
        if row.message.metadata.namespace == namespace and all(item.matches(row.message.metadata.labels) for item in selector)
    ]  # fmt: skip
    return sorted(found, key=lambda pod: pod.metadata.name)


def pods_of(tx: Tx, item: HorizontalPodAutoscaler) -> list[Pod]:
    """The pods of an autoscaler's object, read-only; none where it is not there or has no selector that can be read."""
    requirements = _selector(tx, item)
    return selected(tx, item.metadata.namespace, requirements) if requirements else []


def _selector(tx: Tx, item: HorizontalPodAutoscaler) -> tuple[Requirement, ...]:
    try:
        return selectors.parse_labels(find(tx, item).scale.status.selector)
    except ApiError:
        # Its own reconciliation shows why.
        return ()
