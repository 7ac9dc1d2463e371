"""A pod's volumes: rules between fields.

Source: core/v1's ValidateVolumes and the functions of its volume sources.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator
from typing import Any

from pinnace import fielderrors
from pinnace.admission import claims, images, persistentvolumes, references, resources
from pinnace.errors import Cause

# Seconds, of tokens of service accounts.
MIN_TOKEN_LIFETIME, MAX_TOKEN_LIFETIME = 600, 1 << 32


def validate(spec: Any) -> list[Cause]:
    """Errors of spec.volumes."""
    errors: list[Cause] = []
    names: set[str] = set()
    for index, volume in enumerate(spec.volumes):
        path = f"spec.volumes[{index}]"
        if volume.name in names:
            errors.append(fielderrors.duplicate(f"{path}.name", volume.name))
        names.add(volume.name)
        sources = [field.name for field, _ in volume.volumeSource.ListFields()]
        text = "may not specify more than 1 volume type"
        errors += [fielderrors.forbidden(f"{path}.{source}", text) for source in sources[1:]]
        errors += _source(path, volume.volumeSource)
    return errors


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
    if source.HasField("persistentVolumeClaim"):
        yield from _named(f"{path}.persistentVolumeClaim.claimName", source.persistentVolumeClaim.claimName)
    if source.HasField("ephemeral"):
        yield from _ephemeral(f"{path}.ephemeral", source.ephemeral)
    if source.HasField("nfs"):
        yield from persistentvolumes.nfs(f"{path}.nfs", source.nfs)
    yield from images.validate(f"{path}.image.reference", source.image.reference)
    if source.emptyDir.HasField("sizeLimit"):
        limit = resources.amount(source.emptyDir.sizeLimit.string)
        if limit is None or limit < 0:
            yield fielderrors.forbidden(f"{path}.emptyDir.sizeLimit", "SizeLimit field must be a valid resource quantity")


def _named(path: str, name: str) -> Iterator[Cause]:
    if not name:
        yield fielderrors.required(path)


def _ephemeral(path: str, source: Any) -> Iterator[Cause]:
    if not source.HasField("volumeClaimTemplate"):
        yield fielderrors.required(f"{path}.volumeClaimTemplate")
        return
    yield from claims.template_errors(source.volumeClaimTemplate, f"{path}.volumeClaimTemplate")


def _projected(path: str, sources: Iterable[Any]) -> Iterator[Cause]:
    taken = _Taken(unique=True)
    for index, source in enumerate(sources):
        here = f"{path}.sources[{index}]"
        if len(source.ListFields()) > 1:
            yield fielderrors.forbidden(here, "may not specify more than 1 volume type per source")
        for kind in ("secret", "configMap"):
            if source.HasField(kind):
                yield from _named(f"{here}.{kind}.name", getattr(source, kind).localObjectReference.name)
        if source.HasField("downwardAPI"):
            yield from _downward(f"{here}.downwardAPI", source.downwardAPI.items)
        for kind in ("secret", "configMap", "downwardAPI"):
            yield from _paths(f"{here}.{kind}", getattr(source, kind).items, taken)
        if source.HasField("serviceAccountToken"):
            yield from _token(f"{here}.serviceAccountToken", source.serviceAccountToken, taken)


def _token(path: str, source: Any, taken: _Taken) -> Iterator[Cause]:
    seconds = source.expirationSeconds
    if seconds < MIN_TOKEN_LIFETIME:
        yield fielderrors.invalid(f"{path}.expirationSeconds", seconds, "may not specify a duration less than 10 minutes")
    elif seconds > MAX_TOKEN_LIFETIME:
        yield fielderrors.invalid(f"{path}.expirationSeconds", seconds, "may not specify a duration larger than 2^32 seconds")
    if source.path and not taken.add(source.path):
        yield fielderrors.invalid(f"{path}.path", source.path, "conflicting duplicate paths")


class _Taken:
    """The paths of a volume's files, as a tree: a directory is its entries, a file None.

    Of two items for one file the last wins, unless paths must be `unique`: those of several sources."""

    def __init__(self, *, unique: bool = False) -> None:
        self._tree: dict[str, Any] = {}
        self._unique = unique

    def add(self, path: str) -> bool:
        """Whether there is room for a file: no directory of that name, and no file where it needs a directory."""
        *directories, name = posixpath.normpath(path).split("/")
        tree = self._tree
        for directory in directories:
            tree = tree.setdefault(directory, {})
            if tree is None:
                return False
        if name in tree:
            return tree[name] is None and not self._unique
        tree[name] = None
        return True


def _paths(path: str, items: Iterable[Any], taken: _Taken | None = None) -> Iterator[Cause]:
    """Files that are in each other's way. `taken` are those of other sources of the volume."""
    taken = taken or _Taken()
    for index, item in enumerate(items):
        if item.path and not taken.add(item.path):
            yield fielderrors.invalid(f"{path}.items[{index}].path", item.path, "conflicting duplicate paths")


def _downward(path: str, items: Iterable[Any]) -> Iterator[Cause]:
    for index, item in enumerate(items):
        here = f"{path}.items[{index}]"
        if item.HasField("fieldRef") and item.HasField("resourceFieldRef"):
            text = "fieldRef and resourceFieldRef can not be specified simultaneously"
            yield fielderrors.invalid(here, "resource", text)
        if item.HasField("fieldRef"):
            yield from references.field(f"{here}.fieldRef", item.fieldRef, references.FILE_FIELDS)
        elif item.HasField("resourceFieldRef"):
            yield from _named(f"{here}.resourceFieldRef.containerName", item.resourceFieldRef.containerName)
            yield from references.resource(f"{here}.resourceFieldRef", item.resourceFieldRef)
        else:
            yield fielderrors.required(here, "one of fieldRef and resourceFieldRef is required")
