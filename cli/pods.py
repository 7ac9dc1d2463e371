"""Pods and containers as people name them on a command line."""

from __future__ import annotations

from typing import Any

from pinnace import kinds, podspec
from pinnace.errors import BadRequest, NotFound

DEFAULT_CONTAINER = "kubectl.kubernetes.io/default-container"


def pod_name(word: str) -> str:
    """The name in `web` or `pod/web`. Raises BadRequest for another kind."""
    kind, slash, name = word.rpartition("/")
    if slash and kinds.by_word(kind) is not kinds.POD:
        raise BadRequest(f"{word}: only pods have containers")
    return name


def containers(pod: Any) -> list[Any]:
    """All of a pod: init containers, containers, ephemeral ones."""
    return [container for _, container in podspec.containers(pod)]


def container_of(pod: Any, name: str) -> Any:
    """The named container; without a name the annotated default or the first. Raises NotFound."""
    wanted = name or pod.metadata.annotations.get(DEFAULT_CONTAINER, "")
    by_name = {container.name: container for container in containers(pod)}
    if wanted in by_name:
        return by_name[wanted]
    if name:
        found = ", ".join(by_name)
        raise NotFound(f"container {name} is not valid for pod {pod.metadata.name} (it has: {found})")
    return pod.spec.containers[0]
