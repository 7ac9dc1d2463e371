"""What is the same for every container of a pod: name, image, mounts, environment, resources.

Source: core/v1's validateContainerCommon, ValidateVolumeMounts, ValidateEnv and ValidateEnvFrom.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pinnace import fielderrors, formats
from pinnace.admission import images, meta, references, resources
from pinnace.admission.podparts import ContainerParts, PodParts
from pinnace.errors import Cause

_SIMULTANEOUS = "may not have more than one field specified at a time"
_SOURCES = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"


def validate(parts: PodParts) -> list[Cause]:
    errors: list[Cause] = []
    volumes = {volume.name for volume in parts.fields.get("volumes", ())}
    taken: set[str] = set()
    # The main containers first: of two namesakes it is the init container that is wrong.
    for item in sorted(parts.containers, key=lambda item: not item.path.startswith("spec.containers")):
        name = item.fields.get("name", "")
        if name and name in taken:
            errors.append(fielderrors.duplicate(f"{item.path}.name", name))
        taken.add(name)
        errors += _validate(item, volumes)
    return errors


def _validate(item: ContainerParts, volumes: set[str]) -> list[Cause]:
    path, container, fields = item
    errors = list(images.validate(f"{path}.image", fields.get("image", "")))
    if "resources" in fields:
        errors += resources.requirements(path, container)
    if "volumeMounts" in fields:
        errors += _mounts(path, container, volumes)
    if "env" in fields or "envFrom" in fields:
        errors += _environment(path, container)
    return errors


def _mounts(path: str, container: Any, volumes: set[str]) -> Iterator[Cause]:
    seen: set[str] = set()
    for index, mount in enumerate(container.volumeMounts):
        here = f"{path}.volumeMounts[{index}]"
        if mount.name not in volumes:
            yield fielderrors.not_found(f"{here}.name", mount.name)
        if mount.mountPath in seen:
            yield fielderrors.invalid(f"{here}.mountPath", mount.mountPath, "must be unique")
        seen.add(mount.mountPath)
        yield from _mount(here, container, mount)


def _mount(path: str, container: Any, mount: Any) -> Iterator[Cause]:
    if mount.subPath and mount.subPathExpr:
        text = "subPathExpr and subPath are mutually exclusive"
        yield fielderrors.invalid(f"{path}.subPathExpr", mount.subPathExpr, text)
    if mount.mountPropagation == "Bidirectional" and not container.securityContext.privileged:
        text = "Bidirectional mount propagation is available only to privileged containers"
        yield fielderrors.forbidden(f"{path}.mountPropagation", text)
    if mount.recursiveReadOnly in ("IfPossible", "Enabled"):
        field = f"{path}.recursiveReadOnly"
        if not mount.readOnly:
            yield fielderrors.forbidden(field, "may only be specified when readOnly is true")
        if mount.mountPropagation not in ("", "None"):
            yield fielderrors.forbidden(field, "may only be specified when mountPropagation is None or not specified")


def _environment(path: str, container: Any) -> Iterator[Cause]:
    for index, env in enumerate(container.env):
        if env.HasField("valueFrom"):
            yield from _value_from(f"{path}.env[{index}].valueFrom", env)
    for index, source in enumerate(container.envFrom):
        yield from _env_from(f"{path}.envFrom[{index}]", source)


def _value_from(path: str, env: Any) -> Iterator[Cause]:
    source = env.valueFrom
    if source.HasField("fieldRef"):
        yield from references.field(f"{path}.fieldRef", source.fieldRef, references.ENV_FIELDS)
    if source.HasField("resourceFieldRef"):
        yield from references.resource(f"{path}.resourceFieldRef", source.resourceFieldRef)
    for kind in ("configMapKeyRef", "secretKeyRef"):
        if source.HasField(kind):
            name = getattr(source, kind).localObjectReference.name
            yield from meta.each(f"{path}.{kind}.name", name, formats.dns_subdomain)
    given = len(source.ListFields())
    if not given:
        yield fielderrors.invalid(path, "", _SOURCES)
    elif env.value:
        yield fielderrors.invalid(path, "", "may not be specified when `value` is not empty")
    elif given > 1:
        yield fielderrors.invalid(path, "", _SIMULTANEOUS)


def _env_from(path: str, source: Any) -> Iterator[Cause]:
    kinds = [kind for kind in ("configMapRef", "secretRef") if source.HasField(kind)]
    for kind in kinds:
        name = getattr(source, kind).localObjectReference.name
        if not name:
            yield fielderrors.required(f"{path}.{kind}.name")
        else:
            yield from meta.each(f"{path}.{kind}.name", name, formats.prefix_of(formats.dns_subdomain))
    if not kinds:
        yield fielderrors.invalid(path, "", "must specify one of: `configMapRef` or `secretRef`")
    if len(kinds) > 1:
        yield fielderrors.invalid(path, "", _SIMULTANEOUS)
