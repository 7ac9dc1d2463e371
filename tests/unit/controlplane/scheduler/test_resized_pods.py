"""Pods that are resized, in the scheduler's view of the cluster."""

from __future__ import annotations

from typing import Any

from controlplane.scheduler import podinfo
from pinnace import codec
from tests.support.objects import container, pod


def placed(cpu: str, *, generation: int, has: str = "", reason: str = "") -> Any:
    """A pod that wants `cpu` and has `has`."""
    subject = pod("web", container(requests={"cpu": cpu}), nodeName="n1", meta={"uid": "u1", "generation": generation})
    value: dict[str, Any] = {}
    if has:
        own = {"name": "main", "allocatedResources": {"cpu": has}, "resources": {"requests": {"cpu": has}}}
        value["containerStatuses"] = [own]
    if reason:
        value["conditions"] = [{"type": "PodResizePending", "status": "True", "reason": reason}]
    subject.status.CopyFrom(codec.decode(type(subject.status), value))
    return subject


def test_a_resize_counts_from_when_it_is_wanted_until_it_is_given_back() -> None:
    """Each moment of a resize up and one down: what is free for others never includes what the pod may have."""
    counted = [
        podinfo.read(item).requests[0]
        for item in (
            placed("1", generation=1, has="1"),
            placed("2", generation=2, has="1"),
            placed("2", generation=2, has="2"),
            placed("500m", generation=3, has="2"),
            placed("500m", generation=3, has="500m"),
        )
    ]
    assert counted == [1000, 2000, 2000, 2000, 500]


def test_a_status_is_a_change_where_it_ends_a_resize() -> None:
    """And none for a pod that was never changed, whatever it says."""
    growing = podinfo.read(placed("2", generation=2, has="1"))
    assert podinfo.unchanged(placed("2", generation=2, has="2"), growing)
    shrinking = podinfo.read(placed("1", generation=2, has="2"))
    assert not podinfo.unchanged(placed("1", generation=2, has="1"), shrinking)
    assert not podinfo.unchanged(placed("2", generation=2, has="1", reason="Infeasible"), growing)
    assert podinfo.unchanged(placed("1", generation=1, has="1"), podinfo.read(placed("1", generation=1)))
