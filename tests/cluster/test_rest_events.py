"""Events in their two groups, v1 and events.k8s.io/v1: one stored object, which each group has with its own names of fields."""

from __future__ import annotations

from typing import Any

import pytest

from pinnace import codec, kinds, manifest
from pinnace.events.v1 import event_pb2
from pinnace.meta.v1 import rest_pb2
from tests.support import wirefields
from tests.support.access import cluster_role, cluster_role_binding, rule, user
from tests.support.cluster import Cluster
from tests.support.rest import Rest

CORE, GROUP = "/api/v1/namespaces/default/events", "/apis/events.k8s.io/v1/namespaces/default/events"
PROTOBUF, MERGE = "application/vnd.kubernetes.protobuf", "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
TIME = "2026-01-01T00:00:00.000001Z"
# What is not in metadata, by the names of either group.
OF_GROUP: dict[str, Any] = {
    "eventTime": TIME, "reportingController": "example.com/a", "reportingInstance": "a-1", "action": "Do", "reason": "Done",
    "type": "Warning", "note": "it is done", "regarding": {"kind": "Pod", "namespace": "default", "name": "web", "uid": "u-1"},
    "related": {"kind": "Node", "name": "n1"}, "series": {"count": 2, "lastObservedTime": TIME},
}  # fmt: skip
OF_CORE = {
    "eventTime": TIME, "reportingComponent": "example.com/a", "reportingInstance": "a-1", "action": "Do", "reason": "Done",
    "type": "Warning", "message": "it is done",
    "involvedObject": {"kind": "Pod", "namespace": "default", "name": "web", "uid": "u-1"},
    "related": {"kind": "Node", "name": "n1"}, "series": {"count": 2, "lastObservedTime": TIME},
}  # fmt: skip
# Of an event as the control plane and client-go's older recorder write it.
OLDER = {
    "source": {"component": "kubelet", "host": "n1"}, "firstTimestamp": "2026-01-01T00:00:00Z",
    "lastTimestamp": "2026-01-01T00:01:00Z", "count": 3, "reason": "Old", "message": "it was", "type": "Normal",
    "involvedObject": {"kind": "Pod", "namespace": "default", "name": "web"},
}  # fmt: skip


@pytest.fixture
def rest(cluster: Cluster) -> Rest:
    return Rest(cluster)


def event(name: str, **fields: Any) -> dict[str, Any]:
    return {"apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": name}, **(fields or OF_GROUP)}


def content(item: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in item.items() if key not in ("apiVersion", "kind", "metadata")}


async def test_an_event_of_one_group_is_one_of_the_other(rest: Rest) -> None:
    """The same object, with the same uid and resourceVersion; what one group deletes is gone in both."""
    status, made = await rest.ask("POST", GROUP, event("a"))
    assert (status, made["apiVersion"], made["kind"], content(made)) == (201, "events.k8s.io/v1", "Event", OF_GROUP)
    core = await rest.get(f"{CORE}/a")
    assert (core["apiVersion"], content(core)) == ("v1", OF_CORE)
    assert [core["metadata"][key] for key in ("uid", "resourceVersion")] == [
        made["metadata"][key] for key in ("uid", "resourceVersion")
    ]
    assert (await rest.ask("DELETE", f"{CORE}/a"))[0] == 200
    assert (await rest.ask("GET", f"{GROUP}/a"))[0] == 404


async def test_an_older_event_is_read_by_its_deprecated_fields(rest: Rest) -> None:
    """All of it: nothing of an event gets lost on the way between the groups."""
    await rest.ask("POST", CORE, {"metadata": {"name": "a"}, **OLDER})
    found = await rest.get(f"{GROUP}/a")
    assert content(found) == {
        "deprecatedSource": {"component": "kubelet", "host": "n1"}, "deprecatedFirstTimestamp": "2026-01-01T00:00:00Z",
        "deprecatedLastTimestamp": "2026-01-01T00:01:00Z", "deprecatedCount": 3, "reason": "Old", "note": "it was",
        "type": "Normal", "regarding": {"kind": "Pod", "namespace": "default", "name": "web"},
    }  # fmt: skip
    status, patched = await rest.ask("PATCH", f"{GROUP}/a", {"metadata": {"labels": {"a": "b"}}}, content_type=MERGE)
    assert (status, content(patched)) == (200, content(found))
    assert content(await rest.get(f"{CORE}/a")) == OLDER


async def test_events_are_created_and_listed_in_protobuf(rest: Rest) -> None:
    """By the field numbers of k8s.io/api/events/v1, in Kubernetes' envelope."""
    message: Any = codec.decode(event_pb2.Event, {"metadata": {"name": "a"}, **OF_GROUP})
    type_ = rest_pb2.TypeMeta(apiVersion="events.k8s.io/v1", kind="Event")
    body = b"k8s\0" + rest_pb2.Unknown(typeMeta=type_, raw=message.SerializeToString()).SerializeToString()
    assert (await rest.ask("POST", GROUP, body, content_type=PROTOBUF))[0] == 201
    assert content(await rest.get(f"{CORE}/a")) == OF_CORE
    for url in (f"{GROUP}/a", GROUP):
        status, data = await rest.text("GET", url, accept=PROTOBUF)
        found = rest_pb2.Unknown.FromString(data[4:])
        # Field 2 of a list are its items.
        raw = found.raw if url != GROUP else wirefields.parse(found.raw)[2][0]
        assert (status, found.typeMeta.apiVersion) == (200, "events.k8s.io/v1")
        assert content(codec.encode(event_pb2.Event.FromString(raw))) == OF_GROUP


async def test_an_event_in_yaml(rest: Rest) -> None:
    body = (
        b"apiVersion: events.k8s.io/v1\nkind: Event\nmetadata: {name: a}\n"
        + "\n".join(f"{key}: {value!r}" for key, value in OF_GROUP.items()).encode()
    )
    assert (await rest.ask("POST", GROUP, body, content_type="application/yaml"))[0] == 201
    _, data = await rest.text("GET", f"{GROUP}/a", accept="application/yaml")
    assert content(manifest.load(data, "answer")[0].value) == OF_GROUP


async def test_a_recorder_counts_by_a_strategic_merge_patch(rest: Rest) -> None:
    """As tools/events of client-go does; an update and a patch of anything else is refused."""
    alone = {key: value for key, value in OF_GROUP.items() if key != "series"}
    await rest.ask("POST", GROUP, event("a", **alone))
    series = {"series": {"count": 5, "lastObservedTime": TIME}}
    status, patched = await rest.ask("PATCH", f"{GROUP}/a", series, content_type=STRATEGIC)
    assert (status, patched["series"]) == (200, series["series"])
    assert (await rest.get(f"{CORE}/a"))["series"]["count"] == 5
    status, refused = await rest.ask("PATCH", f"{GROUP}/a", {"note": "other"}, content_type=MERGE)
    assert (status, "note: Invalid value" in refused["message"]) == (422, True)
    patched["series"]["count"] = 6
    assert (await rest.ask("PUT", f"{GROUP}/a", patched))[0] == 200
    assert (await rest.ask("PUT", f"{GROUP}/a", patched))[0] == 409


async def test_the_rules_of_a_group_hold_in_it_alone(rest: Rest) -> None:
    """events.k8s.io demands what v1 does not; each calls fields by its own names."""
    assert (await rest.ask("POST", CORE, {"metadata": {"name": "a"}, **OLDER}))[0] == 201
    status, refused = await rest.ask("POST", GROUP, event("b", regarding=OF_GROUP["regarding"], type="Normal"))
    assert (status, [cause["field"] for cause in refused["details"]["causes"]]) == (422, ["eventTime"])
    status, refused = await rest.ask("POST", f"{GROUP}?fieldValidation=Strict", event("b", **OF_CORE))
    assert (status, 'unknown field "involvedObject"' in refused["message"]) == (400, True)


async def test_a_watch_of_a_group_has_its_form(rest: Rest) -> None:
    """Whichever group writes the event."""
    async with rest.watch(f"{GROUP}?watch=1") as found, rest.watch(f"{CORE}?watch=1") as other:
        await rest.ask("POST", GROUP, event("a"))
        first, second = await anext(found), await anext(other)
        assert (first["object"]["note"], second["object"]["message"]) == ("it is done", "it is done")
        await rest.ask("DELETE", f"{CORE}/a")
        gone = await anext(found)
        assert (gone["type"], gone["object"]["apiVersion"], content(gone["object"])) == (
            "DELETED",
            "events.k8s.io/v1",
            OF_GROUP,
        )


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ("regarding.name=web", ["a", "old"]), ("regarding.uid=u-1", ["a"]), ("regarding.kind=Pod,reason!=Old", ["a"]),
        ("reportingController=example.com/a", ["a"]), ("type=Normal", ["old"]), ("regarding.name=other", []),
        ("regarding.fieldPath=", ["a", "old"]), ("source=kubelet", ["old"]),
    ],
)  # fmt: skip
async def test_field_selectors_have_the_names_of_the_group(rest: Rest, fields: str, names: list[str]) -> None:
    """Those of the other group are unknown."""
    await rest.ask("POST", GROUP, event("a"))
    await rest.ask("POST", CORE, {"metadata": {"name": "old"}, **OLDER})
    found = await rest.get(f"{GROUP}?fieldSelector={fields}")
    assert [item["metadata"]["name"] for item in found["items"]] == names
    assert (await rest.ask("GET", f"{GROUP}?fieldSelector=involvedObject.name=web"))[0] == 400
    assert (await rest.ask("GET", f"{CORE}?fieldSelector=regarding.name=web"))[0] == 400


async def test_both_groups_have_one_table(rest: Rest) -> None:
    await rest.ask("POST", GROUP, event("a"))
    tables = [await rest.get(url, accept=TABLE) for url in (GROUP, CORE)]
    assert tables[0]["columnDefinitions"] == tables[1]["columnDefinitions"]
    assert tables[0]["rows"][0]["cells"] == tables[1]["rows"][0]["cells"]
    assert tables[0]["rows"][0]["cells"][1:4] == ["Warning", "Done", "pod/web"]


async def test_the_group_is_discovered_and_described(rest: Rest) -> None:
    """In both forms of discovery, and in OpenAPI v3 with the group's own type."""
    found = await rest.get("/apis/events.k8s.io/v1")
    assert [(item["name"], item["kind"], item["shortNames"]) for item in found["resources"]] == [("events", "Event", ["ev"])]
    v3 = await rest.get("/openapi/v3/apis/events.k8s.io/v1")
    schema = v3["components"]["schemas"]["io.k8s.api.events.v1.Event"]
    assert {"note", "regarding", "deprecatedCount"} <= set(schema["properties"])
    v2 = await rest.get("/openapi/v2")
    assert "/apis/events.k8s.io/v1/namespaces/{namespace}/events/{name}" in v2["paths"]


async def test_a_role_grants_the_events_of_one_group(cluster: Cluster) -> None:
    """RBAC has groups, not objects: who may read events of v1 may not read those of events.k8s.io."""
    rest = Rest(cluster, user("jane"))
    await cluster.create(cluster_role("reader", rule("list", "events", group="events.k8s.io")))
    await cluster.create(cluster_role_binding("reader", "reader", "User:jane"))
    assert [(await rest.ask("GET", url))[0] for url in (GROUP, CORE)] == [200, 403]


async def test_an_event_of_the_newer_form_stays_for_its_time(cluster: Cluster, rest: Rest) -> None:
    """An hour after it last happened, though it has no lastTimestamp."""
    now = codec.format_time(int(cluster.clock.now()))[:-1] + ".000000Z"
    await rest.ask("POST", GROUP, event("a", **{**OF_GROUP, "eventTime": now, "series": {"count": 2, "lastObservedTime": now}}))
    await cluster.advance(3000)
    assert (await rest.ask("GET", f"{GROUP}/a"))[0] == 200
    await cluster.advance(900)
    assert (await rest.ask("GET", f"{GROUP}/a"))[0] == 404


async def test_an_event_is_written_in_one_group_and_read_in_the_other_in_one_transaction(cluster: Cluster) -> None:
    """What a transaction has written has the form of the kind that reads it."""

    def fn(tx: Any) -> None:
        item = kinds.EVENTS_EVENT.cls(note="n")
        item.metadata.name, item.metadata.namespace = "a", "default"
        tx.put(kinds.EVENTS_EVENT, item)
        assert tx.get(kinds.EVENT, "default", "a").message == "n"
        assert [found.message for found in tx.list(kinds.EVENT, "default")] == ["n"]
        assert tx.get(kinds.EVENTS_EVENT, "default", "a").note == "n"

    await cluster.store.update(fn)
    assert cluster.store.get(kinds.EVENT, "default", "a").message == "n"
