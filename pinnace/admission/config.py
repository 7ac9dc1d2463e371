"""ConfigMaps and Secrets: keys, size, immutability, a Secret's stringData and the keys that its type requires.

Source: core/v1's ValidateConfigMap and ValidateSecret.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from pinnace import fielderrors, formats
from pinnace.admission import meta
from pinnace.admission.kindrules import KindRules
from pinnace.core.v1 import config_pb2
from pinnace.errors import Cause

MAX_BYTES = 1 << 20
_ACCOUNT = "kubernetes.io/service-account.name"
# The keys that must be there, by type.
_REQUIRED = {
    "kubernetes.io/dockercfg": (".dockercfg",),
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
    "kubernetes.io/tls": ("tls.crt", "tls.key"),
}
_JSON = (".dockercfg", ".dockerconfigjson")


def prepare(message: Any, _: Any | None) -> None:
    """stringData is for writing only: it becomes data."""
    for key, value in message.stringData.items():
        message.data[key] = value.encode()
    message.ClearField("stringData")


def validate(message: Any) -> list[Cause]:
    """A ConfigMap's errors."""
    errors = [*_keys("data", message.data), *_keys("binaryData", message.binaryData)]
    errors += [
        fielderrors.invalid(f"data[{key}]", key, "duplicate of key present in binaryData")
        for key in message.data
        if key in message.binaryData
    ]
    size = sum(len(value.encode()) for value in message.data.values()) + sum(map(len, message.binaryData.values()))
    return errors + _size(size)


def validate_secret(message: Any) -> list[Cause]:
    """A Secret's errors, without its values."""
    errors = [*_keys("data", message.data), *_size(sum(map(len, message.data.values())))]
    if message.type == "kubernetes.io/service-account-token" and not message.metadata.annotations.get(_ACCOUNT):
        errors.append(fielderrors.required(f"metadata.annotations[{_ACCOUNT}]"))
    missing = [key for key in _REQUIRED.get(message.type, ()) if key not in message.data]
    if message.type == "kubernetes.io/basic-auth" and not {"username", "password"} & set(message.data):
        missing = ["username", "password"]
    if message.type == "kubernetes.io/ssh-auth" and not message.data.get("ssh-privatekey"):
        missing = ["ssh-privatekey"]
    errors += [fielderrors.required(f"data[{key}]") for key in missing]
    for key in _REQUIRED.get(message.type, ()):
        if key in _JSON and key in message.data and not _is_object(message.data[key]):
            errors.append(fielderrors.invalid(f"data[{key}]", "<secret contents redacted>", "must be a JSON object"))
    return errors


def _is_object(data: bytes) -> bool:
    try:
        return isinstance(json.loads(data), dict)
    except (ValueError, RecursionError):
        return False


def _keys(field: str, items: Any) -> Iterator[Cause]:
    for key in items:
        yield from meta.each(f"{field}[{key[: formats.MAX_SUBDOMAIN]}]", key, formats.config_key)


def _size(size: int) -> list[Cause]:
    return [fielderrors.too_long("data", MAX_BYTES)] if size > MAX_BYTES else []


def validate_update(old: Any, new: Any) -> list[Cause]:
    """What an immutable object's data and mark may not do: change."""
    if not old.immutable:
        return []
    changed = [] if new.immutable else ["immutable"]
    changed += [name for name in ("data", "binaryData") if getattr(old, name, None) != getattr(new, name, None)]
    return [fielderrors.forbidden(name, "field is immutable when `immutable` is set") for name in changed]


CONFIG_MAP_RULES = KindRules[config_pb2.ConfigMap](validate=validate, validate_update=validate_update)
SECRET_RULES = KindRules[config_pb2.Secret](prepare=prepare, validate=validate_secret, validate_update=validate_update)
