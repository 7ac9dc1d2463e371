"""The document of OpenAPI v2: what kubectl up to 1.26, Helm's older libraries and generators of clients read."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from typing import Any

import pytest

from pinnace.clock import settle
from tests.cluster.test_rest_openapi import CRDS, definition, references
from tests.support import wirefields
from tests.support.cluster import TURNS, Cluster
from tests.support.rest import Rest

PROTOBUF = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
V2 = "/openapi/v2"
PREFIX = "io.k8s.api.core.v1"


@pytest.fixture
def rest(cluster: Cluster) -> Rest:
    return Rest(cluster)


def schemas(value: Any) -> Iterator[dict[str, Any]]:
    """All below a definition."""
    yield value
    for item in (*value.get("properties", {}).values(), value.get("items"), value.get("additionalProperties")):
        if isinstance(item, dict):
            yield from schemas(item)


async def test_every_reference_and_parameter_is_declared(rest: Rest) -> None:
    """And what version 2 does not have is not there."""
    document = await rest.get(V2)
    assert document["swagger"] == "2.0"
    assert {ref.removeprefix("#/definitions/") for ref in references(document)} <= set(document["definitions"])
    for path, item in document["paths"].items():
        declared = {parameter["name"] for parameter in item.get("parameters", ())}
        assert {part[1:-1] for part in path.split("/") if part.startswith("{")} == declared, path
    every = [found for item in document["definitions"].values() for found in schemas(item)]
    assert not {key for item in every for key in item} & {"allOf", "anyOf", "oneOf", "not", "nullable"}
    assert all("items" in item for item in every if item.get("type") == "array")
    ids = [
        operation["operationId"]
        for item in document["paths"].values()
        for key, operation in item.items()
        if key != "parameters"
    ]
    assert len(ids) == len(set(ids)) > 100


async def test_the_document_has_what_that_of_version_3_has(rest: Rest) -> None:
    """All paths with their methods, and all schemas."""
    document = await rest.get(V2)
    paths, names = dict[str, set[str]](), set[str]()
    for entry in (await rest.get("/openapi/v3"))["paths"].values():
        found = await rest.get(entry["serverRelativeURL"])
        paths |= {path: set(item) for path, item in found["paths"].items()}
        names |= set(found["components"]["schemas"])
    assert {path: set(item) for path, item in document["paths"].items()} == paths
    assert set(document["definitions"]) == names


async def test_what_clients_build_patches_from(rest: Rest) -> None:
    """Kinds, merge keys and strategies, list types, and the parameters that kubectl looks for."""
    document = await rest.get(V2)
    definitions, spec = document["definitions"], document["definitions"][f"{PREFIX}.PodSpec"]["properties"]
    assert definitions[f"{PREFIX}.Pod"]["x-kubernetes-group-version-kind"] == [{"group": "", "version": "v1", "kind": "Pod"}]
    containers = {key: item for key, item in spec["containers"].items() if key != "description"}
    assert containers == {
        "type": "array", "items": {"$ref": f"#/definitions/{PREFIX}.Container"},
        "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
        "x-kubernetes-patch-merge-key": "name", "x-kubernetes-patch-strategy": "merge",
    }  # fmt: skip
    assert spec["volumes"]["x-kubernetes-patch-strategy"] == "merge,retainKeys"
    assert set(spec["securityContext"]) == {"$ref", "description"}
    probe = definitions[f"{PREFIX}.HTTPGetAction"]["properties"]["port"]
    assert (probe["type"], probe["format"]) == ("string", "int-or-string")
    assert definitions[f"{PREFIX}.ResourceRequirements"]["properties"]["limits"]["additionalProperties"] == {"type": "string"}
    patch = document["paths"]["/api/v1/namespaces/{namespace}/pods/{name}"]["patch"]
    assert patch["x-kubernetes-action"] == "patch"
    assert patch["operationId"] == "patchCoreV1NamespacedPod"
    assert patch["x-kubernetes-group-version-kind"] == {"group": "", "version": "v1", "kind": "Pod"}
    assert {"dryRun", "fieldManager", "fieldValidation", "force"} < {item["name"] for item in patch["parameters"]}
    assert "application/strategic-merge-patch+json" in patch["consumes"]
    body = next(item for item in patch["parameters"] if item["in"] == "body")
    assert (body["name"], body["schema"], body["required"]) == ("body", {"type": "object"}, True)
    assert patch["responses"]["200"]["schema"] == {"$ref": f"#/definitions/{PREFIX}.Pod"}


async def test_subresources_are_described_as_the_kinds_that_they_have(rest: Rest) -> None:
    paths = (await rest.get(V2))["paths"]
    pod = "/api/v1/namespaces/{namespace}/pods/{name}"
    evict, run = paths[f"{pod}/eviction"]["post"], paths[f"{pod}/exec"]
    assert evict["x-kubernetes-group-version-kind"] == {"group": "policy", "version": "v1", "kind": "Eviction"}
    assert evict["operationId"] == "createCoreV1NamespacedPodEviction"
    assert [run[method]["operationId"] for method in ("get", "post")] == [
        "connectCoreV1GetNamespacedPodExec",
        "connectCoreV1PostNamespacedPodExec",
    ]
    assert run["get"]["x-kubernetes-action"] == "connect"
    assert paths[f"{pod}/log"]["get"]["produces"] == ["application/json", "text/plain"]
    token = paths["/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token"]["post"]
    assert token["x-kubernetes-group-version-kind"]["kind"] == "TokenRequest"


async def test_a_kind_that_keeps_unknown_fields_is_any_object(rest: Rest) -> None:
    """Without properties, outside of which kubectl would refuse everything."""
    wanted = definition(a={"type": "string"})
    wanted["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["x-kubernetes-preserve-unknown-fields"] = True
    await rest.ask("POST", CRDS, wanted)
    await settle(TURNS)
    widget = (await rest.get(V2))["definitions"]["com.example.v1.Widget"]
    assert widget == {
        "type": "object", "x-kubernetes-group-version-kind": [{"group": "example.com", "version": "v1", "kind": "Widget"}],
    }  # fmt: skip


async def test_custom_kinds_appear_change_and_go(rest: Rest) -> None:
    """Values that may be null, or have unknown fields, have neither a type nor fields, and are not required."""
    assert "com.example.v1.Widget" not in (await rest.get(V2))["definitions"]
    anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True, "properties": {"a": {"type": "string"}}}
    await rest.ask(
        "POST", CRDS,
        definition(
            size={"type": "integer", "minimum": 1}, port={"x-kubernetes-int-or-string": True}, free=anything,
            may={"type": "array", "nullable": True, "items": {"type": "string"}},
            inner={"type": "object", "x-kubernetes-embedded-resource": True, "x-kubernetes-preserve-unknown-fields": True},
        ),
    )  # fmt: skip
    await settle(TURNS)
    widget = (await rest.get(V2))["definitions"]["com.example.v1.Widget"]
    assert widget["properties"]["spec"]["properties"] == {
        "size": {"type": "integer", "minimum": 1}, "port": {"x-kubernetes-int-or-string": True}, "may": {},
        "free": {"x-kubernetes-preserve-unknown-fields": True},
        "inner": {"x-kubernetes-preserve-unknown-fields": True, "x-kubernetes-embedded-resource": True},
    }  # fmt: skip
    assert {"apiVersion", "kind", "metadata", "spec"} == set(widget["properties"])
    await rest.ask("DELETE", f"{CRDS}/widgets.example.com")
    await settle(TURNS)
    assert "com.example.v1.Widget" not in (await rest.get(V2))["definitions"]


async def test_the_protobuf_form_has_the_same_content(rest: Rest) -> None:
    """Field numbers are those of gnostic's OpenAPIv2.proto; client-go's reading of it is a test of tests/clients."""
    answer = await rest.respond("GET", V2, accept=PROTOBUF)
    assert answer.content_type == PROTOBUF.replace("@", ".")
    assert isinstance(answer.body, bytes)
    found, document = wirefields.parse(answer.body), await rest.get(V2)
    assert wirefields.texts(found, 1) == ["2.0"]
    definitions = wirefields.entries(found, 9, 1)
    assert list(definitions) == list(document["definitions"])
    assert list(wirefields.entries(found, 8, 2)) == list(document["paths"])
    properties = wirefields.entries(definitions[f"{PREFIX}.PodSpec"], 25, 1)
    assert list(properties) == list(document["definitions"][f"{PREFIX}.PodSpec"]["properties"])
    extensions = wirefields.entries(properties["containers"], 31)
    assert json.loads(wirefields.texts(extensions["x-kubernetes-patch-merge-key"], 2)[0]) == "name"


async def test_the_form_is_what_the_client_accepts(rest: Rest) -> None:
    """JSON unless it asks for protobuf, by the old or the new name; a list of its own of forms is refused."""
    for accept, wanted in {
        "": "application/json", "*/*": "application/json", "application/json, */*": "application/json",
        f"{PROTOBUF}, application/json": PROTOBUF.replace("@", "."), PROTOBUF.replace("@", "."): PROTOBUF.replace("@", "."),
    }.items():  # fmt: skip
        assert (await rest.respond("GET", V2, accept=accept)).content_type == wanted, accept
    assert (await rest.respond("GET", V2, accept="text/html")).status == 406


async def test_a_document_that_the_client_has_is_not_sent_again(rest: Rest) -> None:
    """By its ETag, which changes with the kinds that are served; and compressed for those that accept that."""
    answer = await rest.respond("GET", V2, accept_encoding="gzip")
    headers = dict(answer.headers)
    assert isinstance(answer.body, bytes)
    assert headers["content-encoding"] == "gzip"
    assert json.loads(zlib.decompress(answer.body, 31)) == await rest.get(V2)
    again = await rest.respond("GET", V2, if_none_match=headers["etag"])
    assert (again.status, again.body) == (304, b"")
    await rest.ask("POST", CRDS, definition(size={"type": "integer"}))
    await settle(TURNS)
    assert (await rest.respond("GET", V2, if_none_match=headers["etag"])).status == 200
