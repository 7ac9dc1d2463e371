"""Keeps the number of pods that a ReplicationController wants, as that of a ReplicaSet. Root kind: ReplicationController.

Source: kube-controller-manager's replication package, which is an adapter of the same kind.
"""

from __future__ import annotations

from controlplane.controllers.replicaset import ReplicaSets
from pinnace import kinds
from pinnace.kinds import Kind


class ReplicationControllers(ReplicaSets):
    name = "replicationcontroller"
    kind: Kind = kinds.REPLICATION_CONTROLLER
    source = "replication-controller"
