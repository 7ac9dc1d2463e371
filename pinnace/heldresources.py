"""What a pod counts for while it is resized in place: of each container the most of what is wanted, allocated and in force.

The scheduler, quotas and kctl count so; a node counts what it has allocated. A resize that the node has found infeasible does
not count. Source: KEP-1287; component-helpers' PodRequests and PodLimits with UseStatusResources.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pinnace import podresources
from pinnace.podresources import Amounts, amounts

# A condition of a resize that has not begun, and its reasons.
PENDING, DEFERRED, INFEASIBLE = "PodResizePending", "Deferred", "Infeasible"
# A condition of a resize that is being applied; its reason is empty or ERROR.
IN_PROGRESS, ERROR = "PodResizeInProgress", "Error"


def requests(pod: Any) -> Amounts:
    """The pod's requests, as `podresources.requests` sums them. Raises ValueError."""
    statuses = _statuses(pod)
    if not statuses:
        return podresources.requests(pod.spec)
    wanted = not infeasible(pod)

    def of(container: Any) -> Amounts:
        status = statuses.get(container.name)
        if status is None:
            return amounts(container.resources.requests)
        stated = (status.allocatedResources, status.resources.requests)
        return _most(*map(amounts, (container.resources.requests, *stated) if wanted else stated))

    return podresources.requests(pod.spec, of=of)


def limits(pod: Any) -> Amounts:
    """The pod's limits, as `podresources.limits` sums them. Raises ValueError."""
    statuses = _statuses(pod)
    if not statuses:
        return podresources.limits(pod.spec)
    wanted = not infeasible(pod)

    def of(container: Any) -> Amounts:
        status = statuses.get(container.name)
        if status is None:
            return amounts(container.resources.limits)
        stated = (status.resources.limits,)
        return _most(*map(amounts, (container.resources.limits, *stated) if wanted else stated))

    return podresources.limits(pod.spec, of=of)


def infeasible(pod: Any) -> bool:
    """Whether the node has refused the resize for as long as the pod is on it."""
    return any(item.type == PENDING and item.reason == INFEASIBLE and item.status == "True" for item in pod.status.conditions)


def _statuses(pod: Any) -> dict[str, Any]:
    """The statuses that say what a container has, by its name."""
    status = pod.status
    every = (*status.containerStatuses, *status.initContainerStatuses)
    return {item.name: item for item in every if item.HasField("resources")}


def _most(*stated: Mapping[str, int]) -> Amounts:
    found: Amounts = {}
    for one in stated:
        for name, value in one.items():
            found[name] = max(found.get(name, 0), value)
    return found
