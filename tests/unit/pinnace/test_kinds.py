"""The kinds that a cluster serves: what is found by a name, and which names are taken."""

from __future__ import annotations

import pytest

from pinnace.core.v1 import config_pb2
from pinnace.kinds import Kind, Kinds


def test_a_version_does_not_take_the_names_of_another_kind() -> None:
    """The kind that was there stays."""
    first = Kind("example.com/v2", "Widget", "widgets", config_pb2.ConfigMap)
    served = Kinds([first, Kind("example.com/v1", "Widget", "others", config_pb2.ConfigMap)])
    with pytest.raises(ValueError, match="registered already"):
        served.add_version(Kind("example.com/v2", "Widget", "others", config_pb2.ConfigMap))
    assert served.find("example.com/v2", "Widget") is first
