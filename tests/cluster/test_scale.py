"""The subresource `scale` of custom kinds over both APIs, and who owns the replicas afterwards.

Source: apiextensions-apiserver's ScaleREST, and managedfields.ScaleHandler of apimachinery."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pinnace import errors, kinds
from pinnace.api.v1 import objects_pb2
from pinnace.autoscaling.v1.scale_pb2 import Scale
from tests.support.api import Api
from tests.support.cluster import Cluster
from tests.support.customkinds import CRONTAB, GROUP, crontab, definition
from tests.support.rest import Rest

PATHS = {
    "specReplicasPath": ".spec.replicas",
    "statusReplicasPath": ".status.replicas",
    "labelSelectorPath": ".status.labelSelector",
}
URL = f"/apis/{GROUP}/v1/namespaces/default/crontabs/backup/scale"
MERGE = "application/merge-patch+json"


class Scaling(Api):
    """Calls about the scale of one CronTab."""

    def __init__(self, cluster: Cluster, manager: str = "scaler") -> None:
        super().__init__(cluster, manager)

    async def scale(self, name: str = "backup") -> Scale:
        answer = await self._objects.Get(objects_pb2.GetRequest(ref=self.ref(CRONTAB, name), subresource="scale"), None)
        assert (answer.apiVersion, answer.kind) == ("autoscaling/v1", "Scale")
        return Scale.FromString(answer.protobuf)

    async def put(self, value: dict[str, Any], name: str = "backup") -> Scale:
        body = objects_pb2.Object(apiVersion="autoscaling/v1", kind="Scale", json=json.dumps(value).encode())
        request = objects_pb2.WriteRequest(
            object=body, ref=self.ref(CRONTAB, name), subresource="scale", fieldManager=self._manager
        )
        return Scale.FromString((await self._objects.Update(request, None)).protobuf)

    async def change(self, patch: Any, type_: str = "MERGE") -> Scale:
        request = objects_pb2.PatchRequest(
            ref=self.ref(CRONTAB, "backup"), type=objects_pb2.PatchRequest.Type.Value(type_), patch=json.dumps(patch).encode(),
            subresource="scale", fieldManager=self._manager,
        )  # fmt: skip
        return Scale.FromString((await self._objects.Patch(request, None)).protobuf)


@pytest.fixture
async def scaling(cluster: Cluster) -> Scaling:
    """With a CronTab of two replicas, of which one is there."""
    made = Scaling(cluster)
    spec = {"type": "object", "properties": {"replicas": {"type": "integer", "maximum": 10}, "image": {"type": "string"}}}
    subresources = {"subresources": {"status": {}, "scale": PATHS}}
    await made.create(kinds.CUSTOM_RESOURCE_DEFINITION, definition(spec, versions=("v1", "v2"), **subresources))
    await cluster.advance(1)
    owner = Api(cluster, "owner")
    await owner.create(CRONTAB, {**crontab(), "spec": {"replicas": 2, "image": "x"}})
    await owner.update_status(CRONTAB, {**crontab(), "status": {"replicas": 1, "labelSelector": "app=web"}})
    return made


def owners(item: Any) -> dict[tuple[str, str], Any]:
    """Fields by manager and subresource."""
    return {(entry.manager, entry.subresource): json.loads(entry.fieldsV1.Raw) for entry in item.metadata.managedFields}


async def test_the_scale_of_an_object(scaling: Scaling) -> None:
    """Its replicas and selector, with the identity of the object."""
    found, stored = await scaling.scale(), await scaling.get(CRONTAB, "backup")
    assert (found.spec.replicas, found.status.replicas, found.status.selector) == (2, 1, "app=web")
    meta = found.metadata
    assert (meta.name, meta.namespace, meta.uid) == ("backup", "default", stored.metadata.uid)
    assert (meta.resourceVersion, meta.creationTimestamp) == (
        stored.metadata.resourceVersion,
        stored.metadata.creationTimestamp,
    )
    with pytest.raises(errors.NotFound):
        await scaling.scale("none")


async def test_an_update_sets_the_replicas_alone(scaling: Scaling) -> None:
    """It is an update of the object: a new generation, and a revision that may be demanded."""
    before = await scaling.get(CRONTAB, "backup")
    made = await scaling.put({"metadata": {"name": "backup"}, "spec": {"replicas": 5}, "status": {"replicas": 9}})
    assert (made.spec.replicas, made.status.replicas) == (5, 1)
    stored = await scaling.get(CRONTAB, "backup")
    assert json.loads(stored.spec.raw) == {"replicas": 5, "image": "x"}
    assert stored.metadata.generation == before.metadata.generation + 1
    assert made.metadata.resourceVersion == stored.metadata.resourceVersion
    with pytest.raises(errors.Conflict):
        await scaling.put({"metadata": {"resourceVersion": before.metadata.resourceVersion}, "spec": {"replicas": 6}})
    again = await scaling.put({"spec": {"replicas": 5}})
    assert again.metadata.resourceVersion == made.metadata.resourceVersion
    # What JSON leaves out is zero, as Go writes it.
    assert (await scaling.put({"spec": {}})).spec.replicas == 0


async def test_the_object_s_rules_hold(scaling: Scaling) -> None:
    """Of its schema and of replicas; an object of another name is refused."""
    for replicas in (11, -1):
        with pytest.raises(errors.Invalid) as caught:
            await scaling.put({"spec": {"replicas": replicas}})
        assert {cause.field for cause in caught.value.causes} == {"spec.replicas"}
    with pytest.raises(errors.BadRequest, match="is not that of the request"):
        await scaling.put({"metadata": {"name": "other"}, "spec": {"replicas": 1}})
    with pytest.raises(errors.NotFound):
        await scaling.put({"spec": {"replicas": 1}}, name="none")
    with pytest.raises(errors.Invalid):
        await scaling.update(CRONTAB, {**crontab(), "spec": {"replicas": -1}})
    with pytest.raises(errors.Invalid):
        await scaling.update_status(CRONTAB, {**crontab(), "status": {"replicas": -1}})


@pytest.mark.parametrize(
    ("type_", "patch"),
    [("MERGE", {"spec": {"replicas": 4}}), ("STRATEGIC", {"spec": {"replicas": 4}}), ("JSON", [{"op": "replace", "path": "/spec/replicas", "value": 4}])],
)  # fmt: skip
async def test_a_scale_is_patched_in_every_way(scaling: Scaling, type_: str, patch: Any) -> None:
    """A Scale is a built-in kind, whatever is scaled; what else a patch holds has no effect."""
    assert (await scaling.change(patch, type_)).spec.replicas == 4
    assert json.loads((await scaling.get(CRONTAB, "backup")).spec.raw) == {"replicas": 4, "image": "x"}


async def test_an_object_without_replicas(scaling: Scaling) -> None:
    """Has no scale to show until it is given one; a patch has to say how many."""
    await scaling.update(CRONTAB, {**crontab(), "spec": {"image": "x"}})
    with pytest.raises(errors.Internal, match=r'the spec replicas field ".spec.replicas" does not exist'):
        await scaling.scale()
    with pytest.raises(errors.BadRequest, match=r'the spec replicas field ".spec.replicas" cannot be empty'):
        await scaling.change({"metadata": {"labels": {"a": "b"}}})
    assert (await scaling.change({"spec": {"replicas": 0}})).spec.replicas == 0
    assert (await scaling.scale()).spec.replicas == 0


async def test_who_scales_owns_the_replicas(scaling: Scaling) -> None:
    """In an entry of the subresource, in the object's version and with its path; no other manager does then."""
    await scaling.put({"spec": {"replicas": 5}})
    found = await scaling.get(CRONTAB, "backup")
    assert owners(found)["scaler", "scale"] == {"f:spec": {"f:replicas": {}}}
    assert owners(found)["owner", ""] == {"f:spec": {"f:image": {}}}
    entry = next(item for item in found.metadata.managedFields if item.subresource == "scale")
    assert (entry.operation, entry.apiVersion) == ("Update", CRONTAB.api_version)
    await scaling.put({"spec": {"replicas": 5}})
    assert (await scaling.get(CRONTAB, "backup")) == found


async def test_an_applier_conflicts_with_who_scaled(scaling: Scaling) -> None:
    """Until it takes the field by force, or leaves it out."""
    manifest = {**crontab(), "spec": {"replicas": 2, "image": "x"}}
    await scaling.put({"spec": {"replicas": 5}})
    [(outcome, error)] = await scaling.apply(manifest)
    assert outcome == "failed"
    assert 'conflict with "scaler" with subresource "scale"' in error.message
    [(outcome, found)] = await scaling.apply(manifest, force=True)
    assert outcome == "configured"
    assert ("scaler", "scale") not in owners(found)
    await scaling.put({"spec": {"replicas": 7}})
    [(_, found)] = await scaling.apply({**crontab(), "spec": {"image": "x"}})
    assert json.loads(found.spec.raw) == {"replicas": 7, "image": "x"}
    assert owners(found)["scaler", "scale"] == {"f:spec": {"f:replicas": {}}}


async def test_parts_that_a_kind_does_not_have(cluster: Cluster, scaling: Scaling) -> None:
    """And what a part is not for."""
    request = objects_pb2.GetRequest(ref=scaling.ref(kinds.CONFIG_MAP, "a"), subresource="scale")
    with pytest.raises(errors.NotFound, match='configmaps has no subresource "scale"'):
        await cluster.api.Get(request, None)
    request = objects_pb2.GetRequest(ref=scaling.ref(kinds.NAMESPACE, "default"), subresource="finalize")
    with pytest.raises(errors.MethodNotAllowed):
        await cluster.api.Get(request, None)
    request = objects_pb2.GetRequest(ref=scaling.ref(CRONTAB, "backup"), subresource="status")
    assert (await cluster.api.Get(request, None)).kind == "CronTab"


async def test_a_scale_as_a_table(cluster: Cluster, scaling: Scaling) -> None:
    """With Kubernetes' columns."""
    request = objects_pb2.GetRequest(ref=scaling.ref(CRONTAB, "backup"), subresource="scale", table=objects_pb2.TableOptions())
    table = (await cluster.api.Get(request, None)).table
    assert [column.name for column in table.columnDefinitions] == ["Name", "Desired", "Available", "Age"]
    assert [cell.integer for cell in table.rows[0].cells[1:3]] == [2, 1]


async def test_discovery_lists_it_as_a_scale(cluster: Cluster, scaling: Scaling) -> None:
    """In the versions that have it."""
    answer = await cluster.api.Discover(objects_pb2.DiscoverRequest(), None)
    item = next(item for item in answer.resources if item.kind == "CronTab")
    assert [(part.name, part.apiVersion, part.kind) for part in item.subresources] == [
        ("scale", "autoscaling/v1", "Scale"), ("status", f"{GROUP}/v2", "CronTab"),
    ]  # fmt: skip


async def test_over_rest(cluster: Cluster, scaling: Scaling) -> None:
    """GET, PUT and PATCH of a Scale; a created one and a deleted one are no such thing."""
    rest = Rest(cluster)
    found = await rest.get(URL)
    assert (found["apiVersion"], found["kind"], found["spec"], found["status"]) == (
        "autoscaling/v1", "Scale", {"replicas": 2}, {"replicas": 1, "selector": "app=web"},
    )  # fmt: skip
    found["spec"] = {}
    status, made = await rest.ask("PUT", f"{URL}?fieldManager=kubectl", found)
    # Go leaves out a zero of the spec, and not one of the status.
    assert (status, made.get("spec", {}), made["status"]["replicas"]) == (200, {}, 1)
    status, made = await rest.ask("PATCH", f"{URL}?fieldManager=kubectl", {"spec": {"replicas": 3}}, content_type=MERGE)
    assert (status, made["kind"], made["spec"]) == (200, "Scale", {"replicas": 3})
    assert owners(await scaling.get(CRONTAB, "backup"))["kubectl", "scale"] == {"f:spec": {"f:replicas": {}}}
    status, refused = await rest.ask("PUT", URL, {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "backup"}})
    assert (status, refused["reason"]) == (400, "BadRequest")
    for method in ("POST", "DELETE"):
        status, refused = await rest.ask(method, URL, made)
        assert (status, refused["reason"]) == (405, "MethodNotAllowed")
    status, refused = await rest.ask("GET", "/api/v1/namespaces/default/configmaps/a/scale")
    assert status == 404
    listed = await rest.get(f"/apis/{GROUP}/v1")
    scale = next(item for item in listed["resources"] if item["name"] == "crontabs/scale")
    assert (scale["group"], scale["version"], scale["kind"]) == ("autoscaling", "v1", "Scale")


async def test_replicas_are_applied_through_the_scale(scaling: Scaling, cluster: Cluster) -> None:
    """Their manager owns them at their place in the object, apart from what it applies of the rest; others conflict."""
    rest = Rest(cluster)
    manifest = json.dumps({"apiVersion": "autoscaling/v1", "kind": "Scale", "spec": {"replicas": 4}}).encode()
    how = {"content_type": "application/apply-patch+yaml"}
    status, found = await rest.ask("PATCH", f"{URL}?fieldManager=hpa", manifest, **how)
    assert (status, found["reason"]) == (409, "Conflict")
    assert [cause["field"] for cause in found["details"]["causes"]] == [".spec.replicas"]
    status, found = await rest.ask("PATCH", f"{URL}?fieldManager=hpa&force=true", manifest, **how)
    assert (status, found["kind"], found["spec"]) == (200, "Scale", {"replicas": 4})
    stored = await rest.get(URL.removesuffix("/scale"))
    entries = [item for item in stored["metadata"]["managedFields"] if item["manager"] == "hpa"]
    assert [(item["operation"], item.get("subresource"), item["fieldsV1"]) for item in entries] == [
        ("Apply", "scale", {"f:spec": {"f:replicas": {}}})
    ]
    version = stored["metadata"]["resourceVersion"]
    status, found = await rest.ask("PATCH", f"{URL}?fieldManager=hpa", manifest, **how)
    assert (status, found["metadata"]["resourceVersion"]) == (200, version)
    status, _ = await rest.ask("PATCH", f"{URL}?fieldManager=hpa", manifest.replace(b"4", b"40"), **how)
    assert status == 422
    status, _ = await rest.ask("PATCH", f"{URL.replace('backup', 'none')}?fieldManager=hpa", manifest, **how)
    assert status == 404
