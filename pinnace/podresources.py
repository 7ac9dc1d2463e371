"""What a pod asks of a node and may use of it: requests, limits and its QoS class. Pure.

The scheduler places by these sums, the agent makes cgroups of them and refuses by them, kctl shows them: one place says
how the containers of a pod add up. Source: the QoS and init container pages of Kubernetes, and KEP-753 for sidecars.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pinnace import podspec, quantity

CPU, MEMORY, STORAGE = "cpu", "memory", "ephemeral-storage"
GUARANTEED, BURSTABLE, BEST_EFFORT = "Guaranteed", "Burstable", "BestEffort"
# Pods of this priority and above are part of the system: never evicted (Kubernetes' SystemCriticalPriority).
CRITICAL_PRIORITY = 2_000_000_000
# Annotations of static pods and of their mirrors, by which kubelet and its users know them.
SOURCE, MIRROR, HASH = "kubernetes.io/config.source", "kubernetes.io/config.mirror", "kubernetes.io/config.hash"

Amounts = dict[str, int]


def amount(name: str, text: str) -> int:
    """Millicores of cpu, units of anything else (bytes, a count). Raises ValueError."""
    return quantity.milli(text) if name == CPU else quantity.units(text)


def amounts(items: Mapping[str, Any]) -> Amounts:
    """A resource list of the API by name, in the units of `amount`."""
    return {name: amount(name, items[name].string) for name in items}


def _requests(container: Any) -> Amounts:
    return amounts(container.resources.requests)


def _limits(container: Any) -> Amounts:
    return amounts(container.resources.limits)


def requests(spec: Any, *, of: Callable[[Any], Amounts] = _requests) -> Amounts:
    """What the pod needs at its peak: containers and sidecars together, or an init container together with the sidecars that
    were started before it when that is more; and its runtime's overhead. `of` gives the requests of a container."""
    total = _peak(spec, of)
    _add(total, amounts(spec.overhead))
    return total


def limits(spec: Any, *, of: Callable[[Any], Amounts] = _limits) -> Amounts:
    """The same sum of limits; a container without a limit adds nothing (see `limited`)."""
    total = _peak(spec, of)
    _add(total, {name: value for name, value in amounts(spec.overhead).items() if name in total})
    return total


def limited(spec: Any, name: str) -> bool:
    """Whether every container has a limit of this resource, so that the pod as a whole has one."""
    return all(name in container.resources.limits for container in (*spec.initContainers, *spec.containers))


def _peak(spec: Any, of: Callable[[Any], Amounts]) -> Amounts:
    total: Amounts = {}
    for container in spec.containers:
        _add(total, of(container))
    # Sums of sidecars only grow, so a resource can reach a new peak only where a container asks for it.
    sidecars: Amounts = {}
    peak: Amounts = {}
    for container in spec.initContainers:
        asked = of(container)
        if podspec.is_sidecar(container):
            _add(total, asked)
            _add(sidecars, asked)
            alone = {name: sidecars[name] for name in asked}
        else:
            alone = {name: sidecars.get(name, 0) + value for name, value in asked.items()}
        for name, value in alone.items():
            peak[name] = max(peak.get(name, 0), value)
    return {name: max(total.get(name, 0), peak.get(name, 0)) for name in sorted({*total, *peak})}


def _add(total: Amounts, more: Amounts) -> None:
    """Sums saturate, as quantities do."""
    for name, value in more.items():
        total[name] = min(total.get(name, 0) + value, quantity.MAX)


def qos_class(spec: Any) -> str:
    """Guaranteed when each container's cpu and memory limits are its requests, BestEffort when no container says
    anything of either, else Burstable. Zero is as good as absent."""
    every = [*spec.initContainers, *spec.containers]
    pairs = [(_stated(container.resources.requests), _stated(container.resources.limits)) for container in every]
    if not any(asked or capped for asked, capped in pairs):
        return BEST_EFFORT
    if all(len(capped) == 2 and {**capped, **asked} == capped for asked, capped in pairs):
        return GUARANTEED
    return BURSTABLE


def _stated(items: Mapping[str, Any]) -> Amounts:
    return {name: value for name in (CPU, MEMORY) if name in items and (value := amount(name, items[name].string))}


def critical(pod: Any) -> bool:
    """Whether the pod is never evicted: a static pod, its mirror, or one of the system's priority."""
    notes = pod.metadata.annotations
    return is_static(pod) or MIRROR in notes or pod.spec.priority >= CRITICAL_PRIORITY


def is_static(pod: Any) -> bool:
    """Whether the pod comes from a file on its node and not from the API."""
    return bool(pod.metadata.annotations.get(SOURCE) == "file" and MIRROR not in pod.metadata.annotations)
