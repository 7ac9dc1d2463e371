"""DaemonSets. The controller is `controlplane.controllers.daemonset`. Source: registry/apps/daemonset."""

from __future__ import annotations

from controlplane.resources.columns import AGE, NAME, NONE, Cell, Column, Columns, age, labels_text
from controlplane.resources.resource import Resource
from controlplane.resources.workloads import TEMPLATE_COLUMNS, TemplateStrategy, template_cells
from pinnace import kinds
from pinnace.admission import daemonsets
from pinnace.apps.v1.daemonset_pb2 import DaemonSet


def _cells(item: DaemonSet, now: float) -> tuple[Cell, ...]:
    status, selector = item.status, item.spec.template.spec.nodeSelector
    counts = (
        status.desiredNumberScheduled, status.currentNumberScheduled, status.numberReady, status.updatedNumberScheduled,
        status.numberAvailable,
    )  # fmt: skip
    return item.metadata.name, *counts, labels_text(selector) or NONE, age(item, now), *template_cells(item.spec)


_COLUMNS = (
    NAME,
    Column("Desired", "integer", description="Number of nodes that should have a pod."),
    Column("Current", "integer", description="Number of nodes that should have a pod and have one."),
    Column("Ready", "integer", description="Number of nodes with a ready pod."),
    Column("Up-to-date", "integer", description="Number of nodes with a pod of the present template."),
    Column("Available", "integer", description="Number of nodes with a pod that is ready for minReadySeconds."),
    Column("Node Selector", description="Labels of the nodes that get a pod."),
    AGE,
    *TEMPLATE_COLUMNS,
)
DAEMON_SET = Resource(
    kinds.DAEMON_SET,
    rules=daemonsets.RULES,
    strategy=TemplateStrategy(),
    categories=("all",),
    columns=Columns(_COLUMNS, _cells),
)
