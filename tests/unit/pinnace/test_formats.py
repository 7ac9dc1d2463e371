"""Syntaxes that have a short way for the common case, against the long one."""

from __future__ import annotations

import ipaddress

from hypothesis import given
from hypothesis import strategies as st

from pinnace import formats

_OCTETS = st.lists(st.integers(0, 300).map(str) | st.sampled_from(["00", "01", "255", "256", "999", "1000", ""]), max_size=6)


@given(_OCTETS.map(".".join))
def test_an_ipv4_address_is_one_for_the_standard_library_too(text: str) -> None:
    """It refuses leading zeros as well, and of texts of digits and dots there is no other address."""
    try:
        ipaddress.ip_address(text)
        fine = True
    except ValueError:
        fine = False
    assert (formats.ip(text) == []) == fine


def test_a_label_that_is_too_long_is_measured_in_bytes() -> None:
    """As in Kubernetes, where the length of a DNS name is in characters. Source: apimachinery, api/validate/content."""
    assert formats.label_value("a" * 64) == ["must be no more than 63 bytes"]
    assert formats.qualified_name("a" * 64) == ["name part must be no more than 63 bytes"]
    assert formats.qualified_name(f"{'a.' * 126}aa/x") == ["prefix part must be no more than 253 bytes"]
    assert formats.dns_label("a" * 64) == ["must be no more than 63 characters"]


@given(st.text("aZ0-_./", max_size=70))
def test_a_label_key_without_a_slash_is_a_label_value(text: str) -> None:
    """Both have one syntax, but an empty text is a value only."""
    if "/" not in text and text:
        assert (formats.qualified_name(text) == []) == (formats.label_value(text) == [])
    elif not text:
        assert formats.qualified_name(text)
