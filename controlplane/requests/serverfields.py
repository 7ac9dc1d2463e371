"""Metadata that only the server writes: what a client sends of it is dropped or replaced."""

from __future__ import annotations

from typing import Any

from controlplane.resources.resource import Resource
from pinnace import fielderrors
from pinnace.errors import Conflict, Invalid

_OF_A_NEW_OBJECT = (
    "uid", "generation", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "managedFields",
)  # fmt: skip


def reset(resource: Resource, message: Any) -> None:
    """Of an object to be created: no server's field, and no status."""
    for name in _OF_A_NEW_OBJECT:
        message.metadata.ClearField(name)
    if not resource.kind.namespaced:
        message.metadata.namespace = ""
    if resource.has_status:
        message.ClearField("status")


def keep(old: Any, new: Any) -> None:
    """Of an update: as in the stored object."""
    before, after = old.metadata, new.metadata
    after.uid, after.generation, after.generateName = before.uid, before.generation, before.generateName
    after.resourceVersion = before.resourceVersion
    for name in ("creationTimestamp", "deletionTimestamp"):
        after.ClearField(name)
        if before.HasField(name):
            getattr(after, name).CopyFrom(getattr(before, name))
    after.ClearField("deletionGracePeriodSeconds")
    if before.HasField("deletionGracePeriodSeconds"):
        after.deletionGracePeriodSeconds = before.deletionGracePeriodSeconds
    after.ClearField("selfLink")


def take_meta(names: tuple[str, ...], target: Any, source: Any) -> None:
    """Put the metadata of these names from `source` in the place of that of `target`."""
    for name in names:
        entries = getattr(target.metadata, name)
        entries.clear()
        entries.update(getattr(source.metadata, name))


def check_preconditions(resource: Resource, old: Any, message: Any, *, conditional: bool = False) -> None:
    """The uid and resourceVersion of an update are those of the stored object, where given. `conditional`: the latter must be,
    unless the kind allows updates without it. Raises Conflict, Invalid."""
    asked, uid, name = message.metadata.resourceVersion, message.metadata.uid, old.metadata.name
    if asked in ("", "0") and conditional and not resource.strategy.unconditional_update:
        cause = fielderrors.invalid("metadata.resourceVersion", 0, "must be specified for an update")
        raise Invalid.of(resource.kind.group_kind, name, (cause,))
    if uid and uid != old.metadata.uid:
        raise Conflict(f'the uid in the request ({uid}) is not that of {resource.kind.resource} "{name}"')
    if asked and asked != old.metadata.resourceVersion:
        raise Conflict(
            f'Operation cannot be fulfilled on {resource.kind.resource} "{name}": the object has been modified; '
            "please apply your changes to the latest version and try again",
            kind=resource.kind.resource,
            name=name,
        )
