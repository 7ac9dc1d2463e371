"""Changes of a pod's resources in place: what its resize policies may say, and what a resize may change.

Source: core/v1's validateResizePolicy and ValidatePodResize; KEP-1287.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from pinnace import fielderrors, podresources, podspec
from pinnace.admission.podparts import PodParts
from pinnace.equality import same
from pinnace.errors import Cause

_ENDED = ("Succeeded", "Failed")
_NOT_INIT = "must not be set for init containers"
_ONLY = "only cpu and memory resources are mutable"
_ONLY_SIDECARS = "only cpu and memory resources for sidecar containers are mutable"
_RESIZABLE = (podresources.CPU, podresources.MEMORY)


def policies(parts: PodParts) -> Iterator[Cause]:
    """Errors of the resize policies of a pod's containers."""
    for path, container, _ in parts.having("resizePolicy"):
        field = f"{path}.resizePolicy"
        if path.startswith("spec.initContainers") and not podspec.is_sidecar(container):
            yield fielderrors.invalid(field, [item.resourceName for item in container.resizePolicy], _NOT_INIT)
        seen: set[str] = set()
        for index, item in enumerate(container.resizePolicy):
            if item.resourceName in seen:
                yield fielderrors.duplicate(f"{field}[{index}]", item.resourceName)
            seen.add(item.resourceName)
            if parts.spec.restartPolicy == "Never" and item.restartPolicy == "RestartContainer":
                text = "must be 'NotRequired' when `restartPolicy` is 'Never'"
                yield fielderrors.invalid(field, item.restartPolicy, text)


def validate(old: Any, new: Any) -> list[Cause]:
    """Errors of a resize, whose spec differs from the old one in nothing but containers."""
    if podresources.MIRROR in old.metadata.annotations:
        return [fielderrors.forbidden("", "static pods cannot be resized")]
    if old.spec.os.name == "windows":
        return [fielderrors.forbidden("", "windows pods cannot be resized")]
    if old.status.phase in _ENDED:
        return [fielderrors.forbidden("", "pods that have ended cannot be resized")]
    return [*_class(old, new), *_support(old), *(_order(old, new) or (*_removed(old, new), *_others(old, new)))]


def _class(old: Any, new: Any) -> Iterator[Cause]:
    qos = old.status.qosClass or podresources.qos_class(old.spec)
    if podresources.qos_class(new.spec) != qos:
        yield fielderrors.invalid("spec", qos, "Pod QOS Class may not change as a result of resizing")


def _support(old: Any) -> Iterator[Cause]:
    """An agent that resizes says what its containers have."""
    running = (item for item in old.status.containerStatuses if item.state.HasField("running"))
    first = next(running, None)
    if first is not None and not first.HasField("resources"):
        yield fielderrors.forbidden("spec", "Pod running on node without support for resize")


def _order(old: Any, new: Any) -> list[Cause]:
    errors = []
    for field in ("containers", "initContainers"):
        before, after = ([item.name for item in getattr(pod.spec, field)] for pod in (old, new))
        if len(before) != len(after):
            errors.append(fielderrors.forbidden(f"spec.{field}", f"{field} may not be added or removed on resize"))
            continue
        for index, names in enumerate(zip(before, after, strict=True)):
            if names[0] != names[1]:
                text = f"{field} may not be renamed or reordered on resize"
                errors.append(fielderrors.forbidden(f"spec.{field}[{index}].name", text))
    return errors


def _pairs(old: Any, new: Any) -> Iterable[tuple[str, Any, Any]]:
    for (path, before), (_, after) in zip(podspec.containers(old), podspec.containers(new), strict=False):
        if not path.startswith("spec.ephemeralContainers"):
            yield path, before, after


def _removed(old: Any, new: Any) -> Iterator[Cause]:
    for path, before, after in _pairs(old, new):
        if path.startswith("spec.initContainers") and not podspec.is_sidecar(before):
            continue
        for name in ("requests", "limits"):
            if set(getattr(before.resources, name)) - set(getattr(after.resources, name)):
                yield fielderrors.forbidden(f"{path}.resources.{name}", f"resource {name} cannot be removed")


def _others(old: Any, new: Any) -> Iterator[Cause]:
    """Changes of anything but cpu and memory of main containers and sidecars."""
    for path, before, after in _pairs(old, new):
        init = path.startswith("spec.initContainers")
        if init and not podspec.is_sidecar(before):
            if not same(before.resources, after.resources):
                yield fielderrors.forbidden("spec", "resources for non-sidecar init containers are immutable")
        elif not same(_without_change(before, after), before):
            yield fielderrors.forbidden("spec", _ONLY_SIDECARS if init else _ONLY)


def _without_change(before: Any, after: Any) -> Any:
    """The new container with cpu and memory of the old one."""
    out = type(after)()
    out.CopyFrom(after)
    for name in ("requests", "limits"):
        mine, old = getattr(out.resources, name), getattr(before.resources, name)
        for resource in _RESIZABLE:
            if resource in mine:
                del mine[resource]
            if resource in old:
                mine[resource].CopyFrom(old[resource])
    return out
