"""Errors on the wire: nothing is cut that the client has room for, and nothing is sent that it has not."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinnace import wire
from pinnace.errors import Cause, Invalid

TEXT = st.text(max_size=400)
CAUSES = st.lists(st.builds(Cause, TEXT, TEXT), max_size=80)


@given(CAUSES, TEXT, st.sampled_from([wire.DEFAULT_STATUS, wire.MAX_STATUS]))
def test_a_status_is_never_larger_than_its_bound(causes: list[Cause], message: str, most: int) -> None:
    """Whatever the error; causes that are left out are counted."""
    status = wire.to_status(Invalid(message * 50, causes=tuple(causes)), most=most)
    assert status.ByteSize() <= most
    sent = status.details.causes
    if len(sent) and sent[-1].message.endswith(" more errors"):
        assert len(sent) - 1 + int(sent[-1].message.split()[0]) == len(causes)
    else:
        assert len(sent) == len(causes)


def test_two_hundred_long_causes_arrive_uncut() -> None:
    """In the room that kctl has, which is more than gRPC's default."""
    causes = tuple(Cause(f"spec.containers[{n}].image", "é" * 150) for n in range(200))
    back = wire.from_status(wire.to_status(Invalid("no", causes=causes), most=wire.MAX_STATUS))
    assert back.causes == causes


@pytest.mark.parametrize(
    ("metadata", "large"),
    [
        ((), False),
        (None, False),
        (wire.ACCEPTING_CALL, True),
        (((wire.ACCEPTS_KEY, "x"),), False),
        (((wire.ACCEPTS_KEY, "9" * 9),), True),
    ],
)
async def test_a_client_gets_what_it_said_it_takes(metadata: Any, large: bool) -> None:
    """One that says nothing gets a status that fits gRPC's 8 KiB."""
    sent: list[Any] = []

    async def abort(code: Any, details: str, trailing: Any) -> None:
        sent.extend((details, trailing))

    error = Invalid("x" * 1_000_000, causes=tuple(Cause("a", "b" * 100) for _ in range(3_000)))
    await wire.abort(SimpleNamespace(invocation_metadata=lambda: metadata, abort=abort), error)
    [details, ((key, status),)] = sent
    assert (key, len(details)) == (wire.STATUS_KEY, wire.MAX_DETAILS)
    assert (len(status) > wire.DEFAULT_STATUS) is large
    assert len(status) <= (wire.MAX_STATUS if large else wire.DEFAULT_STATUS)
