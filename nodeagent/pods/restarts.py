"""Which ended containers run again, and how a pod has ended once none will. Pure.

Source: the pod lifecycle page of Kubernetes; KEP-753 (sidecars), KEP-5307 (a container's own restart rules) and KEP-5532
(restart of all containers).
"""

from __future__ import annotations

from typing import Any

from nodeagent.pods import resize
from nodeagent.pods.model import Attempt, ObservedState
from pinnace.podspec import RESTART_ALL, is_sidecar, restart_rule


def replaced(container: Any, observed: ObservedState) -> bool:
    """Whether the container was stopped for a new image or other resources: then it starts again whatever its policy."""
    last = observed.current(container.name)
    stopped = observed.lifecycle(container.name).stopping is not None
    if last is None or last.running or not stopped:
        return False
    return bool(last.image != container.image or resize.needs_restart(container, last))


def restarts(pod: Any, container: Any, last: Attempt | None, *, init: bool = False) -> bool:
    """Whether a container runs again after `last`; an init container that has succeeded does not."""
    if last is None or last.running:
        return True
    if restart_rule(container, last.code) is not None:
        return True
    if init and not is_sidecar(container):
        policy = container.restartPolicy or ("Never" if pod.spec.restartPolicy == "Never" else "OnFailure")
    else:
        policy = container.restartPolicy or pod.spec.restartPolicy
    return bool(policy == "Always" or (policy == "OnFailure" and last.code != 0))


def restart_of_all(pod: Any, observed: ObservedState) -> Attempt | None:
    """The attempt whose end asks for a restart of all containers; the containers that are stopped for it follow its example.

    A container that was told to stop does not ask, unless a failed probe or hook was the reason."""
    for container in (*pod.spec.initContainers, *pod.spec.containers):
        last = observed.current(container.name)
        if last is None or last.running:
            continue
        state = observed.lifecycle(container.name)
        told = state.stopping is not None and state.fault is None
        rule = None if told else restart_rule(container, last.code)
        if rule is not None and rule.action == RESTART_ALL:
            return last
    return None


def runs_again(pod: Any, container: Any, observed: ObservedState, *, init: bool = False) -> bool:
    return replaced(container, observed) or restarts(pod, container, observed.current(container.name), init=init)


def done(container: Any, observed: ObservedState) -> bool:
    """Of an init container that runs to its end: whether it has succeeded."""
    last = observed.current(container.name)
    return last is not None and last.finished_at is not None and last.code == 0


def begun(pod: Any, observed: ObservedState) -> bool:
    """Whether the pod's main containers have been let in: then the init containers are behind it for good."""
    return any(observed.recent(container.name) is not None for container in pod.spec.containers)


def initialized(pod: Any, observed: ObservedState) -> bool:
    """Every init container has succeeded, every sidecar has started."""
    if begun(pod, observed):
        return True
    return all(
        passed(container, observed) if is_sidecar(container) else done(container, observed)
        for container in pod.spec.initContainers
    )


def passed(container: Any, observed: ObservedState) -> bool:
    """Of a sidecar: whether what stands behind it in the order may start."""
    last = observed.current(container.name)
    return last is not None and last.running and last.started_at is not None and observed.lifecycle(container.name).started


def ended_for_good(pod: Any, observed: ObservedState) -> frozenset[str]:
    """The main containers that have ended and will not run again."""
    return frozenset(
        container.name
        for container in pod.spec.containers
        if observed.current(container.name) is not None and not runs_again(pod, container, observed)
    )


def outcome(pod: Any, observed: ObservedState) -> str | None:
    """`Succeeded` or `Failed` once no container but a sidecar will run again, else None."""
    if restart_of_all(pod, observed) is not None:
        return None
    for container in pod.spec.initContainers:
        last = observed.current(container.name)
        failed = last is not None and not last.running and last.code != 0
        if failed and not is_sidecar(container) and not runs_again(pod, container, observed, init=True):
            return "Failed"
    ends = [observed.current(container.name) for container in pod.spec.containers]
    if any(last is None or last.running for last in ends) or any(runs_again(pod, c, observed) for c in pod.spec.containers):
        return None
    return "Failed" if any(last is not None and last.code != 0 for last in ends) else "Succeeded"
