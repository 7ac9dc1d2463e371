"""Batches out of etcd's watch events. Pure.

Events of one revision are one transaction. Its deletions come first, in order of key; a put says its place itself.
"""

from __future__ import annotations

from collections.abc import Iterable

from controlplane.store import envelope
from controlplane.store import etcd_messages_pb2 as pb
from controlplane.store.backend import Batch, Change
from controlplane.store.envelope import Envelope
from controlplane.store.origin import decode

REGISTRY, TICKS = "/registry/", "/ticks"


def batches(events: Iterable[pb.Event], root: str) -> list[Batch]:
    """One for each revision, in order."""
    grouped: dict[int, list[pb.Event]] = {}
    for event in events:
        grouped.setdefault(event.kv.mod_revision, []).append(event)
    return [_batch(revision, group, root) for revision, group in grouped.items()]


def _batch(revision: int, events: Iterable[pb.Event], root: str) -> Batch:
    gone, puts, origin = list[str](), list[tuple[str, Envelope]](), None
    for event in events:
        key = event.kv.key.decode()[len(root) :]
        if not key.startswith(REGISTRY):
            origin = origin or (decode(event.kv.value) if key.startswith(TICKS) else None)
            continue
        if event.type == pb.Event.DELETE:
            gone.append(key)
            continue
        found = Envelope.read(key, event.kv.value)
        # A version of 1 is a key that did not exist before: there was nothing to replace.
        if found.replaces and event.kv.version > 1:
            gone.append(key)
        puts.append((key, found))
    first = envelope.first(revision)
    changes = [Change(key, None, first + rank) for rank, key in enumerate(sorted(gone))]
    changes += sorted((Change(key, found.value, first + found.place) for key, found in puts), key=lambda c: (c.revision, c.key))
    return Batch(envelope.last(revision), tuple(changes), origin)
