"""What is created below a pod: bindings and evictions; and its ephemeral containers, which are a part of it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from controlplane.rpc.objects import Objects
from pinnace.api.v1 import objects_pb2
from pinnace.errors import Conflict, NotFound
from pinnace.meta.v1 import rest_pb2
from pinnace.policy.v1.policy_pb2 import Eviction
from tests.support.api import Api
from tests.support.cluster import Cluster
from tests.support.rest import Rest

PODS = "/api/v1/namespaces/default/pods"
PROTOBUF = "application/vnd.kubernetes.protobuf"


@pytest.fixture
def rest(cluster: Cluster) -> Rest:
    return Rest(cluster)


async def pod(rest: Rest, name: str = "a", **spec: Any) -> dict[str, Any]:
    # No scheduler of ours takes it.
    full = {"schedulerName": "mine", "containers": [{"name": "c", "image": "i"}], **spec}
    status, made = await rest.ask("POST", PODS, {"metadata": {"name": name}, "spec": full})
    assert status == 201, made
    return dict(made)


async def test_a_scheduler_binds_a_pod_once(rest: Rest, cluster: Cluster) -> None:
    """By a Binding; its annotations reach the pod. A second one is a conflict."""
    await cluster.join("n1")
    made = await pod(rest)
    target = {"kind": "Node", "name": "n1"}
    body = {"metadata": {"name": "a", "annotations": {"why": "mine"}}, "target": target}
    status, done = await rest.ask("POST", f"{PODS}/a/binding", body)
    assert (status, done["kind"], done["status"]) == (201, "Status", "Success")
    found = await rest.get(f"{PODS}/a")
    assert (found["spec"]["nodeName"], found["metadata"]["annotations"]["why"]) == ("n1", "mine")
    assert {"PodScheduled": "True"}.items() <= {item["type"]: item["status"] for item in found["status"]["conditions"]}.items()
    status, refused = await rest.ask("POST", f"{PODS}/a/binding", body)
    assert (status, refused["reason"]) == (409, "Conflict")
    assert 'already assigned to node "n1"' in refused["message"]
    await pod(rest, "b")
    for wrong, expected in (
        ({"metadata": {"name": "b"}, "target": {"kind": "Pod", "name": "x"}}, 422),
        ({"metadata": {"name": "b"}, "target": {"kind": "Node"}}, 422),
        ({"metadata": {"name": "b", "uid": made["metadata"]["uid"]}, "target": target}, 409),
        ({"metadata": {"name": "other"}, "target": target}, 400),
    ):
        assert (await rest.ask("POST", f"{PODS}/b/binding", wrong))[0] == expected, wrong
    assert (await rest.ask("POST", f"{PODS}/none/binding", {"target": target}))[0] == 404
    assert (await rest.ask("GET", f"{PODS}/b/binding"))[0] in (404, 405)
    assert "nodeName" not in (await rest.get(f"{PODS}/b"))["spec"]


async def test_an_evicted_pod_is_deleted_and_says_so(rest: Rest, cluster: Cluster) -> None:
    """With its own grace period, or with that of the request; in protobuf too, as kubectl drain sends it."""
    await cluster.join("n1")
    await pod(rest, nodeName="n1", terminationGracePeriodSeconds=20)
    status, done = await rest.ask("POST", f"{PODS}/a/eviction?dryRun=All", {"metadata": {"name": "a"}})
    assert (status, done["status"]) == (201, "Success")
    assert "deletionTimestamp" not in (await rest.get(f"{PODS}/a"))["metadata"]
    options = rest_pb2.DeleteOptions(gracePeriodSeconds=7, preconditions=rest_pb2.Preconditions(uid="another"))
    message = Eviction(deleteOptions=options)
    assert (await _evict(rest, message))[0] == 409
    message.deleteOptions.ClearField("preconditions")
    assert (await _evict(rest, message))[0] == 201
    found = await rest.get(f"{PODS}/a")
    assert found["metadata"]["deletionGracePeriodSeconds"] == 7
    [condition] = [item for item in found["status"]["conditions"] if item["type"] == "DisruptionTarget"]
    assert (condition["status"], condition["reason"]) == ("True", "EvictionByEvictionAPI")
    listed = {item["name"]: item for item in (await rest.get("/api/v1"))["resources"]}
    evictions = listed["pods/eviction"]
    assert (evictions["kind"], evictions["group"], evictions["version"]) == ("Eviction", "policy", "v1")


async def _evict(rest: Rest, message: Eviction) -> tuple[int, Any]:
    type_ = rest_pb2.TypeMeta(apiVersion="policy/v1", kind="Eviction")
    body = b"k8s\0" + rest_pb2.Unknown(typeMeta=type_, raw=message.SerializeToString()).SerializeToString()
    return await rest.ask("POST", f"{PODS}/a/eviction", body, content_type=PROTOBUF)


async def test_an_eviction_over_grpc_does_the_same(rest: Rest, cluster: Cluster) -> None:
    """As a Create with a subresource; other actions and other kinds have none of that name."""
    await cluster.join("n1")
    await pod(rest, nodeName="n1")
    service = Objects(cluster.store, cluster.clock, cluster.ids)
    ref = objects_pb2.Reference(apiVersion="v1", kind="Pod", namespace="default", name="a")

    def request(**options: Any) -> objects_pb2.WriteRequest:
        body = json.dumps({"deleteOptions": options}).encode()
        item = objects_pb2.Object(apiVersion="policy/v1", kind="Eviction", json=body)
        return objects_pb2.WriteRequest(object=item, ref=ref, subresource="eviction")

    for dry in (request(dryRun=["All"]), request()):
        dry.dryRun = not dry.object.json.count(b"All")
        await service.Create(dry, None)
        assert "deletionTimestamp" not in (await rest.get(f"{PODS}/a"))["metadata"]
    with pytest.raises(Conflict):
        await service.Create(request(preconditions={"uid": "another"}), None)
    answer = await service.Create(request(gracePeriodSeconds=7), None)
    assert (answer.kind, Eviction.FromString(answer.protobuf).metadata.name) == ("Eviction", "a")
    assert (await rest.get(f"{PODS}/a"))["metadata"]["deletionGracePeriodSeconds"] == 7
    wrong = request()
    wrong.subresource = "nonsense"
    with pytest.raises(NotFound, match='pods have no "nonsense"'):
        await service.Create(wrong, None)
    wrong = request()
    wrong.ref.name = "none"
    with pytest.raises(NotFound, match='pods "none" not found'):
        await service.Create(wrong, None)


async def test_ephemeral_containers_are_applied_by_their_own_path(rest: Rest, cluster: Cluster) -> None:
    """Their manager owns them alone: what else the manifest has of the object is not applied. Over both APIs."""
    await pod(rest)
    manifest: dict[str, Any] = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "labels": {"b": "1"}}}
    manifest["spec"] = {"ephemeralContainers": [{"name": "d", "image": "busybox"}]}
    status, found = await rest.ask(
        "PATCH", f"{PODS}/a/ephemeralcontainers?fieldManager=debugger", json.dumps(manifest).encode(),
        content_type="application/apply-patch+yaml",
    )  # fmt: skip
    assert (status, [item["name"] for item in found["spec"]["ephemeralContainers"]]) == (200, ["d"]), found
    assert "b" not in found["metadata"].get("labels", {})
    entry = next(item for item in found["metadata"]["managedFields"] if item["manager"] == "debugger")
    assert (entry["operation"], entry["subresource"]) == ("Apply", "ephemeralcontainers")
    assert list(entry["fieldsV1"]) == ["f:spec"]
    assert list(entry["fieldsV1"]["f:spec"]) == ["f:ephemeralContainers"]
    manifest["spec"]["ephemeralContainers"] = [{"name": "e", "image": "busybox"}]
    [(outcome, both)] = await Api(cluster, "other").apply(manifest, subresource="ephemeralcontainers")
    assert (outcome, [item.ephemeralContainerCommon.name for item in both.spec.ephemeralContainers]) == (
        "configured",
        ["d", "e"],
    )
    [(outcome, _)] = await Api(cluster, "other").apply(manifest, subresource="ephemeralcontainers")
    assert outcome == "unchanged"


async def test_ephemeral_containers_are_added_by_their_own_path(rest: Rest) -> None:
    """As kubectl debug adds them, and not taken away again; the rest of the body is ignored."""
    await pod(rest)
    change = {"spec": {"ephemeralContainers": [{"name": "d", "image": "busybox"}], "hostNetwork": True}}
    status, found = await rest.ask(
        "PATCH", f"{PODS}/a/ephemeralcontainers", change, content_type="application/strategic-merge-patch+json"
    )
    assert (status, [item["name"] for item in found["spec"]["ephemeralContainers"]]) == (200, ["d"])
    assert "hostNetwork" not in found["spec"]
    found["spec"]["ephemeralContainers"] = []
    assert (await rest.ask("PUT", f"{PODS}/a/ephemeralcontainers", found))[0] == 422


async def test_ephemeral_containers_take_the_right_to_add_them(rest: Rest) -> None:
    """An update of the pod itself adds none, so that a right to update pods is no right to run something in them."""
    await pod(rest)
    for content_type in ("application/strategic-merge-patch+json", "application/merge-patch+json"):
        change = {"spec": {"ephemeralContainers": [{"name": "d", "image": "busybox"}]}}
        status, refused = await rest.ask("PATCH", f"{PODS}/a", change, content_type=content_type)
        assert (status, refused["details"]["causes"][0]["field"]) == (422, "spec"), refused
        assert "(changed: ephemeralContainers)" in refused["message"]
