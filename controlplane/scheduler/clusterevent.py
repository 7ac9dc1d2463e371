"""Changes in a cluster that may make a rejected pod fit, as in Kubernetes' queueing hints."""

from __future__ import annotations

import enum


class ClusterEvent(enum.Flag):
    NONE = 0
    NODE_ADD = enum.auto()
    UPDATE_NODE_ALLOCATABLE = enum.auto()
    UPDATE_NODE_LABEL = enum.auto()
    UPDATE_NODE_TAINT = enum.auto()
    ASSIGNED_POD_DELETE = enum.auto()
