"""Which files a volume shows: those of configMap, secret, downwardAPI and projected volumes. Pure.

Source: the behaviour of kubelet's volume plugins, also in the words of their errors.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from nodeagent.pods.spec import downward
from pinnace import podtokens

# The kind by which a token of the pod's service account is looked up.
ACCOUNT_TOKEN = "ServiceAccountToken"  # noqa: S105
# Answers for a ConfigMap or Secret of the pod's namespace by kind and name, and for a token by `podtokens.key`; None when
# there is none.
Lookup = Callable[[str, str], Any | None]
# Of a tmpfs that holds one Secret (1 MiB at most): two sets of files for a moment, and their folders.
SECRET_BYTES = 4 << 20


class VolumeError(Exception):
    """A volume cannot be made now; the text is for people. It is tried again."""


@dataclass(frozen=True, slots=True)
class File:
    content: bytes
    mode: int


@dataclass(frozen=True, slots=True)
class Known:
    """What the files are made of. `facts` has `allocatable.cpu` and the like."""

    pod: Any
    lookup: Lookup
    facts: Mapping[str, str]


def shows_files(source: Any) -> bool:
    """Whether a volume is one of these, all read-only and kept up to date."""
    return any(source.HasField(name) for name in ("configMap", "secret", "downwardAPI", "projected"))


def secret_bytes(source: Any) -> int:
    """Size of the tmpfs that a volume needs, in bytes; 0: it holds no secret and may lie on disk."""
    if source.HasField("secret"):
        return SECRET_BYTES
    sources = source.projected.sources
    hidden = any(item.HasField("secret") or item.HasField("serviceAccountToken") for item in sources)
    return len(sources) * SECRET_BYTES if hidden else 0


def files_of(source: Any, known: Known) -> dict[str, File]:
    """Relative path to file. Raises VolumeError when something is missing that is not optional."""
    if source.HasField("configMap"):
        item = source.configMap
        return _keys("ConfigMap", item.localObjectReference.name, item, item.defaultMode, known)
    if source.HasField("secret"):
        return _keys("Secret", source.secret.secretName, source.secret, source.secret.defaultMode, known)
    if source.HasField("downwardAPI"):
        return _fields(source.downwardAPI.items, source.downwardAPI.defaultMode, known)
    files: dict[str, File] = {}
    for part in source.projected.sources:
        files |= _projection(part, source.projected.defaultMode, known)
    return files


def _projection(part: Any, mode: int, known: Known) -> dict[str, File]:
    if part.HasField("configMap"):
        return _keys("ConfigMap", part.configMap.localObjectReference.name, part.configMap, mode, known)
    if part.HasField("secret"):
        return _keys("Secret", part.secret.localObjectReference.name, part.secret, mode, known)
    if part.HasField("serviceAccountToken"):
        return _token(part.serviceAccountToken, mode, known)
    return _fields(part.downwardAPI.items, mode, known)


def _token(source: Any, mode: int, known: Known) -> dict[str, File]:
    """Without a token there is no file: whether the pod may start so is decided before (`accounttokens`)."""
    found = known.lookup(ACCOUNT_TOKEN, podtokens.key(source))
    return {} if found is None else {posixpath.normpath(source.path): File(found.encode(), mode)}


def _keys(kind: str, name: str, source: Any, mode: int, known: Known) -> dict[str, File]:
    found = known.lookup(kind, name)
    if found is None:
        if source.optional:
            return {}
        raise VolumeError(f'{kind.lower()} "{name}" not found')
    content = {key: value.encode() if isinstance(value, str) else value for key, value in found.data.items()}
    content |= dict(getattr(found, "binaryData", {}))
    if not source.items:
        return {key: File(value, mode) for key, value in content.items()}
    files = {}
    for item in source.items:
        if item.key in content:
            path = posixpath.normpath(item.path)
            files[path] = File(content[item.key], item.mode if item.HasField("mode") else mode)
        elif not source.optional:
            raise VolumeError(f"{kind.lower()} references non-existent config key: {item.key}")
    return files


def _fields(items: Iterable[Any], mode: int, known: Known) -> dict[str, File]:
    return {
        posixpath.normpath(item.path): File(_value(item, known).encode(), item.mode if item.HasField("mode") else mode)
        for item in items
    }


def _value(item: Any, known: Known) -> str:
    if item.HasField("fieldRef"):
        return downward.field_of(known.pod, item.fieldRef.fieldPath, known.facts)
    try:
        return downward.resource_of(known.pod, None, item.resourceFieldRef, known.facts)
    except LookupError as error:
        raise VolumeError(str(error)) from None
