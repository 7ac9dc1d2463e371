"""Resources of a pod that change while it runs: what is allocated, what is in force, and the order of writes. Pure.

A worker's pod has the *allocated* resources; those that its containers run with are in their attempts. `steps` compares the
two, `resizer` brings them together. Source: KEP-1287; kubelet's allocation manager and doPodResizeAction.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from nodeagent.pods.model import Attempt, ObservedState
from pinnace import codec
from pinnace.core.v1 import container_pb2
from pinnace.podresources import CPU, MEMORY, amounts
from pinnace.podspec import is_sidecar

_RESTART = "RestartContainer"


class Limit(NamedTuple):
    """A limit of one cgroup, before and after; 0: none. `name` of the container, or "" for the pod's own."""

    name: str
    before: int
    after: int

    @property
    def lowers(self) -> bool:
        return self.after != 0 and (self.before == 0 or self.after < self.before)


def resizable(pod: Any) -> Iterator[Any]:
    """The containers whose resources may change."""
    yield from (container for container in pod.spec.initContainers if is_sidecar(container))
    yield from pod.spec.containers


def allocated(pod: Any, holder: Any) -> Any:
    """`pod` with the resources that `holder`, an earlier version of it, has; the same object where they are equal."""
    held = {container.name: container.resources for container in resizable(holder)}
    if all(container.resources == held.get(container.name, container.resources) for container in resizable(pod)):
        return pod
    out = type(pod)()
    out.CopyFrom(pod)
    for container in resizable(out):
        if container.name in held:
            container.resources.CopyFrom(held[container.name])
    return out


def text_of(container: Any) -> str:
    """A container's resources as its attempt records them: JSON, without what is empty."""
    return json.dumps(codec.encode(container.resources), sort_keys=True, separators=(",", ":"))


def parsed(text: str) -> Any:
    """Resources from an attempt's record."""
    return codec.decode(container_pb2.ResourceRequirements, json.loads(text))


def changed(container: Any, attempt: Attempt) -> set[str]:
    """Of cpu and memory, those in which a container's allocated resources are not what the attempt runs with."""
    if not attempt.resources:
        # An earlier version of the agent started it: with what was allocated.
        return set()
    force = parsed(attempt.resources)
    found = set()
    for wanted, has in ((container.resources.requests, force.requests), (container.resources.limits, force.limits)):
        one, other = amounts(wanted), amounts(has)
        found |= {name for name in (CPU, MEMORY) if one.get(name) != other.get(name)}
    return found


def needs_restart(container: Any, attempt: Attempt) -> bool:
    """Whether the container's resize policy says that it has to start again with its allocated resources."""
    restarting = {item.resourceName for item in container.resizePolicy if item.restartPolicy == _RESTART}
    return bool(restarting) and not restarting.isdisjoint(changed(container, attempt))


def in_place(pod: Any, observed: ObservedState) -> list[tuple[Any, Attempt]]:
    """The containers whose limits are to be changed as they run, with their attempts."""
    found = []
    for container in resizable(pod):
        last = observed.last(container.name)
        if last is not None and last.running and changed(container, last) and not needs_restart(container, last):
            found.append((container, last))
    return found


def order(pod: Limit, containers: Iterable[Limit]) -> list[str]:
    """The order in which limits are written, so that no container has more than its pod at any time (which v1 refuses for
    cpu): a pod that gets more before its containers, one that gets less after them; of the containers those first that get
    less."""
    names = [limit.name for limit in sorted(containers, key=lambda limit: not limit.lowers)]
    return [*names, pod.name] if pod.lowers else [pod.name, *names]


def below_usage(limits: Iterable[Limit], usage: dict[str, int]) -> str:
    """Why memory limits cannot be lowered now, in kubelet's words; empty: they can. `usage` in bytes by name."""
    found = []
    for limit in limits:
        if limit.lowers and usage[limit.name] > limit.after:
            whose = f'container "{limit.name}"' if limit.name else "pod"
            found.append(f"attempting to set {whose} memory limit ({limit.after}) below current usage ({usage[limit.name]})")
    text = found[0] if len(found) == 1 else f"[{', '.join(found)}]"
    return f"cannot decrease memory limits: {text}" if found else ""


def summary(pod: Any, error: str = "") -> str:
    """The JSON in events about a resize: kubelet's podResourceSummary."""
    lists = {"initContainers": [*filter(is_sidecar, pod.spec.initContainers)], "containers": pod.spec.containers}
    value: dict[str, Any] = {
        key: [{"name": container.name, "resources": _shown(container)} for container in items]
        for key, items in lists.items()
        if items
    }
    value["generation"] = pod.metadata.generation
    return json.dumps({**value, "error": error} if error else value, separators=(",", ":"))


def _shown(container: Any) -> dict[str, Any]:
    resources = container.resources
    both = {"limits": resources.limits, "requests": resources.requests}
    return {key: {name: items[name].string for name in sorted(items)} for key, items in both.items() if items}
