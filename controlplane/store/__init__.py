"""Desired and observed state: a durable log (`backend`) and a watch cache with transactions over it (`store`)."""

from controlplane.store.backend import Backend, Batch, Change, Committed, Compacted, Item, Limits, Snapshot, Txn, Write
from controlplane.store.listing import Page, Query
from controlplane.store.objects import Event, StoredObject
from controlplane.store.resourcecache import Narrow
from controlplane.store.store import Store
from controlplane.store.tx import Tx
from controlplane.store.watcher import Watcher

__all__ = [
    "Backend", "Batch", "Change", "Committed", "Compacted", "Event", "Item", "Limits", "Narrow", "Page",
    "Query", "Snapshot", "Store", "StoredObject", "Tx", "Txn", "Watcher", "Write",
]  # fmt: skip
