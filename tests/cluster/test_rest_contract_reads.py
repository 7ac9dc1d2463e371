"""Discovery, tables, lists and watches as the clients of Kubernetes ask for them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from controlplane.store import history
from pinnace.clock import settle
from pinnace.core.v1 import config_pb2
from pinnace.meta.v1 import meta_pb2, rest_pb2
from tests.support import objects
from tests.support.cluster import Cluster
from tests.support.customkinds import GROUP, crontab, definition
from tests.support.rest import Rest

DEFAULT = "/api/v1/namespaces/default"
MAPS, PODS, EVENTS = f"{DEFAULT}/configmaps", f"{DEFAULT}/pods", f"{DEFAULT}/events"
JSON, PROTOBUF, MERGE = "application/json", "application/vnd.kubernetes.protobuf", "application/merge-patch+json"
V2, V2BETA1 = (f"{JSON};g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList" for version in ("v2", "v2beta1"))
# kubectl's, of 1.30 and later.
TABLE = f"{JSON};as=Table;v=v1;g=meta.k8s.io,{JSON};as=Table;v=v1beta1;g=meta.k8s.io,{JSON}"


@pytest.fixture
def rest(cluster: Cluster) -> Rest:
    return Rest(cluster)


async def make(rest: Rest, *names: str, **labels: str) -> None:
    for name in names:
        body = {"metadata": {"name": name, "labels": labels}, "data": {"k": "v"}}
        assert (await rest.ask("POST", MAPS, body))[0] == 201


# Discovery


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        (f"{V2},{V2BETA1},{JSON}", V2), (f"{V2BETA1},{JSON}", V2BETA1), (f"{V2},{JSON}", V2), (f"{V2};profile=nopeer,{JSON}", V2),
        (JSON, JSON), ("*/*", JSON), (f"{PROTOBUF},{JSON}", JSON), ("", JSON),
    ],
)  # fmt: skip
@pytest.mark.parametrize("path", ["/api", "/apis"])
async def test_discovery_has_the_form_that_the_client_knows(rest: Rest, path: str, accept: str, content_type: str) -> None:
    """kubectl's since 1.30, that of 1.27, Helm's, that of newer aggregators; else the legacy one."""
    answer = await rest.respond("GET", path, **({"accept": accept} if accept else {}))
    assert (answer.status, answer.content_type) == (200, content_type)
    assert isinstance(answer.body, bytes)
    found = json.loads(answer.body)
    if content_type == JSON:
        assert found["kind"] == ("APIVersions" if path == "/api" else "APIGroupList")
    else:
        version = content_type.split("v=")[1].split(";")[0]
        assert (found["kind"], found["apiVersion"]) == ("APIGroupDiscoveryList", f"apidiscovery.k8s.io/{version}")


async def test_the_aggregated_document(rest: Rest) -> None:
    """Each resource with its kind, and its subresources with theirs."""
    (core,) = (await rest.get("/api", accept=V2))["items"]
    assert (core["metadata"], [version["freshness"] for version in core["versions"]]) == ({"name": ""}, ["Current"])
    for group in (core, *(await rest.get("/apis", accept=V2))["items"]):
        for version in group["versions"]:
            for item in version["resources"]:
                assert {"group", "version", "kind"} == item["responseKind"].keys()
                assert item["scope"] in ("Namespaced", "Cluster")
                assert item["singularResource"]
                assert item["verbs"]
                for part in item.get("subresources", ()):
                    assert {"subresource", "responseKind", "verbs"} <= part.keys()
    pods = next(item for item in core["versions"][0]["resources"] if item["resource"] == "pods")
    assert (pods["shortNames"], pods["categories"], pods["scope"]) == (["po"], ["all"], "Namespaced")
    eviction = next(part for part in pods["subresources"] if part["subresource"] == "eviction")
    assert (eviction["responseKind"], eviction["verbs"]) == (
        {"group": "policy", "version": "v1", "kind": "Eviction"},
        ["create"],
    )


async def test_the_legacy_documents(rest: Rest) -> None:
    """Python's clients, `auth can-i` and `drain` read these, with and without a slash at the end."""
    for path in ("/api", "/api/"):
        assert (await rest.get(path))["versions"] == ["v1"]
    groups = {group["name"]: group for group in (await rest.get("/apis/"))["groups"]}
    assert groups["apps"]["preferredVersion"] == {"groupVersion": "apps/v1", "version": "v1"}
    for path in (
        "/api/v1",
        *(f"/apis/{version['groupVersion']}" for group in groups.values() for version in group["versions"]),
    ):
        listed = await rest.get(path)
        assert listed["kind"] == "APIResourceList"
        assert path.endswith(listed["groupVersion"])
        for item in listed["resources"]:
            assert {"name", "singularName", "namespaced", "kind", "verbs"} <= item.keys()
    found = {item["name"]: item for item in (await rest.get("/api/v1/"))["resources"]}
    eviction = found["pods/eviction"]
    assert (eviction["kind"], eviction["group"], eviction["version"]) == ("Eviction", "policy", "v1")
    token = found["serviceaccounts/token"]
    assert (token["kind"], token["group"]) == ("TokenRequest", "authentication.k8s.io")
    assert {"pods/log", "pods/exec", "pods/binding", "pods/resize", "pods/ephemeralcontainers"} <= found.keys()
    for item in (await rest.get("/apis/apps/v1"))["resources"]:
        if item["name"] == "deployments/scale":
            assert (item["kind"], item["group"], item["version"]) == ("Scale", "autoscaling", "v1")
    metrics = [item["name"] for item in (await rest.get("/apis/metrics.k8s.io/v1beta1"))["resources"]]
    assert sorted(metrics) == ["nodes", "pods"]


# Tables


async def test_a_table_is_what_kubectl_prints(rest: Rest, cluster: Cluster) -> None:
    """In plain JSON; wide columns have a priority, ages are words; a version that is not known gets a list."""
    await cluster.create(objects.pod("web"))
    answer = await rest.respond("GET", PODS, accept=TABLE)
    assert answer.content_type == JSON
    assert isinstance(answer.body, bytes)
    table = json.loads(answer.body)
    assert (table["kind"], table["apiVersion"]) == ("Table", "meta.k8s.io/v1")
    assert table["metadata"]["resourceVersion"]
    columns = {item["name"]: item for item in table["columnDefinitions"]}
    for item in columns.values():
        assert {"name", "type", "format", "description", "priority"} <= item.keys()
    assert [name for name, item in columns.items() if not item["priority"]] == ["Name", "Ready", "Status", "Restarts", "Age"]
    assert {"IP", "Node", "Nominated Node", "Readiness Gates"} <= columns.keys()
    (row,) = table["rows"]
    cells = dict(zip(columns, row["cells"], strict=True))
    assert (cells["Name"], cells["Ready"], type(cells["Age"])) == ("web", "0/1", str)
    assert row["object"]["kind"] == "PartialObjectMetadata"
    older = await rest.get(PODS, accept=f"{JSON};as=Table;v=v1beta1;g=meta.k8s.io")
    assert older["apiVersion"] == "meta.k8s.io/v1beta1"
    assert (await rest.get(PODS, accept=f"{JSON};as=Table;v=v9;g=meta.k8s.io,{JSON}"))["kind"] == "PodList"


async def test_a_table_in_pages(rest: Rest) -> None:
    """Its metadata is that of the list."""
    await make(rest, "a", "b", "c")
    first = await rest.get(f"{MAPS}?limit=2", accept=TABLE)
    assert (len(first["rows"]), first["metadata"]["remainingItemCount"]) == (2, 1)
    last = await rest.get(f"{MAPS}?limit=2&continue={first['metadata']['continue']}", accept=TABLE)
    assert ([row["cells"][0] for row in last["rows"]], last["metadata"].get("continue")) == (["c"], None)


async def test_metadata_alone(rest: Rest) -> None:
    """Of an object, a list and a watch, as metadata informers ask for it."""
    await make(rest, "a")
    one, many = (f"{JSON};as={kind};v=v1;g=meta.k8s.io" for kind in ("PartialObjectMetadata", "PartialObjectMetadataList"))
    found = await rest.get(f"{MAPS}/a", accept=one)
    assert (found["kind"], "data" in found) == ("PartialObjectMetadata", False)
    listed = await rest.get(MAPS, accept=many)
    assert [(item["kind"], "data" in item) for item in listed["items"]] == [("PartialObjectMetadata", False)]
    async with rest.watch(f"{MAPS}?watch=1", accept=one) as events:
        assert (await anext(events))["object"]["kind"] == "PartialObjectMetadata"


# Lists


async def test_what_lists_carry(rest: Rest) -> None:
    """A decimal revision; how many are left, but with a selector; a custom object its kind."""
    await make(rest, "a", "b")
    listed = await rest.get(f"{MAPS}?limit=1")
    assert listed["metadata"]["resourceVersion"].isdecimal()
    assert not listed["metadata"]["resourceVersion"].startswith("0")
    assert listed["metadata"]["remainingItemCount"] == 1
    for selector in ("labelSelector=!x", "fieldSelector=metadata.namespace%3Ddefault"):
        meta = (await rest.get(f"{MAPS}?limit=1&{selector}"))["metadata"]
        assert (bool(meta["continue"]), "remainingItemCount" in meta) == (True, False)
    await rest.ask("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition())
    await settle(50)
    path = f"/apis/{GROUP}/v1/namespaces/default/crontabs"
    await rest.ask("POST", path, crontab("a"))
    (item,) = (await rest.get(path))["items"]
    assert (item["kind"], item["apiVersion"]) == ("CronTab", f"{GROUP}/v1")


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("resourceVersionMatch=Exact", 422), ("resourceVersion=1&resourceVersionMatch=Never", 422),
        ("resourceVersion=0&resourceVersionMatch=Exact", 422), ("resourceVersion=0&resourceVersionMatch=NotOlderThan", 200),
        ("sendInitialEvents=true", 422), ("resourceVersion=5&continue=x", 400), ("limit=-1", 200), ("limit=x", 400),
        ("watch=1&resourceVersion=0&resourceVersionMatch=NotOlderThan", 422),
        ("watch=1&sendInitialEvents=true&resourceVersionMatch=Exact", 422),
        ("watch=1&sendInitialEvents=false", 422), ("fieldSelector=spec.none%3Da", 400), ("labelSelector=%3D%3D", 400),
    ],
)  # fmt: skip
async def test_options_that_do_not_fit(rest: Rest, query: str, status: int) -> None:
    """The rules of Kubernetes' ListOptions."""
    assert (await rest.ask("GET", f"{MAPS}?{query}"))[0] == status


async def test_a_token_that_is_too_old_is_expired(rest: Rest, monkeypatch: pytest.MonkeyPatch) -> None:
    """410, after which pagers list again; a watch from a revision that is gone has HTTP's 200, and says so in an event."""
    await make(rest, "a", "b")
    first = await rest.get(f"{MAPS}?limit=1")
    token, revision = first["metadata"]["continue"], first["metadata"]["resourceVersion"]
    monkeypatch.setattr(history, "MAX_EVENTS", 8)
    for number in range(40):
        await rest.ask("PATCH", f"{MAPS}/a", {"data": {"k": str(number)}}, content_type=MERGE)
    status, found = await rest.ask("GET", f"{MAPS}?limit=1&continue={token}")
    assert (status, found["reason"], found["code"]) == (410, "Expired", 410)
    async with rest.watch(f"{MAPS}?watch=1&resourceVersion={revision}") as events:
        event = await anext(events)
        assert (event["type"], event["object"]["code"], event["object"]["reason"]) == ("ERROR", 410, "Expired")
    answer = await rest.respond("GET", f"{MAPS}?watch=1&resourceVersion={revision}", accept=PROTOBUF)
    assert not isinstance(answer.body, bytes)
    frame = rest_pb2.WatchEvent.FromString((await anext(answer.body))[4:])
    inner = rest_pb2.Unknown.FromString(frame.object.raw.removeprefix(b"k8s\0"))
    assert (answer.status, frame.type, inner.typeMeta.kind) == (200, "ERROR", "Status")
    assert meta_pb2.Status.FromString(inner.raw).code == 410
    await answer.body.aclose()


async def test_field_selectors_that_clients_send(rest: Rest, cluster: Cluster) -> None:
    """kubectl doubles the name where the user has given one too."""
    await make(rest, "a", "b")
    doubled = await rest.get(f"{MAPS}?fieldSelector=metadata.name%3Da,metadata.name%3Da")
    assert [item["metadata"]["name"] for item in doubled["items"]] == ["a"]
    await cluster.join("n1")
    await cluster.create(objects.pod("web", nodeName="n1"))
    assert len((await rest.get("/api/v1/pods?fieldSelector=spec.nodeName%3Dn1"))["items"]) == 1
    pod = await rest.get(f"{PODS}/web")
    about = {"kind": "Pod", "apiVersion": "v1", "namespace": "default", "name": "web", "uid": pod["metadata"]["uid"]}
    event = {"metadata": {"generateName": "web."}, "involvedObject": about, "reason": "Seen", "type": "Normal"}
    status, made = await rest.ask("POST", EVENTS, event)
    assert status == 201, made["message"]
    selector = ",".join(f"involvedObject.{key}%3D{value}" for key, value in about.items())
    found = (await rest.get(f"{EVENTS}?fieldSelector={selector}"))["items"]
    assert [item["reason"] for item in found if item["reason"] == "Seen"] == ["Seen"]


# Watches


@pytest.mark.parametrize("query", ["", "&resourceVersion=0", "&timeout=7m1s", "&limit=500", "&allowWatchBookmarks=true"])
async def test_a_watch_without_a_revision_begins_with_the_state(rest: Rest, query: str) -> None:
    """Whatever clients send along: a page size, a timeout of their own."""
    await make(rest, "a", "b")
    async with rest.watch(f"{MAPS}?watch=true{query}") as events:
        found = [await anext(events) for _ in range(2)]
        await make(rest, "c")
        found.append(await anext(events))
    assert [(event["type"], event["object"]["metadata"]["name"]) for event in found] == [
        ("ADDED", "a"), ("ADDED", "b"), ("ADDED", "c"),
    ]  # fmt: skip


@pytest.mark.parametrize("accept", [JSON, PROTOBUF, f"{JSON};as=PartialObjectMetadata;v=v1;g=meta.k8s.io", TABLE])
async def test_the_initial_events_end_in_every_form(rest: Rest, accept: str) -> None:
    """With the bookmark that informers wait for, of the right kind."""
    await make(rest, "a")
    url = f"{MAPS}?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&resourceVersion="
    answer = await rest.respond("GET", url, accept=accept)
    assert not isinstance(answer.body, bytes)
    data = b""
    while b"initial-events-end" not in data:
        data += await anext(answer.body)
    await answer.body.aclose()
    if accept == PROTOBUF:
        size = int.from_bytes(data[:4], "big")
        last = rest_pb2.WatchEvent.FromString(data[8 + size :])
        inner = rest_pb2.Unknown.FromString(last.object.raw.removeprefix(b"k8s\0"))
        meta: Any = config_pb2.ConfigMap.FromString(inner.raw).metadata
        assert (last.type, inner.typeMeta.kind, meta.annotations["k8s.io/initial-events-end"]) == (
            "BOOKMARK",
            "ConfigMap",
            "true",
        )
        assert int(meta.resourceVersion) > 0
        return
    last_event = json.loads(data.splitlines()[-1])
    assert last_event["type"] == "BOOKMARK"
    wanted = {JSON: "ConfigMap", TABLE: "Table"}.get(accept, "PartialObjectMetadata")
    assert (last_event["object"]["kind"], int(last_event["object"]["metadata"]["resourceVersion"]) > 0) == (wanted, True)


async def test_what_a_selector_sees(rest: Rest) -> None:
    """An object that begins to match is added, one that ceases to is deleted; by a field too."""
    await make(rest, "a")
    revision = (await rest.get(MAPS))["metadata"]["resourceVersion"]
    async with rest.watch(f"{MAPS}?watch=1&resourceVersion={revision}&labelSelector=on%3Dyes") as events:
        for value in ("yes", None):
            await rest.ask("PATCH", f"{MAPS}/a", {"metadata": {"labels": {"on": value}}}, content_type=MERGE)
        assert [(await anext(events))["type"] for _ in range(2)] == ["ADDED", "DELETED"]
    async with rest.watch(f"{MAPS}?watch=1&resourceVersion={revision}&fieldSelector=metadata.name%3Da") as events:
        assert [(await anext(events))["type"] for _ in range(2)] == ["MODIFIED", "MODIFIED"]


async def test_a_watch_of_one_name_sees_it_deleted(rest: Rest) -> None:
    """`kubectl delete` and `wait --for=delete` list by name, then watch from there."""
    await make(rest, "a", "b")
    listed = await rest.get(f"{MAPS}?fieldSelector=metadata.name%3Da&resourceVersion=0")
    url = f"{MAPS}?watch=true&fieldSelector=metadata.name%3Da&resourceVersion={listed['metadata']['resourceVersion']}"
    async with rest.watch(url) as events:
        for name in ("b", "a"):
            await rest.ask("DELETE", f"{MAPS}/{name}", {"propagationPolicy": "Background"})
        event = await anext(events)
    assert (event["type"], event["object"]["metadata"]["name"]) == ("DELETED", "a")
