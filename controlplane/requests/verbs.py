"""The verbs of the API as plain functions over a transaction: what Create, Update, Apply and Delete mean.

Nothing here awaits or reads a clock. One `Call` says who asks, when, and how ids are made. What is special about a kind
stands in its resource (`controlplane.resources`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

from controlplane.requests import deletion, managers, ownership, serverfields, statusfields
from controlplane.requests.admission import admit, complete
from controlplane.requests.deletion import FOREGROUND, ORPHAN, DeleteOptions, settle
from controlplane.resources.plugin import Caller
from controlplane.resources.registry import Registry
from controlplane.resources.resource import Resource
from controlplane.store import Tx
from pinnace import admission, codec
from pinnace.admission import explain
from pinnace.clock import Ids
from pinnace.equality import same
from pinnace.errors import AlreadyExists, BadRequest, Conflict, NotFound
from pinnace.kinds import Kind
from pinnace.messages import clone

__all__ = ["FOREGROUND", "ORPHAN", "Call", "apply", "apply_part", "create", "delete", "find", "settle", "update"]

T = TypeVar("T")
# Tries to find a free generated name; 27^5 suffixes make a second try rare.
NAME_TRIES = 8


@dataclass(frozen=True, slots=True)
class Call:
    """`now` in seconds since the epoch; `manager` owns the fields that the call writes.

    `caller` is the user that admission plugins see, None for the control plane itself.
    `conditional`: an update states the resourceVersion that it replaces, of kinds that Kubernetes demands it of.
    An apply takes the fields that it states from the `superseded` managers, which are other commands of the same client.
    Verbs put what the client should know of accepted objects into `warnings`, each text once, in its order."""

    now: float
    ids: Ids
    manager: str = "unknown"
    superseded: frozenset[str] = frozenset()
    warnings: dict[str, None] = field(default_factory=dict, compare=False)
    caller: Caller | None = None
    conditional: bool = False


def create(tx: Tx, kind: Kind[T], message: T, call: Call, *, applied: dict[str, Any] | None = None) -> T:
    """Store a new object, made from the manifest `applied` if by apply.

    Raises Invalid, AlreadyExists, NotFound (its namespace), Forbidden."""
    resource = Registry.of(tx).writable(kind)
    meta = message.metadata  # type: ignore[attr-defined]
    if meta.resourceVersion:
        raise BadRequest("resourceVersion should not be set on objects to be created")
    if meta.generateName and not meta.name:
        meta.name = _free_name(tx, kind, meta, call.ids)
    serverfields.reset(resource, message)
    # Admission may record the object under its identity, as a quota does.
    meta.uid = call.ids.uid()
    meta.creationTimestamp.seconds = int(call.now)
    if resource.has_spec:
        meta.generation = 1
    complete(resource, message)
    written = clone(message)
    admit(tx, resource, message, now=call.now, caller=call.caller)
    if applied is None:
        ownership.record_create(kind, message, written, manager=call.manager, now=call.now)
    else:
        ownership.first_apply(kind, message, applied, manager=call.manager, now=call.now)
    tx.create(kind, message)
    _warn(resource, message, None, call)
    return message


def create_absent(tx: Tx, kind: Kind[T], message: T, call: Call) -> T:
    """Create what an update has found absent, whatever resourceVersion it states. Raises as create, and Conflict for a uid."""
    meta = message.metadata  # type: ignore[attr-defined]
    if meta.uid:
        raise Conflict(
            f'Operation cannot be fulfilled on {kind.resource} "{meta.name}": Precondition failed: '
            f"UID in precondition: {meta.uid[:80]}, UID in object meta: ",
            kind=kind.resource, name=meta.name,
        )  # fmt: skip
    meta.resourceVersion = ""
    return create(tx, kind, message, call)


def _warn(resource: Resource, new: Any, old: Any | None, call: Call) -> None:
    call.warnings.update(dict.fromkeys(resource.strategy.warnings(new, old)))


def _free_name(tx: Tx, kind: Kind, meta: Any, ids: Ids) -> str:
    for _ in range(NAME_TRIES):
        name: str = meta.generateName[:58] + ids.suffix()
        if tx.get(kind, meta.namespace, name) is None:
            return name
    raise AlreadyExists.of(kind.resource, meta.generateName)


def update(tx: Tx, kind: Kind[T], message: T, call: Call) -> T:
    """Replace spec and metadata. Raises NotFound, Conflict, Invalid, Forbidden."""
    resource = Registry.of(tx).writable(kind)
    new: Any = message
    old: Any = tx.require(kind, new.metadata.namespace, new.metadata.name)
    serverfields.check_preconditions(resource, old, new, conditional=call.conditional)
    serverfields.keep(old, new)
    if resource.has_status:
        new.status.CopyFrom(old.status)
    return cast("T", _replace(tx, resource, old, new, call))


def _admit(tx: Tx, resource: Resource, old: Any, new: Any, call: Call, *, subresource: str = "") -> None:
    complete(resource, new, old=old, subresource=subresource)
    admit(tx, resource, new, old=old, now=call.now, caller=call.caller, subresource=subresource)


def _replace(tx: Tx, resource: Resource, old: Any, new: Any, call: Call, *, subresource: str = "") -> Any:
    _admit(tx, resource, old, new, call, subresource=subresource)
    _warn(resource, new, old, call)
    owners = None if subresource else managers.stated(resource.kind, old, new, now=call.now)
    del new.metadata.managedFields[:]
    new.metadata.managedFields.extend(old.metadata.managedFields)
    if owners is None and same(new, old):
        # Who changes nothing owns nothing.
        new = old
    else:
        ownership.record_update(
            resource.kind, old, new, manager=call.manager, now=call.now, subresource=subresource, owners=owners
        )
    return _store(tx, resource, old, new)


def update_status(tx: Tx, kind: Kind[T], message: T, call: Call) -> T:
    """Replace the status alone. Raises NotFound, Conflict, Invalid, BadRequest for a kind without one."""
    return update_subresource(tx, kind, "status", message, call)


def update_subresource(
    tx: Tx, kind: Kind[T], name: str, message: T, call: Call, *, metadata: bool = False
) -> T:  # fmt: skip
    """Replace one part of an object; with `metadata`, a status brings the metadata that the resource lets it.

    Raises NotFound, Conflict, Invalid, BadRequest for a kind without this subresource."""
    resource = Registry.of(tx).writable(kind)
    part = resource.subresource(name)
    if part is None:
        raise BadRequest(f"{kind.kind} has no {name}")
    request: Any = message
    old: Any = tx.require(kind, request.metadata.namespace, request.metadata.name)
    serverfields.check_preconditions(resource, old, request, conditional=call.conditional and part.form is None)
    changed = clone(old)
    part.replace(changed, request)
    if metadata and name == ownership.STATUS:
        serverfields.take_meta(resource.status_meta, changed, request)
    if same(changed, old) and not _is_outdated(tx, kind, old):
        return cast("T", old)
    if part.is_desired_state:
        return cast("T", _replace(tx, resource, old, changed, call, subresource=name))
    part.validate(kind, resource.rules, changed, old)
    if changed.metadata != old.metadata:
        admission.validate_metadata(kind, changed, resource.rules, old=old)
    part.check(tx, changed)
    if name == ownership.STATUS:
        statusfields.record(kind, old, changed, manager=call.manager, now=call.now)
    settle(tx, kind, changed)
    return cast("T", changed)


def apply_part(
    tx: Tx, kind: Kind[T], name: str, manifest: dict[str, Any], call: Call, *, force: bool = False
) -> tuple[str, T]:  # fmt: skip
    """Server-side apply of one part alone, whose fields a manager owns apart from what it applies of the rest; returns
    `configured` or `unchanged` and the whole object. The manifest has the part's form.

    Raises as apply, NotFound, and BadRequest for a part that cannot be applied (`subresources.check_applied` finds it
    before the manifest is read)."""
    resource = Registry.of(tx).writable(kind)
    part = resource.subresource(name)
    applied = part.applied(manifest) if part is not None else None
    if part is None or applied is None:
        raise BadRequest(f"{kind.kind} has no {name} to apply")
    form = part.form or resource
    old: Any = tx.require(kind, *_named(form.kind, manifest))
    serverfields.check_preconditions(resource, old, _opinion(form, manifest, whole=False))
    merged = ownership.apply(
        kind, old, applied, manager=call.manager, force=force, now=call.now, superseded=call.superseded, subresource=name
    )
    changed = clone(old)
    part.replace(changed, part.base(merged))
    unchanged = same(changed, old)
    if not unchanged and part.is_desired_state:
        _admit(tx, resource, old, changed, call, subresource=name)
        _warn(resource, changed, old, call)
    elif not unchanged:
        part.validate(kind, resource.rules, changed, old)
        part.check(tx, changed)
    del changed.metadata.managedFields[:]
    changed.metadata.managedFields.extend(merged.metadata.managedFields)
    if changed == old and not _is_outdated(tx, kind, old):
        return "unchanged", cast("T", old)
    stored = _store(tx, resource, old, changed)
    return ("unchanged" if unchanged else "configured"), cast("T", stored)


def apply(tx: Tx, kind: Kind[T], manifest: dict[str, Any], call: Call, *, force: bool = False) -> tuple[str, T]:
    """Server-side apply; returns `created`, `configured` or `unchanged` and the object.

    Raises Conflict where another manager owns a field, or for a resourceVersion or uid that is not the object's; Invalid, and
    what create raises."""
    resource = Registry.of(tx).writable(kind)
    old: Any = tx.get(kind, *_named(kind, manifest))
    opinion = _opinion(resource, manifest, whole=old is None)
    if old is None:
        # As kubectl, which makes an object anew from what it printed of a deleted one.
        opinion.metadata.resourceVersion = ""
        return "created", create(tx, kind, opinion, call, applied=manifest)
    serverfields.check_preconditions(resource, old, opinion)
    merged = ownership.apply(kind, old, manifest, manager=call.manager, force=force, now=call.now, superseded=call.superseded)
    serverfields.keep(old, merged)
    before = _content(old)
    # What is as it was stored has passed admission.
    if _content(merged) != before:
        _admit(tx, resource, old, merged, call)
    _warn(resource, merged, old, call)
    if merged == old and not _is_outdated(tx, kind, old):
        return "unchanged", old
    unchanged = _content(merged) == before
    stored = _store(tx, resource, old, merged)
    return ("unchanged" if unchanged else "configured"), stored


def _named(kind: Kind, manifest: dict[str, Any]) -> tuple[str, str]:
    """Namespace and name of an applied object. Raises Invalid."""
    meta = manifest.get("metadata")
    name = meta.get("name") if isinstance(meta, dict) else None
    if not isinstance(name, str) or not name:
        raise codec.FieldError("Required value: apply needs a name", "metadata.name").invalid(kind.group_kind)
    return (str(meta.get("namespace") or "") if kind.namespaced and isinstance(meta, dict) else ""), name


def _opinion(resource: Resource, manifest: dict[str, Any], *, whole: bool) -> Any:
    """An applied object as a message; `whole`: it is to be created. Raises Invalid."""
    cls: Any = resource.kind.cls
    try:
        return codec.decode(cls, manifest)
    except codec.FieldError as error:
        raise explain(resource.kind, error, whole=whole, own=resource.rules) from None


def _content(message: Any) -> Any:
    """The object without its bookkeeping of owners."""
    copy = clone(message)
    copy.metadata.ClearField("managedFields")
    return copy


def _is_outdated(tx: Tx, kind: Kind, old: Any) -> bool:
    """Whether an object that does not change is to be written, as it was stored under another schema."""
    return tx.is_outdated(kind, old.metadata.namespace, old.metadata.name)


def _store(tx: Tx, resource: Resource, old: Any, message: Any) -> Any:
    if same(message, old) and not _is_outdated(tx, resource.kind, old):
        return old
    if resource.has_spec and resource.strategy.wants_more(message, old):
        message.metadata.generation = old.metadata.generation + 1
    settle(tx, resource.kind, message)
    return message


def delete(
    tx: Tx,
    kind: Kind[T],
    namespace: str,
    name: str,
    call: Call,
    *,
    grace: int | None = None,
    uid: str = "",
    version: str = "",
    propagation: str = "",
) -> tuple[T, bool]:
    """`deletion.delete` with its options one by one."""
    return deletion.delete(tx, kind, namespace, name, DeleteOptions(grace, uid, version, propagation), now=call.now)


def find(tx: Tx, kind: Kind[T], namespace: str, name: str) -> T:
    """Raises NotFound, and BadRequest for an empty name."""
    if not name:
        raise BadRequest("resource name may not be empty")
    found = tx.get(kind, namespace, name)
    if found is None:
        raise NotFound.of(kind.resource, name)
    return found
