"""What a new or changed object passes before it is stored: defaults, then validation. Pure functions of messages."""

from __future__ import annotations

from typing import Any

from pinnace import rules
from pinnace.admission import config, meta, namespaces, nodes, pods, runtimeclasses
from pinnace.errors import Cause, Invalid
from pinnace.kinds import Kind

_DEFAULTS = {"Pod": pods.default}
_VALIDATE = {
    "Pod": pods.validate, "Node": nodes.validate, "ConfigMap": config.validate, "Secret": config.validate,
    "RuntimeClass": runtimeclasses.validate,
}  # fmt: skip
_CREATES = {"Pod": pods.validate_create}
_UPDATES = {"Pod": pods.validate_update, "ConfigMap": config.validate_update, "Secret": config.validate_update}
_PREPARE = {"Secret": config.prepare, "Namespace": namespaces.prepare}


def admit(kind: Kind, message: Any, *, old: Any | None = None) -> None:
    """Default `message` in place and check it, alone and against `old`. Raises Invalid with every fault."""
    if kind.kind in _PREPARE:
        _PREPARE[kind.kind](message)
    rules.apply_defaults(message)
    if kind.kind in _DEFAULTS:
        _DEFAULTS[kind.kind](message)
    faults = meta.validate(kind, message) + rules.validate(message)
    if kind.kind in _VALIDATE:
        faults += _VALIDATE[kind.kind](message)
    if old is None and kind.kind in _CREATES:
        faults += _CREATES[kind.kind](message)
    if old is not None:
        faults += rules.changed_immutable(old, message)
        if kind.kind in _UPDATES:
            faults += _UPDATES[kind.kind](old, message)
    raise_faults(kind, message.metadata.name or message.metadata.generateName, faults)


def raise_faults(kind: Kind, name: str, faults: list[Cause]) -> None:
    if faults:
        raise Invalid.of(kind.kind, name[:253], tuple(dict.fromkeys(faults)))
