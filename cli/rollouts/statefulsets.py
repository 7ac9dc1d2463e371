"""Rollouts of StatefulSets.

Source: kubectl's pkg/polymorphichelpers/rollout_status.go.
"""

from __future__ import annotations

from typing import Any

from cli.rollouts.controllerrevisions import ByControllerRevision, check_strategy
from cli.rollouts.model import Progressed


class StatefulSets(ByControllerRevision):
    """Implements `table.Rollout`."""

    def progress(self, item: Any, revision: int) -> Progressed:
        """`revision` does not matter, as with kubectl: the object has no number."""
        check_strategy(item)
        spec, status = item.spec, item.status
        if not status.observedGeneration or item.metadata.generation > status.observedGeneration:
            return Progressed("Waiting for statefulset spec update to be observed...", False)
        if status.readyReplicas < spec.replicas:
            return Progressed(f"Waiting for {spec.replicas - status.readyReplicas} pods to be ready...", False)
        if spec.updateStrategy.HasField("rollingUpdate"):
            return _partitioned(item)
        if status.updateRevision != status.currentRevision:
            at = f"{status.updatedReplicas} pods at revision {status.updateRevision}"
            return Progressed(f"waiting for statefulset rolling update to complete {at}...", False)
        at = f"{status.currentReplicas} pods at revision {status.currentRevision}"
        return Progressed(f"statefulset rolling update complete {at}...", True)


def _partitioned(item: Any) -> Progressed:
    """Pods below the partition keep the earlier template."""
    updated, bounds = item.status.updatedReplicas, item.spec.updateStrategy.rollingUpdate
    wanted = item.spec.replicas - bounds.partition
    if bounds.HasField("partition") and updated < wanted:
        text = f"Waiting for partitioned roll out to finish: {updated} out of {wanted} new pods have been updated..."
        return Progressed(text, False)
    return Progressed(f"partitioned roll out complete: {updated} new pods have been updated...", True)
