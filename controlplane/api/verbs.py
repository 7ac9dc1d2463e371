"""The verbs of the API as plain functions over a transaction: what Create, Update, Apply and Delete mean.

Nothing here awaits or reads a clock. One `Call` says who asks, when, and how ids are made.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from controlplane.api import ownership
from controlplane.store import Tx
from pinnace import codec, kinds, podresources
from pinnace.admission import admit, runtimeclasses
from pinnace.admission.namespaces import FINALIZER
from pinnace.clock import Ids
from pinnace.errors import AlreadyExists, BadRequest, Conflict, Forbidden, Invalid, NotFound
from pinnace.kinds import Kind

ORPHAN, FOREGROUND = "Orphan", "Foreground"
FOREGROUND_FINALIZER = "foregroundDeletion"
# Tries to find a free generated name; 27^5 suffixes make a second try rare.
NAME_TRIES = 8


@dataclass(frozen=True, slots=True)
class Call:
    """`now` in seconds since the epoch; `manager` owns the fields that the call writes."""

    now: float
    ids: Ids
    manager: str = "unknown"


def create(tx: Tx, kind: Kind, message: Any, call: Call) -> Any:
    """Store a new object. Raises Invalid, AlreadyExists, NotFound (its namespace), Forbidden."""
    meta = message.metadata
    if meta.resourceVersion:
        raise BadRequest("resourceVersion should not be set on objects to be created")
    _check_namespace(tx, kind, meta.namespace)
    if meta.generateName and not meta.name:
        meta.name = _free_name(tx, kind, meta, call.ids)
    _reset_server_fields(kind, message)
    _admit(tx, kind, message)
    meta.uid = call.ids.uid()
    meta.creationTimestamp.seconds = int(call.now)
    if _has_spec(message):
        meta.generation = 1
    if kind is kinds.POD:
        message.status.phase = "Pending"
        message.status.qosClass = podresources.qos_class(message.spec)
    ownership.record_update(kind, None, message, manager=call.manager, now=call.now)
    tx.create(kind, message)
    return message


def _admit(tx: Tx, kind: Kind, message: Any, *, old: Any | None = None) -> None:
    """Admission with what it needs to know of other objects. Raises Invalid, Forbidden."""
    if kind is kinds.POD:
        name = message.spec.runtimeClassName
        runtimeclasses.enter(message, tx.get(kinds.RUNTIME_CLASS, "", name) if name else None, new=old is None)
    admit(kind, message, old=old)


def _free_name(tx: Tx, kind: Kind, meta: Any, ids: Ids) -> str:
    for _ in range(NAME_TRIES):
        name: str = meta.generateName[:58] + ids.suffix()
        if tx.get(kind, meta.namespace, name) is None:
            return name
    raise AlreadyExists.of(kind.resource, meta.generateName)


def _check_namespace(tx: Tx, kind: Kind, name: str) -> None:
    if not kind.namespaced:
        return
    namespace = tx.require(kinds.NAMESPACE, "", name)
    if namespace.metadata.deletionTimestamp.seconds:
        raise Forbidden(f'namespace "{name}" is being terminated: no new object can be created in it')


def _reset_server_fields(kind: Kind, message: Any) -> None:
    meta = message.metadata
    for field in (
        "uid",
        "generation",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "selfLink",
    ):
        meta.ClearField(field)
    del meta.managedFields[:]
    if not kind.namespaced:
        meta.namespace = ""
    if "status" in message.DESCRIPTOR.fields_by_name:
        message.ClearField("status")


def _has_spec(message: Any) -> bool:
    return "spec" in message.DESCRIPTOR.fields_by_name


def update(tx: Tx, kind: Kind, message: Any, call: Call) -> Any:
    """Replace spec and metadata. Raises NotFound, Conflict, Invalid."""
    old = tx.require(kind, message.metadata.namespace, message.metadata.name)
    _check_version(kind, old, message)
    _keep_server_fields(old, message)
    if "status" in message.DESCRIPTOR.fields_by_name:
        message.status.CopyFrom(old.status)
    _admit(tx, kind, message, old=old)
    ownership.record_update(kind, old, message, manager=call.manager, now=call.now)
    return _store(tx, kind, old, message)


def update_status(tx: Tx, kind: Kind, message: Any, call: Call) -> Any:
    """Replace the status alone. Raises NotFound, Conflict, BadRequest for a kind without one."""
    if "status" not in message.DESCRIPTOR.fields_by_name:
        raise BadRequest(f"{kind.kind} has no status")
    old = tx.require(kind, message.metadata.namespace, message.metadata.name)
    _check_version(kind, old, message)
    changed = type(old)()
    changed.CopyFrom(old)
    changed.status.CopyFrom(message.status)
    if changed == old:
        return old
    tx.put(kind, changed)
    return changed


def apply(tx: Tx, kind: Kind, manifest: dict[str, Any], call: Call, *, force: bool = False) -> tuple[str, Any]:
    """Server-side apply; returns `created`, `configured` or `unchanged` and the object.

    Raises Conflict where another manager owns a field, Invalid, and what create raises."""
    meta = manifest.get("metadata")
    name = meta.get("name") if isinstance(meta, dict) else None
    if not isinstance(name, str) or not name:
        raise codec.FieldError("Required value: apply needs a name", "metadata.name").invalid(kind.kind)
    namespace = str(meta.get("namespace") or "") if kind.namespaced and isinstance(meta, dict) else ""
    opinion = codec.decode(kind.cls, manifest)
    if opinion.metadata.resourceVersion:  # type: ignore[attr-defined]
        raise BadRequest("metadata.resourceVersion must not be set in a manifest to be applied")
    old = tx.get(kind, namespace, name)
    if old is None:
        created = create(tx, kind, opinion, call)
        _book_first_apply(kind, created, manifest, call)
        return "created", created
    merged = ownership.apply(kind, old, manifest, manager=call.manager, force=force, now=call.now)
    _keep_server_fields(old, merged)
    _admit(tx, kind, merged, old=old)
    merged.metadata.resourceVersion = old.metadata.resourceVersion
    if merged == old:
        return "unchanged", old
    content = type(old)()
    content.CopyFrom(merged)
    _adopt_bookkeeping(content, old)
    unchanged = content == old
    stored = _store(tx, kind, old, merged)
    return ("unchanged" if unchanged else "configured"), stored


def _adopt_bookkeeping(message: Any, old: Any) -> None:
    del message.metadata.managedFields[:]
    message.metadata.managedFields.extend(old.metadata.managedFields)


def _book_first_apply(kind: Kind, created: Any, manifest: dict[str, Any], call: Call) -> None:
    """The creator by apply owns what it said, not what defaulting added."""
    from controlplane.api import fieldsets
    from pinnace import schema

    del created.metadata.managedFields[:]
    entry = created.metadata.managedFields.add(
        manager=call.manager, operation=ownership.APPLY, apiVersion=kind.api_version, fieldsType="FieldsV1"
    )
    entry.time.seconds = int(call.now)
    entry.fieldsV1.Raw = fieldsets.to_fields_v1(set(fieldsets.leaves(schema.of(kind.cls), manifest)))


def _check_version(kind: Kind, old: Any, message: Any) -> None:
    asked, uid = message.metadata.resourceVersion, message.metadata.uid
    if uid and uid != old.metadata.uid:
        raise Conflict(f'the uid in the request ({uid}) is not that of {kind.resource} "{old.metadata.name}"')
    if asked and asked != old.metadata.resourceVersion:
        raise Conflict(
            f'Operation cannot be fulfilled on {kind.resource} "{old.metadata.name}": the object has been modified; '
            "please apply your changes to the latest version and try again",
            kind=kind.resource,
            name=old.metadata.name,
        )


def _keep_server_fields(old: Any, new: Any) -> None:
    before, after = old.metadata, new.metadata
    after.uid, after.generation, after.generateName = before.uid, before.generation, before.generateName
    after.resourceVersion = before.resourceVersion
    for field in ("creationTimestamp", "deletionTimestamp"):
        after.ClearField(field)
        if before.HasField(field):
            getattr(after, field).CopyFrom(getattr(before, field))
    after.ClearField("deletionGracePeriodSeconds")
    if before.HasField("deletionGracePeriodSeconds"):
        after.deletionGracePeriodSeconds = before.deletionGracePeriodSeconds
    after.ClearField("selfLink")


def _store(tx: Tx, kind: Kind, old: Any, message: Any) -> Any:
    if message == old:
        return old
    if _has_spec(message) and message.spec != old.spec:
        message.metadata.generation = old.metadata.generation + 1
    if settled(kind, message):
        tx.delete(kind, message.metadata.namespace, message.metadata.name)
    else:
        tx.put(kind, message)
    return message


def settled(kind: Kind, message: Any) -> bool:
    """Whether a deleted object has nothing left that keeps it."""
    meta = message.metadata
    if not meta.deletionTimestamp.seconds or meta.finalizers:
        return False
    if kind is kinds.NAMESPACE:
        return not message.spec.finalizers
    return kind is not kinds.POD or meta.deletionGracePeriodSeconds == 0


def delete(
    tx: Tx,
    kind: Kind,
    namespace: str,
    name: str,
    call: Call,
    *,
    grace: int | None = None,
    uid: str = "",
    version: str = "",
    propagation: str = "",
) -> tuple[Any, bool]:
    """Delete or mark for deletion; returns the object and whether it is gone. Raises NotFound, Conflict, Invalid."""
    if grace is not None and grace < 0:
        raise Invalid("gracePeriodSeconds must be greater than or equal to 0")
    message = tx.require(kind, namespace, name)
    if (uid and message.metadata.uid != uid) or (version and message.metadata.resourceVersion != version):
        raise Conflict(f'the precondition does not hold for {kind.resource} "{name}"', kind=kind.resource, name=name)
    if kind is kinds.NAMESPACE and name in ("default", "kube-system", "kube-node-lease"):
        raise Forbidden(f'namespaces "{name}" is forbidden: this namespace may not be deleted', name=name)
    if propagation == ORPHAN:
        _orphan(tx, message)
    elif propagation == FOREGROUND and FOREGROUND_FINALIZER not in message.metadata.finalizers:
        message.metadata.finalizers.append(FOREGROUND_FINALIZER)
    _mark(kind, message, _grace(kind, message, grace), call.now)
    gone = settled(kind, message)
    if gone:
        tx.delete(kind, namespace, name)
    else:
        tx.put(kind, message)
    return message, gone


def _grace(kind: Kind, message: Any, asked: int | None) -> int:
    """How long a pod may take to stop: nothing where there is nothing to stop."""
    if kind is not kinds.POD or not message.spec.nodeName or message.status.phase in ("Succeeded", "Failed"):
        return 0
    return int(message.spec.terminationGracePeriodSeconds) if asked is None else asked


def _mark(kind: Kind, message: Any, grace: int, now: float) -> None:
    meta = message.metadata
    if meta.deletionTimestamp.seconds and grace >= meta.deletionGracePeriodSeconds:
        return
    meta.deletionTimestamp.seconds = int(now) + grace
    meta.deletionGracePeriodSeconds = grace
    if kind is kinds.NAMESPACE:
        message.status.phase = "Terminating"
        if FINALIZER not in message.spec.finalizers:
            message.spec.finalizers.append(FINALIZER)


def _orphan(tx: Tx, owner: Any) -> None:
    for kind in kinds.ALL:
        for row in tx.peek(kind):
            if owner.metadata.uid.encode() not in row.value:
                continue
            child = row.parse()
            kept = [ref for ref in child.metadata.ownerReferences if ref.uid != owner.metadata.uid]
            if len(kept) == len(child.metadata.ownerReferences):
                continue
            if tx.get(kind, child.metadata.namespace, child.metadata.name) is not None:
                del child.metadata.ownerReferences[:]
                child.metadata.ownerReferences.extend(kept)
                tx.put(kind, child)


def find(tx: Tx, kind: Kind, namespace: str, name: str) -> Any:
    if not name:
        raise BadRequest("resource name may not be empty")
    found = tx.get(kind, namespace, name)
    if found is None:
        raise NotFound.of(kind.resource, name)
    return found
