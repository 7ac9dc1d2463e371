"""managedFields that clients write themselves, as kubectl and Helm do when they begin to apply what they have updated before."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pinnace.core.v1 import config_pb2
from pinnace.meta.v1 import rest_pb2
from tests.support.cluster import Cluster
from tests.support.rest import Rest

MAPS = "/api/v1/namespaces/default/configmaps"
JSON_PATCH, APPLY, PROTOBUF = (
    "application/json-patch+json",
    "application/apply-patch+yaml",
    "application/vnd.kubernetes.protobuf",
)
Entry = dict[str, Any]


@pytest.fixture
async def rest(cluster: Cluster) -> Rest:
    """With a ConfigMap that `tool` has created by an update."""
    rest = Rest(cluster)
    status, _ = await rest.ask("POST", f"{MAPS}?fieldManager=tool", config_map(a="1", b="2"))
    assert status == 201
    return rest


def config_map(**data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": data}


def entry(manager: str, operation: str, fields: Any, **more: Any) -> Entry:
    return {
        "manager": manager,
        "operation": operation,
        "apiVersion": "v1",
        "fieldsType": "FieldsV1",
        "fieldsV1": fields,
        **more,
    }


def data(*names: str) -> dict[str, Any]:
    return {"f:data": {f"f:{name}": {} for name in names}}


async def owners(rest: Rest) -> dict[tuple[str, str], Any]:
    """The fields by manager and operation."""
    entries = (await rest.get(f"{MAPS}/m"))["metadata"].get("managedFields", [])
    return {(item["manager"], item["operation"]): item["fieldsV1"] for item in entries}


async def state(rest: Rest, *entries: Entry, path: str = f"{MAPS}/m", **more: Any) -> tuple[int, Any]:
    """Replace managedFields as csaupgrade of client-go does."""
    version = (await rest.get(f"{MAPS}/m"))["metadata"]["resourceVersion"]
    patch = [
        {"op": "replace", "path": "/metadata/managedFields", "value": list(entries)},
        {"op": "replace", "path": "/metadata/resourceVersion", "value": version},
        *more.get("patch", ()),
    ]
    status, found = await rest.ask("PATCH", f"{path}?fieldManager=tool", patch, content_type=JSON_PATCH)
    return status, found


async def test_updated_fields_are_passed_on_to_an_applier(rest: Rest) -> None:
    """Its apply has no conflict with the fields that it updated before, and removes what it no longer has."""
    path, wanted = f"{MAPS}/m?fieldManager=tool", config_map(a="9")
    assert (await rest.ask("PATCH", path, wanted, content_type=APPLY))[0] == 409
    status, found = await state(rest, entry("tool", "Apply", data("a", "b")))
    assert (status, await owners(rest)) == (200, {("tool", "Apply"): data("a", "b")})
    assert found["metadata"]["managedFields"][0]["time"]
    status, found = await rest.ask("PATCH", path, wanted, content_type=APPLY)
    assert (status, found["data"]) == (200, {"a": "9"})


async def test_a_change_in_the_same_request_belongs_to_its_writer(rest: Rest) -> None:
    """It is taken from the owners that the request states."""
    change = {"op": "replace", "path": "/data/a", "value": "9"}
    assert (await state(rest, entry("other", "Apply", data("a", "b")), patch=(change,)))[0] == 200
    assert await owners(rest) == {("other", "Apply"): data("b"), ("tool", "Update"): data("a")}


async def test_one_empty_entry_resets_them(rest: Rest) -> None:
    """Nobody owns anything then; a list without an entry changes nothing."""
    before = await owners(rest)
    assert (await state(rest))[0] == 200
    assert await owners(rest) == before
    assert (await state(rest, {}))[0] == 200
    assert await owners(rest) == {}


async def test_the_same_entries_in_another_order_are_no_change(rest: Rest) -> None:
    """The object keeps its resourceVersion."""
    found = await rest.get(f"{MAPS}/m")
    [mine] = found["metadata"]["managedFields"]
    mine["fieldsV1"]["f:data"] = dict(reversed(mine["fieldsV1"]["f:data"].items()))
    assert next(iter(mine["fieldsV1"]["f:data"])) == "f:b"
    status, updated = await rest.ask("PUT", f"{MAPS}/m", found)
    assert (status, updated["metadata"]["resourceVersion"]) == (200, found["metadata"]["resourceVersion"])


def envelope(message: Any) -> bytes:
    type_ = rest_pb2.TypeMeta(apiVersion="v1", kind="ConfigMap")
    return b"k8s\0" + rest_pb2.Unknown(typeMeta=type_, raw=message.SerializeToString()).SerializeToString()


async def test_entries_in_protobuf(rest: Rest) -> None:
    """Typed clients send them; those that are not JSON are ignored."""
    message = config_pb2.ConfigMap(data={"a": "1", "b": "2"})
    message.metadata.name = "m"
    mine = message.metadata.managedFields.add(manager="typed", operation="Apply", apiVersion="v1", fieldsType="FieldsV1")
    for raw in (json.dumps(data("a")).encode(), b"\xff{"):
        mine.fieldsV1.Raw = raw
        status, _ = await rest.ask("PUT", f"{MAPS}/m", envelope(message), content_type=PROTOBUF)
        assert (status, await owners(rest)) == (200, {("typed", "Apply"): data("a")})


@pytest.mark.parametrize(
    "wrong",
    [
        entry("x", "Steal", data("a")), entry("x", "Apply", data("a"), fieldsType="FieldsV9"), entry("x", "Apply", {"f:data": 1}),
        entry("x", "Apply", {"k:[]": {}}), entry("x", "Apply", {"k:{": {}}), entry("x", "Apply", {"i:x": {}}), entry("x", "Apply", {"z": {}}),
        entry("x", "Apply", {".": {"f:a": {}}, "f:b": {}}), {"manager": "x"},
    ],
)  # fmt: skip
async def test_entries_that_cannot_be_read_change_nothing(rest: Rest, wrong: Entry) -> None:
    """As in Kubernetes, for clients that do not know what they pass on."""
    before = await owners(rest)
    assert (await state(rest, wrong))[0] == 200
    assert await owners(rest) == before


async def test_a_subresource_does_not_take_them(rest: Rest) -> None:
    """Of a node: entries that come with its status are not looked at."""
    await rest.ask("POST", "/api/v1/nodes", {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}})
    found = await rest.get("/api/v1/nodes/n")
    found["metadata"]["managedFields"] = [entry("x", "Apply", {"f:spec": {}})]
    status, updated = await rest.ask("PUT", "/api/v1/nodes/n/status", found)
    assert status == 200
    assert "x" not in {item["manager"] for item in updated["metadata"].get("managedFields", [])}


async def test_names_and_sizes_have_limits(rest: Rest) -> None:
    """Each refusal names the field; the object is as before."""
    before = await owners(rest)
    status, found = await state(rest, entry("x" * 129, "Apply", data("a"), subresource="y" * 257))
    fields = [cause["field"] for cause in found["details"]["causes"]]
    assert (status, fields) == (422, ["metadata.managedFields[0].manager", "metadata.managedFields[0].subresource"])
    assert (await state(rest, entry("a\nb", "Apply", data("a"))))[0] == 422
    assert (await state(rest, entry("x", "Apply", data(*map(str, range(50_000))))))[0] == 413
    assert (await state(rest, *(entry(f"x{n}", "Apply", data("a")) for n in range(1001))))[0] == 413
    assert await owners(rest) == before


async def test_sets_that_fit_no_object_harm_nobody(rest: Rest) -> None:
    """Fields that the kind does not have, items of what is no list, two hundred levels: others apply and update as before."""
    deep: Any = {}
    for _ in range(200):
        deep = {"f:x": deep}
    strange = {"f:nothing": {}, "v:1": {}, 'k:{"a":{"b":1}}': {}, "i:3": {}, "f:data": {"f:a": {}, "k:{}": {"f:x": {}}}}
    assert (await state(rest, entry("x", "Apply", strange), entry("tool", "Apply", {"f:metadata": deep})))[0] in (200, 400, 422)
    assert (await state(rest, entry("x", "Apply", strange)))[0] == 200
    path = f"{MAPS}/m?fieldManager="
    assert (await rest.ask("PATCH", f"{path}new", config_map(a="3"), content_type=APPLY))[0] == 409
    assert (await rest.ask("PATCH", f"{path}new&force=true", config_map(a="3"), content_type=APPLY))[0] == 200
    status, found = await rest.ask("PATCH", f"{path}x", config_map(c="4"), content_type=APPLY)
    assert (status, found["data"]) == (200, {"a": "3", "b": "2", "c": "4"})
    assert (await rest.ask("PUT", f"{MAPS}/m", config_map()))[0] == 200
