"""Events: what the control plane did and why, for people. Repeated ones count up instead of piling up."""

from __future__ import annotations

import hashlib
from typing import Any

from controlplane.store import Tx
from pinnace import codec, kinds
from pinnace.kinds import Kind

MAX_MESSAGE = 1024
# The field is an int32; events of clients may have any count.
MAX_COUNT = 2**31 - 1


def record(
    tx: Tx, about: Any, reason: str, message: str, *, source: str, now: float, warning: bool = False, kind: Kind | None = None,
    once: bool = False,
) -> None:  # fmt: skip
    """Record an event about an object in the transaction that does it. `kind`: its kind, where it is not one of `v1`. `once`:
    as `put`."""
    event = kinds.EVENT.cls()
    event.involvedObject.kind = kind.kind if kind else about.DESCRIPTOR.name
    event.involvedObject.apiVersion = kind.api_version if kind else "v1"
    for field in ("name", "namespace", "uid"):
        setattr(event.involvedObject, field, getattr(about.metadata, field))
    event.reason, event.message = reason, message[:MAX_MESSAGE]
    event.type = "Warning" if warning else "Normal"
    event.source.component = event.reportingComponent = source
    put(tx, event, now=now, once=once)


def put(tx: Tx, event: Any, *, now: float, once: bool = False) -> None:
    """Store an event whose involvedObject, reason, message, type and source are set. `once`: one that is stored is left as it
    is, for states that are found again and again."""
    about = event.involvedObject
    digest = hashlib.sha256("\0".join((about.uid, event.reason, event.message, event.source.host)).encode()).hexdigest()
    namespace = about.namespace or "default"
    name = f"{about.name[:200]}.{digest[:16]}"
    known = tx.get(kinds.EVENT, namespace, name)
    if known is not None and once:
        return
    if known is not None:
        known.count = min(known.count + 1, MAX_COUNT)
        known.lastTimestamp.CopyFrom(codec.time_of(now))
        tx.put(kinds.EVENT, known)
        return
    if tx.get(kinds.NAMESPACE, "", namespace) is None:
        return
    # The reporter of an event does not set finalizers, owners or labels.
    event.ClearField("metadata")
    event.metadata.name, event.metadata.namespace = name, namespace
    # An event's identity is its content, so its uid can be too.
    event.metadata.uid = f"{digest[:8]}-{digest[8:12]}-4{digest[13:16]}-8{digest[17:20]}-{digest[20:32]}"
    event.metadata.creationTimestamp.CopyFrom(codec.time_of(now))
    event.firstTimestamp.CopyFrom(codec.time_of(now))
    event.lastTimestamp.CopyFrom(codec.time_of(now))
    event.count = 1
    tx.put(kinds.EVENT, event)
