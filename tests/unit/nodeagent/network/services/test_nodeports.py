"""At which of the node's addresses NodePorts answer."""

from __future__ import annotations

import pytest

from nodeagent.network.services import nodeports


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("primary", ()),
        ("10.0.0.0/8", ("10.0.0.0/8",)),
        ("10.0.0.0/8, 10.1.0.0/16,fd00::/64,192.0.2.1", ("10.0.0.0/8", "192.0.2.1/32", "fd00::/64")),
    ],
)
def test_the_flag_names_networks_or_the_primary_addresses(text: str, expected: tuple[str, ...]) -> None:
    """Merged: nft rejects intervals that overlap."""
    assert nodeports.parse(text) == expected


@pytest.mark.parametrize("text", ["", "primary,10.0.0.0/8", "10.0.0.1/8", "all"])
def test_anything_else_is_rejected(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        nodeports.parse(text)


@pytest.mark.parametrize(
    ("configured", "expected"),
    [
        ((), ("192.0.2.1", "fd00::1")),
        (("0.0.0.0/0", "::/0"), ("0.0.0.0/0", "::/0")),
        (("198.51.100.0/24",), ("198.51.100.0/24", "fd00::1")),
    ],
)
def test_a_family_without_a_network_has_the_nodes_own_address(configured: tuple[str, ...], expected: tuple[str, ...]) -> None:
    assert nodeports.networks(configured, ("192.0.2.1", "fd00::1")) == expected
    assert nodeports.networks((), ("192.0.2.1",)) == ("192.0.2.1",)
