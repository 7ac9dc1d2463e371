"""OpenAPI v3 documents: complete, consistent, and up to date with what is served."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from pinnace.clock import settle
from tests.support.cluster import TURNS, Cluster
from tests.support.rest import Rest

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
POD = "io.k8s.api.core.v1.Pod"


@pytest.fixture
def rest(cluster: Cluster) -> Rest:
    return Rest(cluster)


def definition(**spec: Any) -> dict[str, Any]:
    schema = {"type": "object", "properties": {"spec": {"type": "object", "properties": spec}}}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    return {
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced", "versions": [version],
            "names": {"plural": "widgets", "kind": "Widget"},
        },
    }  # fmt: skip


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for item in value.values():
            yield from references(item)
    elif isinstance(value, list):
        for item in value:
            yield from references(item)


async def test_every_document_of_the_index_is_there_and_whole(rest: Rest) -> None:
    """Every reference leads to a schema, every path parameter is declared, every kind has a schema."""
    index = (await rest.get("/openapi/v3"))["paths"]
    assert {"api/v1", "apis/coordination.k8s.io/v1", "apis/rbac.authorization.k8s.io/v1"} <= set(index)
    for name, entry in index.items():
        document = await rest.get(entry["serverRelativeURL"])
        schemas = document["components"]["schemas"]
        assert {ref.removeprefix("#/components/schemas/") for ref in references(document)} <= set(schemas), name
        for path, item in document["paths"].items():
            declared = {parameter["name"] for parameter in item.get("parameters", ())}
            assert {part[1:-1] for part in path.split("/") if part.startswith("{")} == declared, path
        for resource in (await rest.get("/" + name))["resources"]:
            if "/" not in resource["name"]:
                group, _, version = name.removeprefix("apis/").removeprefix("api/").rpartition("/")
                gvk = {"group": group, "version": version, "kind": resource["kind"]}
                assert any(gvk in schema.get("x-kubernetes-group-version-kind", ()) for schema in schemas.values()), gvk


async def test_what_clients_build_patches_from(rest: Rest) -> None:
    """Merge keys and strategies, list types, and the operations that kubectl looks for."""
    document = await rest.get("/openapi/v3/api/v1")
    spec = document["components"]["schemas"]["io.k8s.api.core.v1.PodSpec"]["properties"]
    containers = spec["containers"]
    assert (containers["x-kubernetes-patch-merge-key"], containers["x-kubernetes-patch-strategy"]) == ("name", "merge")
    assert (containers["x-kubernetes-list-type"], containers["x-kubernetes-list-map-keys"]) == ("map", ["name"])
    assert spec["volumes"]["x-kubernetes-patch-strategy"] == "merge,retainKeys"
    patch = document["paths"]["/api/v1/namespaces/{namespace}/pods/{name}"]["patch"]
    assert patch["x-kubernetes-group-version-kind"] == {"group": "", "version": "v1", "kind": "Pod"}
    assert "fieldValidation" in {parameter["name"] for parameter in patch["parameters"]}
    assert "application/strategic-merge-patch+json" in patch["requestBody"]["content"]
    pod = document["components"]["schemas"][POD]
    assert {"apiVersion", "kind", "metadata", "spec", "status"} == set(pod["properties"])
    assert "emptyDir" in document["components"]["schemas"]["io.k8s.api.core.v1.Volume"]["properties"]


async def test_custom_kinds_appear_change_and_go(rest: Rest) -> None:
    """With their own schema; the hash changes with it. No strategic merge patch is offered."""
    assert "apis/example.com/v1" not in (await rest.get("/openapi/v3"))["paths"]
    await rest.ask("POST", CRDS, definition(size={"type": "integer", "description": "How large."}))
    await settle(TURNS)
    before = (await rest.get("/openapi/v3"))["paths"]["apis/example.com/v1"]
    document = await rest.get(before["serverRelativeURL"])
    widget = document["components"]["schemas"]["com.example.v1.Widget"]
    assert widget["properties"]["spec"]["properties"]["size"] == {"type": "integer", "description": "How large."}
    assert widget["properties"]["kind"]["type"] == "string"
    patch = document["paths"]["/apis/example.com/v1/namespaces/{namespace}/widgets/{name}"]["patch"]
    assert "application/strategic-merge-patch+json" not in patch["requestBody"]["content"]
    change = json.dumps(definition(color={"type": "string"})["spec"]["versions"])
    await rest.ask(
        "PATCH", f"{CRDS}/widgets.example.com", f'{{"spec": {{"versions": {change}}}}}'.encode(),
        content_type="application/merge-patch+json",
    )  # fmt: skip
    await settle(TURNS)
    after = (await rest.get("/openapi/v3"))["paths"]["apis/example.com/v1"]
    assert after != before
    found = await rest.get(after["serverRelativeURL"])
    assert set(found["components"]["schemas"]["com.example.v1.Widget"]["properties"]["spec"]["properties"]) == {"color"}
    await rest.ask("DELETE", f"{CRDS}/widgets.example.com")
    await settle(TURNS)
    assert "apis/example.com/v1" not in (await rest.get("/openapi/v3"))["paths"]


async def test_a_document_that_the_client_has_is_not_sent_again(rest: Rest) -> None:
    """By its ETag."""
    answer = await rest.respond("GET", "/openapi/v3/api/v1")
    etag = dict(answer.headers)["etag"]
    again = await rest.respond("GET", "/openapi/v3/api/v1", if_none_match=etag)
    assert (again.status, again.body) == (304, b"")
    assert (await rest.respond("GET", "/openapi/v3/api/v9")).status == 404
