"""Desired and observed state: a durable log (`backend`) and an in-memory mirror with transactions over it (`store`)."""

from controlplane.store.backend import Backend, Batch, Change, Compacted, Item, Snapshot, Txn, Write
from controlplane.store.rows import Event, Row
from controlplane.store.store import Store
from controlplane.store.subscription import Subscription
from controlplane.store.tx import Tx

__all__ = [
    "Backend", "Batch", "Change", "Compacted", "Event", "Item", "Row", "Snapshot", "Store", "Subscription", "Tx", "Txn",
    "Write",
]  # fmt: skip
