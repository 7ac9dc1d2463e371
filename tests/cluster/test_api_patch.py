"""The three patch types, through the API."""

from __future__ import annotations

from typing import Any

import pytest

from pinnace import errors, kinds
from tests.support.api import Api, config, pod_manifest

CONFIG, POD = kinds.CONFIG_MAP, kinds.POD


async def test_a_merge_patch_sets_and_removes(api: Api) -> None:
    """RFC 7386: null removes, lists are replaced."""
    await api.create(CONFIG, config("settings", {"app": "web"}, a="1", b="2"))
    found = await api.patch(CONFIG, "settings", "MERGE", {"data": {"a": None, "c": "3"}, "metadata": {"labels": None}})
    assert (dict(found.data), dict(found.metadata.labels)) == ({"b": "2", "c": "3"}, {})


async def test_a_json_patch_is_taken_whole_or_not_at_all(api: Api) -> None:
    """RFC 6902, with its escapes; the failed operation is named."""
    await api.create(CONFIG, config(**{"a/b": "1", "b": "2"}) | {"data": {"b": "2"}})
    done = [
        {"op": "test", "path": "/data/b", "value": "2"},
        {"op": "copy", "from": "/data/b", "path": "/data/c"},
        {"op": "move", "from": "/data/b", "path": "/data/d"},
        {"op": "replace", "path": "/data/c", "value": "9"},
        {"op": "add", "path": "/metadata/annotations", "value": {"a/b": "x", "c": "y"}},
        {"op": "remove", "path": "/metadata/annotations/a~1b"},
    ]
    found = await api.patch(CONFIG, "settings", "JSON", done)
    assert (dict(found.data), dict(found.metadata.annotations)) == ({"c": "9", "d": "2"}, {"c": "y"})
    half = [{"op": "remove", "path": "/data/c"}, {"op": "test", "path": "/data/d", "value": "no"}]
    with pytest.raises(errors.Invalid, match="operation 1 of the patch"):
        await api.patch(CONFIG, "settings", "JSON", half)
    assert dict((await api.get(CONFIG, "settings")).data) == {"c": "9", "d": "2"}


HOLD = "/metadata/finalizers"


@pytest.mark.parametrize(
    ("operation", "expected"),
    [
        ({"op": "add", "path": f"{HOLD}/0", "value": "a/x"}, ["a/x", "a/a", "a/b"]),
        ({"op": "add", "path": f"{HOLD}/2", "value": "a/x"}, ["a/a", "a/b", "a/x"]),
        ({"op": "add", "path": f"{HOLD}/-", "value": "a/x"}, ["a/a", "a/b", "a/x"]),
        ({"op": "replace", "path": f"{HOLD}/1", "value": "a/x"}, ["a/a", "a/x"]),
        ({"op": "remove", "path": f"{HOLD}/0"}, ["a/b"]),
        ({"op": "add", "path": f"{HOLD}/3", "value": "a/x"}, None),
        ({"op": "replace", "path": f"{HOLD}/2", "value": "a/x"}, None),
        ({"op": "remove", "path": f"{HOLD}/-1"}, None),
        ({"op": "remove", "path": f"{HOLD}/01"}, None),
        ({"op": "remove", "path": f"{HOLD}/-"}, None),
        ({"op": "remove", "path": 5}, None),
        ({"op": "remove"}, None),
        ({"op": "explode", "path": "/data"}, None),
        ({"op": "remove", "path": "data"}, None),
        ({"op": "remove", "path": ""}, None),
        ({"op": "replace", "path": "/data/none", "value": "x"}, None),
        ({"op": "replace", "path": "", "value": []}, None),
        ({"op": "add", "path": "/metadata/name/x", "value": "x"}, None),
    ],
)
async def test_json_pointers_into_lists_are_strict(api: Api, operation: Any, expected: list[str] | None) -> None:
    """An index is digits within the list (RFC 6901); what does not apply is Invalid, never an accident."""
    value = config(a="1")
    value["metadata"]["finalizers"] = ["a/a", "a/b"]
    await api.create(CONFIG, value)
    if expected is None:
        with pytest.raises(errors.Invalid):
            await api.patch(CONFIG, "settings", "JSON", [operation])
    else:
        found = await api.patch(CONFIG, "settings", "JSON", [operation])
        assert list(found.metadata.finalizers) == expected


async def test_a_strategic_patch_merges_containers_by_name(api: Api) -> None:
    """What it does not name stays."""
    two = [{"name": "a", "image": "busybox:1"}, {"name": "b", "image": "busybox:1"}]
    await api.create(POD, pod_manifest(containers=two))
    change = {"spec": {"containers": [{"name": "b", "image": "busybox:2"}]}}
    found = await api.patch(POD, "web", "STRATEGIC", change)
    assert [(item.name, item.image) for item in found.spec.containers] == [("a", "busybox:1"), ("b", "busybox:2")]


async def test_a_strategic_patch_understands_its_directives(api: Api) -> None:
    """$patch: delete and replace; also where there is nothing to delete."""
    value = config(a="1", b="2")
    value["metadata"]["ownerReferences"] = [
        {"apiVersion": "example.com/v1", "kind": "W", "name": name, "uid": name} for name in "xy"
    ]
    await api.create(CONFIG, value)
    change = {"metadata": {"ownerReferences": [{"uid": "x", "$patch": "delete"}]}}
    found = await api.patch(CONFIG, "settings", "STRATEGIC", change)
    assert [item.uid for item in found.metadata.ownerReferences] == ["y"]
    await api.create(CONFIG, config("bare"))
    bare = await api.patch(CONFIG, "bare", "STRATEGIC", {**change, "data": {"gone": None, "a": "1"}})
    assert (len(bare.metadata.ownerReferences), dict(bare.data)) == (0, {"a": "1"})


async def test_the_status_is_patched_apart(api: Api) -> None:
    """A patch of the object leaves the status, one of the status the spec."""
    await api.create(POD, pod_manifest(image="busybox:1"))
    both = {"status": {"phase": "Running"}, "spec": {"containers": [{"name": "main", "image": "busybox:2"}]}}
    found = await api.patch(POD, "web", "STRATEGIC", both, subresource="status")
    assert (found.status.phase, found.spec.containers[0].image) == ("Running", "busybox:1")
    both["status"]["phase"] = "Failed"
    found = await api.patch(POD, "web", "STRATEGIC", both)
    assert (found.status.phase, found.spec.containers[0].image) == ("Running", "busybox:2")
    with pytest.raises(errors.NotFound):
        await api.patch(POD, "web", "MERGE", {}, subresource="scale")


@pytest.mark.parametrize(
    ("type_", "patch", "error"),
    [
        ("MERGE", b"{", errors.BadRequest),
        ("MERGE", [], errors.BadRequest),
        ("STRATEGIC", [], errors.BadRequest),
        ("JSON", {}, errors.BadRequest),
        ("JSON", [1], errors.BadRequest),
        ("UNSPECIFIED", {}, errors.BadRequest),
        ("MERGE", {"metadata": {"name": "other"}}, errors.Invalid),
        ("MERGE", {"data": 5}, errors.Invalid),
        ("MERGE", {"dota": {}}, errors.Invalid),
        ("MERGE", {"metadata": None}, errors.Invalid),
        ("MERGE", {"metadata": {"labels": 5}}, errors.Invalid),
        ("STRATEGIC", {"metadata": 5}, errors.Invalid),
        ("STRATEGIC", {"metadata": {"labels": 5}}, errors.Invalid),
        ("STRATEGIC", {"metadata": {"ownerReferences": [5]}}, errors.BadRequest),
        ("STRATEGIC", {"metadata": {"finalizers": 5}}, errors.Invalid),
        ("MERGE", {"metadata": {"resourceVersion": "1"}}, errors.Conflict),
    ],
)
async def test_a_bad_patch_is_refused(api: Api, type_: str, patch: Any, error: type[Exception]) -> None:
    """By its own class, and nothing is changed."""
    made = await api.create(CONFIG, config("settings", {"app": "web"}, a="1"))
    with pytest.raises(error):
        await api.patch(CONFIG, "settings", type_, patch)
    assert await api.get(CONFIG, "settings") == made


async def test_a_patch_that_changes_nothing_writes_nothing(api: Api) -> None:
    """Its version stays; a dry run's too."""
    made = await api.create(CONFIG, config(a="1"))
    assert (await api.patch(CONFIG, "settings", "MERGE", {"data": {"a": "1"}})) == made
    assert (await api.patch(CONFIG, "settings", "MERGE", {"data": {"a": "2"}}, dryRun=True)).data["a"] == "2"
    assert await api.get(CONFIG, "settings") == made
