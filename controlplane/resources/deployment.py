"""Deployments. The controller is `controlplane.controllers.deployment`. Source: registry/apps/deployment."""

from __future__ import annotations

from controlplane.resources.columns import AGE, NAME, Cell, Column, Columns, age
from controlplane.resources.resource import Resource
from controlplane.resources.workloads import TEMPLATE_COLUMNS, NamedTemplateStrategy, Replicas, template_cells
from pinnace import kinds
from pinnace.admission import deployments
from pinnace.apps.v1.deployment_pb2 import Deployment


class _Strategy(NamedTemplateStrategy):
    def wants_more(self, new: Deployment, old: Deployment) -> bool:
        """Annotations count too: the controller copies them to ReplicaSets."""
        return super().wants_more(new, old) or dict(new.metadata.annotations) != dict(old.metadata.annotations)


def _cells(item: Deployment, now: float) -> tuple[Cell, ...]:
    status = item.status
    ready = f"{status.readyReplicas}/{item.spec.replicas}"
    counts = ready, status.updatedReplicas, status.availableReplicas
    return item.metadata.name, *counts, age(item, now), *template_cells(item.spec)


_COLUMNS = (
    NAME,
    Column("Ready", description="Number of ready pods, and of wanted ones."),
    Column("Up-to-date", "integer", description="Number of pods of the present template."),
    Column("Available", "integer", description="Number of pods that are ready for minReadySeconds."),
    AGE,
    *TEMPLATE_COLUMNS,
)
DEPLOYMENT = Resource(
    kinds.DEPLOYMENT,
    rules=deployments.RULES,
    strategy=_Strategy(),
    categories=("all",),
    subresources={"scale": Replicas()},
    status_meta=("annotations",),
    columns=Columns(_COLUMNS, _cells),
)
