"""Pods and containers as people name them on a command line."""

from __future__ import annotations

from typing import Any

from cli.complaints import report
from pinnace import kinds, podspec
from pinnace.errors import BadRequest, Forbidden, NotFound

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
    if not pod.spec.containers:
        raise NotFound(f"pod {pod.metadata.name} has no container")
    return pod.spec.containers[0]


def choose(client: Any, namespace: str, pod: str, name: str, *, quiet: bool = False) -> str:
    """The container of a stream: the named one, else the pod's default with kubectl's note of it, unless `quiet`.

    Empty where the user may not read pods: the control plane chooses then. Raises NotFound, ApiError."""
    if name:
        return name
    try:
        found = client.get(kinds.POD, namespace, pod)
    except Forbidden:
        return ""
    if not quiet:
        note_default(found)
    chosen: str = container_of(found, "").name
    return chosen


def note_default(pod: Any) -> None:
    """Say on stderr which of several containers is taken, where none was named or annotated. Source: kubectl's podcmd."""
    every = [container.name for container in containers(pod)]
    annotated = pod.metadata.annotations.get(DEFAULT_CONTAINER, "")
    if len(every) < 2 or not pod.spec.containers or annotated in every:
        return
    if annotated:
        report(f'Default container name "{annotated}" not found in pod {pod.metadata.name}')
    spec = pod.spec
    names = [container.name for container in spec.containers]
    names += [f"{container.name} (init)" for container in spec.initContainers]
    names += [f"{item.ephemeralContainerCommon.name} (ephem)" for item in spec.ephemeralContainers]
    report(f'Defaulted container "{names[0]}" out of: {", ".join(names)}')
