"""ReplicationControllers. The controller is that of ReplicaSets. Source: registry/core/replicationcontroller."""

from __future__ import annotations

from controlplane.resources.columns import AGE, NAME, Cell, Column, Columns, age
from controlplane.resources.resource import Resource, Strategy
from controlplane.resources.workloads import TEMPLATE_COLUMNS, Replicas, template_cells
from pinnace import kinds
from pinnace.admission import podtemplates, replicationcontrollers
from pinnace.core.v1.replicationcontroller_pb2 import ReplicationController


class _Strategy(Strategy[ReplicationController]):
    def warnings(self, new: ReplicationController, old: ReplicationController | None) -> list[str]:
        changed = old is None or old.spec.template != new.spec.template
        return podtemplates.warnings(new.spec.template, "spec.template") if changed else []


def _cells(item: ReplicationController, now: float) -> tuple[Cell, ...]:
    status = item.status
    counts = item.spec.replicas, status.replicas, status.readyReplicas
    return item.metadata.name, *counts, age(item, now), *template_cells(item.spec)


_COLUMNS = (
    NAME,
    Column("Desired", "integer", description="Number of wanted pods."),
    Column("Current", "integer", description="Number of pods."),
    Column("Ready", "integer", description="Number of ready pods."),
    AGE,
    *TEMPLATE_COLUMNS,
)
REPLICATION_CONTROLLER = Resource(
    kinds.REPLICATION_CONTROLLER,
    rules=replicationcontrollers.RULES,
    strategy=_Strategy(),
    categories=("all",),
    subresources={"scale": Replicas()},
    selectable={"status.replicas": lambda item: str(item.status.replicas)},
    columns=Columns(_COLUMNS, _cells),
)
