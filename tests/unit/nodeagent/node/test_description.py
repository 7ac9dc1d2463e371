"""How a host describes itself as a Node."""

from __future__ import annotations

from pathlib import Path

from nodeagent.node import description
from nodeagent.node.resources import NodeResources


def test_a_node_has_an_internal_address_of_each_family(tmp_path: Path) -> None:
    """In the order given: the underlay's first."""
    node = description.describe("n1", ("fd00:1::1", "192.0.2.1"), tmp_path, NodeResources())
    found = [(item.type, item.address) for item in node.status.addresses]
    assert found == [("InternalIP", "fd00:1::1"), ("InternalIP", "192.0.2.1"), ("Hostname", "n1")]
    description.set_addresses(node.status, "n1", ("192.0.2.2",))
    found = [(item.type, item.address) for item in node.status.addresses]
    assert found == [("InternalIP", "192.0.2.2"), ("Hostname", "n1")]
