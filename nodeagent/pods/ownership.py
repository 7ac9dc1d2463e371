"""When an agent that starts may run the pods that it has from disk: the control plane may have replaced them elsewhere.

A pod whose sandbox survived continues. One that would have to start again, as after a power cut, waits until the control plane
has confirmed it to this agent. Without a control plane, interchangeable pods start after `PATIENCE`, so that a site without one
recovers; pods with an identity, such as those of a StatefulSet, do not start. kubelet starts no pod without an API server.
"""

from __future__ import annotations

import math
from typing import Any

# Seconds; an agent that starts is connected within a second.
PATIENCE = 5.0
# Controllers, by API group and kind, that make any number of pods for the same purpose: one too many does no harm.
_INTERCHANGEABLE = {("apps", "ReplicaSet"), ("apps", "DaemonSet"), ("", "ReplicationController"), ("batch", "Job")}


def held_until(pod: Any, now: float) -> float:
    """When a pod that the control plane does not confirm may start, in seconds since the epoch; infinity: not before."""
    owner = next((item for item in pod.metadata.ownerReferences if item.controller), None)
    if owner is None:
        return now + PATIENCE
    group = owner.apiVersion.rpartition("/")[0]
    return now + PATIENCE if (group, owner.kind) in _INTERCHANGEABLE else math.inf
