"""Pods: the defaults and the rules between fields that field options cannot say.

Source: the behaviour of Kubernetes' core/v1 defaults and pod validation.
"""

from __future__ import annotations

from typing import Any

from pinnace import podresources, podspec, quantity
from pinnace.admission import images, lifecycle, meta, names, ports, security, volumes
from pinnace.errors import Cause

NOT_READY = "node.kubernetes.io/not-ready"
UNREACHABLE = "node.kubernetes.io/unreachable"
# How long a pod stays bound to a node that is gone, in seconds (DefaultTolerationSeconds).
TOLERATION_SECONDS = 300
_RESOURCE_UNITS = {"cpu": quantity.milli}
_KNOWN_RESOURCES = ("cpu", "memory", "ephemeral-storage")


def default(pod: Any) -> None:
    spec = pod.spec
    if not spec.HasField("securityContext"):
        spec.securityContext.SetInParent()
    # Two names of one field; the older one is kept in step, as in Kubernetes.
    spec.serviceAccount = spec.serviceAccountName
    for _, container in podspec.containers(pod):
        container.imagePullPolicy = container.imagePullPolicy or images.pull_policy(container.image)
        for name, limit in container.resources.limits.items():
            if name not in container.resources.requests:
                container.resources.requests[name].string = limit.string
    ports.default(pod)
    for volume in spec.volumes:
        if not volume.volumeSource.ListFields():
            volume.volumeSource.emptyDir.SetInParent()
        image = volume.volumeSource.image
        if image.reference and not image.pullPolicy:
            image.pullPolicy = images.pull_policy(image.reference)
    for key in (NOT_READY, UNREACHABLE):
        if not any(t.key in (key, "") and t.effect in ("NoExecute", "") for t in spec.tolerations):
            spec.tolerations.add(key=key, operator="Exists", effect="NoExecute", tolerationSeconds=TOLERATION_SECONDS)


def validate(pod: Any) -> list[Cause]:
    faults = volumes.volumes(pod) + meta.labels("spec.nodeSelector", pod.spec.nodeSelector)
    faults += tolerations("spec.tolerations", pod.spec.tolerations) + amounts("spec.overhead", pod.spec.overhead)
    faults += _mirror(pod) + names.faults(pod) + security.validate(pod)
    known = {volume.name for volume in pod.spec.volumes}
    taken: set[str] = set()
    for path, container in podspec.containers(pod):
        if container.name in taken:
            faults.append(Cause(f"{path}.name", f'Duplicate value: "{container.name}"', "FieldValueDuplicate"))
        taken.add(container.name)
        faults += images.faults(f"{path}.image", container.image)
        faults += volumes.mounts(path, container, known) + volumes.environment(path, container)
        faults += _resources(path, container)
    return faults + ports.validate(pod) + lifecycle.validate(pod)


def _resources(path: str, container: Any) -> list[Cause]:
    faults = []
    resources = container.resources
    for field in ("limits", "requests"):
        faults += amounts(f"{path}.resources.{field}", getattr(resources, field))
    for name, request in resources.requests.items():
        limit = resources.limits.get(name) if name in resources.limits else None
        if limit is not None and quantity.parse(request.string) > quantity.parse(limit.string):
            message = f'Invalid value: "{request.string}": must be less than or equal to {name} limit of {limit.string}'
            faults.append(Cause(f"{path}.resources.requests", message))
    return faults


def amounts(where: str, items: Any) -> list[Cause]:
    """Faults of a map of resources to amounts at `where`."""
    faults = []
    for name, value in items.items():
        if name not in _KNOWN_RESOURCES:
            known = ", ".join(_KNOWN_RESOURCES)
            faults.append(Cause(f"{where}.{name}", f"Pinnace does not support this resource (supported: {known})"))
        elif quantity.parse(value.string) < 0:
            message = f'Invalid value: "{value.string}": must be greater than or equal to 0'
            faults.append(Cause(f"{where}.{name}", message))
    return faults


def tolerations(where: str, items: Any) -> list[Cause]:
    """Faults of a list of tolerations at `where`."""
    faults = []
    for index, item in enumerate(items):
        path = f"{where}[{index}]"
        if not item.key and item.operator != "Exists":
            faults.append(Cause(f"{path}.operator", "must be Exists when `key` is empty"))
        if item.operator == "Exists" and item.value:
            faults.append(Cause(f"{path}.value", "must be empty when `operator` is Exists"))
        if item.HasField("tolerationSeconds") and item.effect != "NoExecute":
            faults.append(Cause(f"{path}.effect", "must be NoExecute when `tolerationSeconds` is set"))
    return faults


def validate_create(pod: Any) -> list[Cause]:
    """Rules that hold only for a pod that is new."""
    return lifecycle.validate_create(pod)


def _mirror(pod: Any) -> list[Cause]:
    if podresources.MIRROR in pod.metadata.annotations and not pod.spec.nodeName:
        return [Cause("spec.nodeName", f"Required value: with the annotation {podresources.MIRROR}", "FieldValueRequired")]
    return []


def validate_update(old: Any, new: Any) -> list[Cause]:
    """A pod is replaced rather than updated: little of its spec may change."""
    if old.metadata.annotations.get(podresources.MIRROR) != new.metadata.annotations.get(podresources.MIRROR):
        # A mirror without it would be run beside the pod that it shows.
        message = "Forbidden: may not be added, changed or removed"
        return [Cause(f"metadata.annotations[{podresources.MIRROR}]", message, "FieldValueForbidden")]
    allowed = type(new)()
    allowed.CopyFrom(old)
    for field in ("containers", "initContainers"):
        before, after = getattr(allowed.spec, field), getattr(new.spec, field)
        for was, now in zip(before, after, strict=False):
            was.image = now.image
    allowed.spec.ClearField("activeDeadlineSeconds")
    if new.spec.HasField("activeDeadlineSeconds"):
        allowed.spec.activeDeadlineSeconds = new.spec.activeDeadlineSeconds
    faults = lifecycle.ephemeral_faults(old.spec.ephemeralContainers, new.spec.ephemeralContainers)
    del allowed.spec.ephemeralContainers[:]
    allowed.spec.ephemeralContainers.extend(new.spec.ephemeralContainers)
    kept = list(old.spec.tolerations)
    if all(item in new.spec.tolerations for item in kept):
        del allowed.spec.tolerations[:]
        allowed.spec.tolerations.extend(new.spec.tolerations)
    if allowed.spec == new.spec:
        return faults
    message = (
        "Forbidden: pod updates may not change fields other than `spec.containers[*].image`, "
        "`spec.initContainers[*].image`, `spec.activeDeadlineSeconds`, `spec.tolerations` (only additions) or "
        "`spec.ephemeralContainers` (only additions)"
    )
    return [*faults, Cause("spec", message, "FieldValueForbidden")]
