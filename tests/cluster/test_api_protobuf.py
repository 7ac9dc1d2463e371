"""Bodies in protobuf: the types that protobuf does not have are checked as in JSON."""

from __future__ import annotations

from typing import Any

import pytest

from pinnace import codec, errors, kinds
from pinnace.apiextensions.v1 import customresourcedefinition_pb2
from pinnace.clock import settle
from pinnace.core.v1 import pod_pb2
from tests.support import customkinds
from tests.support.api import Api
from tests.support.objects import node, pod


def _quantity(item: Any) -> None:
    item.spec.containers[0].resources.limits["memory"].string = "lots"


def _size(item: Any) -> None:
    item.spec.volumes.add(name="a").volumeSource.emptyDir.sizeLimit.string = "x"


def _divisor(item: Any) -> None:
    variable = item.spec.containers[0].env.add(name="A")
    variable.valueFrom.resourceFieldRef.resource = "limits.cpu"
    variable.valueFrom.resourceFieldRef.divisor.string = "1 1"


def _port(item: Any) -> None:
    item.spec.containers[0].livenessProbe.handler.tcpSocket.port.type = 7


def _time(item: Any) -> None:
    item.metadata.creationTimestamp.seconds = 2**62


@pytest.mark.parametrize(
    ("spoil", "field"),
    [
        (_quantity, "spec.containers[0].resources.limits[memory]"),
        (_size, "spec.volumes[0].emptyDir.sizeLimit"),
        (_divisor, "spec.containers[0].env[0].valueFrom.resourceFieldRef.divisor"),
        (_port, "spec.containers[0].livenessProbe.tcpSocket.port"),
        (_time, "metadata.creationTimestamp"),
    ],
)
async def test_a_value_that_json_could_not_express_is_invalid(api: Api, spoil: Any, field: str) -> None:
    """By every verb, naming the field."""
    made = await api.create(kinds.POD, pod("good", automountServiceAccountToken=False))
    for verb, message in ((api.create, pod()), (api.update, made)):
        spoil(message)
        with pytest.raises(errors.Invalid) as caught:
            await verb(kinds.POD, message)
        assert [cause.field for cause in caught.value.causes] == [field]


async def test_a_status_in_protobuf_is_checked_too(api: Api) -> None:
    """A node's capacity, which the scheduler computes with."""
    made = await api.create(kinds.NODE, node())
    made.status.capacity["cpu"].string = "many"
    with pytest.raises(errors.Invalid):
        await api.update_status(kinds.NODE, made)


async def test_unknown_fields_are_not_stored(api: Api) -> None:
    """Of a newer client."""
    body = pod().SerializeToString() + b"\xfa\x7f\x03abc"
    made = await api.create(kinds.POD, pod_pb2.Pod.FromString(body))
    assert b"abc" not in made.SerializeToString()


@pytest.mark.parametrize(
    ("part", "raw", "field"),
    [
        ("spec", b"{", "spec"),
        ("spec", b'{"a": 1}', "spec"),
        ("spec", b'{"a":NaN}', "spec"),
        ("spec", b"[" * 2000, "spec"),
        ("status", b"\xff", "status"),
        ("rest", b"[1]", ""),
        ("rest", b'{"metadata":{}}', ""),
        ("rest", b'{"spec":{}}', ""),
        ("rest", b'{"status":{}}', ""),
    ],
)
async def test_json_of_a_custom_object_is_checked(api: Api, part: str, raw: bytes, field: str) -> None:
    """On create and on update, of every part."""
    await api.create(kinds.CUSTOM_RESOURCE_DEFINITION, customkinds.definition(status=False))
    await settle(50)
    made = await api.create(customkinds.CRONTAB, customkinds.crontab())
    other = customkinds.CRONTAB.cls()
    other.metadata.name = "other"
    other.spec.raw = made.spec.raw
    for verb, message in ((api.create, other), (api.update, made)):
        getattr(message, part).raw = raw
        with pytest.raises(errors.Invalid) as caught:
            await verb(customkinds.CRONTAB, message)
        assert [cause.field for cause in caught.value.causes] == [field]


@pytest.mark.parametrize("raw", [b"{", b'{"default":NaN,"type":"object"}', b'{"type": "object"}'])
async def test_a_schema_in_protobuf_is_checked(api: Api, raw: bytes) -> None:
    """It is stored as it was given, and read with each start."""
    manifest = {key: value for key, value in customkinds.definition().items() if key in ("metadata", "spec")}
    message = codec.decode(customresourcedefinition_pb2.CustomResourceDefinition, manifest)
    message.spec.versions[0].schema.openAPIV3Schema.raw = raw
    with pytest.raises(errors.Invalid) as caught:
        await api.create(kinds.CUSTOM_RESOURCE_DEFINITION, message)
    assert [cause.field for cause in caught.value.causes] == ["spec.versions[0].schema.openAPIV3Schema"]
