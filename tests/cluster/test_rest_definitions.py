"""CustomResourceDefinitions in protobuf, as typed clients of Go send and read them: their schemas are Kubernetes' messages."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane import resources
from controlplane.customresources import schemaprotobuf
from controlplane.requests import objectjson
from pinnace import codec
from pinnace.apiextensions.v1.customresourcedefinition_pb2 import CustomResourceDefinition
from pinnace.clock import settle
from pinnace.meta.v1 import rest_pb2
from tests.support import customkinds, wirefields
from tests.support.cluster import TURNS, Cluster
from tests.support.rest import Rest

URL = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
PROTOBUF = "application/vnd.kubernetes.protobuf"
API = {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition"}


@pytest.fixture
def rest(cluster: Cluster) -> Rest:
    return Rest(cluster)


def envelope(value: dict[str, Any]) -> bytes:
    """As a client of Go writes it."""
    item = codec.decode(CustomResourceDefinition, {"metadata": value["metadata"], "spec": value["spec"]})
    raw = schemaprotobuf.to_kubernetes(item.SerializeToString())
    return b"k8s\0" + rest_pb2.Unknown(typeMeta=rest_pb2.TypeMeta(**API), raw=raw).SerializeToString()


def schema_of(definition: bytes) -> wirefields.Fields:
    """The fields of JSONSchemaProps in the first version: spec 2, versions 7, schema 4, openAPIV3Schema 1."""
    fields = wirefields.parse(definition)
    for number in (2, 7, 4, 1):
        fields = wirefields.parse(fields[number][0])
    return fields


def raw_of(body: bytes) -> bytes:
    return rest_pb2.Unknown.FromString(body[4:]).raw


async def create(rest: Rest) -> dict[str, Any]:
    """By protobuf; returns its JSON."""
    status, answer = await rest.text("POST", URL, envelope(customkinds.definition()), content_type=PROTOBUF, accept=PROTOBUF)
    assert status == 201, answer
    await settle(TURNS)
    return dict(await rest.get(f"{URL}/crontabs.stable.example.com"))


async def test_a_definition_in_protobuf_is_that_of_its_json(rest: Rest) -> None:
    """Its kind is served, with the schema."""
    found = await create(rest)
    assert found["spec"]["versions"][0]["schema"] == customkinds.definition()["spec"]["versions"][0]["schema"]
    assert "Established" in {item["type"] for item in found["status"]["conditions"]}
    status, _ = await rest.ask(
        "POST", "/apis/stable.example.com/v1/namespaces/default/crontabs", customkinds.crontab("a", replicas="x")
    )
    assert status == 422


async def test_every_response_in_protobuf_has_kubernetes_schema(rest: Rest) -> None:
    """Of one object, of a list and of a watch: type 5 is text, and properties 29 are entries of a map."""
    await create(rest)
    _, one = await rest.text("GET", f"{URL}/crontabs.stable.example.com", accept=PROTOBUF)
    _, many = await rest.text("GET", URL, accept=PROTOBUF)
    _, event = await rest.text("GET", f"{URL}?watch=true&timeoutSeconds=1", accept=f"{PROTOBUF};stream=watch")
    watched = wirefields.parse(wirefields.parse(event[4 : 4 + int.from_bytes(event[:4], "big")])[2][0])[1][0]
    for definition in (raw_of(one), wirefields.parse(raw_of(many))[2][0], raw_of(watched)):
        schema = schema_of(definition)
        assert wirefields.texts(schema, 5) == ["object"]
        assert {wirefields.texts(wirefields.parse(item), 1)[0] for item in schema[29]} == {"spec", "status"}


async def test_what_is_read_in_protobuf_can_be_written_back(rest: Rest) -> None:
    """Nothing has changed."""
    before = await create(rest)
    place = f"{URL}/crontabs.stable.example.com"
    _, body = await rest.text("GET", place, accept=PROTOBUF)
    status, _ = await rest.text("PUT", place, body, content_type=PROTOBUF, accept=PROTOBUF)
    after = await rest.get(place)
    assert (status, after["metadata"]["resourceVersion"]) == (200, before["metadata"]["resourceVersion"])


async def test_a_schema_that_cannot_be_read_is_a_bad_request(rest: Rest) -> None:
    """Its bytes are cut off."""
    body = envelope(customkinds.definition())
    status, answer = await rest.ask("POST", URL, body[:-20], content_type=PROTOBUF)
    assert (status, answer["reason"]) == (400, "BadRequest")


def test_the_audit_log_has_the_schema() -> None:
    """As JSON."""
    found = objectjson.value_of(
        resources.built_in(), API["apiVersion"], API["kind"], raw_of(envelope(customkinds.definition()))
    )
    assert found is not None
    assert found["spec"]["versions"][0]["schema"] == customkinds.definition()["spec"]["versions"][0]["schema"]
