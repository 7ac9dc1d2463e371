"""What agents get of Services: all that they use."""

from __future__ import annotations

from controlplane.dispatcher.serviceobjects import ServiceObjects
from controlplane.store import StoredObject
from pinnace import kinds
from pinnace.api.v1 import nodes_pb2
from pinnace.wellknown import ANNOTATION_ANNOUNCED_BY, ANNOTATION_SOURCE_RANGES
from tests.support.services import service


def test_annotations_that_agents_read_are_kept() -> None:
    """Without the ranges, a load balancer would be open to all."""
    item = service(type="LoadBalancer")
    read = {ANNOTATION_ANNOUNCED_BY: "node-1", ANNOTATION_SOURCE_RANGES: "192.0.2.0/24"}
    item.metadata.annotations.update({**read, "example.com/other": "x"})
    item.metadata.managedFields.add(manager="m")
    row = StoredObject(kinds.SERVICE, kinds.SERVICE.key("default", "web"), item.SerializeToString(), 7)
    table = ServiceObjects()
    assert table.take(row, present=True)
    [change] = nodes_pb2.Assignment.FromString(table.all()).changes
    found = kinds.SERVICE.cls.FromString(change.object.protobuf)
    assert (dict(found.metadata.annotations), len(found.metadata.managedFields)) == (read, 0)
