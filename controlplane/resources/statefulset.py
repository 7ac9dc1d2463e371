"""StatefulSets. The controller is `controlplane.controllers.statefulset`. Source: registry/apps/statefulset."""

from __future__ import annotations

from controlplane.resources.columns import AGE, NAME, Cell, Column, Columns, age
from controlplane.resources.resource import Resource
from controlplane.resources.workloads import TEMPLATE_COLUMNS, Replicas, TemplateStrategy, template_cells
from pinnace import kinds
from pinnace.admission import statefulsets
from pinnace.apps.v1.statefulset_pb2 import StatefulSet


def _cells(item: StatefulSet, now: float) -> tuple[Cell, ...]:
    ready = f"{item.status.readyReplicas}/{item.spec.replicas}"
    return item.metadata.name, ready, age(item, now), *template_cells(item.spec)[:2]


_COLUMNS = (
    NAME, Column("Ready", description="Number of ready pods, and of wanted ones."), AGE, *TEMPLATE_COLUMNS[:2],
)  # fmt: skip
STATEFUL_SET = Resource(
    kinds.STATEFUL_SET,
    rules=statefulsets.RULES,
    strategy=TemplateStrategy(),
    categories=("all",),
    subresources={"scale": Replicas()},
    columns=Columns(_COLUMNS, _cells),
)
