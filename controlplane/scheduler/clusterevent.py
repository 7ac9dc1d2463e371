"""Changes in a cluster that may make a rejected pod fit, as in Kubernetes' queueing hints."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class ClusterEvent(enum.Flag):
    NONE = 0
    NODE_ADD = enum.auto()
    UPDATE_NODE_ALLOCATABLE = enum.auto()
    UPDATE_NODE_LABEL = enum.auto()
    UPDATE_NODE_TAINT = enum.auto()
    ASSIGNED_POD_DELETE = enum.auto()
    ASSIGNED_POD_ADD = enum.auto()
    NODE_DELETE = enum.auto()
    UPDATE_NAMESPACE_LABEL = enum.auto()
    # Of a claim, a volume or a storage class.
    STORAGE = enum.auto()


@dataclass(slots=True)
class Changes:
    """What some events changed for pods that wait: the kinds of change, and the rows that they are on."""

    events: ClusterEvent = ClusterEvent.NONE
    first: int = 0
    last: int = -1

    def add(self, event: ClusterEvent, row: int = -1) -> None:
        """`row` -1: on no row, as of a node that is gone."""
        self.events |= event
        if event and row >= 0:
            self.first = row if self.last < 0 else min(self.first, row)
            self.last = max(self.last, row)

    def count(self, event: ClusterEvent, row: int) -> None:
        """A pod's event, which counts for nothing on a node that does not exist."""
        if row >= 0:
            self.add(event, row)
