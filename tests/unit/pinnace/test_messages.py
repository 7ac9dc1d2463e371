"""Protobuf messages as values."""

from __future__ import annotations

from pinnace.core.v1.pod_pb2 import Pod
from pinnace.messages import includes


def test_a_comparison_of_labels_adds_none() -> None:
    """A message's map adds a key that is looked up by `[]`."""
    pod, other = Pod(), Pod()
    pod.metadata.labels.update({"app": "web", "tier": "front"})
    other.metadata.labels["track"] = ""
    assert includes(pod.metadata.labels, {"app": "web"})
    assert includes(pod.metadata.labels, Pod().metadata.labels)
    assert not includes(pod.metadata.labels, {"app": "db"})
    assert not includes(pod.metadata.labels, other.metadata.labels)
    assert dict(pod.metadata.labels) == {"app": "web", "tier": "front"}
