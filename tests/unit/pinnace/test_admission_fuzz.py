"""Any JSON decodes and is admitted, or is refused as Invalid: never another exception, never without end."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pinnace import codec, kinds, schema
from pinnace.admission import admit, admit_status
from pinnace.codec import FieldError
from pinnace.errors import ApiError
from pinnace.kinds import Kind
from tests.support.trees import TREES, base_of, objects


def admitted(kind: Kind, value: Any, old: Any | None = None) -> Any | None:
    """The message of a value, admitted; None when it was refused."""
    try:
        message = codec.decode(kind.cls, value)
        admit(kind, message, old=old)
        if old is not None and "status" in message.DESCRIPTOR.fields_by_name:
            admit_status(kind, message, old)
    except FieldError as error:
        causes = error.causes()
    except ApiError as error:
        causes = error.causes
    else:
        return message
    assert causes
    assert all(cause.message for cause in causes)
    return None


@pytest.mark.parametrize("kind", [*kinds.ALL, *kinds.FORMS], ids=lambda kind: kind.group_kind)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(data=st.data())
def test_any_tree_is_admitted_or_invalid(kind: Kind, data: st.DataObject) -> None:
    """As a new object, and as a change of a small one; what is admitted is encoded, decoded and admitted again."""
    value = data.draw(objects(schema.of(kind.cls)) | TREES)
    base = {"metadata": {"name": "a", "namespace": "default" if kind.namespaced else ""}, **base_of(kind)}
    old = codec.decode(kind.cls, base)
    admit(kind, old)
    made = admitted(kind, value)
    if made is not None:
        again = json.loads(json.dumps(codec.encode(made)))
        assert admitted(kind, again) == made
    if isinstance(value, dict):
        admitted(kind, {**base, **value}, old)


@pytest.mark.parametrize("kind", [*kinds.ALL, *kinds.FORMS], ids=lambda kind: kind.group_kind)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_any_protobuf_is_admitted_or_invalid(kind: Kind, data: st.DataObject) -> None:
    """A body in protobuf may hold quantities and times that no JSON could be decoded to."""
    message = codec.decode(kind.cls, {"metadata": {"name": "a", "namespace": "default"}, **base_of(kind)})
    spoil(message, data)
    for old in (None, codec.decode(kind.cls, {"metadata": {"name": "a"}, **base_of(kind)})):
        copy = type(message).FromString(message.SerializeToString())
        try:
            admit(kind, copy, old=old)
        except ApiError:
            continue


def spoil(message: Any, data: st.DataObject) -> None:
    """Put bad amounts, and messages that are empty, where there is room."""
    bad = st.sampled_from(["", "x", "1Zi", "-1", "9" * 70])
    for descriptor in message.DESCRIPTOR.fields:
        nested = descriptor.message_type
        if nested is None or not data.draw(st.booleans()):
            continue
        if nested.GetOptions().map_entry:
            amounts = nested.fields_by_name["value"].message_type
            if amounts is not None and amounts.name == "Quantity":
                getattr(message, descriptor.name)["cpu"].string = data.draw(bad)
        elif descriptor.is_repeated:
            spoil(getattr(message, descriptor.name).add(), data)
        elif nested.name == "Quantity":
            getattr(message, descriptor.name).string = data.draw(bad)
        elif message.ByteSize() < 2_000:
            getattr(message, descriptor.name).SetInParent()
            spoil(getattr(message, descriptor.name), data)
