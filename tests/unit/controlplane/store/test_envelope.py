"""What surrounds a value in etcd."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.store import envelope
from controlplane.store.envelope import SPAN, Damaged, Envelope

KEY = "/registry/pods/default/web"


@given(st.binary(max_size=40), st.integers(0, SPAN - 1), st.booleans())
def test_an_envelope_is_read_as_it_was_written(value: bytes, place: int, replaces: bool) -> None:
    """Whatever the value, also one that looks like an envelope."""
    written = Envelope(value, place, replaces)
    assert Envelope.decode(KEY, written.encode(KEY)) == written
    nested = Envelope(written.encode(KEY), 0)
    assert Envelope.decode(KEY, nested.encode(KEY)) == nested


@pytest.mark.parametrize("value", [b"", b"\x0a\x05hello", b'{"metadata": {}}'], ids=["empty", "protobuf", "json"])
def test_values_of_earlier_versions_are_read_as_they_are(value: bytes) -> None:
    """They had no envelope; their place is the first."""
    assert Envelope.decode(KEY, value) == Envelope(value, 0)


def test_a_changed_bit_anywhere_behind_the_header_is_found() -> None:
    """And a value under another key, too."""
    written = Envelope(b"some value", 3).encode(KEY)
    for at in range(2, len(written)):
        changed = bytearray(written)
        changed[at] ^= 0x10
        with pytest.raises(Damaged):
            Envelope.decode(KEY, bytes(changed))
    with pytest.raises(Damaged):
        Envelope.decode(KEY + "2", written)


def test_revisions_of_one_transaction_lie_between_those_of_its_neighbours() -> None:
    """And stay below 2**53 for more transactions than a cluster makes."""
    assert envelope.last(4) < envelope.first(5) <= envelope.last(5) < envelope.first(6)
    assert all(envelope.mod_revision(revision) == 5 for revision in range(envelope.first(5), envelope.last(5) + 1))
    assert envelope.last(2**46 - 1) < 2**53
