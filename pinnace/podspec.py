"""A pod's containers, walked in one way by everybody: the API, the agent and kctl.

An ephemeral container's fields have the names and numbers of a container's, so it is shown as one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pinnace.core.v1 import container_pb2

# The action of a restart rule that starts the whole pod anew, in its sandbox.
RESTART_ALL = "RestartAllContainers"


def containers(pod: Any) -> Iterator[tuple[str, Any]]:
    """Every container with its path in the pod: initContainers, containers, ephemeralContainers.

    Ephemeral containers are the messages inside, so that a change to one is a change to the pod.
    """
    return containers_of(pod.spec)


def containers_of(spec: Any) -> Iterator[tuple[str, Any]]:
    """The same of a pod's spec."""
    for field in ("initContainers", "containers"):
        for index, container in enumerate(getattr(spec, field)):
            yield f"spec.{field}[{index}]", container
    for index, item in enumerate(spec.ephemeralContainers):
        yield f"spec.ephemeralContainers[{index}]", item.ephemeralContainerCommon


def names(pod: Any) -> list[str]:
    """Names of all containers; the main ones first."""
    every = [
        *pod.spec.containers,
        *pod.spec.initContainers,
        *(e.ephemeralContainerCommon for e in pod.spec.ephemeralContainers),
    ]
    return [container.name for container in every]


def ephemeral(pod: Any) -> list[Any]:
    """The ephemeral containers, as Container messages of their own."""
    return [as_container(item.ephemeralContainerCommon) for item in pod.spec.ephemeralContainers]


def as_container(common: Any) -> Any:
    return container_pb2.Container.FromString(common.SerializeToString())


def is_sidecar(container: Any) -> bool:
    """Of an init container: whether it keeps running with the others (restartPolicy Always)."""
    return bool(container.restartPolicy == "Always")


def restart_rule(container: Any, code: int) -> Any | None:
    """The first of restartPolicyRules, which come before the policy, that matches an exit code."""
    for rule in container.restartPolicyRules:
        if (code in rule.exitCodes.values) == (rule.exitCodes.operator == "In"):
            return rule
    return None


def find(pod: Any, name: str) -> Any | None:
    """The container of that name, an ephemeral one as a Container message."""
    for path, container in containers(pod):
        if container.name == name:
            return as_container(container) if path.startswith("spec.ephemeral") else container
    return None
