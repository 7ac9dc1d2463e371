"""Rollouts of DaemonSets.

Source: kubectl's pkg/polymorphichelpers/rollout_status.go.
"""

from __future__ import annotations

from typing import Any

from cli.rollouts.controllerrevisions import ByControllerRevision, check_strategy
from cli.rollouts.model import Progressed


class DaemonSets(ByControllerRevision):
    """Implements `table.Rollout`."""

    def progress(self, item: Any, revision: int) -> Progressed:
        """`revision` does not matter, as with kubectl: the object has no number."""
        check_strategy(item)
        status, name = item.status, item.metadata.name
        if item.metadata.generation > status.observedGeneration:
            return Progressed("Waiting for daemon set spec update to be observed...", False)
        wanted, left = status.desiredNumberScheduled, ""
        if status.updatedNumberScheduled < wanted:
            left = f"{status.updatedNumberScheduled} out of {wanted} new pods have been updated"
        elif status.numberAvailable < wanted:
            left = f"{status.numberAvailable} of {wanted} updated pods are available"
        if left:
            return Progressed(f'Waiting for daemon set "{name}" rollout to finish: {left}...', False)
        return Progressed(f'daemon set "{name}" successfully rolled out', True)
