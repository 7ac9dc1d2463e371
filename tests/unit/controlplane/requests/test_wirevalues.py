"""Messages in encoded objects are counted without decoding them, and no further than an object may reach."""

from __future__ import annotations

import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message
from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.requests import decoding, managers, objectjson, wirevalues
from controlplane.resources import built_in
from pinnace import kinds, protowire
from pinnace.core.v1 import config_pb2, pod_pb2
from pinnace.errors import BadRequest, TooLarge

POD = pod_pb2.Pod.DESCRIPTOR
SPEC, CONTAINERS = POD.fields_by_name["spec"].number, pod_pb2.PodSpec.DESCRIPTOR.fields_by_name["containers"].number
# Larger than three megabytes of JSON, which no client may send.
MANY = 1_500_000


def pod(containers: int, *, readable: bool = True) -> bytes:
    """A pod of so many empty containers, whose end may not be readable."""
    return protowire.field(SPEC, protowire.field(CONTAINERS, b"") * containers + (b"" if readable else b"\xff" * 11))


def messages(message: Message) -> int:
    """Reference: the messages within a message."""
    count = 0
    for field, value in message.ListFields():
        if field.type == FieldDescriptor.TYPE_MESSAGE:
            entries = field.message_type.GetOptions().map_entry
            below = [] if entries else value if field.is_repeated else [value]
            count += len(value) if entries else len(below) + sum(map(messages, below))
    return count


def sample() -> pod_pb2.Pod:
    message = pod_pb2.Pod(metadata={"name": "a", "labels": {"a": "b", "c": "d"}, "generation": 1 << 40})
    container = message.spec.containers.add(name="c", env=[{"name": "A"}, {"name": "B", "value": "x" * 300}])
    container.resources.limits["cpu"].string = "1"
    message.metadata.creationTimestamp.SetInParent()
    return message


@pytest.mark.parametrize("message", [sample(), pod_pb2.Pod(), config_pb2.ConfigMap(data={"a": "b"}, binaryData={"c": b"d"})])
def test_the_count_is_that_of_the_decoded_message(message: Message) -> None:
    """One fewer is too few for it. A map's value that is a message counts too."""
    data, count = message.SerializeToString(), messages(message)
    cpu = isinstance(message, pod_pb2.Pod) and bool(message.spec.containers)
    assert not wirevalues.exceeds(message.DESCRIPTOR, data, count + cpu)
    assert not count or wirevalues.exceeds(message.DESCRIPTOR, data, count + cpu - 1)


def test_what_an_object_may_not_have_is_not_walked() -> None:
    """The end of the data is not readable, which only a walk to it would find."""
    assert wirevalues.exceeds(POD, pod(MANY, readable=False), 10_000)
    with pytest.raises(wirevalues.Unreadable):
        wirevalues.exceeds(POD, pod(100, readable=False), 10_000)


def test_fields_that_are_no_messages_are_bounded_too() -> None:
    """Which cost little to decode, and as much as others to walk."""
    data = protowire.field(1, b"") * (wirevalues.FIELDS + 1)
    assert wirevalues.exceeds(config_pb2.ConfigMap.DESCRIPTOR.fields_by_name["data"].message_type, data, 10_000)


@pytest.mark.parametrize("data", [pod(MANY), pod(MANY, readable=False), b"\xa2\x38\0" * 500_000])
def test_an_object_of_too_many_messages_is_refused_undecoded(data: bytes) -> None:
    """Decoding the one that is cut would find that first."""
    resource = built_in().resource(kinds.POD)
    with pytest.raises(TooLarge) as caught:
        decoding.from_protobuf(resource, data, "default")
    assert caught.value.http == 413
    assert objectjson.value_of(built_in(), "v1", "Pod", data) is None


def test_a_large_object_of_few_values_is_decoded() -> None:
    """With owners that clients send along, which are no values."""
    message = config_pb2.ConfigMap(metadata={"name": "a"}, data={"k": "x" * 1_000_000})
    for number in range(managers.MAX_ENTRIES):
        entry = message.metadata.managedFields.add(manager=f"m{number}", operation="Update")
        entry.time.seconds, entry.fieldsV1.Raw = 1, b"{}"
    found = decoding.from_protobuf(built_in().resource(kinds.CONFIG_MAP), message.SerializeToString(), "default")
    assert (len(found.data["k"]), len(found.metadata.managedFields)) == (1_000_000, managers.MAX_ENTRIES)


def test_what_is_no_message_is_a_bad_request() -> None:
    """Large enough to be walked."""
    with pytest.raises(BadRequest):
        decoding.from_protobuf(built_in().resource(kinds.POD), b"\xff" * 100_000, "default")


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60), st.integers(0, 200), st.integers(0, 3))
def test_any_bytes_have_an_answer(noise: bytes, place: int, cut: int) -> None:
    """What the decoder can read, the walk can, and it finds at least as many messages."""
    whole = sample().SerializeToString()
    at = place % (len(whole) + 1)
    data = whole[:at] + noise + whole[at + cut :]
    try:
        found = messages(pod_pb2.Pod.FromString(data))
    except DecodeError:
        found = None
    try:
        fits = not wirevalues.exceeds(POD, data, 10_000)
        fewer = found is not None and found > 0 and not wirevalues.exceeds(POD, data, found - 1)
    except wirevalues.Unreadable:
        assert found is None
        return
    assert (fits, fewer) == (True, False)
