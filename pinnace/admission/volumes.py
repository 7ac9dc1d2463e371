"""Volumes, their mounts, and environment variables of a pod: rules between fields.

Source: the behaviour of Kubernetes' core/v1 validation, also in its words where there are some.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator
from typing import Any

from pinnace import codec, quantity
from pinnace.admission import images
from pinnace.errors import Cause

_OWN_FIELDS = r"metadata\.(name|namespace|uid)|metadata\.(labels|annotations)\['[^']+'\]"
_ENV_FIELDS = re.compile(_OWN_FIELDS + r"|spec\.nodeName|spec\.serviceAccountName|status\.(hostIPs?|podIPs?)")
_FILE_FIELDS = re.compile(_OWN_FIELDS + r"|metadata\.(labels|annotations)")
_RESOURCES = re.compile(r"(requests|limits)\.(cpu|memory|ephemeral-storage)")
# What a figure of the downward API may be divided by.
_CPU_DIVISORS = ("1m", "1")
_BYTE_DIVISORS = ("1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei")
_SIMULTANEOUS = "may not have more than one field specified at a time"


def volumes(pod: Any) -> list[Cause]:
    """Faults of spec.volumes."""
    faults: list[Cause] = []
    names: set[str] = set()
    for index, volume in enumerate(pod.spec.volumes):
        path = f"spec.volumes[{index}]"
        if volume.name in names:
            faults.append(Cause(f"{path}.name", f'Duplicate value: "{volume.name}"', "FieldValueDuplicate"))
        names.add(volume.name)
        sources = [field.name for field, _ in volume.volumeSource.ListFields()]
        if len(sources) > 1:
            faults.append(Cause(path, f"may not specify more than 1 volume type, got {' and '.join(sources)}"))
        faults += _source(path, volume.volumeSource)
    return faults


def _source(path: str, source: Any) -> Iterator[Cause]:
    if source.HasField("secret"):
        yield from _named(f"{path}.secret.secretName", source.secret.secretName)
        yield from _paths(f"{path}.secret", source.secret.items)
    if source.HasField("configMap"):
        yield from _named(f"{path}.configMap.name", source.configMap.localObjectReference.name)
        yield from _paths(f"{path}.configMap", source.configMap.items)
    if source.HasField("downwardAPI"):
        yield from _downward(f"{path}.downwardAPI", source.downwardAPI.items)
        yield from _paths(f"{path}.downwardAPI", source.downwardAPI.items)
    if source.HasField("projected"):
        yield from _projected(f"{path}.projected", source.projected.sources)
    yield from images.faults(f"{path}.image.reference", source.image.reference)
    limit = source.emptyDir.sizeLimit.string
    if limit and quantity.parse(limit) < 0:
        yield Cause(f"{path}.emptyDir.sizeLimit", "must not be negative")


def _named(path: str, name: str) -> Iterator[Cause]:
    if not name:
        yield Cause(path, "Required value", "FieldValueRequired")


def _projected(path: str, sources: Iterable[Any]) -> Iterator[Cause]:
    taken = Taken()
    for index, source in enumerate(sources):
        here = f"{path}.sources[{index}]"
        kinds = [field.name for field, _ in source.ListFields()]
        if len(kinds) > 1:
            yield Cause(here, f"may not specify more than 1 volume type, got {' and '.join(kinds)}")
        if not kinds:
            yield Cause(here, "Required value: must specify one of secret, downwardAPI, configMap", "FieldValueRequired")
        for kind in ("secret", "configMap"):
            if source.HasField(kind):
                yield from _named(f"{here}.{kind}.name", getattr(source, kind).localObjectReference.name)
        if source.HasField("downwardAPI"):
            yield from _downward(f"{here}.downwardAPI", source.downwardAPI.items)
        for kind in ("secret", "configMap", "downwardAPI"):
            yield from _paths(f"{here}.{kind}", getattr(source, kind).items, taken)


class Taken:
    """The paths of a volume's files, as a tree: a folder is its entries, a file None."""

    def __init__(self) -> None:
        self._tree: dict[str, Any] = {}

    def add(self, path: str) -> bool:
        """Whether there is room: neither a file at the path, nor one where it needs a folder, nor the other way round."""
        *folders, name = posixpath.normpath(path).split("/")
        tree = self._tree
        for folder in folders:
            tree = tree.setdefault(folder, {})
            if tree is None:
                return False
        return name not in tree and tree.setdefault(name) is None


def _paths(path: str, items: Iterable[Any], taken: Taken | None = None) -> Iterator[Cause]:
    """Files that are in each other's way. `taken` are those of other sources of the volume."""
    taken = taken or Taken()
    for index, item in enumerate(items):
        if item.path and not taken.add(item.path):
            yield Cause(
                f"{path}.items[{index}].path", f"Invalid value: {codec.describe(item.path)}: conflicting duplicate paths"
            )


def _downward(path: str, items: Iterable[Any]) -> Iterator[Cause]:
    for index, item in enumerate(items):
        here = f"{path}.items[{index}]"
        if item.HasField("fieldRef") and item.HasField("resourceFieldRef"):
            yield Cause(here, "Invalid value: fieldRef and resourceFieldRef can not be specified simultaneously")
        elif item.HasField("fieldRef"):
            yield from _field_ref(f"{here}.fieldRef", item.fieldRef, _FILE_FIELDS)
        elif item.HasField("resourceFieldRef"):
            yield from _named(f"{here}.resourceFieldRef.containerName", item.resourceFieldRef.containerName)
            yield from _resource_ref(f"{here}.resourceFieldRef", item.resourceFieldRef)
        else:
            yield Cause(here, "Required value: one of fieldRef and resourceFieldRef is required", "FieldValueRequired")


def _field_ref(path: str, ref: Any, allowed: re.Pattern[str]) -> Iterator[Cause]:
    if ref.apiVersion not in ("", "v1"):
        yield Cause(f"{path}.apiVersion", f'Unsupported value: {codec.describe(ref.apiVersion)}: supported values: "v1"')
    if ref.fieldPath and not allowed.fullmatch(ref.fieldPath):
        yield Cause(f"{path}.fieldPath", f"Unsupported value: {codec.describe(ref.fieldPath)}")


def _resource_ref(path: str, ref: Any) -> Iterator[Cause]:
    if ref.resource and not _RESOURCES.fullmatch(ref.resource):
        yield Cause(f"{path}.resource", f"Unsupported value: {codec.describe(ref.resource)}")
        return
    name = ref.resource.partition(".")[2]
    allowed = _CPU_DIVISORS if name == "cpu" else _BYTE_DIVISORS
    divisor = quantity.parse(ref.divisor.string or "0")
    if divisor and divisor not in map(quantity.parse, allowed):
        text = f"only divisor's values {', '.join(allowed)} are supported with the {name} resource"
        yield Cause(f"{path}.divisor", f"Invalid value: {codec.describe(ref.divisor.string)}: {text}")


def mounts(path: str, container: Any, known: set[str]) -> list[Cause]:
    """Faults of a container's volumeMounts; `known` are the pod's volumes."""
    faults: list[Cause] = []
    seen: set[str] = set()
    for index, mount in enumerate(container.volumeMounts):
        here = f"{path}.volumeMounts[{index}]"
        if mount.name and mount.name not in known:
            faults.append(Cause(f"{here}.name", f'Not found: "{mount.name}"', "FieldValueNotFound"))
        target = posixpath.normpath("/" + mount.mountPath)
        if target in seen:
            faults.append(Cause(f"{here}.mountPath", f'Invalid value: "{mount.mountPath}": must be unique'))
        if ".." in mount.mountPath.split("/"):
            faults.append(Cause(f"{here}.mountPath", "must not contain '..'"))
        seen.add(target)
        faults += _mount(here, container, mount)
    return faults


def _mount(path: str, container: Any, mount: Any) -> Iterator[Cause]:
    if mount.subPath and mount.subPathExpr:
        text = "subPathExpr and subPath are mutually exclusive"
        yield Cause(f"{path}.subPathExpr", f"Invalid value: {codec.describe(mount.subPathExpr)}: {text}")
    if mount.mountPropagation == "Bidirectional" and not container.securityContext.privileged:
        text = "Forbidden: Bidirectional mount propagation is available only to privileged containers"
        yield Cause(f"{path}.mountPropagation", text, "FieldValueForbidden")
    if mount.HasField("recursiveReadOnly") and not mount.readOnly:
        text = "Forbidden: may only be specified when readOnly is true"
        yield Cause(f"{path}.recursiveReadOnly", text, "FieldValueForbidden")
    elif mount.recursiveReadOnly in ("IfPossible", "Enabled") and mount.mountPropagation not in ("", "None"):
        text = "Forbidden: may only be specified when mountPropagation is None or not specified"
        yield Cause(f"{path}.recursiveReadOnly", text, "FieldValueForbidden")


def environment(path: str, container: Any) -> list[Cause]:
    """Faults of a container's env and envFrom."""
    faults: list[Cause] = []
    for index, env in enumerate(container.env):
        if env.HasField("valueFrom"):
            faults += _value_from(f"{path}.env[{index}].valueFrom", env)
    for index, source in enumerate(container.envFrom):
        faults += _env_from(f"{path}.envFrom[{index}]", source)
    return faults


def _value_from(path: str, env: Any) -> Iterator[Cause]:
    source = env.valueFrom
    if env.value:
        yield Cause(path, "may not be specified when `value` is not empty")
    if not source.ListFields():
        text = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`"
        yield Cause(path, f"Required value: {text}", "FieldValueRequired")
    elif len(source.ListFields()) > 1:
        yield Cause(path, _SIMULTANEOUS)
    if source.HasField("fieldRef"):
        yield from _field_ref(f"{path}.fieldRef", source.fieldRef, _ENV_FIELDS)
    if source.HasField("resourceFieldRef"):
        yield from _resource_ref(f"{path}.resourceFieldRef", source.resourceFieldRef)
    for kind in ("configMapKeyRef", "secretKeyRef"):
        if source.HasField(kind):
            yield from _named(f"{path}.{kind}.name", getattr(source, kind).localObjectReference.name)


def _env_from(path: str, source: Any) -> Iterator[Cause]:
    kinds = [kind for kind in ("configMapRef", "secretRef") if source.HasField(kind)]
    if not kinds:
        yield Cause(path, "Required value: must specify one of: `configMapRef` or `secretRef`", "FieldValueRequired")
    if len(kinds) > 1:
        yield Cause(path, _SIMULTANEOUS)
    for kind in kinds:
        yield from _named(f"{path}.{kind}.name", getattr(source, kind).localObjectReference.name)
