"""StatefulSets. The controller is `controlplane.controllers.statefulset`. Source: registry/apps/statefulset."""

from __future__ import annotations

from controlplane.resources.columns import AGE, NAME, Cell, Column, Columns, age
from controlplane.resources.resource import Resource, Strategy
from controlplane.resources.workloads import TEMPLATE_COLUMNS, Replicas, template_cells
from pinnace import kinds
from pinnace.admission import podtemplates, statefulsets
from pinnace.apps.v1.statefulset_pb2 import StatefulSet


class _Strategy(Strategy[StatefulSet]):
    def warnings(self, new: StatefulSet, old: StatefulSet | None) -> list[str]:
        changed = old is None or old.spec.template != new.spec.template
        return podtemplates.warnings(new.spec.template, "spec.template") if changed else []


def _cells(item: StatefulSet, now: float) -> tuple[Cell, ...]:
    ready = f"{item.status.readyReplicas}/{item.spec.replicas}"
    return item.metadata.name, ready, age(item, now), *template_cells(item.spec)[:2]


_COLUMNS = (
    NAME, Column("Ready", description="Number of ready pods, and of wanted ones."), AGE, *TEMPLATE_COLUMNS[:2],
)  # fmt: skip
STATEFUL_SET = Resource(
    kinds.STATEFUL_SET,
    rules=statefulsets.RULES,
    strategy=_Strategy(),
    categories=("all",),
    subresources={"scale": Replicas()},
    columns=Columns(_COLUMNS, _cells),
)
