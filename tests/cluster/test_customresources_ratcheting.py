"""Objects of a custom kind whose schema has become stricter: what they had may stay, what changes must fit."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from pinnace.clock import settle
from tests.support.cluster import Cluster
from tests.support.customkinds import GROUP, crontab, definition
from tests.support.rest import Rest

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
CRD = f"{CRDS}/crontabs.{GROUP}"
PATH = f"/apis/{GROUP}/v1/namespaces/default/crontabs"
MERGE = "application/merge-patch+json"
LAX: dict[str, Any] = {
    "type": "object",
    "properties": {
        "cronSpec": {"type": "string"}, "name": {"type": "string"}, "other": {"type": "string"}, "new": {"type": "string"},
        "list": {"type": "array", "items": {"type": "string"}},
        "keyed": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["key"],
                  "items": {"type": "object", "required": ["key"], "properties": {
                      "key": {"type": "string"}, "value": {"type": "string"}}}},
        "rule": {"type": "integer"},
    },
}  # fmt: skip


def strict() -> dict[str, Any]:
    schema = copy.deepcopy(LAX)
    fields = schema["properties"]
    fields["name"]["maxLength"] = 3
    fields["list"]["items"]["enum"] = ["x"]
    fields["keyed"]["items"]["properties"]["value"]["pattern"] = "^ok"
    fields["rule"]["x-kubernetes-validations"] = [{"rule": "self < 5"}, {"rule": "self >= oldSelf"}]
    schema["required"] = ["new"]
    return schema


async def tightened(cluster: Cluster) -> Rest:
    """An object `backup` that breaks every one of the new constraints."""
    rest = Rest(cluster)
    await rest.ask("POST", CRDS, definition(LAX))
    await settle(50)
    keyed = [{"key": "a", "value": "bad"}, {"key": "b", "value": "bad"}]
    made = crontab(name="backup") | {"spec": {"name": "longer", "list": ["bad"], "keyed": keyed, "rule": 9}}
    assert (await rest.ask("POST", PATH, made))[0] == 201
    stored = await rest.get(CRD)
    stored["spec"] = definition(strict())["spec"]
    assert (await rest.ask("PUT", CRD, stored))[0] == 200
    await settle(50)
    return rest


@pytest.mark.parametrize(
    ("spec", "wrong"),
    [
        ({"new": "x"}, ""), ({"new": "x", "other": "y"}, ""), ({"other": "y"}, "spec.new"),
        ({"new": "x", "name": "longest"}, "spec.name"), ({"new": "x", "name": "ok"}, ""),
        ({"new": "x", "list": ["bad", "x"]}, "spec.list[0]"), ({"new": "x", "list": ["x"]}, ""),
        ({"new": "x", "keyed": [{"key": "b", "value": "bad"}]}, ""),
        ({"new": "x", "keyed": [{"key": "b", "value": "worse"}, {"key": "a", "value": "bad"}]}, "spec.keyed[0].value"),
        ({"new": "x", "keyed": [{"key": "c", "value": "bad"}]}, "spec.keyed[0].value"),
        ({"new": "x", "keyed": [{"key": "a", "value": "bad"}, {"key": "a", "value": "bad"}]}, "spec.keyed[1]"),
        ({"new": "x", "rule": 10}, "spec.rule"), ({"new": "x", "rule": 1}, "spec.rule"), ({"new": "x", "rule": None}, ""),
    ],
)  # fmt: skip
async def test_only_what_an_update_changes_is_checked(cluster: Cluster, spec: dict[str, Any], wrong: str) -> None:
    """Items of a list correspond by their keys, of a list without keys not at all; transition rules always run."""
    rest = await tightened(cluster)
    status, found = await rest.ask("PATCH", f"{PATH}/backup", {"spec": spec}, content_type=MERGE)
    fields = {cause["field"] for cause in found["details"]["causes"]} if status == 422 else {""}
    assert fields == {wrong}, found


async def test_an_object_that_does_not_fit_can_be_finalized(cluster: Cluster) -> None:
    """Metadata and status change, the rest stays as it was."""
    rest = await tightened(cluster)
    labels = {"metadata": {"labels": {"a": "b"}, "finalizers": ["example.com/hold"]}}
    assert (await rest.ask("PATCH", f"{PATH}/backup", labels, content_type=MERGE))[0] == 200
    assert (await rest.ask("PATCH", f"{PATH}/backup/status", {"status": {"replicas": 1}}, content_type=MERGE))[0] == 200
    assert (await rest.ask("DELETE", f"{PATH}/backup"))[0] == 200
    assert (await rest.ask("PATCH", f"{PATH}/backup", {"metadata": {"finalizers": []}}, content_type=MERGE))[0] == 200
    assert (await rest.ask("GET", f"{PATH}/backup"))[0] == 404


async def test_true_is_not_one(cluster: Cluster) -> None:
    """A value of another type is a change, even where Python takes it for the same."""
    rest = await tightened(cluster)
    await rest.ask("PATCH", f"{PATH}/backup", {"spec": {"new": "x", "rule": None}}, content_type=MERGE)
    status, _ = await rest.ask("PATCH", f"{PATH}/backup", {"spec": {"rule": 1}}, content_type=MERGE)
    assert status == 200
    status, found = await rest.ask("PATCH", f"{PATH}/backup", {"spec": {"rule": True}}, content_type=MERGE)
    assert (status, found["details"]["causes"][0]["reason"]) == (422, "FieldValueTypeInvalid")


@pytest.mark.parametrize("text", ["1e3", "1000.0", "1000", "10.0e2"])
async def test_whole_numbers_are_written_as_integers(cluster: Cluster, text: str) -> None:
    """As Go does: its clients read no `1000.0` into an integer."""
    rest = Rest(cluster)
    open_ = {"type": "object", "x-kubernetes-preserve-unknown-fields": True, "properties": {"n": {"type": "integer"}}}
    await rest.ask("POST", CRDS, definition(open_))
    await settle(50)
    body = f'{{"apiVersion": "{GROUP}/v1", "kind": "CronTab", "metadata": {{"name": "n"}}, "spec": {{"n": {text}, "a": [{text}]}}}}'
    assert (await rest.text("POST", PATH, body.encode()))[0] == 201
    _, raw = await rest.text("GET", f"{PATH}/n")
    assert b'"spec":{"n":1000,"a":[1000]}' in raw or b'"spec":{"a":[1000],"n":1000}' in raw


@pytest.mark.parametrize(("stored", "status"), [([], 422), (["v2"], 422), (["v1", "v2"], 422), (["v1"], 200)])
async def test_stored_versions_have_the_storage_version(cluster: Cluster, stored: list[str], status: int) -> None:
    """A client takes versions out when it has migrated their objects; v2 does not exist."""
    rest = Rest(cluster)
    await rest.ask("POST", CRDS, definition(LAX))
    await settle(50)
    change = {"status": {"storedVersions": stored}}
    found, answer = await rest.ask("PATCH", f"{CRD}/status", change, content_type=MERGE)
    assert found == status, answer
