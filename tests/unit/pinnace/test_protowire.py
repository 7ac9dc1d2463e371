"""Fields by hand are the bytes that protobuf itself writes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pinnace.meta.v1 import rest_pb2
from pinnace.protowire import field


@given(st.integers(0, 40_000))
def test_a_field_is_as_protobuf_writes_it(length: int) -> None:
    """Whatever its length."""
    data = b"x" * length
    assert rest_pb2.RawExtension.FromString(field(1, data)).raw == data
    assert not length or rest_pb2.RawExtension(raw=data).SerializeToString() == field(1, data)
