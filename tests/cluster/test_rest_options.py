"""What requests of the REST API may state besides an object, in odd forms: Kubernetes' answer, or one clear error."""

from __future__ import annotations

from typing import Any

import pytest

from pinnace.clock import settle
from tests.support import objects
from tests.support.cluster import Cluster
from tests.support.customkinds import GROUP, crontab, definition
from tests.support.rest import Rest

MAPS = "/api/v1/namespaces/default/configmaps"
MERGE, JSON_PATCH, APPLY = "application/merge-patch+json", "application/json-patch+json", "application/apply-patch+yaml"
STRATEGIC = "application/strategic-merge-patch+json"


@pytest.fixture
def rest(cluster: Cluster) -> Rest:
    return Rest(cluster)


def config_map(name: str = "a", **meta: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, **meta}}


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"kind": "Pod"}, 400), ({"kind": None}, 400), ({"apiVersion": "v2"}, 400),
        ({"kind": "ConfigMap", "apiVersion": "v1", "data": {"k": "v"}}, 200),
    ],
)  # fmt: skip
async def test_a_patch_may_state_the_kind_and_not_change_it(rest: Rest, change: dict[str, Any], status: int) -> None:
    """A strategic one, whose kind is a type's, drops it as in Kubernetes."""
    await rest.ask("POST", MAPS, config_map())
    assert (await rest.ask("PATCH", f"{MAPS}/a", change, content_type=MERGE))[0] == status
    assert (await rest.ask("PATCH", f"{MAPS}/a", change, content_type=STRATEGIC))[0] == 200


async def test_a_json_patch_sees_the_kind(rest: Rest) -> None:
    """It can be tested and not replaced."""
    await rest.ask("POST", MAPS, config_map())
    for op, value, status in (("test", "ConfigMap", 200), ("test", "Pod", 422), ("replace", "Pod", 400)):
        change = [{"op": op, "path": "/kind", "value": value}]
        assert (await rest.ask("PATCH", f"{MAPS}/a", change, content_type=JSON_PATCH))[0] == status


@pytest.mark.parametrize(
    "manifest",
    [
        config_map(managedFields=[]), config_map(managedFields=[{"manager": "x"}]),
        {"apiVersion": "v1", "metadata": {"name": "a"}}, {"kind": "ConfigMap", "metadata": {"name": "a"}},
        {"apiVersion": "v1", "kind": "", "metadata": {"name": "a"}},
    ],
)  # fmt: skip
async def test_an_apply_states_its_kind_and_no_owners(rest: Rest, manifest: dict[str, Any]) -> None:
    """Clients match on the text about managedFields."""
    status, found = await rest.ask("PATCH", f"{MAPS}/a?fieldManager=me", manifest, content_type=APPLY)
    assert (status, found["reason"]) == (400, "BadRequest")
    if "managedFields" in manifest["metadata"]:
        assert found["message"] == "metadata.managedFields must be nil"


async def test_metadata_of_an_apply_that_is_no_object_is_one_error(rest: Rest) -> None:
    status, found = await rest.ask("PATCH", f"{MAPS}/a?fieldManager=me", {**config_map(), "metadata": "x"}, content_type=APPLY)
    assert (status, found["reason"]) == (422, "Invalid")


@pytest.mark.parametrize(("version", "status"), [("abc", 422), ("-1", 422), ("0", 200), ("1", 200), ("", 200)])
async def test_a_get_has_the_versions_of_a_list(rest: Rest, version: str, status: int) -> None:
    await rest.ask("POST", MAPS, config_map())
    assert (await rest.ask("GET", f"{MAPS}/a?resourceVersion={version}"))[0] == status


@pytest.mark.parametrize(
    ("query", "left"),
    [
        ("resourceVersion=1&resourceVersionMatch=Exact", 3), ("resourceVersion=1&resourceVersionMatch=NotOlderThan", 0),
        ("limit=2", 1), ("continue=garbage", 3), ("resourceVersion=x", 3), ("resourceVersionMatch=Exact", 3),
        ("labelSelector=none", 3),
    ],
)  # fmt: skip
async def test_a_collection_is_deleted_as_it_is_listed(rest: Rest, query: str, left: int) -> None:
    """By the same options: nothing that the list with them does not have."""
    for name in ("a", "b", "c"):
        await rest.ask("POST", MAPS, config_map(name))
    await rest.ask("DELETE", f"{MAPS}?{query}")
    assert len((await rest.get(MAPS))["items"]) == left


async def test_a_deleted_page_says_how_to_continue(rest: Rest) -> None:
    for name in ("a", "b", "c"):
        await rest.ask("POST", MAPS, config_map(name))
    _, first = await rest.ask("DELETE", f"{MAPS}?limit=2")
    await rest.ask("DELETE", f"{MAPS}?limit=2&continue={first['metadata']['continue']}")
    assert (await rest.get(MAPS))["items"] == []


@pytest.mark.parametrize(
    ("options", "status"),
    [
        ({"gracePeriodSeconds": -1}, 200), ({"gracePeriodSeconds": -(2**63)}, 200), ({"newerField": {"a": 1}}, 200),
        ({"preconditions": {"newerField": "x"}}, 200), ({"kind": "DeleteOptions", "apiVersion": "meta.k8s.io/v1"}, 200),
        ({"kind": "Pod"}, 400), ({"gracePeriodSeconds": "1"}, 400), ([], 400),
    ],
)  # fmt: skip
async def test_delete_options_of_other_versions_are_read(rest: Rest, options: Any, status: int) -> None:
    """Fields that the server does not know are ignored, as in Kubernetes; values of a wrong type are not."""
    await rest.ask("POST", MAPS, config_map())
    assert (await rest.ask("DELETE", f"{MAPS}/a", options))[0] == status


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        (b"kind: DeleteOptions\napiVersion: v1\npreconditions:\n  uid: another\n", 409, "precondition"),
        (b"gracePeriodSeconds: 0\nnewerField: {a: 1}\n", 200, ""), (b'{"gracePeriodSeconds": 0}', 200, ""),
        (b"kind: Pod\n", 400, "the kind in the data"), (b"gracePeriodSeconds: soon\n", 400, "not DeleteOptions"),
        (b"- a\n", 400, "not an object"), (b"{", 400, "not YAML"), (b"a: 1\n---\nb: 1\n", 400, "one YAML document"),
        (b"a: [" + b"1," * 1000 + b"]", 400, "not YAML"),
    ],
)  # fmt: skip
async def test_delete_options_may_be_yaml(rest: Rest, body: bytes, status: int, text: str) -> None:
    await rest.ask("POST", MAPS, config_map())
    found, answer = await rest.ask("DELETE", f"{MAPS}/a", body, content_type="application/yaml")
    assert (found, text in answer.get("message", "")) == (status, True)


async def test_a_collection_takes_delete_options_in_yaml(rest: Rest) -> None:
    await rest.ask("POST", MAPS, config_map())
    await rest.ask("DELETE", MAPS, b"dryRun: [All]\n", content_type="application/yaml")
    assert len((await rest.get(MAPS))["items"]) == 1


@pytest.mark.parametrize("pending", [None, 20])
async def test_a_negative_grace_period_is_one_second(cluster: Cluster, rest: Rest, pending: int | None) -> None:
    """At the first deletion, and when it shortens one."""
    await cluster.join("n1")
    await cluster.create(objects.pod("web", nodeName="n1"))
    path = "/api/v1/namespaces/default/pods/web"
    if pending:
        await rest.ask("DELETE", path, {"gracePeriodSeconds": pending})
    _, found = await rest.ask("DELETE", f"{path}?gracePeriodSeconds=-5")
    assert found["metadata"]["deletionGracePeriodSeconds"] == 1


async def test_initial_events_do_not_need_bookmarks(rest: Rest) -> None:
    """Without them there is none at the end of the initial state."""
    await rest.ask("POST", MAPS, config_map())
    query = "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan"
    async with rest.watch(f"{MAPS}?{query}") as events:
        assert (await anext(events))["type"] == "ADDED"
        await rest.ask("POST", MAPS, config_map("b"))
        assert (await anext(events))["object"]["metadata"]["name"] == "b"


@pytest.mark.parametrize("first", ["label=a", ""])
async def test_what_leaves_a_selection_and_what_it_became_are_two_texts(rest: Rest, first: str) -> None:
    """They have one revision; whoever is answered first, nobody gets the other one."""
    await rest.ask("POST", MAPS, {**config_map(labels={"label": "a"}), "data": {"k": "old"}})
    version = (await rest.get(MAPS))["metadata"]["resourceVersion"]
    await rest.ask("PATCH", f"{MAPS}/a", {"metadata": {"labels": {"label": "b"}}, "data": {"k": "new"}}, content_type=MERGE)
    seen = {}
    for selector in (first, "label=a", ""):
        async with rest.watch(f"{MAPS}?watch=1&resourceVersion={version}&labelSelector={selector}") as events:
            event = await anext(events)
        seen[selector] = event["type"], event["object"]["metadata"]["labels"]["label"], event["object"]["data"]["k"]
    assert seen == {"label=a": ("DELETED", "a", "old"), "": ("MODIFIED", "b", "new")}
    assert (await rest.get(MAPS))["items"][0]["data"] == {"k": "new"}


@pytest.mark.parametrize(("version", "status"), [("", 422), ("0", 422), ("1", 409), (None, 200)])
@pytest.mark.parametrize("part", ["", "/status"])
async def test_a_custom_object_is_not_overwritten_unseen(rest: Rest, part: str, version: str | None, status: int) -> None:
    """A PUT states the version that it replaces, unlike one of a ConfigMap; one of an object that is not there is a 404."""
    await rest.ask("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition())
    await settle(50)
    path = f"/apis/{GROUP}/v1/namespaces/default/crontabs"
    _, made = await rest.ask("POST", path, crontab("a"))
    made["metadata"]["resourceVersion"] = made["metadata"]["resourceVersion"] if version is None else version
    found, answer = await rest.ask("PUT", f"{path}/a{part}", made)
    assert found == status, answer
    if status == 422:
        assert [cause["field"] for cause in answer["details"]["causes"]] == ["metadata.resourceVersion"]
    made["metadata"]["name"] = "b"
    assert (await rest.ask("PUT", f"{path}/b{part}", made))[0] == 404


async def test_an_apply_does_not_state_a_field_twice(rest: Rest) -> None:
    """Of a built-in kind, a custom one and a status; an update may, and the object can be applied to."""
    pods = "/api/v1/namespaces/default/pods"
    env = [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]
    spec = {"containers": [{"name": "main", "image": "i", "env": env}]}
    twice = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": spec}
    status, found = await rest.ask("PATCH", f"{pods}/a?fieldManager=me", twice, content_type=APPLY)
    assert (status, found["reason"], found["message"]) == (
        400, "BadRequest", "failed to create typed patch object (default/a; /v1, Kind=Pod): "
        '.spec.containers[name="main"].env: duplicate entries for key [name="A"]',
    )  # fmt: skip
    assert (await rest.ask("POST", pods, twice))[0] == 201
    once = {**twice, "spec": {"containers": [{"name": "main", "image": "j"}]}}
    assert (await rest.ask("PATCH", f"{pods}/a?fieldManager=me&force=true", once, content_type=APPLY))[0] == 200
    await rest.ask("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition())
    await settle(50)
    path, wrong = f"/apis/{GROUP}/v1/namespaces/default/crontabs/a?fieldManager=me", crontab("a", env=env)
    status, found = await rest.ask("PATCH", path, wrong, content_type=APPLY)
    assert (status, '.spec.env: duplicate entries for key [name="A"]' in found["message"]) == (400, True)
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}}
    await rest.ask("POST", "/api/v1/nodes", node)
    same = {**node, "status": {"conditions": [{"type": "X", "status": "True"}, {"type": "X", "status": "False"}]}}
    status, found = await rest.ask("PATCH", "/api/v1/nodes/n1/status?fieldManager=me", same, content_type=APPLY)
    assert (status, "(/n1; /v1, Kind=Node): .status.conditions: dupl" in found["message"]) == (400, True)


@pytest.mark.parametrize("validation", ["Strict", "Warn", "Ignore"])
async def test_an_applied_configuration_has_no_unknown_fields(rest: Rest, validation: str) -> None:
    """Whatever fieldValidation says: a merge by the schema has no place for them."""
    manifest = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "spec": {"a": 1}, "date": {"k": "v"}}
    url = f"{MAPS}/a?fieldManager=me&fieldValidation={validation}"
    status, found = await rest.ask("PATCH", url, manifest, content_type=APPLY)
    assert (status, found["message"]) == (
        400,
        "failed to create typed patch object (default/a; /v1, Kind=ConfigMap): errors:\n"
        "  .spec: field not declared in schema\n  .date: field not declared in schema",
    )
    assert (await rest.respond("GET", f"{MAPS}/a")).status == 404
