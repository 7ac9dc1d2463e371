"""HorizontalPodAutoscalers. The controller is `controlplane.controllers.horizontalpodautoscaler`.

Source: registry/autoscaling/horizontalpodautoscaler, and printHorizontalPodAutoscaler of Kubernetes' printers.
"""

from __future__ import annotations

from typing import Any

from controlplane.resources.columns import AGE, NAME, NONE, Cell, Column, Columns, age
from controlplane.resources.resource import Resource, Strategy
from pinnace import autoscalerforms, kinds
from pinnace.admission import horizontalpodautoscalers
from pinnace.admission.horizontalpodautoscalers import CONTAINER_RESOURCE, RESOURCE
from pinnace.autoscaling.v2.horizontalpodautoscaler_pb2 import HorizontalPodAutoscaler, MetricSpec, MetricStatus

# Metrics that a cell shows.
_SHOWN = 2
_FIELDS = {RESOURCE: "resource", CONTAINER_RESOURCE: "containerResource"}


def targets(item: HorizontalPodAutoscaler) -> str:
    """Present and wanted value of each metric, such as `cpu: 12%/50%`."""
    statuses = item.status.currentMetrics
    texts = [
        _text(metric, statuses[index] if index < len(statuses) else MetricStatus())
        for index, metric in enumerate(item.spec.metrics)
    ]
    shown = ", ".join(texts[:_SHOWN])
    return f"{shown} + {len(texts) - _SHOWN} more..." if len(texts) > _SHOWN else shown or NONE


def _text(metric: MetricSpec, status: MetricStatus) -> str:
    field = _FIELDS.get(metric.type)
    if field is None:
        return "<unknown type>"
    source, current = getattr(metric, field), _unknown(status, field)
    if source.target.HasField("averageValue"):
        return f"{source.name}: {current or _value(status, field)}/{source.target.averageValue.string}"
    return f"{source.name}: {current or _share(status, field)}/{source.target.averageUtilization}%"


def _unknown(status: Any, field: str) -> str:
    return "" if status.HasField(field) else "<unknown>"


def _value(status: Any, field: str) -> str:
    return str(getattr(status, field).current.averageValue.string)


def _share(status: Any, field: str) -> str:
    current = getattr(status, field).current
    return f"{current.averageUtilization}%" if current.HasField("averageUtilization") else "<unknown>"


def _cells(item: HorizontalPodAutoscaler, now: float) -> tuple[Cell, ...]:
    target, spec = item.spec.scaleTargetRef, item.spec
    least = str(spec.minReplicas) if spec.HasField("minReplicas") else "<unset>"
    counts = least, spec.maxReplicas, item.status.currentReplicas
    return item.metadata.name, f"{target.kind}/{target.name}", targets(item), *counts, age(item, now)


_COLUMNS = (
    NAME,
    Column("Reference", description="The object whose replicas are set."),
    Column("Targets", description="Present and wanted value of each metric."),
    Column("MinPods", description="Least number of replicas."),
    Column("MaxPods", description="Largest number of replicas."),
    Column("Replicas", description="Number of replicas that the object had."),
    AGE,
)
HORIZONTAL_POD_AUTOSCALER: Resource[HorizontalPodAutoscaler] = Resource(
    kinds.HORIZONTAL_POD_AUTOSCALER,
    rules=horizontalpodautoscalers.RULES,
    categories=("all",),
    columns=Columns(_COLUMNS, _cells),
)


class _FirstStrategy(Strategy[Any]):
    """Of autoscaling/v1, whose objects have parts of spec and status in annotations."""

    def prepare_for_create(self, new: Any) -> None:
        for key in autoscalerforms.OF_STATUS:
            new.metadata.annotations.pop(key, None)

    def prepare_for_update(self, new: Any, old: Any) -> None:
        self.prepare_for_create(new)
        kept = {key: old.metadata.annotations[key] for key in autoscalerforms.OF_STATUS if key in old.metadata.annotations}
        new.metadata.annotations.update(kept)

    def wants_more(self, new: Any, old: Any) -> bool:
        stored = horizontalpodautoscalers.stored
        return super().wants_more(stored(new), stored(old))


HORIZONTAL_POD_AUTOSCALER_V1: Resource[Any] = Resource(
    kinds.HORIZONTAL_POD_AUTOSCALER_V1,
    rules=horizontalpodautoscalers.FIRST_RULES,
    strategy=_FirstStrategy(),
    categories=("all",),
    columns=Columns(_COLUMNS, lambda item, now: _cells(horizontalpodautoscalers.stored(item), now)),
)
