"""Leases: one for each node's agent, and one for each election."""

from __future__ import annotations

from controlplane.resources.columns import AGE, NAME, Cell, Column, Columns, age
from controlplane.resources.resource import Resource
from pinnace import kinds
from pinnace.admission import leases
from pinnace.coordination.v1.lease_pb2 import Lease


def _cells(item: Lease, now: float) -> tuple[Cell, ...]:
    return item.metadata.name, item.spec.holderIdentity, age(item, now)


_HOLDER = Column("Holder", description="Identity of the process that holds the lease.")
LEASE = Resource(
    kinds.LEASE,
    rules=leases.RULES,
    columns=Columns((NAME, _HOLDER, AGE), _cells),
    creates_on_update=True,
    # Heartbeats, of which a cluster has more than of anything else.
    unrecorded=("spec.renewTime",),
)
