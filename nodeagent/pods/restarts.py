"""Which ended containers run again, and how a pod has ended once none will. Pure.

Source: the pod lifecycle page of Kubernetes; KEP-753 (sidecars) and KEP-5307 (a container's own restart rules).
"""

from __future__ import annotations

from typing import Any

from nodeagent.pods.model import Attempt, Seen
from pinnace.podspec import is_sidecar


def replaced(container: Any, seen: Seen) -> bool:
    """Whether the container was stopped for a new image: then it starts again whatever its policy."""
    last = seen.last(container.name)
    stopped = seen.life(container.name).stopping is not None
    return last is not None and not last.running and stopped and last.image != container.image


def restarts(pod: Any, container: Any, last: Attempt | None, *, init: bool = False) -> bool:
    """Whether a container runs again after `last`; an init container that has succeeded does not."""
    if last is None or last.running:
        return True
    if _ruled(container, last):
        return True
    if init and not is_sidecar(container):
        policy = container.restartPolicy or ("Never" if pod.spec.restartPolicy == "Never" else "OnFailure")
    else:
        policy = container.restartPolicy or pod.spec.restartPolicy
    return bool(policy == "Always" or (policy == "OnFailure" and last.code != 0))


def _ruled(container: Any, last: Attempt) -> bool:
    """Whether one of restartPolicyRules, which come before the policy, matches the exit code."""
    for rule in container.restartPolicyRules:
        listed = last.code in rule.exitCodes.values
        if listed == (rule.exitCodes.operator == "In"):
            return True
    return False


def runs_again(pod: Any, container: Any, seen: Seen, *, init: bool = False) -> bool:
    return replaced(container, seen) or restarts(pod, container, seen.last(container.name), init=init)


def done(container: Any, seen: Seen) -> bool:
    """Of an init container that runs to its end: whether it has succeeded."""
    last = seen.last(container.name)
    return last is not None and last.finished_at is not None and last.code == 0


def begun(pod: Any, seen: Seen) -> bool:
    """Whether the pod's main containers have been let in: then the init containers are behind it for good."""
    return any(seen.last(container.name) is not None for container in pod.spec.containers)


def initialized(pod: Any, seen: Seen) -> bool:
    """Every init container has succeeded, every sidecar has started."""
    if begun(pod, seen):
        return True
    return all(
        passed(container, seen) if is_sidecar(container) else done(container, seen) for container in pod.spec.initContainers
    )


def passed(container: Any, seen: Seen) -> bool:
    """Of a sidecar: whether what stands behind it in the order may start."""
    last = seen.last(container.name)
    return last is not None and last.running and last.started_at is not None and seen.life(container.name).started


def outcome(pod: Any, seen: Seen) -> str | None:
    """`Succeeded` or `Failed` once no container but a sidecar will run again, else None."""
    for container in pod.spec.initContainers:
        last = seen.last(container.name)
        failed = last is not None and not last.running and last.code != 0
        if failed and not is_sidecar(container) and not runs_again(pod, container, seen, init=True):
            return "Failed"
    ends = [seen.last(container.name) for container in pod.spec.containers]
    if any(last is None or last.running for last in ends) or any(runs_again(pod, c, seen) for c in pod.spec.containers):
        return None
    return "Failed" if any(last is not None and last.code != 0 for last in ends) else "Succeeded"
