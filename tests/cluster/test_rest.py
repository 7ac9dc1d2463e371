"""The REST API over the request pipeline, without HTTP: statuses, documents, bodies and what real clients insist on."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
from typing import Any

import pytest

from controlplane.rest import watches
from pinnace.core.v1 import config_pb2, pod_pb2
from pinnace.meta.v1 import rest_pb2
from tests.support.cluster import Cluster
from tests.support.rest import Rest

MAPS = "/api/v1/namespaces/default/configmaps"
PROTOBUF = "application/vnd.kubernetes.protobuf"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
MERGE, APPLY = "application/merge-patch+json", "application/apply-patch+yaml"


@pytest.fixture
def rest(cluster: Cluster) -> Rest:
    return Rest(cluster)


def config_map(name: str, **data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def envelope(kind: str, message: Any, api_version: str = "v1") -> bytes:
    type_ = rest_pb2.TypeMeta(apiVersion=api_version, kind=kind)
    return b"k8s\0" + rest_pb2.Unknown(typeMeta=type_, raw=message.SerializeToString()).SerializeToString()


async def test_an_object_from_creation_to_deletion(rest: Rest) -> None:
    """POST 201, GET, PUT, PATCH and DELETE 200; then 404 with the resource's plural."""
    status, made = await rest.ask("POST", MAPS, config_map("a", k="1"))
    assert (status, made["kind"], made["apiVersion"], made["metadata"]["namespace"]) == (201, "ConfigMap", "v1", "default")
    assert (await rest.get(f"{MAPS}/a"))["data"] == {"k": "1"}
    made["data"]["k"] = "2"
    status, updated = await rest.ask("PUT", f"{MAPS}/a", made)
    assert (status, updated["data"]) == (200, {"k": "2"})
    status, patched = await rest.ask("PATCH", f"{MAPS}/a", {"data": {"j": "x", "k": None}}, content_type=MERGE)
    assert (status, patched["data"]) == (200, {"j": "x"})
    status, gone = await rest.ask("DELETE", f"{MAPS}/a", {"propagationPolicy": "Background"})
    assert (status, gone["status"]) == (200, "Success")
    assert gone["details"] == {"name": "a", "kind": "configmaps", "uid": made["metadata"]["uid"]}
    status, missing = await rest.ask("GET", f"{MAPS}/a")
    assert (status, missing["reason"], missing["message"]) == (404, "NotFound", 'configmaps "a" not found')
    assert missing["details"] == {"name": "a", "kind": "configmaps"}


async def test_the_status_is_applied_by_its_own_path(rest: Rest) -> None:
    """With owners of its own; another subresource has no apply, and a conflict is 409."""
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}}
    await rest.ask("POST", "/api/v1/nodes", node)
    wanted = {**node, "status": {"conditions": [{"type": "A", "status": "True"}]}}
    path = "/api/v1/nodes/n1/status?fieldManager="
    status, found = await rest.ask("PATCH", f"{path}one", wanted, content_type=APPLY)
    assert (status, [item["type"] for item in found["status"]["conditions"]]) == (200, ["A"])
    owners = {entry["manager"]: entry for entry in found["metadata"]["managedFields"] if entry.get("subresource") == "status"}
    assert owners["one"]["operation"] == "Apply"
    wanted["status"]["conditions"][0]["status"] = "False"
    assert (await rest.ask("PATCH", f"{path}two", wanted, content_type=APPLY))[0] == 409
    assert (await rest.ask("PATCH", f"{path}two&force=true", wanted, content_type=APPLY))[0] == 200
    absent = {**wanted, "metadata": {"name": "n2"}}
    assert (await rest.ask("PATCH", "/api/v1/nodes/n2/status?fieldManager=one", absent, content_type=APPLY))[0] == 404


async def test_errors_are_statuses(rest: Rest) -> None:
    """Reasons, codes and details as client libraries match on them."""
    await rest.ask("POST", MAPS, config_map("a"))
    status, found = await rest.ask("POST", MAPS, config_map("a"))
    assert (status, found["reason"], found["message"]) == (409, "AlreadyExists", 'configmaps "a" already exists')
    stale = config_map("a", k="1") | {"metadata": {"name": "a", "resourceVersion": "1"}}
    status, found = await rest.ask("PUT", f"{MAPS}/a", stale)
    assert (status, found["reason"]) == (409, "Conflict")
    assert found["message"].startswith('Operation cannot be fulfilled on configmaps "a": the object has been modified')
    status, found = await rest.ask("POST", MAPS, config_map("Not_A_Name"))
    assert (status, found["reason"], found["details"]["kind"]) == (422, "Invalid", "ConfigMap")
    assert found["details"]["causes"][0]["field"] == "metadata.name"
    assert (await rest.ask("POST", MAPS, b"{"))[0] == 400
    assert (await rest.ask("POST", MAPS, b"a=b", content_type="application/x-www-form-urlencoded"))[0] == 415
    assert (await rest.ask("GET", MAPS, accept="text/html"))[0] == 406
    assert (await rest.ask("PATCH", f"{MAPS}/a", {}, content_type="application/json"))[0] == 415
    assert (await rest.ask("OPTIONS", f"{MAPS}/a"))[0] == 405


@pytest.mark.parametrize("path", ["/api/v1/nonsense", "/apis/apps/v9/deployments", "/nonsense", "/api/v1/namespaces/a/nodes/b"])
async def test_unknown_paths_are_plain_text(rest: Rest, path: str) -> None:
    """As kube-apiserver answers them."""
    assert await rest.text("GET", path) == (404, b"404 page not found\n")


async def test_the_url_says_what_a_body_leaves_out(rest: Rest) -> None:
    """Python clients send neither kind nor Content-Type; what contradicts the URL is refused."""
    status, made = await rest.ask("POST", MAPS, {"metadata": {"name": "a", "creationTimestamp": None}, "data": {"k": "v"}})
    assert (status, made["kind"]) == (201, "ConfigMap")
    for change, text in [
        ({"kind": "Secret"}, "does not match the expected kind"),
        ({"apiVersion": "v2"}, "does not match the expected API version"),
        ({"metadata": {"name": "b", "namespace": "other"}}, "namespace of the provided object does not match"),
    ]:
        status, found = await rest.ask("POST", MAPS, config_map("b") | change)
        assert (status, text in found["message"]) == (400, True)
    status, found = await rest.ask("PUT", f"{MAPS}/a", config_map("b"))
    assert (status, "does not match the name on the URL" in found["message"]) == (400, True)


async def test_unknown_fields_are_errors_warnings_or_nothing(rest: Rest) -> None:
    """By fieldValidation; duplicate keys too."""
    body = b'{"metadata": {"name": "a", "nam": 1}, "data": {"k": "1", "k": "2"}, "dataa": {}}'
    status, found = await rest.ask("POST", f"{MAPS}?fieldValidation=Strict", body)
    assert (status, found["reason"]) == (400, "BadRequest")
    assert found["message"] == (
        'ConfigMap in version "v1" cannot be handled as a ConfigMap: strict decoding error: '
        'unknown field "metadata.nam", unknown field "dataa", duplicate field "data.k"'
    )
    answer = await rest.respond("POST", MAPS, body)
    assert (answer.status, json.loads(answer.body)["data"]) == (201, {"k": "2"})  # type: ignore[arg-type]
    assert ("warning", '299 - "unknown field \\"dataa\\""') in answer.headers
    patch = {"dataa": 1, "data": {"k": "3"}}
    status, _ = await rest.ask("PATCH", f"{MAPS}/a?fieldValidation=Strict", patch, content_type=MERGE)
    assert status == 400
    answer = await rest.respond("PATCH", f"{MAPS}/a?fieldValidation=Ignore", patch, content_type=MERGE)
    assert (answer.status, answer.headers) == (200, ())
    assert (await rest.ask("POST", f"{MAPS}?fieldValidation=Maybe", config_map("b")))[0] == 400


async def test_protobuf_in_and_out(rest: Rest) -> None:
    """Go clients send it; times that are not set are empty messages there."""
    message = config_pb2.ConfigMap()
    message.metadata.name = "a"
    message.metadata.creationTimestamp.SetInParent()
    message.data["k"] = "v"
    status, made = await rest.ask("POST", MAPS, envelope("ConfigMap", message), content_type=PROTOBUF)
    assert (status, made["data"]) == (201, {"k": "v"})
    status, data = await rest.text("GET", f"{MAPS}/a", accept=f"{PROTOBUF},application/json")
    found = rest_pb2.Unknown.FromString(data.removeprefix(b"k8s\0"))
    assert (status, found.typeMeta.kind) == (200, "ConfigMap")
    assert config_pb2.ConfigMap.FromString(found.raw).data == {"k": "v"}
    status, data = await rest.text("GET", MAPS, accept=PROTOBUF)
    found = rest_pb2.Unknown.FromString(data.removeprefix(b"k8s\0"))
    assert found.typeMeta.kind == "ConfigMapList"
    for body in (b"", b"k8s\0\xff", b"k8s\x01abc", envelope("Secret", message)):
        assert (await rest.ask("POST", MAPS, body, content_type=PROTOBUF))[0] == 400


async def test_a_protobuf_body_is_of_the_namespace_of_the_url(rest: Rest) -> None:
    """Which typed clients leave out of the object; another one is refused."""
    maps = "/api/v1/namespaces/kube-public/configmaps"
    message = config_pb2.ConfigMap()
    message.metadata.name = "a"
    status, made = await rest.ask("POST", maps, envelope("ConfigMap", message), content_type=PROTOBUF)
    assert (status, made["metadata"]["namespace"]) == (201, "kube-public")
    message.metadata.namespace = "default"
    assert (await rest.ask("POST", maps, envelope("ConfigMap", message), content_type=PROTOBUF))[0] == 400


async def test_delete_options_in_protobuf(rest: Rest) -> None:
    """As typed Go clients send them, with preconditions."""
    _, made = await rest.ask("POST", MAPS, config_map("a"))
    options = rest_pb2.DeleteOptions(preconditions=rest_pb2.Preconditions(uid="other"))
    status, found = await rest.ask("DELETE", f"{MAPS}/a", envelope("DeleteOptions", options), content_type=PROTOBUF)
    assert (status, found["reason"]) == (409, "Conflict")
    options.preconditions.uid = made["metadata"]["uid"]
    assert (await rest.ask("DELETE", f"{MAPS}/a", envelope("DeleteOptions", options), content_type=PROTOBUF))[0] == 200


async def test_lists_in_pages_and_whole(rest: Rest, monkeypatch: pytest.MonkeyPatch) -> None:
    """`limit` and `continue`; without a limit all of it, in however many pieces."""
    for number in range(7):
        await rest.ask("POST", MAPS, config_map(f"m{number}", k="x" * 1000))
    first = await rest.get(f"{MAPS}?limit=3")
    assert [len(first["items"]), first["metadata"]["remainingItemCount"]] == [3, 4]
    names, token = [item["metadata"]["name"] for item in first["items"]], first["metadata"]["continue"]
    while token:
        page = await rest.get(f"{MAPS}?limit=3&continue={token}")
        names += [item["metadata"]["name"] for item in page["items"]]
        token = page["metadata"].get("continue")
    assert names == [f"m{number}" for number in range(7)]
    monkeypatch.setattr("controlplane.rest.lists.PIECE", 2500)
    answer = await rest.respond("GET", MAPS)
    assert not isinstance(answer.body, bytes)
    pieces = [piece async for piece in answer.body]
    whole = json.loads(b"".join(pieces))
    assert len(pieces) > 3
    assert [item["metadata"]["name"] for item in whole["items"]] == names
    assert whole["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
    assert (await rest.ask("GET", f"{MAPS}?limit=1&continue=nonsense"))[0] == 400


async def test_tables(rest: Rest) -> None:
    """What kubectl prints; as metadata alone; and a watch with its columns in the first event only."""
    await rest.ask("POST", MAPS, config_map("a", k="v"))
    table = await rest.get(MAPS, accept=TABLE)
    assert [column["name"] for column in table["columnDefinitions"]] == ["Name", "Data", "Age"]
    assert table["rows"][0]["cells"][:2] == ["a", 1]
    assert table["rows"][0]["object"]["kind"] == "PartialObjectMetadata"
    one = await rest.get(f"{MAPS}/a?includeObject=Object", accept=TABLE)
    assert one["rows"][0]["object"]["data"] == {"k": "v"}
    partial = await rest.get(MAPS, accept="application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1")
    assert (partial["kind"], partial["items"][0]["metadata"]["name"]) == ("PartialObjectMetadataList", "a")
    async with rest.watch(f"{MAPS}?watch=true", accept=TABLE) as events:
        first = await anext(events)
        await rest.ask("POST", MAPS, config_map("b"))
        second = await anext(events)
    assert [bool(event["object"].get("columnDefinitions")) for event in (first, second)] == [True, False]


async def test_rows_of_a_table_follow_their_objects(rest: Rest) -> None:
    """Rows carry metadata, the whole object or nothing, as each list asks; and what changed since the list before."""
    await rest.ask("POST", MAPS, config_map("a", k="v"))
    partial = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v="
    for label in ("old", "new"):
        await rest.ask("PATCH", f"{MAPS}/a", {"metadata": {"labels": {"is": label}}, "data": {label: ""}}, content_type=MERGE)
        stored = await rest.get(f"{MAPS}/a")
        for _ in range(2):
            (row,) = (await rest.get(MAPS, accept=TABLE))["rows"]
            assert row["object"] == {
                "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": stored["metadata"],
            }  # fmt: skip
            assert row["cells"][1] == len(stored["data"])
            (row,) = (await rest.get(f"{MAPS}?includeObject=Object", accept=TABLE))["rows"]
            assert row["object"] == stored
            (row,) = (await rest.get(f"{MAPS}?includeObject=None", accept=TABLE))["rows"]
            assert "object" not in row
            for version in ("v1", "v1beta1"):
                (item,) = (await rest.get(MAPS, accept=partial + version))["items"]
                assert (item["apiVersion"], item["metadata"]) == (f"meta.k8s.io/{version}", stored["metadata"])


async def test_a_watch_from_a_list_on(rest: Rest) -> None:
    """Added, modified, deleted, by a selector too: leaving it is a deletion."""
    listed = await rest.get(MAPS)
    revision = listed["metadata"]["resourceVersion"]
    async with rest.watch(f"{MAPS}?watch=1&resourceVersion={revision}&labelSelector=a%3Db") as events:
        await rest.ask("POST", MAPS, config_map("none"))
        made = config_map("a") | {"metadata": {"name": "a", "labels": {"a": "b"}}}
        await rest.ask("POST", MAPS, made)
        await rest.ask("PATCH", f"{MAPS}/a", {"data": {"k": "v"}}, content_type=MERGE)
        await rest.ask("PATCH", f"{MAPS}/a", {"metadata": {"labels": None}}, content_type=MERGE)
        found = [await anext(events) for _ in range(3)]
    assert [event["type"] for event in found] == ["ADDED", "MODIFIED", "DELETED"]
    revisions = [int(event["object"]["metadata"]["resourceVersion"]) for event in found]
    assert revisions == sorted(set(revisions))


async def test_initial_events_end_with_a_bookmark(rest: Rest) -> None:
    """Informers that stream their first list wait for it for ever."""
    await rest.ask("POST", MAPS, config_map("a"))
    url = f"{MAPS}?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
    async with rest.watch(url) as events:
        found = [await anext(events) for _ in range(2)]
    assert [event["type"] for event in found] == ["ADDED", "BOOKMARK"]
    assert found[1]["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
    assert found[1]["object"]["kind"] == "ConfigMap"
    for wrong in ("watch=1&sendInitialEvents=true", "sendInitialEvents=true", "resourceVersionMatch=Exact"):
        assert (await rest.ask("GET", f"{MAPS}?{wrong}"))[0] == 422


async def test_a_watch_ends_when_its_time_is_up(rest: Rest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With bookmarks on the way, where they are wanted."""
    monkeypatch.setattr(watches, "BOOKMARKS", 0.2)
    async with asyncio.timeout(10), rest.watch(f"{MAPS}?watch=1&timeoutSeconds=1&allowWatchBookmarks=true") as events:
        types = [event["type"] async for event in events]
    assert types
    assert set(types) == {"BOOKMARK"}


async def test_revisions_that_are_gone_or_to_come(rest: Rest) -> None:
    """A watch says so in an event; a list of the future is a timeout that clients repeat."""
    async with rest.watch(f"{MAPS}?watch=1&resourceVersion=999999999") as events:
        event = await anext(events)
    assert (event["type"], event["object"]["reason"], event["object"]["code"]) == ("ERROR", "Expired", 410)
    answer = await rest.respond("GET", f"{MAPS}?resourceVersion=999999999")
    found = json.loads(answer.body)  # type: ignore[arg-type]
    assert (answer.status, found["details"]["causes"][0]["reason"]) == (504, "ResourceVersionTooLarge")
    assert ("retry-after", "1") in answer.headers


async def test_server_side_apply(rest: Rest) -> None:
    """201, then 200; a conflict lists the fields; a manager is required."""
    body = json.dumps(config_map("a", k="1")).encode()
    url = f"{MAPS}/a?fieldManager=one"
    assert [(await rest.ask("PATCH", url, body, content_type=APPLY))[0] for _ in range(2)] == [201, 200]
    other = b"{apiVersion: v1, kind: ConfigMap, data: {k: '2'}}"
    status, found = await rest.ask("PATCH", f"{MAPS}/a?fieldManager=two", other, content_type=APPLY)
    assert (status, found["reason"]) == (409, "Conflict")
    assert found["details"]["causes"][0] | {"message": ""} == {
        "reason": "FieldManagerConflict",
        "field": ".data.k",
        "message": "",
    }
    status, forced = await rest.ask("PATCH", f"{MAPS}/a?fieldManager=two&force=true", other, content_type=APPLY)
    assert (status, forced["data"]) == (200, {"k": "2"})
    assert (await rest.ask("PATCH", f"{MAPS}/a", body, content_type=APPLY))[0] == 422


async def test_a_dry_run_changes_nothing(rest: Rest) -> None:
    """Of each verb; another word than All is refused."""
    assert (await rest.ask("POST", f"{MAPS}?dryRun=All", config_map("a")))[0] == 201
    assert (await rest.ask("GET", f"{MAPS}/a"))[0] == 404
    await rest.ask("POST", MAPS, config_map("a"))
    assert (await rest.ask("DELETE", f"{MAPS}/a?dryRun=All"))[0] == 200
    assert (await rest.ask("DELETE", f"{MAPS}?dryRun=All"))[0] == 200
    assert (await rest.ask("GET", f"{MAPS}/a"))[0] == 200
    assert (await rest.ask("POST", f"{MAPS}?dryRun=Some", config_map("b")))[0] == 422


async def test_a_collection_is_deleted_by_selector(rest: Rest) -> None:
    """The answer is the list of what was deleted."""
    for name in ("a", "b"):
        await rest.ask("POST", MAPS, config_map(name) | {"metadata": {"name": name, "labels": {"name": name}}})
    status, found = await rest.ask("DELETE", f"{MAPS}?labelSelector=name%3Da")
    assert (status, [item["metadata"]["name"] for item in found["items"]]) == (200, ["a"])
    assert [item["metadata"]["name"] for item in (await rest.get(MAPS))["items"]] == ["b"]


async def test_deleting_a_pod_returns_the_pod(rest: Rest) -> None:
    """Pods are among the kinds of which clients get the last state."""
    pods = "/api/v1/namespaces/default/pods"
    spec = {"containers": [{"name": "c", "image": "i", "resources": {}}]}
    status, made = await rest.ask("POST", pods, {"metadata": {"name": "a"}, "spec": spec, "status": {}})
    assert (status, made["status"]["phase"]) == (201, "Pending")
    status, gone = await rest.ask("DELETE", f"{pods}/a")
    assert (status, gone["kind"], gone["metadata"]["uid"]) == (200, "Pod", made["metadata"]["uid"])


async def test_a_status_is_written_by_its_own_path(rest: Rest) -> None:
    """And by no other."""
    pods = "/api/v1/namespaces/default/pods"
    spec = {"containers": [{"name": "c", "image": "i"}]}
    await rest.ask("POST", pods, {"metadata": {"name": "a"}, "spec": spec})
    change = {"status": {"message": "hello"}}
    assert "message" not in (await rest.ask("PATCH", f"{pods}/a", change, content_type=MERGE))[1]["status"]
    status, found = await rest.ask("PATCH", f"{pods}/a/status", change, content_type=MERGE)
    assert (status, found["status"]["message"]) == (200, "hello")
    assert (await rest.ask("GET", f"{MAPS}/a/status"))[0] == 404


async def test_generated_types_can_read_what_is_shown(rest: Rest) -> None:
    """Clients such as lightkube refuse an object without a field that Kubernetes requires, also where it is zero."""
    await rest.ask("POST", "/api/v1/nodes", {"metadata": {"name": "n1"}})
    status = {"status": {"nodeInfo": {"kubeletVersion": "v1"}}}
    await rest.ask("PATCH", "/api/v1/nodes/n1/status", status, content_type=MERGE)
    (node,) = (await rest.get("/api/v1/nodes"))["items"]
    assert node["status"]["nodeInfo"] == {
        "machineID": "", "systemUUID": "", "bootID": "", "kernelVersion": "", "osImage": "", "containerRuntimeVersion": "",
        "kubeletVersion": "v1", "kubeProxyVersion": "", "operatingSystem": "", "architecture": "",
    }  # fmt: skip
    wanted = {"spec": {"user": "bob", "resourceAttributes": {"verb": "get", "resource": "pods"}}}
    _, review = await rest.ask("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", wanted)
    assert review["status"]["allowed"] is False


async def test_a_json_patch_whose_test_fails_is_invalid(rest: Rest) -> None:
    """kopf takes 422 to mean that the object has changed, and tries again."""
    await rest.ask("POST", MAPS, config_map("a", k="1"))
    patch = [{"op": "test", "path": "/data/k", "value": "2"}, {"op": "remove", "path": "/data/k"}]
    status, found = await rest.ask("PATCH", f"{MAPS}/a", patch, content_type="application/json-patch+json")
    assert (status, found["reason"]) == (422, "Invalid")
    assert (await rest.get(f"{MAPS}/a"))["data"] == {"k": "1"}


async def test_discovery_documents(rest: Rest) -> None:
    """Aggregated where it is asked for, legacy otherwise; content types as clients compare them."""
    wanted = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"
    answer = await rest.respond("GET", "/apis", accept=wanted)
    assert answer.content_type == "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    groups = [item["metadata"]["name"] for item in json.loads(answer.body)["items"]]  # type: ignore[arg-type]
    assert "" not in groups
    assert "coordination.k8s.io" in groups
    core = await rest.get("/api", accept=wanted)
    resources = {item["resource"]: item for item in core["items"][0]["versions"][0]["resources"]}
    assert resources["pods"]["responseKind"] == {"group": "", "version": "v1", "kind": "Pod"}
    assert (await rest.get("/api"))["versions"] == ["v1"]
    assert (await rest.get("/apis"))["kind"] == "APIGroupList"
    assert (await rest.get("/apis/coordination.k8s.io"))["preferredVersion"]["version"] == "v1"
    names = [item["name"] for item in (await rest.get("/api/v1"))["resources"]]
    assert {"pods", "pods/status"} <= set(names)
    for path in ("/version", "/version/"):
        assert (await rest.get(path))["minor"] == "37"


async def test_watches_in_protobuf(rest: Rest) -> None:
    """Frames of four bytes of length and a WatchEvent, which holds a whole envelope."""
    await rest.ask("POST", MAPS, config_map("a", k="v"))
    answer = await rest.respond("GET", f"{MAPS}?watch=1", accept=PROTOBUF)
    assert answer.content_type == f"{PROTOBUF};stream=watch"
    assert not isinstance(answer.body, bytes)
    data = await anext(answer.body)
    await answer.body.aclose()
    length = int.from_bytes(data[:4], "big")
    event = rest_pb2.WatchEvent.FromString(data[4 : 4 + length])
    inner = rest_pb2.Unknown.FromString(event.object.raw.removeprefix(b"k8s\0"))
    assert (event.type, config_pb2.ConfigMap.FromString(inner.raw).data) == ("ADDED", {"k": "v"})


async def test_a_pod_in_protobuf_is_the_same_as_in_json(rest: Rest) -> None:
    """Fields that JSON has inline are nested there."""
    message = pod_pb2.Pod()
    message.metadata.name = "a"
    container = message.spec.containers.add(name="c", image="i")
    container.readinessProbe.handler.httpGet.path = "/x"
    container.readinessProbe.handler.httpGet.port.intVal = 80
    container.resources.limits["cpu"].string = "1"
    message.spec.volumes.add(name="v").volumeSource.emptyDir.SetInParent()
    pods = "/api/v1/namespaces/default/pods"
    status, made = await rest.ask("POST", pods, envelope("Pod", message), content_type=PROTOBUF)
    assert status == 201, made
    found = made["spec"]["containers"][0]
    assert (found["readinessProbe"]["httpGet"]["port"], found["resources"]["limits"]) == (80, {"cpu": "1"})
    assert "emptyDir" in made["spec"]["volumes"][0]


async def test_yaml_bodies_and_answers(rest: Rest) -> None:
    """One document; several are refused."""
    text = b"metadata: {name: a}\ndata: {k: v}\n"
    status, data = await rest.text("POST", MAPS, text, content_type="application/yaml", accept="application/yaml")
    assert status == 201
    assert b"k: v" in data
    assert (await rest.ask("POST", MAPS, text + b"---\n" + text, content_type="application/yaml"))[0] == 400


async def test_secrets_hold_base64(rest: Rest) -> None:
    """In JSON; the store holds bytes."""
    secrets = "/api/v1/namespaces/default/secrets"
    body = {"metadata": {"name": "s"}, "data": {"k": base64.b64encode(b"\xff\0").decode()}}
    status, made = await rest.ask("POST", secrets, body)
    assert (status, base64.b64decode(made["data"]["k"])) == (201, b"\xff\0")


async def test_large_answers_are_compressed_for_those_who_accept_it(rest: Rest, monkeypatch: pytest.MonkeyPatch) -> None:
    """An object, a list in one piece and one in several; no small answer and no watch."""
    await rest.ask("POST", MAPS, config_map("large", k="x" * 300_000))
    whole = await rest.get(MAPS)
    for url in (f"{MAPS}/large", MAPS):
        answer = await rest.respond("GET", url, accept_encoding="deflate, gzip;q=0.8")
        assert dict(answer.headers)["content-encoding"] == "gzip"
        assert isinstance(answer.body, bytes)
        assert len(answer.body) < 10_000
    assert json.loads(gzip.decompress(answer.body)) == whole
    for header in ("", "br", "gzip;q=0"):
        assert (await rest.respond("GET", MAPS, accept_encoding=header)).headers == ()
    assert (await rest.respond("GET", "/api/v1/namespaces", accept_encoding="gzip")).headers == ()
    await rest.ask("POST", MAPS, config_map("small"))
    monkeypatch.setattr("controlplane.rest.lists.PIECE", 1000)
    answer = await rest.respond("GET", MAPS, accept_encoding="gzip")
    assert not isinstance(answer.body, bytes)
    found = json.loads(gzip.decompress(b"".join([piece async for piece in answer.body])))
    assert [item["metadata"]["name"] for item in found["items"]] == ["large", "small"]
    async with rest.watch(f"{MAPS}?watch=1", accept_encoding="gzip") as events:
        assert (await anext(events))["type"] == "ADDED"
