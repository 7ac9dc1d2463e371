"""ReplicationControllers. The controller is that of ReplicaSets. Source: registry/core/replicationcontroller."""

from __future__ import annotations

from controlplane.resources.resource import Resource
from controlplane.resources.workloads import REPLICA_COLUMNS, NamedTemplateStrategy, Replicas
from pinnace import kinds
from pinnace.admission import replicationcontrollers

REPLICATION_CONTROLLER = Resource(
    kinds.REPLICATION_CONTROLLER,
    rules=replicationcontrollers.RULES,
    strategy=NamedTemplateStrategy(),
    categories=("all",),
    subresources={"scale": Replicas()},
    selectable={"status.replicas": lambda item: str(item.status.replicas)},
    columns=REPLICA_COLUMNS,
)
