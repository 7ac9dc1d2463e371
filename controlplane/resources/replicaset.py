"""ReplicaSets. The controller is `controlplane.controllers.replicaset`. Source: registry/apps/replicaset."""

from __future__ import annotations

from controlplane.resources.resource import Resource
from controlplane.resources.workloads import REPLICA_COLUMNS, NamedTemplateStrategy, Replicas
from pinnace import kinds
from pinnace.admission import replicasets

REPLICA_SET = Resource(
    kinds.REPLICA_SET,
    rules=replicasets.RULES,
    strategy=NamedTemplateStrategy(),
    categories=("all",),
    subresources={"scale": Replicas()},
    selectable={"status.replicas": lambda item: str(item.status.replicas)},
    columns=REPLICA_COLUMNS,
)
