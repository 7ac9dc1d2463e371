"""Why a Service has no endpoints, or fewer than it has pods: `kctl why svc/web`. Pure, of objects as the API has them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from cli import counts
from pinnace import podspec, podstatus, services

# Pods that are listed.
MOST_PODS = 20
# `IntOrString.type` of a name.
_NAMED = 1


def explain(service: Any, slices: Sequence[Any], pods: Sequence[Any]) -> list[str]:
    """A line, and one for each pod that is no ready endpoint. `pods`: those that the selector matches."""
    name, spec = f"service/{service.metadata.name}", service.spec
    if spec.type == services.EXTERNAL_NAME:
        return [f"{name} has no endpoints: it is an alias of {spec.externalName} (ExternalName)"]
    ready = _ready_addresses(service, slices)
    count = _count(len(ready), "ready endpoint")
    if not spec.selector:
        return [f"{name} has {count}: it has no selector, and its EndpointSlices are not made from pods"]
    selector = ",".join(f"{key}={value}" for key, value in sorted(spec.selector.items()))
    if not pods:
        place = service.metadata.namespace
        return [f"{name} has {count}: no pod of namespace {place} matches its selector ({selector})"]
    head = (
        f"{name} has {count}: {_count(len(pods), 'pod')} {'matches' if len(pods) == 1 else 'match'} its selector ({selector})"
    )
    ordered = sorted(pods, key=lambda pod: pod.metadata.name)
    found = [f"  pod/{pod.metadata.name} {reason}" for pod in ordered if (reason := _reason(service, pod, ready))]
    more = [f"  and {len(found) - MOST_PODS} more"] if len(found) > MOST_PODS else []
    return [head, *found[:MOST_PODS], *more]


def _ready_addresses(service: Any, slices: Sequence[Any]) -> set[str]:
    """Of the endpoints that get new connections: they have a port, if the Service has any."""
    endpoints = (endpoint for item in slices if item.ports or not service.spec.ports for endpoint in item.endpoints)
    is_ready = (one for one in endpoints if one.conditions.ready or not one.conditions.HasField("ready"))
    return {address for one in is_ready for address in one.addresses}


def _count(number: int, noun: str) -> str:
    return counts.count(number, noun) if number else f"no {noun}s"


def _reason(service: Any, pod: Any, ready: set[str]) -> str:
    """Why a pod is no ready endpoint; empty for one that is."""
    addresses = [item.ip for item in pod.status.podIPs]
    if any(address in ready for address in addresses):
        return ""
    if pod.status.phase in podstatus.TERMINAL:
        return f"has ended ({podstatus.summarize(pod).status})"
    if pod.metadata.deletionTimestamp.seconds:
        return "is terminating"
    if not pod.spec.nodeName:
        return f"is not scheduled (kctl why pod/{pod.metadata.name})"
    if not addresses:
        return f"has no address yet ({podstatus.summarize(pod).status})"
    return next(_missing(service, pod), "") or _unready(pod)


def _missing(service: Any, pod: Any) -> Iterator[str]:
    """Ports that the Service names and no container has."""
    sidecars = (container for container in pod.spec.initContainers if podspec.is_sidecar(container))
    has = {(port.name, port.protocol or "TCP") for container in (*pod.spec.containers, *sidecars) for port in container.ports}
    for port in service.spec.ports:
        wanted = port.targetPort.strVal, port.protocol or "TCP"
        if port.targetPort.type == _NAMED and wanted not in has:
            yield f'has no container with a port named "{wanted[0]}" ({wanted[1]})'


def _unready(pod: Any) -> str:
    condition = next((item for item in pod.status.conditions if item.type == "Ready"), None)
    if condition is None or condition.status == "True":
        return "is ready, and its endpoint is not yet"
    detail = condition.message or condition.reason or podstatus.summarize(pod).status
    return f"is not ready ({detail})"
